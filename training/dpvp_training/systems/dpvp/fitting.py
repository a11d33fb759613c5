"""From nodes to nets: constants read off the data, and the losses of value and policy."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dpvp.config import Config
from dpvp.plan import Array
from dpvp_training.core.fit import TOTAL, Losses
from dpvp_training.core.losses import Relative, robust
from dpvp_training.envs.problem import Problem
from dpvp_training.systems.dpvp.nets import Frame, PolicyNet, Shape, ValueNet
from dpvp_training.systems.dpvp.nodes import Nodes

SAMPLE = 4000  # nodes that the constants are read off
TRIES, NOTHING = 8, 1e-9  # states at which features are differentiated, and what of it counts as no dependence


class NetConfig(Config):
    """Size of a net."""

    width: int = Field(96, gt=0)
    depth: int = Field(2, gt=0, description="hidden layers")


class ValueLossConfig(Config):
    """Weights of the orders of the loss; all errors are relative, see `dpvp_training.core.losses`."""

    value: float = Field(1.0, ge=0)
    gradient: float = Field(1.0, ge=0)
    curvature: float = Field(0.1, ge=0)
    curvature_share: float = Field(0.25, gt=0, le=1, description="of the batch that the curvature is computed on")
    floor: float = Field(0.03, gt=0, description="share of the mean value below which errors are absolute")


def shape_of(problem: Problem) -> Shape:
    """Read the sizes off a problem."""
    task, robot, rng = problem.task, problem.task.robot, np.random.default_rng(0)
    x = task.sample_state(rng)
    f, e = task.features(x, problem.goal)[0], task.residual(x, problem.goal)[0]
    # Where the residual says all, nets see nothing else: they need not learn what shifting the goal does. Nor do they
    # see what no feature depends on, as the turn of the last joint: the noise of a net in it would move that joint.
    slopes = np.abs([task.features(task.sample_state(rng), problem.goal)[1] for _ in range(TRIES)]).max(axis=(0, 1))
    known = [i for i in range(robot.ndx) if i not in task.rest and slopes[i] > NOTHING] if task.rest else []
    return Shape(robot.nx, len(e), len(f), robot.nu, task.rest, tuple(known))


def frame_of(shape: Shape, nodes: Nodes) -> Frame:
    """Fit A to the Hessians of the data and read the normalisation off it."""
    base = quadratic_base(shape, nodes)
    z = np.hstack([nodes.f[:, : shape.ne], nodes.x[:, list(shape.rest)]]) @ base.T
    parts = [nodes.x[:, list(shape.seen)], z, nodes.f[:, shape.ne :]]
    centre = [parts[0].mean(axis=0), np.zeros(shape.nz), parts[2].mean(axis=0)]
    # one scale for each part: an entry that hardly moves in the data must not be blown up
    scale = [np.full(part.shape[1], max(float(np.std(part)), 1e-6)) for part in parts if part.shape[1]]
    scale[1 if shape.seen else 0] = np.full(shape.nz, float(np.sqrt(np.mean(z**2))))
    return Frame(
        shape, *(torch.as_tensor(a, dtype=torch.float32) for a in (base, np.concatenate(centre), np.concatenate(scale)))
    )


def quadratic_base(shape: Shape, nodes: Nodes) -> Array:
    """Return A (nz, nz), upper triangular, of the quadratic ½ ‖A z‖² whose Hessians fit those of the data best.

    With Z = dz/dx: least squares of V_xx ≈ Zᵀ P Z over symmetric P, made positive definite, P = Aᵀ A.
    """
    nodes = nodes.take(np.linspace(0, len(nodes) - 1, min(len(nodes), SAMPLE)).astype(int))
    z_x = np.zeros((len(nodes), shape.nz, nodes.v_x.shape[1]))
    z_x[:, : shape.ne] = nodes.f_x[:, : shape.ne]
    for row, entry in enumerate(shape.rest):
        z_x[:, shape.ne + row, entry] = 1.0
    hessians = np.asarray(nodes.v_xx, dtype=np.float64)
    unit_x = np.sqrt(np.maximum(np.einsum("nii->i", hessians) / len(nodes), 1e-12))
    hessians, z_x = hessians / np.outer(unit_x, unit_x), z_x / unit_x
    unit_z = np.sqrt(np.maximum(np.mean(np.sum(z_x**2, axis=2), axis=0), 1e-12))
    z_x = z_x / unit_z[:, None]
    # normal equations of vec(P): (Σ ZZᵀ ⊗ ZZᵀ) vec(P) = vec(Σ Z H Zᵀ)
    gram = np.einsum("nij,nkj->nik", z_x, z_x)
    left = np.einsum("nik,njl->ijkl", gram, gram).reshape(shape.nz**2, shape.nz**2)
    right = np.einsum("nij,njk,nlk->il", z_x, hessians, z_x).ravel()
    ridge = 1e-8 * np.trace(left) / len(left) * np.eye(len(left))
    p = np.linalg.solve(left + ridge, right).reshape(shape.nz, shape.nz)
    values, vectors = np.linalg.eigh(0.5 * (p + p.T))
    p = (vectors * np.maximum(values, 1e-2 * np.median(np.abs(values)))) @ vectors.T
    return np.asarray(np.linalg.cholesky(p / np.outer(unit_z, unit_z)).T)


class ValueLoss:
    """Loss of a ValueNet on rows of nodes: value, gradient and Hessian-vector products along random directions."""

    def __init__(self, net: ValueNet, nodes: Nodes, config: ValueLossConfig) -> None:
        """Take the data as tensors."""
        self._net, self._config = net, config
        self._x, self._f, self._f_x = _tensor(nodes.x), _tensor(nodes.f), _tensor(nodes.f_x)
        self._v, self._v_x, self._v_xx = _tensor(nodes.v), _tensor(nodes.v_x), _tensor(nodes.v_xx)
        self.relative = Relative.of(nodes.v, np.asarray(nodes.v_xx, np.float64), config.floor)
        self._embed = _embedding(net.frame.shape, nodes.v_x.shape[1])

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Losses:
        """Return `value`, `gradient`, `curvature` and `total` of rows (members, B)."""
        config, relative = self._config, self.relative
        v, v_x = self._v[rows], self._v_x[rows]
        values, gradients = self.gradient(rows)
        losses = {"value": relative.value(values, v), "gradient": relative.gradient(gradients, v_x, v)}
        losses[TOTAL] = config.value * losses["value"] + config.gradient * losses["gradient"]
        if config.curvature > 0.0:
            some = rows[:, : max(1, int(config.curvature_share * rows.shape[1]))]
            losses["curvature"] = self._curvature(some, generator)
            losses[TOTAL] = losses[TOTAL] + config.curvature * losses["curvature"]
        return losses

    def gradient(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return V (members, B) and dV/dx (members, B, ndx) with their graph."""
        x, f = self._x[rows].requires_grad_(), self._f[rows].requires_grad_()
        values = self._net.value(x, f)
        v_x, v_f = torch.autograd.grad(values.sum(), (x, f), create_graph=True, materialize_grads=True)
        return values, v_x @ self._embed + (v_f[..., None, :] @ self._f_x[rows])[..., 0, :]

    def _curvature(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Gauss-Newton products Rᵀ R d; R d by differentiating Rᵀ w once more in w."""
        x, f, f_x = self._x[rows].requires_grad_(), self._f[rows].requires_grad_(), self._f_x[rows]
        direction = self.relative.directions(tuple(rows.shape), generator)
        r = self._net(x, f)
        w = torch.zeros_like(r, requires_grad=True)
        w_x, w_f = torch.autograd.grad(r, (x, f), w, create_graph=True, materialize_grads=True)
        along = w_x @ self._embed + (w_f[..., None, :] @ f_x)[..., 0, :]
        (moved,) = torch.autograd.grad((along * direction).sum(), w, create_graph=True)
        h_x, h_f = torch.autograd.grad(r, (x, f), moved, create_graph=True, materialize_grads=True)
        found = h_x @ self._embed + (h_f[..., None, :] @ f_x)[..., 0, :]
        return self.relative.curvature(found, (self._v_xx[rows] @ direction[..., None])[..., 0])


class PolicyLossConfig(Config):
    """Weights of the policy's loss."""

    control: float = Field(1.0, ge=0)
    gain: float = Field(0.02, ge=0, description="of the feedback gains along random directions")


class PolicyLoss:
    """Loss of a PolicyNet: what wrong controls and wrong gains cost, δuᵀ Q_uu δu, as a share of V."""

    def __init__(
        self, net: PolicyNet, nodes: Nodes, problem: Problem, relative: Relative, config: PolicyLossConfig
    ) -> None:
        """Take the data as tensors, controls and gains above the feed-forward."""
        self._net, self._config, self._relative = net, config, relative
        forward, forward_x = _feedforward(problem, nodes)
        self._x, self._f, self._f_x, self._v = map(_tensor, (nodes.x, nodes.f, nodes.f_x, nodes.v))
        self._u, self._k = _tensor(nodes.u - forward), _tensor(-nodes.gain - forward_x)
        self._q = _tensor(nodes.q_uu)
        self._embed = _embedding(net.frame.shape, nodes.v_x.shape[1])

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Losses:
        """Return `control`, `gain` and `total` of rows (1, B)."""
        rows = rows[0]
        x, f = self._x[rows].requires_grad_(), self._f[rows].requires_grad_()
        u = self._net(x, f)
        q, share = self._q[rows], 1.0 / (self._v[rows] + self._relative.floor)
        losses = {"control": robust(_squared(u - self._u[rows], q) * share).mean()}
        losses[TOTAL] = self._config.control * losses["control"]
        if self._config.gain > 0.0:
            direction = self._relative.directions(tuple(rows.shape), generator)
            w = torch.zeros_like(u, requires_grad=True)
            w_x, w_f = torch.autograd.grad(u, (x, f), w, create_graph=True, materialize_grads=True)
            along = w_x @ self._embed + (w_f[:, None, :] @ self._f_x[rows])[:, 0, :]
            (moved,) = torch.autograd.grad((along * direction).sum(), w, create_graph=True)
            wanted = (self._k[rows] @ direction[..., None])[..., 0]
            losses["gain"] = robust(_squared(moved - wanted, q) / _squared(wanted, q).clamp(min=1.0)).mean()
            losses[TOTAL] = losses[TOTAL] + self._config.gain * losses["gain"]
        return losses


def policy_start(shape: Shape, frame: Frame, nodes: Nodes, problem: Problem) -> tuple[Tensor, Tensor]:
    """Return the constant gain B (nu, nz) on A z that fits the controls best, and the unit (nu,) of what is left."""
    forward, _ = _feedforward(problem, nodes)
    z = frame(_tensor(nodes.x), _tensor(nodes.f))[0].numpy().astype(np.float64)
    weight = 1.0 / np.sqrt(nodes.v + 0.03 * nodes.v.mean())[:, None]
    gain, *_ = np.linalg.lstsq(weight * z, weight * (nodes.u - forward), rcond=None)
    left = weight * (nodes.u - forward - z @ gain)
    unit = np.sqrt(np.mean(left**2, axis=0) / np.mean((weight * z) ** 2))
    return _tensor(gain.T), _tensor(np.maximum(unit, 1e-6))


def _feedforward(problem: Problem, nodes: Nodes) -> tuple[Array, Array]:
    """Return the feed-forward (N, nu) and their derivative (N, nu, ndx), zero beyond the state's own entries."""
    x = torch.tensor(nodes.x, requires_grad=True)
    u = problem.geometry.feedforward(x, torch.tensor(nodes.goal))
    if not u.requires_grad:  # a constant
        return u.expand(len(x), -1).numpy().copy(), np.zeros((len(x), u.shape[1], nodes.v_x.shape[1]))
    rows = [torch.autograd.grad(u[:, k].sum(), x, retain_graph=True)[0] for k in range(u.shape[1])]
    return u.detach().numpy(), torch.stack(rows, dim=1).numpy()


def _embedding(shape: Shape, ndx: int) -> Tensor:
    """Matrix (nx, ndx) from derivatives in x to those in the tangent; zero where nets do not see x at all."""
    return torch.eye(shape.nx, ndx) if shape.rest else torch.zeros(shape.nx, ndx)


def _squared(error: Tensor, metric: Tensor) -> Tensor:
    return ((error[..., None, :] @ metric)[..., 0, :] * error).sum(-1)


def _tensor(array: object) -> Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float32))
