"""PathNet: from what is seen of a start to the whole path, and the graph that a robot gets."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dpvp_training.core.fit import TOTAL, Losses
from dpvp_training.core.nets import EnsembleMlp
from dpvp_training.systems.dpvp.walks.feet import rotation_of
from dpvp_training.systems.dpvp.walks.paths import Paths
from dpvp_training.systems.dpvp.walks.view import View

LEAST = 1e-4  # of what a number deviates by in the data, so that one that is always the same can be divided by it


class PathNet(nn.Module):
    """Steps (B, T, ndx) and controls (B, T, nu) of the nodes of a plan, in units of what they deviate by in the data.

    Attributes:
        view: what it sees of states and goals.
        states: how many of the numbers of a path are those of its states, which come first.
    """

    centre: Tensor
    scale: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, view: View, paths: Paths, hidden: Sequence[int], generator: torch.Generator) -> None:
        """Read the units off `paths`; draw the weights of layers of `hidden` numbers."""
        super().__init__()
        self.view, self._sizes = view, (paths.steps.shape[1:], paths.us.shape[1:])
        self.states = paths.steps[0].size
        seen, wanted = self.seen(paths), _flat(paths)
        units = {"centre": seen.mean(0), "scale": seen.std(0), "mean": wanted.mean(0), "deviation": wanted.std(0)}
        for name, values in units.items():
            self.register_buffer(name, values if name in ("centre", "mean") else values.clamp(min=LEAST))
        sizes = [seen.shape[1], *hidden, wanted.shape[1]]
        self.mlp = EnsembleMlp(1, sizes, generator, last_gain=0.1)

    def seen(self, paths: Paths) -> Tensor:
        """Return what is seen of the starts (N, ns), in single precision."""
        seen: Tensor = self.view(torch.from_numpy(paths.x), torch.from_numpy(paths.goal))
        return seen.float()

    def normal(self, seen: Tensor) -> Tensor:
        """Return what the last layer says (B, T (ndx + nu))."""
        said: Tensor = self.mlp(((seen - self.centre) / self.scale)[None])
        return said[0]

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return steps (B, T, ndx) and controls (B, T, nu), Nm."""
        flat = self.mean + self.deviation * self.normal(seen)
        steps, controls = self._sizes
        return flat[:, : self.states].reshape(-1, *steps), flat[:, self.states :].reshape(-1, *controls)

    def errors(self, paths: Paths) -> tuple[float, float]:
        """Return the errors of states and controls of `paths`, as shares of what they deviate by (root mean square)."""
        with torch.no_grad():
            squares = (self.normal(self.seen(paths)) - self.wanted(paths)).pow(2)
        parts = squares[:, : self.states], squares[:, self.states :]
        states, controls = (float(part.mean().sqrt()) for part in parts)
        return states, controls

    def wanted(self, paths: Paths) -> Tensor:
        """Return what the last layer should say (N, T (ndx + nu))."""
        return (_flat(paths) - self.mean) / self.deviation


class PathLoss:
    """Mean squared error of a PathNet, in its units."""

    def __init__(self, net: PathNet, paths: Paths) -> None:
        """Compute what is seen and what is wanted once."""
        self._net, self._seen, self._wanted = net, net.seen(paths), net.wanted(paths)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Losses:
        """Return the loss of `rows` (1, B); nothing is drawn."""
        errors = (self._net.normal(self._seen[rows[0]]) - self._wanted[rows[0]]).pow(2).mean(dim=0)
        states = self._net.states
        return {"states": errors[:states].mean(), "controls": errors[states:].mean(), TOTAL: errors.mean()}


class PathGraph(nn.Module):
    """What is exported: xs (T+1, nx) and us (T, nu) of one start, in its own precision."""

    def __init__(self, net: PathNet) -> None:
        """Export a copy of `net`, in single precision."""
        super().__init__()
        self.net = copy.deepcopy(net).float()

    def forward(self, x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Return xs (T+1, nx), the first of them x, and us (T, nu), Nm, for x (1, nx) and goal (1, 5)."""
        steps, controls = self.net(self.net.view(x, goal))
        return torch.cat([x, integrated(x, steps[0])], dim=0), controls[0]


def integrated(x: Tensor, steps: Tensor) -> Tensor:
    """Return the states (T, nx) that `steps` (T, ndx) in the tangent of x (1, nx) lead to.

    The base floats: with ρ and ω what it moves and turns by in its own axes,

        p' = p + R (1 + b [ω] + c [ω]²) ρ,    q' = q (a/2 ω, cos θ/2),    θ = ‖ω‖,

    a = sin(θ/2)/(θ/2), b = (1 - cos θ)/θ² = a²/2, c = (θ - sin θ)/θ³.
    """
    moved, turned = steps[:, :3], steps[:, 3:6]
    square = turned.pow(2).sum(dim=1, keepdim=True)
    a = _series(0.25 * square, (1.0, 6.0, 20.0, 42.0, 72.0))
    c = _series(square, (6.0, 20.0, 42.0, 72.0, 110.0))
    cosine = _series(0.25 * square, (1.0, 2.0, 12.0, 30.0, 56.0, 90.0))
    once = torch.linalg.cross(turned, moved)
    along = moved + 0.5 * a * a * once + c * torch.linalg.cross(turned, once)
    places = x[:, :3] + along @ rotation_of(x[:, 3:7])[0].T
    turn = torch.cat([0.5 * a * turned, cosine], dim=1)
    quaternions = _product(x[:, 3:7], turn)
    quaternions = quaternions / quaternions.norm(dim=1, keepdim=True)
    return torch.cat([places, quaternions, x[:, 7:] + steps[:, 6:]], dim=1)


def _series(square: Tensor, quotients: tuple[float, ...]) -> Tensor:
    """Return 1/d_0 (1 - s/d_1 (1 - s/d_2 (...))): alternating series without a division by zero, for turns below π."""
    total = torch.ones_like(square)
    for quotient in quotients[:0:-1]:
        total = 1.0 - square / quotient * total
    return total / quotients[0]


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Return the products of quaternions (1, 4) and (T, 4), xyzw."""
    vector = first[:, 3:] * second[:, :3] + second[:, 3:] * first[:, :3]
    vector = vector + torch.linalg.cross(first[:, :3].expand(len(second), -1), second[:, :3])
    scalar = first[:, 3:] * second[:, 3:] - (first[:, :3] * second[:, :3]).sum(dim=1, keepdim=True)
    return torch.cat([vector, scalar], dim=1)


def _flat(paths: Paths) -> Tensor:
    parts = [torch.from_numpy(np.asarray(part, np.float32)).flatten(1) for part in (paths.steps, paths.us)]
    return torch.cat(parts, dim=1)
