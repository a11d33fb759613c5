"""The value ensemble and the feedback policy, both exact where the task is done, by structure and not by training.

With the task residual e and the entries v of the state that vanish with it (`Task.rest`), z = [e; v] is zero on the
whole equilibrium manifold and only there. Both nets multiply it:

    V(x, goal) = ½ ‖(E + N_θ(s)) A z‖²        π(x, goal) = u_rest(x) + (B + N_φ(s)) A z

A is a constant fitted to the Hessians of the data before training (½ ‖A z‖² is the best quadratic), so that training
starts from there and all numbers in the net are of order one. s is what the nets see: the other entries of the state,
A z and the geometry that the task adds to its residual (`Task.features`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpvp_training.core.nets import EnsembleMlp
from dpvp_training.envs.problem import Geometry


@dataclass(frozen=True)
class Shape:
    """Sizes of a problem as the nets see it.

    Attributes:
        nx: of the state.
        ne: of the residual, which comes first among the features.
        nf: of the features.
        nu: of the control.
        rest: entries of the state that vanish with the residual.
        seen: entries of the state that the nets see besides.
    """

    nx: int
    ne: int
    nf: int
    nu: int
    rest: tuple[int, ...]
    seen: tuple[int, ...]

    @property
    def nz(self) -> int:
        """Length of z."""
        return self.ne + len(self.rest)

    @property
    def ns(self) -> int:
        """Length of s."""
        return len(self.seen) + self.nz + self.nf - self.ne


class Frame(nn.Module):
    """From (x, f) to z in units of one and to the normalised s; constants of the data, nothing to train."""

    base: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, shape: Shape, base: Tensor, centre: Tensor, scale: Tensor) -> None:
        """Take A (nz, nz) and the centre (ns,) and scale (ns,) of s = [x seen; A z; features beyond e]."""
        super().__init__()
        self.shape = shape
        for name, value in (("base", base), ("centre", centre), ("scale", scale)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return A z (..., nz) and the normalised s (..., ns) for states (..., nx) and features (..., nf)."""
        shape = self.shape
        z = torch.cat([f[..., : shape.ne], x[..., list(shape.rest)]], dim=-1) @ self.base.T
        s = torch.cat([x[..., list(shape.seen)], z, f[..., shape.ne :]], dim=-1)
        return z, (s - self.centre) / self.scale

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fold what `forward` does into constants in y = [x f]: a graph of few operations is a fast one.

        Args:
            weight: (members, ns, width) of the layer that sees s, with its
            bias: (members, 1, width).

        Returns:
            The matrix (ny, nz) that makes z of a row y, and weight (members, ny, width) and bias of that layer in y.
        """
        shape, offset = self.shape, self.centre / self.scale
        y = torch.eye(shape.nx + shape.nf, dtype=self.base.dtype)
        z, s = self(y[:, : shape.nx], y[:, shape.nx :])
        return z, (s + offset) @ weight, bias - offset[None] @ weight


class ValueNet(nn.Module):
    """Ensemble of residuals r = (E + N_θ(s)) A z, `rows` each; V is the mean of their ½ ‖r‖²."""

    unit: Tensor

    def __init__(
        self, frame: Frame, members: int, rows: int, width: int, depth: int, generator: torch.Generator
    ) -> None:
        """Draw the weights; `rows` must be at least nz, or the Hessian could not have full rank.

        Raises:
            ValueError: fewer rows than z has entries.
        """
        super().__init__()
        nz = frame.shape.nz
        if rows < nz:
            raise ValueError(f"rows = {rows}: must be at least {nz}, the length of z")
        self.frame, self.rows, self.members = frame, rows, members
        self.mlp = EnsembleMlp(members, [frame.shape.ns, *[width] * depth, rows * nz], generator, last_gain=0.1)
        self.register_buffer("unit", torch.eye(rows, nz))

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        """Return r (members, B, rows) for states (members, B, nx) and features (members, B, nf)."""
        z, s = self.frame(x, f)
        residuals: Tensor = (self.matrix(self.mlp(s)) @ z[..., None])[..., 0]
        return residuals

    def value(self, x: Tensor, f: Tensor) -> Tensor:
        """Return the members' V (members, B), in the unit of the cost."""
        residuals: Tensor = self(x, f)
        return 0.5 * residuals.pow(2).sum(-1)

    def matrix(self, outputs: Tensor) -> Tensor:
        """Return E + N_θ(s) (members, B, rows, nz) for the outputs of the nets."""
        return outputs.reshape(*outputs.shape[:-1], self.rows, self.frame.shape.nz) + self.unit


class ValueGraph(nn.Module):
    """What is exported of a ValueNet: r, R_x and R_f for one row, by backward differentiation written out.

    The members are stacked and scaled by 1/√members, so that ½ ‖r‖² is their mean; see `dpvp.learned.contract`.
    """

    first: Tensor
    first_bias: Tensor
    first_back: Tensor
    to_z: Tensor
    last: Tensor
    last_bias: Tensor
    last_by_z: Tensor

    def __init__(self, net: ValueNet, ndx: int) -> None:
        """Export `net` for a state with a tangent of `ndx` entries.

        Raises:
            ValueError: the net sees entries of a state that is not its own tangent.
        """
        super().__init__()
        frame, shape = net.frame, net.frame.shape
        if (shape.rest or shape.seen) and ndx != shape.nx:
            raise ValueError(f"states of {shape.nx} numbers with a tangent of {ndx}: let the features say all")
        self._nx, self._ndx, self._members, self._rows = shape.nx, ndx, net.members, net.rows
        weights, biases = ([p.detach() for p in ps] for ps in (net.mlp.weights, net.mlp.biases))
        to_z, first, first_bias = frame.folded(weights[0], biases[0])
        by_row = weights[-1].unflatten(2, (net.rows, shape.nz)).permute(0, 2, 1, 3)  # (members, rows, width, nz)
        buffers = {
            "first": first.permute(1, 0, 2).flatten(1),
            "first_bias": first_bias.permute(1, 0, 2).flatten(1),
            "first_back": first.transpose(1, 2),
            "to_z": net.members**-0.5 * to_z.T,
            "last": weights[-1],
            "last_bias": biases[-1] + net.unit.flatten(),
            "last_by_z": by_row.flatten(0, 2),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values.contiguous().clone())
        self.middle = nn.ParameterList(weights[1:-1])
        self.middle_bias = nn.ParameterList(biases[1:-1])
        self.middle_back = nn.ParameterList([weight.transpose(1, 2).contiguous() for weight in weights[1:-1]])

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return r (1, nr), R_x (nr, ndx) and R_f (nr, nf) for x (1, nx) and f (1, nf)."""
        y = torch.cat([x, f], dim=1)
        z = self.to_z @ y.T  # (nz, 1)
        hidden = torch.tanh(torch.addmm(self.first_bias, y, self.first)).reshape(self._members, 1, -1)
        layers = [hidden]
        for weight, bias in zip(self.middle, self.middle_bias, strict=True):
            layers.append(torch.tanh(torch.baddbmm(bias, layers[-1], weight)))
        matrix = torch.baddbmm(self.last_bias, layers[-1], self.last).reshape(self._members * self._rows, -1)
        r = matrix @ z
        # N_θ(s) z as a function of s: rows are fewer than what the net sees, so from the back
        back = (self.last_by_z @ z).reshape(self._members, self._rows, -1)
        for weight, layer in zip(reversed(self.middle_back), reversed(layers[1:]), strict=True):
            back = torch.bmm(back * (1.0 - layer * layer), weight)
        slope = torch.bmm(back * (1.0 - layers[0] * layers[0]), self.first_back)
        by_y = slope.reshape(self._members * self._rows, -1) + matrix @ self.to_z
        return r.T, by_y[:, : self._ndx], by_y[:, self._nx :]


class PolicyNet(nn.Module):
    """What the policy adds to the feed-forward: (B + N_φ(s)) A z, in units of the data's controls."""

    gain: Tensor
    unit: Tensor

    def __init__(
        self, frame: Frame, gain: Tensor, unit: Tensor, width: int, depth: int, generator: torch.Generator
    ) -> None:
        """Take B (nu, nz), the best constant gain on A z, and the unit (nu,) of each control; draw the weights."""
        super().__init__()
        self.frame = frame
        sizes = [frame.shape.ns, *[width] * depth, frame.shape.nu * frame.shape.nz]
        self.mlp = EnsembleMlp(1, sizes, generator, last_gain=0.1)
        self.register_buffer("gain", gain)
        self.register_buffer("unit", unit)

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        """Return the controls (B, nu) above the feed-forward for states (B, nx) and features (B, nf)."""
        z, s = self.frame(x, f)
        learned = self.mlp(s[None])[0].reshape(-1, self.frame.shape.nu, self.frame.shape.nz)
        above: Tensor = ((self.gain + self.unit[:, None] * learned) @ z[..., None])[..., 0]
        return above


class PolicyGraph(nn.Module):
    """What is exported of a PolicyNet: u (1, nu) for x (1, nx) and goal (1, goal), kinematics included."""

    to_z: Tensor
    last: Tensor
    last_bias: Tensor

    def __init__(self, net: PolicyNet, geometry: Geometry) -> None:
        """Export `net` on top of `geometry`, in the precision of both."""
        super().__init__()
        self.geometry, size = geometry, (net.frame.shape.nu, net.frame.shape.nz)
        weights, biases = ([p.detach()[0] for p in ps] for ps in (net.mlp.weights, net.mlp.biases))
        to_z, first, first_bias = net.frame.folded(weights[0][None], biases[0][None])
        unit = net.unit[:, None]
        buffers = {
            "to_z": to_z,
            "last": (unit * weights[-1].unflatten(1, size)).flatten(1),
            "last_bias": (net.gain + unit * biases[-1].unflatten(1, size)).flatten(1),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values.clone())
        self.weights = nn.ParameterList([first[0], *weights[1:-1]])
        self.biases = nn.ParameterList([first_bias[0], *biases[1:-1]])
        self._size = size

    def forward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the controls (B, nu)."""
        y = hidden = torch.cat([x, self.geometry.features(x, goal)], dim=1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = torch.tanh(torch.addmm(bias, hidden, weight))
        matrix = torch.addmm(self.last_bias, hidden, self.last).reshape(-1, *self._size)
        above: Tensor = (matrix @ (y @ self.to_z)[..., None])[..., 0]
        return self.geometry.feedforward(x, goal) + above
