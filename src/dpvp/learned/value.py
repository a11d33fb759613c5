"""ValueFunction: the head `value` of an artifact, V(x, goal) with its gradient and Gauss-Newton Hessian.

The graph knows the state x and the task residual e, not the kinematics between them. With the residual r(x, e) of the
graph, V = ½ ‖r‖², J = ∂e/∂x from the task and the outputs that `dpvp.learned.contract` defines, the chain rule is

    V_total  = V
    Vx       = V_x + Jᵀ V_e
    Vxx      = (R_x + R_e J)ᵀ (R_x + R_e J)

Vxx is the Hessian of ½ ‖r‖² without the curvature of r and of e: positive semi-definite whatever the graph says, and
exact where r = 0 or both are linear.
"""

from __future__ import annotations

import numpy as np

from dpvp.learned.artifact import Artifact, Evaluation
from dpvp.plan import Array


class ValueFunction:
    """A learned value function; not for two threads at once."""

    def __init__(self, artifact: Artifact) -> None:
        """Read the head `value` of `artifact`; residuals come from the task that it was loaded for.

        Raises:
            ConfigError: the artifact has no such head.
        """
        graph = artifact.graph("value")
        self._value = Evaluation(graph, ("x", "e"), ("V",))
        self._all = Evaluation(graph, ("x", "e"), ("V", "V_x", "V_e", "R_x", "R_e"))
        self._task, self._ranges = artifact.task, artifact.ranges

    def value(self, x: Array, goal: Array) -> float:
        """Return V at the (nx,) state `x`, in the unit of the task's cost."""
        e, _ = self._task.residual(x, goal)
        (v,) = self._value(x, e)
        return float(v[0])

    def derivatives(self, x: Array, goal: Array) -> tuple[float, Array, Array]:
        """Return V, its gradient (ndx,) and its Gauss-Newton Hessian (ndx, ndx), positive semi-definite."""
        e, jacobian = self._task.residual(x, goal)
        v, v_x, v_e, r_x, r_e = self._all(x, e)
        gradient = v_x[0] + v_e[0] @ jacobian
        factor = r_x + r_e @ jacobian
        return float(v[0]), np.asarray(gradient, np.float64), np.asarray(factor.T @ factor, np.float64)

    def inside(self, x: Array, goal: Array) -> bool:
        """True where the value has seen training data."""
        return self._ranges.inside(x, goal)
