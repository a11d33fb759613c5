"""How a horizon ends: nothing, a quadratic in the task's residuals, or a learned value inside its trained range."""

from __future__ import annotations

import crocoddyl
import numpy as np

from dpvp.errors import ConfigError
from dpvp.learned.artifact import Artifact
from dpvp.learned.value import ValueFunction
from dpvp.plan import Array
from dpvp.scenario import TerminalConfig
from dpvp.tasks.task import Task, TerminalWeights


class ValueTerminal(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """A learned value as terminal node, with the quadratic as fallback outside the value's trained range.

    It has the robot's position and velocity limits as constraints, which solvers without constraints pass over. Being
    written in Python it keeps the problem to one solver thread.

    Attributes:
        refused: evaluations of the cost that the fallback answered, line searches included.
    """

    def __init__(self, task: Task, value: ValueFunction, fallback: TerminalWeights) -> None:
        """Take the fallback's residuals from `task`; `aim` sets the goal before the first use."""
        model, self._fallback_goal = task.terminal_model(fallback)
        lower, upper = task.state_bounds
        super().__init__(model.state, model.nu, 1, len(lower), 0, len(lower))  # sizes of u, r, g, h, terminal g
        self.g_lb, self.g_ub = lower, upper
        self._constraint_jacobian = np.eye(len(lower), model.state.ndx)
        self._fallback, self._fallback_data = model, model.createData()
        self._value = value
        self._goal = np.full(task.goal_size, np.nan)
        self.refused = 0

    def aim(self, goal: Array) -> None:
        """Set the goal, in the task's units."""
        self._goal = np.array(goal, dtype=np.float64)
        self._fallback_goal.reference = self._goal

    def calc(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:
        """Set the cost to V(x, goal), or to the fallback's outside the trained range; `x` is (nx,)."""
        data.xnext = data.g = x
        if self._value.inside(x, self._goal):
            data.cost = self._value.value(x, self._goal)
        else:
            self.refused += 1
            self._fallback.calc(self._fallback_data, x)
            data.cost = self._fallback_data.cost

    def calcDiff(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:  # noqa: N802
        """Set the gradient (ndx,) and the Gauss-Newton Hessian (ndx, ndx) of what `calc` takes as cost."""
        data.Gx = self._constraint_jacobian
        if self._value.inside(x, self._goal):
            _, data.Lx, data.Lxx = self._value.derivatives(x, self._goal)
        else:
            self._fallback.calc(self._fallback_data, x)
            self._fallback.calcDiff(self._fallback_data, x)
            data.Lx, data.Lxx = self._fallback_data.Lx, self._fallback_data.Lxx


def build_terminal(config: TerminalConfig, task: Task, artifact: Artifact | None) -> TerminalWeights | ValueTerminal:
    """Build the terminal cost that `config` asks for.

    Raises:
        ConfigError: kind `value` without an artifact that has a value head, or without a fallback.
    """
    if config.kind != "value":
        return config.weights
    file, key = "scenario", "planner.terminal"
    if artifact is None:
        raise ConfigError(file, f"{key}.kind", config.kind, "needs `artifact:` with a value head")
    if not config.goal > 0.0:
        expected = "must be positive for kind `value`: outside its trained range nothing else asks for the goal"
        raise ConfigError(file, f"{key}.goal", config.goal, expected)
    return ValueTerminal(task, ValueFunction(artifact), config.weights)
