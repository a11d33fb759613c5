"""How a horizon ends: nothing, a quadratic in the task's residuals, or a learned value as far as it is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import crocoddyl
import numpy as np

from dpvp.errors import ConfigError
from dpvp.learned.artifact import Artifact
from dpvp.learned.monitor import Trust
from dpvp.learned.value import Derivatives, Estimate, ValueFunction
from dpvp.plan import Array, Verdict
from dpvp.scenario import TerminalConfig
from dpvp.tasks.task import Task, TerminalWeights

Slopes = tuple[Array, Array] | None  # gradient (ndx,) and Gauss-Newton Hessian (ndx, ndx), where they were asked for


STEP = 1e-5  # rad and the like, of differences in the tangent of the state
KEPT = 4  # answers: solvers ask for the same state several times, guesses are ranked before one of them is taken


@dataclass(frozen=True, eq=False)
class _Answer:
    """What was found at a state."""

    verdict: Verdict
    cost: float
    slopes: Slopes


class ValueTerminal(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """A learned value V as terminal node, with the quadratic Q as fallback: w V + (1 - w) Q, w from `Trust`.

    It has the task's bounds on the state as constraints, which solvers without constraints pass over. Being written in
    Python it keeps the problem to one solver thread.
    """

    def __init__(self, task: Task, value: ValueFunction, fallback: TerminalWeights) -> None:
        """Take the fallback's residuals from `task`; `aim` sets the goal before the first use."""
        model, self._fallback_goal = task.terminal_model(fallback)
        lower, upper = task.state_bounds
        bounded = len(lower) if np.isfinite([lower, upper]).any() else 0
        super().__init__(model.state, model.nu, 1, bounded, 0, bounded)  # sizes of u, r, g, h, terminal g
        self._bounded, self.g_lb, self.g_ub = bool(bounded), lower[:bounded], upper[:bounded]
        self._origin = model.state.zero()
        self._fallback, self._fallback_data = model, model.createData()
        self._value, self._trust = value, Trust(value.ranges, value.ensemble)
        self._goal = np.full(task.goal_size, np.nan)
        self._known: dict[bytes, _Answer] = {}  # by state
        self._dropped = False

    def drop(self, *, dropped: bool) -> None:
        """End with the quadratic alone from now on, or with the value again."""
        if dropped is not self._dropped:
            self._dropped, self._known = dropped, {}

    def residual(self, x: Array, cost: float, end: Array) -> float:
        """Return |V(x) - cost| / (V(x) + floor) of a plan from `x` (nx,) to `end` (nx,): the Bellman residual of V.

        NaN unless the value alone speaks for both ends.
        """
        if self.verdict(end) is not Verdict.USED or self._trust.in_range(x) < 1.0:
            return math.nan
        found = self._value.value(x, self._goal)
        return abs(found.value - cost) / (found.value + self._value.ensemble.floor)

    def aim(self, goal: Array) -> None:
        """Set the goal, in the task's units."""
        if goal.tobytes() == self._goal.tobytes():
            return
        self._goal, self._known = np.array(goal, dtype=np.float64), {}
        self._fallback_goal.reference = self._goal
        self._trust.aim(self._goal)

    def verdict(self, x: Array) -> Verdict:
        """Say what becomes of the value in the (nx,) state `x`."""
        return self._at(x, slopes=False).verdict

    def createData(self) -> crocoddyl.ActionDataAbstract:  # noqa: N802
        """Make the data of a node, with the constant Jacobian of the constraints."""
        data = super().createData()
        if self._bounded:
            data.Gx = np.eye(self.state.ndx)
        return data

    def calc(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:
        """Set the cost of the (nx,) state `x`."""
        if self._bounded:
            data.g = self.state.diff(self._origin, x)
        data.cost = self._at(x, slopes=False).cost

    def calcDiff(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:  # noqa: N802
        """Set the gradient (ndx,) and the Gauss-Newton Hessian (ndx, ndx) of what `calc` takes as cost."""
        slopes = self._at(x, slopes=True).slopes
        assert slopes is not None
        data.Lx, data.Lxx = slopes

    def _at(self, x: Array, *, slopes: bool) -> _Answer:
        """Evaluate, if none of the last answers is one to this question."""
        known, state = self._known, x.tobytes()
        answer = known.pop(state, None)
        if answer is None or (slopes and answer.slopes is None):
            answer = self._evaluated(x, slopes=slopes)
        known[state] = answer
        if len(known) > KEPT:
            del known[next(iter(known))]
        return answer

    def _evaluated(self, x: Array, *, slopes: bool) -> _Answer:
        if self._dropped:
            return _Answer(Verdict.DROPPED, *self._quadratic(x, slopes=slopes))
        believed = self._trust.in_range(x)
        if believed == 0.0:  # spares the graph
            return _Answer(self._trust.verdict(0.0, 0.0), *self._quadratic(x, slopes=slopes))
        found = self._value.derivatives(x, self._goal) if slopes else self._value.value(x, self._goal)
        agreed = self._trust.in_agreement(found)
        verdict = self._trust.verdict(believed, agreed)
        if agreed == 0.0:
            return _Answer(verdict, *self._quadratic(x, slopes=slopes))
        if believed == agreed == 1.0:
            learned = (found.gradient, found.hessian) if isinstance(found, Derivatives) else None
            return _Answer(verdict, found.value, learned)
        return _Answer(verdict, *self._blended(x, believed * agreed, found))

    def _blended(self, x: Array, w: float, found: Estimate) -> tuple[float, Slopes]:
        q, fallback = self._quadratic(x, slopes=isinstance(found, Derivatives))
        cost = w * found.value + (1.0 - w) * q
        if fallback is None or not isinstance(found, Derivatives):
            return cost, None
        gradient = w * found.gradient + (1.0 - w) * fallback[0] + (found.value - q) * self._weight_slope(x, found)
        return cost, (gradient, w * found.hessian + (1.0 - w) * fallback[1])

    def _weight_slope(self, x: Array, found: Derivatives) -> Array:
        """Return the gradient (ndx,) of w."""
        space = self.state
        tangent = np.eye(space.nx)
        if space.nx != space.ndx:  # no quaternion is its own tangent; differences are good to ten digits
            steps = STEP * np.eye(space.ndx)
            columns = [space.integrate(x, step) - space.integrate(x, -step) for step in steps]
            tangent = np.stack(columns, axis=1) / (2.0 * STEP)
        return self._trust.gradient(x, found, tangent)

    def _quadratic(self, x: Array, *, slopes: bool) -> tuple[float, Slopes]:
        model, data = self._fallback, self._fallback_data
        model.calc(data, x)
        if not slopes:
            return float(data.cost), None
        model.calcDiff(data, x)
        return float(data.cost), (np.array(data.Lx), np.array(data.Lxx))


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
