"""Planner `csqp`: constrained sequential quadratic programming with the robot's limits as hard constraints.

A. Jordana, S. Kleff, A. Meduri et al., "Structure-exploiting sequential quadratic programming for model-predictive
control", IEEE T-RO 2025; the solver is mim_solvers.SolverCSQP.
"""

from __future__ import annotations

import crocoddyl  # noqa: F401  (before mim_solvers, whose libraries it brings)
import mim_solvers
import numpy as np

from dpvp.plan import Array, Plan, PlanStatus
from dpvp.planning.check import PlanCheck
from dpvp.planning.guess import Guess, ShiftGuess
from dpvp.planning.planner import Budget, Stopwatch
from dpvp.planning.solve import Iterations, RiccatiGains, Trajectory, judged_plan, within_budget
from dpvp.tasks.ocp import Ocp

MENDED_BY_A_SHORTER_STEP = (PlanStatus.OUT_OF_LIMITS, PlanStatus.WORSE_THAN_GUESS)
SHORTER_STEPS = 1 / 2, 1 / 4, 1 / 8, 0.0  # shares of the way; none at all is the guess itself


class CsqpPlanner:
    """CSQP on an `Ocp` that was built with `hard_limits=True`."""

    def __init__(self, ocp: Ocp, check: PlanCheck) -> None:
        """Make the solver's workspace for `ocp`."""
        self.ocp, self._check = ocp, check
        self._gains = RiccatiGains(ocp)
        self._solver = self._new_solver()
        self._spoilt = False

    def plan(self, x: Array, goal: Array, t: float, guess: Guess, budget: Budget) -> Plan:
        """Plan; see `Planner.plan`.

        A few iterations of SQP leave dynamics gaps; the plan is then the trajectory simulated under its own gains. That
        may leave the limits that the step's linear model kept, and where the guess is as good as single precision can
        tell it may cost more: then a shorter step from the guess is taken, or the guess as it is.
        """
        watch = Stopwatch()
        self.ocp.aim(x, goal)
        if not np.isfinite(guess.cost):  # the solver would answer NaN with a false success or end the process
            ndx = self.ocp.problem.runningModels[0].state.ndx
            nothing = Trajectory(guess.xs, guess.us, np.zeros((*guess.us.shape, ndx)))
            return judged_plan(self.ocp, nothing, self._check, t, guess, 0, watch)
        if self._spoilt or guess.name != ShiftGuess.name:
            # a solve starts from the multipliers of the one before: good for its continuation, bad for anything else
            self._solver = self._new_solver()
        iterations = within_budget(budget, Iterations(self._solver, guess))
        found = Trajectory.of(self._solver)
        if found.finite:
            found = Trajectory(found.xs, found.us, self._gains(found.xs, found.us))
        if found.finite and self.ocp.gap(found.xs, found.us) > self._check.gap:
            found = self._simulated(found, guess, 1.0)
        plan = judged_plan(self.ocp, found, self._check, t, guess, iterations, watch)
        for share in SHORTER_STEPS:
            if plan.status not in MENDED_BY_A_SHORTER_STEP:
                break
            shorter = self._simulated(found, guess, share)
            plan = judged_plan(self.ocp, shorter, self._check, t, guess, iterations, watch).after(plan.timings)
        self._spoilt = not plan.status.usable or not np.all(np.isfinite(np.array(self._solver.k)))
        return plan

    def _simulated(self, found: Trajectory, guess: Guess, share: float) -> Trajectory:
        """Simulate the gains of `found` along `share` of the way from the guess to it."""
        state = self.ocp.problem.runningModels[0].state
        pairs = zip(guess.xs, found.xs, strict=True)
        xs = np.stack([state.integrate(before, share * state.diff(before, after)) for before, after in pairs])
        us = guess.us + share * (found.us - guess.us)
        return Trajectory(*self.ocp.rollout_feedback(xs, us, found.gains), found.gains)

    def _new_solver(self) -> mim_solvers.SolverCSQP:
        solver = mim_solvers.SolverCSQP(self.ocp.problem)
        solver.with_callbacks = False
        solver.use_filter_line_search = True
        solver.termination_tolerance = 1e-5  # of the gradient: 1e-3 would pass torques 3 Nm off as optimal
        solver.max_qp_iters = 50  # more gain little from one plan to the next; 25 leave goals unreached
        solver.eps_abs, solver.eps_rel = 1e-4, 0.0
        return solver
