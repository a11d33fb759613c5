"""ValueFunction: the head `value` of an artifact, V(x, goal) with its derivatives and how far its members agree.

The graph knows the state x and the features f of the task, not the kinematics between them. With its residual r(x, f),
of which r_m are the rows of member m of E, F = df/dx from the task and R = R_x + R_f F,

    V    = ½ ‖r‖²                        mean of the members' V_m = E/2 ‖r_m‖²
    V'   = Rᵀ r
    V''  = Rᵀ R                          Gauss-Newton
    s    = √(mean (V_m - V)²)            spread
    s'   = Rᵀ c / s                      c_i = (V_m - V) r_i for the rows i of member m; mean (V_m - V) V' vanishes

V'' is the Hessian of ½ ‖r‖² without the curvature of r and of f: positive semi-definite whatever the graph says, and
exact where r = 0 or both are linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dpvp.learned.artifact import Artifact
from dpvp.learned.graph import Evaluation
from dpvp.plan import Array


@dataclass(frozen=True)
class Estimate:
    """What the members say of one state.

    Attributes:
        value: V, mean of the members, in the unit of the task's cost.
        members: their values.
        spread: standard deviation of the members.
    """

    value: float
    members: tuple[float, ...]
    spread: float


@dataclass(frozen=True, eq=False)
class Derivatives(Estimate):
    """An estimate with its derivatives.

    Attributes:
        residual: (nr,) r.
        slope: (nr, ndx) R.
        gradient: (ndx,) of V.
        hessian: (ndx, ndx) of V, Gauss-Newton, positive semi-definite.
    """

    residual: Array
    slope: Array
    gradient: Array
    hessian: Array

    @property
    def spread_gradient(self) -> Array:
        """Gradient (ndx,) of the spread; zero where all members say the same."""
        if self.spread <= 0.0:
            return np.zeros(len(self.gradient))
        deviations = np.array(self.members) - self.value
        by_row = np.repeat(deviations, len(self.residual) // len(deviations))
        return np.asarray((by_row * self.residual) @ self.slope / self.spread)


class ValueFunction:
    """A learned value function; not for two threads at once.

    Attributes:
        ranges: where it has seen training data.
        ensemble: when its members agree.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Read the head `value` of `artifact`; features come from the task that it was loaded for.

        Raises:
            ConfigError: the artifact has no such head.
        """
        graph, ensemble = artifact.graph("value"), artifact.contract.ensemble
        assert ensemble is not None  # a contract with this head has it
        self.ranges, self.ensemble = artifact.ranges, ensemble
        self._residual = Evaluation(artifact.graph("residual"), ("x", "f"), ("r",))
        self._all = Evaluation(graph, ("x", "f"), ("r", "R_x", "R_f"))
        self._task = artifact.task
        (rows,) = (tensor.shape[1] for tensor in graph.spec.outputs if tensor.name == "r")
        members = ensemble.members
        # makes of the squares of r the members' values: (nr, E)
        self._sums = 0.5 * members * np.kron(np.eye(members), np.ones((rows // members, 1)))

    def value(self, x: Array, goal: Array) -> Estimate:
        """Return V at the (nx,) state `x`."""
        (rows,) = self._residual(x, self._task.observe(x, goal))
        return Estimate(*self._summed(rows[0].astype(np.float64)))

    def derivatives(self, x: Array, goal: Array) -> Derivatives:
        """Return V and its derivatives at the (nx,) state `x`."""
        f, jacobian = self._task.features(x, goal)
        rows, r_x, r_f = self._all(x, f)
        r = rows[0].astype(np.float64)
        slope = r_f @ jacobian  # float64, as the jacobian
        slope += r_x
        return Derivatives(*self._summed(r), r, slope, r @ slope, slope.T @ slope)

    def _summed(self, r: Array) -> tuple[float, tuple[float, ...], float]:
        """Return V, the members' values and their standard deviation; so few numbers are faster without numpy."""
        members = tuple(((r * r) @ self._sums).tolist())
        value = sum(members) / len(members)
        return value, members, math.sqrt(sum((member - value) ** 2 for member in members) / len(members))
