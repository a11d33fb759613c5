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
    """What is exported of a ValueNet: r, R_x and R_f for one row, by forward differentiation written out.

    The members are stacked and scaled by 1/√members, so that ½ ‖r‖² is their mean; see `dpvp.learned.contract`.
    """

    share: Tensor

    def __init__(self, net: ValueNet, ndx: int) -> None:
        """Export `net` for a state with a tangent of `ndx` entries.

        Raises:
            ValueError: the net sees entries of a state that is not its own tangent.
        """
        super().__init__()
        shape = net.frame.shape
        if (shape.rest or shape.seen) and ndx != shape.nx:
            raise ValueError(f"states of {shape.nx} numbers with a tangent of {ndx}: let the features say all")
        self.net, self.ndx = net, ndx
        # a tensor, because the exporter turns plain numbers into single precision
        self.register_buffer("share", net.frame.base.new_tensor(net.members**-0.5))
        # columns of dr/d[x seen; v; zeros] in the order of x
        order = [*shape.seen, *shape.rest]
        self._columns = [order.index(i) if i in order else len(order) for i in range(ndx)]

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return r (1, nr), R_x (nr, ndx) and R_f (nr, nf) for x (1, nx) and f (1, nf)."""
        net, shape = self.net, self.net.frame.shape
        z, s = net.frame(x, f)
        activations = net.mlp.hidden(s.expand(net.members, 1, shape.ns))
        matrix = net.matrix(net.mlp.outputs(activations[-1]))[:, 0]  # (E, rows, nz)
        r = matrix @ z[0]
        # N_θ(s) z as a function of s: the last layer contracted with z before the chain of tangents
        # (as one product of matrices: in three dimensions the exporter makes it hundreds of small ones)
        weight = (net.mlp.weights[-1].reshape(-1, shape.nz) @ z.T).reshape(
            net.members, -1, net.rows
        )  # (E, width, rows)
        slope = torch.bmm(net.mlp.hidden_jacobian(activations), weight) / net.frame.scale[:, None]  # (E, ns, rows)
        by_seen, by_z, by_more = torch.split(slope, [len(shape.seen), shape.nz, shape.nf - shape.ne], dim=1)
        by_ev = (by_z.transpose(1, 2) + matrix) @ net.frame.base  # (E, rows, nz), of [e; v]
        by_e, by_v = torch.split(by_ev, [shape.ne, len(shape.rest)], dim=2)
        r_f = torch.cat([by_e, by_more.transpose(1, 2)], dim=2)
        known = torch.cat([by_seen.transpose(1, 2), by_v, torch.zeros_like(r)[..., None]], dim=2)
        r_x = known[:, :, self._columns]
        return self.share * r.reshape(1, -1), self.share * r_x.flatten(0, 1), self.share * r_f.flatten(0, 1)


class PolicyNet(nn.Module):
    """What the policy adds to the control at rest: (B + N_φ(s)) A z, in units of the data's controls."""

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
        """Return the controls (B, nu) above those at rest for states (B, nx) and features (B, nf)."""
        z, s = self.frame(x, f)
        learned = self.mlp(s[None])[0].reshape(-1, self.frame.shape.nu, self.frame.shape.nz)
        above: Tensor = ((self.gain + self.unit[:, None] * learned) @ z[..., None])[..., 0]
        return above


class PolicyGraph(nn.Module):
    """What is exported of a PolicyNet: u (1, nu) for x (1, nx) and goal (1, goal), kinematics included."""

    def __init__(self, net: PolicyNet, geometry: Geometry) -> None:
        """Export `net` on top of `geometry`, in the precision of both."""
        super().__init__()
        self.net, self.geometry = net, geometry

    def forward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the controls (B, nu)."""
        above: Tensor = self.net(x, self.geometry.features(x, goal))
        return self.geometry.rest_control(x) + above
