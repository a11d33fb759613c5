"""PlanCheck: our own verdict on a trajectory, whatever its solver says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dpvp.plan import Array, PlanStatus
from dpvp.planning.guess import Guess
from dpvp.robot import Limits


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

    def __call__(
        self, dt: float, xs: Array, us: Array, gains: Array, cost: float, gap: float, guess: Guess
    ) -> PlanStatus:
        """Judge states (T+1, nx), controls (T, nu) and gains (T, nu, ndx), nodes of `dt` seconds.

        `cost` and `gap` are what `Ocp.cost_and_gap` says of them.
        """
        if not (math.isfinite(cost) and all(np.isfinite(part).all() for part in (xs, us, gains))):
            return PlanStatus.NOT_FINITE
        if not gap <= self.gap:  # also where the dynamics of finite numbers are not finite
            return PlanStatus.GAPS_OPEN
        nodes = max(1, min(len(us), math.ceil(self.window / dt)))
        if not self._within(xs[: nodes + 1], us[:nodes], self.slack):
            return PlanStatus.OUT_OF_LIMITS
        comparable = not self.hard_limits or self._within(guess.xs, guess.us, 0.0)
        if comparable and cost > guess.cost * (1 + 1e-6) + 1e-9:
            return PlanStatus.WORSE_THAN_GUESS
        return PlanStatus.OK

    def _within(self, xs: Array, us: Array, slack: float) -> bool:
        if self.limits is None:
            return True
        if not (np.abs(us) <= (1.0 + slack) * self.limits.effort).all():
            return False
        low, high, margin = _room(self.limits, slack)
        xs = _of_joints(xs, len(margin))
        if ((xs >= low) & (xs <= high)).all():
            return True
        # node 0 is the measured state, which no plan can change: from outside a limit, coming closer is right
        q, v = np.split(xs[0], 2)
        speed = (1.0 + slack) * np.abs(v)
        low = np.minimum(low, np.concatenate([q - margin, -speed]))
        high = np.maximum(high, np.concatenate([q + margin, speed]))
        return bool(((xs >= low) & (xs <= high)).all())


def _of_joints(xs: Array, n: int) -> Array:
    """Return positions and velocities (m, 2n) of the joints in states (m, nx), which may begin with those of a base."""
    nq = (xs.shape[1] + 1) // 2  # a base that floats has seven numbers for its place and six for its velocity
    return xs if xs.shape[1] == 2 * n else np.hstack([xs[:, nq - n : nq], xs[:, -n:]])


@lru_cache(maxsize=4)  # limits do not change, and are compared by identity
def _room(limits: Limits, slack: float) -> tuple[Array, Array, Array]:
    """Return the lowest and highest state (2n,) of the joints and the slack of positions (n,), rad."""
    margin = slack * (limits.position_upper - limits.position_lower)
    speed = (1.0 + slack) * limits.velocity
    low = np.concatenate([limits.position_lower - margin, -speed])
    return low, np.concatenate([limits.position_upper + margin, speed]), margin
