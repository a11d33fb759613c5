"""Planner `ddp`: crocoddyl's feasibility-driven DDP, one iteration at a time against the clock.

C. Mastalli et al., "Crocoddyl: an efficient and versatile framework for multi-contact optimal control", ICRA 2020.
"""

from __future__ import annotations

import crocoddyl

from dpvp.plan import Array, Plan
from dpvp.planning.check import PlanCheck
from dpvp.planning.guess import Guess
from dpvp.planning.planner import Budget, Stopwatch
from dpvp.planning.solve import Iterations, Trajectory, judged_plan, within_budget
from dpvp.tasks.ocp import Ocp


class DdpPlanner:
    """FDDP on an `Ocp`. Limits are what the task's costs make of them; `PlanCheck` watches the real ones."""

    def __init__(self, ocp: Ocp, check: PlanCheck) -> None:
        """Make the solver's workspace for `ocp`."""
        self.ocp, self._check = ocp, check
        self._solver = crocoddyl.SolverFDDP(ocp.problem)

    def plan(self, x: Array, goal: Array, t: float, guess: Guess, budget: Budget) -> Plan:
        """Plan; see `Planner.plan`."""
        watch = Stopwatch()
        self.ocp.aim(x, goal)
        iterations = within_budget(budget, Iterations(self._solver, guess))
        return judged_plan(self.ocp, Trajectory.of(self._solver), self._check, t, guess, iterations, watch)
