"""What planners built on crocoddyl-style solvers share: iterating against the clock and judging the outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import crocoddyl
import numpy as np

from dpvp.plan import Array, Plan, Timings
from dpvp.planning.check import PlanCheck
from dpvp.planning.guess import Guess
from dpvp.planning.planner import Budget, Stopwatch
from dpvp.tasks.ocp import Ocp


class Iterations:
    """Single iterations of a crocoddyl-style solver, each starting where the last one ended."""

    def __init__(self, solver: crocoddyl.SolverAbstract, guess: Guess) -> None:
        """Start at `guess`, which is dynamically consistent."""
        self._solver, self._guess, self._first = solver, guess, True

    def __call__(self) -> bool:
        """Do one iteration; True when the solver has converged."""
        if self._first:
            self._first = False
            return bool(self._solver.solve(list(self._guess.xs), list(self._guess.us), 1, True, np.nan))
        # the solver's arrays are views of its own state: hand in copies
        xs, us = np.array(self._solver.xs), np.array(self._solver.us)
        return bool(self._solver.solve(list(xs), list(us), 1, self._solver.isFeasible, self._solver.preg))


def within_budget(budget: Budget, iterate: Callable[[], bool]) -> int:
    """Iterate until convergence or until the budget is used up; return the number of iterations done."""
    watch = Stopwatch()
    used = slowest = 0.0
    for done in range(1, budget.iterations + 1):
        converged = iterate()
        elapsed = watch.split()
        used, slowest = used + elapsed, max(slowest, elapsed)
        if converged or used + slowest > budget.seconds:
            return done
    return budget.iterations


@dataclass(frozen=True)
class Trajectory:
    """Copies of what a solver holds: `xs` (T+1, nx), `us` (T, nu), `gains` (T, nu, ndx).

    The gains of a DDP solver are those of the last backward pass, one line search older than the trajectory.
    """

    xs: Array
    us: Array
    gains: Array

    @classmethod
    def of(cls, solver: crocoddyl.SolverAbstract) -> Trajectory:
        """Copy: a solver's lists are views that its next solve overwrites."""
        us = np.array(solver.us)
        us = us.reshape(len(us), -1)
        return cls(np.array(solver.xs), us, np.reshape(solver.K, (*us.shape, -1)))  # bindings drop dimensions of one

    @property
    def finite(self) -> bool:
        """True if no number is NaN or infinite."""
        return all(bool(np.all(np.isfinite(part))) for part in (self.xs, self.us, self.gains))


class RiccatiGains:
    """Feedback gains of a trajectory by one backward pass of DDP, to which limits do not exist.

    For solvers whose own gains are not those of the problem: the ones of an augmented Lagrangian hold on to every
    limit, near or far, and lose most of their stiffness towards the goal.
    """

    def __init__(self, ocp: Ocp) -> None:
        """Make the workspace for `ocp`."""
        self._pass = crocoddyl.SolverFDDP(ocp.problem)
        self._ndx = int(ocp.problem.terminalModel.state.ndx)

    def __call__(self, xs: Array, us: Array) -> Array:
        """Return the gains (T, nu, ndx) about states (T+1, nx) and controls (T, nu); NaN where there are none."""
        self._pass.setCandidate(list(xs), list(us), False)
        try:
            self._pass.computeDirection(True)
        except crocoddyl.Exception:  # the problem has no minimum here, or holds NaN
            return np.full((*us.shape, self._ndx), np.nan)
        return np.reshape(self._pass.K, (*us.shape, self._ndx))


def judged_plan(
    ocp: Ocp, found: Trajectory, check: PlanCheck, t: float, guess: Guess, iterations: int, watch: Stopwatch
) -> Plan:
    """Make a Plan of a trajectory, with our own verdict on it; `watch` runs since the solve began."""
    solve = watch.split()
    cost, gap = ocp.cost_and_gap(found.xs, found.us) if found.finite else (np.inf, np.inf)
    if not cost < guess.cost:  # for the next plan
        ocp.mend()
    status = check(ocp.dt, found.xs, found.us, found.gains, cost, gap, guess)
    return Plan(
        t0=t,
        dt=ocp.dt,
        xs=found.xs,
        us=found.us,
        gains=found.gains,
        cost=cost,
        guess_cost=guess.cost,
        guess=guess.name,
        status=status,
        iterations=iterations,
        timings=Timings(solve=solve, check=watch.split()),
        first_dt=ocp.first_dt,
    )
