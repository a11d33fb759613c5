"""PlanSequence: plans one after another, each of which may start where the last one ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dpvp.plan import Array, Plan
from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario


class PlanSequence:
    """All that a solver process remembers; whoever asks another one the same in the same order has the same plans."""

    def __init__(self, scenario: Scenario) -> None:
        """Build the planning of `scenario` and solve once, from rest; see `build_planning` for the errors.

        The first solve pays for page faults and lazy loading: it is not to be one that a robot waits for.
        """
        self._planning = build_planning(scenario)
        self._previous: Plan | None = None
        at_rest = np.concatenate([scenario.robot.nominal, np.zeros(scenario.robot.nv)])
        self._planning.plan(at_rest, np.array(scenario.goal), 0.0, None)

    def plan(
        self,
        x: Array,
        goal: Array,
        t: float,
        *,
        fresh: bool = False,
        plain: bool = False,
        budget: Budget | None = None,
    ) -> Plan:
        """Plan from the (nx,) state `x` of time `t`, s, to `goal`, in the task's units as it is at time 0.

        Args:
            x: [rad, rad/s].
            goal: accepted by `Task.check_goal`.
            t: on the plant's clock.
            fresh: forget the previous plan.
            plain: do without what was learned.
            budget: of this plan, in place of the scenario's.
        """
        planning = self._planning if budget is None else replace(self._planning, budget=budget)
        self._previous = planning.plan(x, goal, t, None if fresh else self._previous, plain=plain)
        return self._previous
