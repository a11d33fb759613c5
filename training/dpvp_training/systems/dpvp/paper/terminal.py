"""The published value as terminal node of a problem: V = Σ r_j² with its exact Hessian, a state at a time in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import crocoddyl
import numpy as np
from numpy.typing import NDArray

from dpvp.plan import Array
from dpvp.tasks.task import Task, TerminalWeights
from dpvp_training.systems.dpvp.paper.config import Activation


def seen(task: Task, x: Array, goal: Array) -> tuple[Array, Array]:
    """Return what the value net sees of the (nx,) state, s (ns,), and ds/dx (ns, ndx): the state itself, as published.

    Where the state is not its own tangent, it sees the features of the task in its place.
    """
    if task.robot.nx == task.robot.ndx:
        return x, np.eye(len(x))
    return task.features(x, goal)


class SquaredResiduals:
    """The value net without torch.

    With z_l = W_l h_{l-1} + b_l, h_l = a_l(z_l), J_l = dz_l/ds and the adjoints λ_l = dV/dh_l,

        V'' = 2 Jᵀ J + Σ_l J_lᵀ diag(λ_l a_l''(z_l)) J_l

    with J = dr/ds: exact, and therefore not always positive semi-definite.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], activations: Sequence[Activation]) -> None:
        """Take the state dict of a `ResidualValue` as arrays, and the activations of its hidden layers."""
        names = [f"layers.{i}" for i in range(len(activations) + 1)]
        self._layers = [(arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names]
        self._activations = [*activations, "linear"]

    def value(self, s: Array) -> float:
        """Return V for what the net sees, (ns,)."""
        h = s
        for (weight, bias), activation in zip(self._layers, self._activations, strict=True):
            h = _activated(activation, weight @ h + bias)[0]
        return float(h @ h)

    def derivatives(self, s: Array) -> tuple[float, Array, Array]:
        """Return V, its gradient (ns,) and its Hessian (ns, ns)."""
        h, slope = s, np.eye(len(s))
        passed = []
        for (weight, bias), activation in zip(self._layers, self._activations, strict=True):
            z_s = weight @ slope
            h, first, second = _activated(activation, weight @ h + bias)
            slope = first[:, None] * z_s
            passed.append((weight, z_s, first, second))
        value, adjoint, hessian = float(h @ h), 2.0 * h, 2.0 * slope.T @ slope
        for weight, z_s, first, second in reversed(passed):
            hessian += z_s.T @ ((adjoint * second)[:, None] * z_s)
            adjoint = (adjoint * first) @ weight
        return value, adjoint, hessian


class PublishedTerminal(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """Terminal node V(x), with the exact Hessian of Σ r_j² as it was published: no Gauss-Newton, no projection.

    Of what is seen in place of a state, the Jacobian is taken as constant. The space is that of the other nodes, in
    which states of arms are added and subtracted as vectors.
    """

    def __init__(self, task: Task, net: SquaredResiduals, goal: Array) -> None:
        """Put `net` at the end of problems of `task` with this goal."""
        model, _ = task.terminal_model(TerminalWeights())
        super().__init__(model.state, model.nu, 1)
        self._task, self._net, self._goal = task, net, goal

    def aim(self, goal: Array) -> None:
        """Set the goal, in the task's units; the net knows but one, that of its training."""
        self._goal = goal

    def calc(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:
        """Set the cost of the (nx,) state `x`."""
        data.cost = self._net.value(seen(self._task, x, self._goal)[0])

    def calcDiff(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:  # noqa: N802
        """Set gradient (ndx,) and Hessian (ndx, ndx)."""
        s, s_x = seen(self._task, x, self._goal)
        _, gradient, hessian = self._net.derivatives(s)
        data.Lx, data.Lxx = gradient @ s_x, s_x.T @ hessian @ s_x


def _activated(activation: str, z: Array) -> tuple[Array, Array, Array]:
    """Return a(z), a'(z) and a''(z)."""
    if activation == "linear":
        return z, np.ones_like(z), np.zeros_like(z)
    if activation == "relu":
        return np.maximum(z, 0.0), np.where(z > 0.0, 1.0, 0.0), np.zeros_like(z)
    if activation == "elu":
        below = np.exp(np.minimum(z, 0.0))
        return np.where(z > 0.0, z, below - 1.0), below, np.where(z > 0.0, 0.0, below)
    t = np.tanh(z)
    slope = 1.0 - t * t
    return t, slope, -2.0 * t * slope
