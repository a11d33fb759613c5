"""The optimum that closed loops are compared with: the whole trial as one problem, solved to convergence by FDDP.

It has no terminal cost and no limits but those in the task's costs, so that a planner that keeps the robot's limits may
cost more. Two starts are tried, because the problem has local optima: keeping the posture, and what the scenario's own
planner does in closed loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpvp.bench.closed_loop import STEPS, ClosedLoop, percentiles
from dpvp.plan import Array, Plan
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import Guess, HoldGuess
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario
from dpvp.tasks.task import TerminalWeights

ITERATIONS = 1000  # most; fewer means that the solver's own criterion ended it


@dataclass(frozen=True, eq=False)
class Reference:
    """The best converged solution from one start.

    Attributes:
        cost: its objective; infinite if there is none.
        replayed: what its torques cost when the task's dynamics are simulated step by step.
        guess: name of the guess that led to it.
        iterations: solver iterations.
        solve_ms: time of the solve, ms.
        converged: the solver's stopping criterion was met.
        reached: the task's verdict on its last state.
        peak_velocity: largest joint velocity as a share of its limit.
        xs, us: (n+1, nx) and (n, nu) its states and controls.
    """

    cost: float
    replayed: float = np.nan
    guess: str = ""
    iterations: int = 0
    solve_ms: float = np.nan
    converged: bool = False
    reached: bool = False
    peak_velocity: float = np.nan
    xs: Array | None = None
    us: Array | None = None


NO_REFERENCE = Reference(np.inf)


class ReferenceSolver:
    """Solves trials of `steps` steps of a scenario."""

    def __init__(self, scenario: Scenario, steps: int = STEPS) -> None:
        """Build the long problem."""
        self._scenario = scenario
        self._ocp = scenario.task.ocp(steps, TerminalWeights())
        self._planner = DdpPlanner(self._ocp, PlanCheck(scenario.robot.limits))
        self._loop = ClosedLoop(scenario)

    def solve(self, start: Array, goal: Array) -> Reference:
        """Return the cheapest converged solution from the (nx,) state `start`, or the cheapest if none converged."""
        self._ocp.aim(start, goal)
        guesses = [HoldGuess().propose(self._ocp, start, goal, 0.0, None), self._follow_own_planner(start, goal)]
        plans = [
            self._planner.plan(start, goal, 0.0, guess, Budget(ITERATIONS))
            for guess in guesses
            if guess is not None and np.isfinite(guess.cost)
        ]
        finite = [plan for plan in plans if np.isfinite(plan.cost)]
        if not finite:
            return NO_REFERENCE
        return self._of(min(finite, key=lambda plan: (not _converged(plan), plan.cost)), goal)

    def _of(self, plan: Plan, goal: Array) -> Reference:
        robot, cost, x = self._scenario.robot, 0.0, plan.xs[0]
        for u in plan.us:
            x, spent = self._ocp.step(x, u)
            cost += spent
        return Reference(
            cost=plan.cost,
            replayed=cost,
            guess=plan.guess,
            iterations=plan.iterations,
            solve_ms=1e3 * plan.timings.total,
            converged=_converged(plan),
            reached=self._scenario.task.reached(x, goal),
            peak_velocity=float(np.max(np.abs(plan.xs[:, robot.nq :]) / robot.limits.velocity)),
            xs=plan.xs,
            us=plan.us,
        )

    def _follow_own_planner(self, start: Array, goal: Array) -> Guess | None:
        us = self._loop.run(start, goal, self._ocp.horizon).us
        self._ocp.aim(start, goal)
        if len(us) < self._ocp.horizon:
            return None
        xs = self._ocp.rollout(us)
        return Guess("closed loop", xs, us, self._ocp.cost(xs, us))


def reference_row(references: list[Reference], steps: int = STEPS) -> dict[str, object]:
    """Sum up `references` as the row that every other one is compared with; its ratio is that of the replayed cost."""
    ratios = np.array([reference.replayed / reference.cost for reference in references])
    guesses = [reference.guess for reference in references]
    return {
        "planner": "ddp",
        "horizon": steps,
        "terminal": "zero",
        "guess": "best",
        "iterations_mean": float(np.mean([reference.iterations for reference in references])),
        "solve_ms": percentiles(np.array([reference.solve_ms for reference in references])),
        "cost_ratio": {"mean": float(np.mean(ratios)), "worst": float(np.max(ratios))},
        "success_rate": float(np.mean([reference.reached for reference in references])),
        "label": "reference",
        "starts": len(references),
        "cost_ratios": ratios.tolist(),
        "converged": sum(reference.converged for reference in references),
        "best_guesses": {name: guesses.count(name) for name in sorted(set(guesses))},
        "costs": [reference.cost for reference in references],
        "peak_velocity_share": float(np.fmax.reduce([reference.peak_velocity for reference in references])),
    }


def _converged(plan: Plan) -> bool:
    return plan.iterations < ITERATIONS
