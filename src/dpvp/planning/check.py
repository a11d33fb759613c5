"""PlanCheck: our own verdict on a trajectory, whatever its solver says of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpvp.plan import Array, PlanStatus
from dpvp.planning.guess import Guess
from dpvp.robot import Limits
from dpvp.tasks.ocp import Ocp


@dataclass(frozen=True)
class PlanCheck:
    """What a plan must satisfy before a robot may follow it.

    Attributes:
        limits: the robot's limits; None where it has none, or where a study leaves them to the task's costs.
        window: seconds of the plan that have to be within limits. Later nodes are planned again long before they are
            reached, and a solver that treats limits as costs may touch them there.
        slack: share of a limit by which it may be exceeded.
        gap: largest dynamics gap, rad and rad/s.
        hard_limits: the planner keeps limits at the price of cost, so a guess that breaks them may be cheaper.
    """

    limits: Limits | None
    window: float = 0.3
    slack: float = 0.02
    gap: float = 1e-3
    hard_limits: bool = False

    def __call__(self, ocp: Ocp, xs: Array, us: Array, gains: Array, cost: float, guess: Guess) -> PlanStatus:
        """Judge states (T+1, nx), controls (T, nu) and gains (T, nu, ndx) of `ocp`, which cost `cost`."""
        if not all(np.all(np.isfinite(part)) for part in (xs, us, gains, cost)):
            return PlanStatus.NOT_FINITE
        if not ocp.gap(xs, us) <= self.gap:  # also where the dynamics of finite numbers are not finite
            return PlanStatus.GAPS_OPEN
        nodes = max(1, min(len(us), int(np.ceil(self.window / ocp.dt))))
        if not self._within(xs[: nodes + 1], us[:nodes], self.slack):
            return PlanStatus.OUT_OF_LIMITS
        comparable = not self.hard_limits or self._within(guess.xs, guess.us, 0.0)
        if comparable and cost > guess.cost * (1 + 1e-6) + 1e-9:
            return PlanStatus.WORSE_THAN_GUESS
        return PlanStatus.OK

    def _within(self, xs: Array, us: Array, slack: float) -> bool:
        limits = self.limits
        if limits is None:
            return True
        q, v = np.split(xs, 2, axis=1)
        margin = slack * (limits.position_upper - limits.position_lower)
        # node 0 is the measured state, which no plan can change: from outside a limit, coming closer is right
        low = np.minimum(limits.position_lower - margin, q[0] - margin)
        high = np.maximum(limits.position_upper + margin, q[0] + margin)
        speed = np.maximum(limits.velocity, np.abs(v[0])) * (1 + slack)
        effort = limits.effort * (1 + slack)
        return bool(np.all((q >= low) & (q <= high)) and np.all(np.abs(v) <= speed) and np.all(np.abs(us) <= effort))
