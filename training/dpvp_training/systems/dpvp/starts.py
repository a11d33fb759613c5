"""Starts: what guesses are worth to the planner of a walk, on outings that nothing was learned from.

At some plans of an outing every guess is simulated and improved until it has converged. The cheapest end of all counts
as the optimum. Iterations are those by which crocoddyl stops.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import crocoddyl
import numpy as np

from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import Metric
from dpvp.learned.policy import Policy
from dpvp.plan import Array
from dpvp.planning.guess import Guess, GuessSource, HoldGuess, ShiftGuess
from dpvp.planning.policy_guess import PolicyGuess
from dpvp.scenario import load_scenario
from dpvp_training.envs.outing import Moment, OutingConfig, Outings
from dpvp_training.systems.dpvp.label import ITERATIONS

SHARE = 0.01  # of the optimum, within which a guess has been improved enough to go on with


@dataclass(frozen=True)
class Setting:
    """Where it is measured; hashable.

    Attributes:
        scenario, overrides: for `load_scenario`.
        artifact: folder of the policy.
        outing: what happens on the way.
        every: of so many plans one is measured at, and those where something has just happened.
    """

    scenario: str
    overrides: tuple[str, ...]
    artifact: Path
    outing: OutingConfig
    every: int


@dataclass(frozen=True)
class Outcome:
    """What became of one guess.

    Attributes:
        guess: its name.
        cost: of the guess.
        improved: after one iteration.
        converged: after all of them; infinite where the solver gave up.
        iterations: until it stopped, and `enough` until within a hundredth of the optimum; -1 where it never was.
        guess_ms, solve_ms: time of guess and of all iterations, ms.
    """

    guess: str
    cost: float
    improved: float
    converged: float
    iterations: int
    enough: int
    guess_ms: float
    solve_ms: float


@dataclass(frozen=True, eq=False)
class Start:
    """One plan: what had happened, the optimum, and what became of every guess that there was.

    Attributes:
        errors: (2, T+1) errors of the task along the policy's guess and along the optimum; NaN without a policy.
    """

    since: str
    optimum: float
    outcomes: tuple[Outcome, ...]
    errors: Array


def measure(setting: Setting, seed: tuple[int, ...]) -> list[Start]:
    """Go on one outing and measure."""
    return _bench(setting).measure(np.random.default_rng(seed))


@functools.lru_cache(maxsize=2)
def _bench(setting: Setting) -> StartBench:
    return StartBench(setting)


class StartBench:
    """A robot on outings, the solver of its problems and its guesses, built once a process."""

    def __init__(self, setting: Setting) -> None:
        """Load scenario and artifact."""
        scenario = load_scenario(setting.scenario, setting.overrides)
        self._every, self._outings = setting.every, Outings(scenario, setting.outing)
        self._task, planner = self._outings.task, scenario.config.planner
        self._ocp = self._task.ocp(planner.horizon, planner.terminal.weights)
        self._solver = crocoddyl.SolverFDDP(self._ocp.problem)
        policy = Policy(load_artifact(setting.artifact, self._task.robot, self._task))
        self._sources: tuple[GuessSource, ...] = (HoldGuess(), ShiftGuess(), PolicyGuess(policy))

    def measure(self, rng: np.random.Generator) -> list[Start]:
        """See `measure`."""
        starts, before = list[Start](), ""
        for number, moment in enumerate(self._outings.moments(rng)):
            if number % self._every == 0 or moment.since not in ("walk", before):
                starts.append(self._start(moment))
            before = moment.since
        return starts

    def _start(self, moment: Moment) -> Start:
        goal = self._task.later(moment.goal, moment.t)
        self._ocp.aim(moment.x, goal)
        outcomes, ends = list[Outcome](), list[Array]()
        errors = np.full((2, self._ocp.horizon + 1), np.nan)
        for source in self._sources:
            began = time.perf_counter()
            guess = source.propose(self._ocp, moment.x, goal, moment.t, moment.previous)
            spent = 1e3 * (time.perf_counter() - began)
            if guess is not None and np.isfinite(guess.cost):
                outcome, costs = self._outcome(guess, spent)
                outcomes.append(outcome)
                ends.append(costs)
                if np.argmin([one.converged for one in outcomes]) == len(outcomes) - 1:
                    errors[1] = self._errors(np.array(self._solver.xs), goal)
                if guess.name == PolicyGuess.name:
                    errors[0] = self._errors(guess.xs, goal)
        optimum = min(outcome.converged for outcome in outcomes)
        counted = tuple(
            replace(outcome, enough=_first(costs, optimum)) for outcome, costs in zip(outcomes, ends, strict=True)
        )
        return Start(moment.since, optimum, counted, errors)

    def _outcome(self, guess: Guess, guess_ms: float) -> tuple[Outcome, Array]:
        """Improve `guess`; return also its cost and what it was after every iteration."""
        noted = _Costs()
        began = time.perf_counter()
        self._solver.setCallbacks([])
        good = self._solver.solve(list(guess.xs), list(guess.us), ITERATIONS, True, np.nan)
        solve_ms, iterations = 1e3 * (time.perf_counter() - began), int(self._solver.iter)
        self._solver.setCallbacks([noted])
        self._solver.solve(list(guess.xs), list(guess.us), ITERATIONS, True, np.nan)
        costs = np.array([guess.cost, *noted.costs])
        end = float(self._solver.cost) if good else np.inf
        if not good:
            self._ocp.mend()
        improved = costs[min(1, len(costs) - 1)]
        return Outcome(guess.name, guess.cost, improved, end, iterations, -1, guess_ms, solve_ms), costs

    def _errors(self, xs: Array, goal: Array) -> Array:
        later = self._task.later
        return np.array([self._task.error(x, later(goal, self._ocp.time(node))) for node, x in enumerate(xs)])


class _Costs(crocoddyl.CallbackAbstract):  # type: ignore[misc]
    """Notes the cost after every iteration."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.costs: list[float] = []

    def __call__(self, solver: crocoddyl.SolverFDDP) -> None:
        """Note that of the iteration that has just ended."""
        self.costs.append(float(solver.cost))


def _first(costs: Array, optimum: float) -> int:
    """Return after how many iterations the cost was close to the optimum; -1 where it never was."""
    close = np.flatnonzero(costs <= (1.0 + SHARE) * optimum)
    return int(close[0]) if len(close) else -1


def of(starts: Sequence[Start], guess: str, since: str | None = None) -> list[tuple[Start, Outcome]]:
    """Return what became of one guess, where there was one, after what `since` says or everywhere.

    `best` is the cheapest of all guesses, `without` the cheapest of those that take no learning.
    """
    found = []
    for start in starts:
        outcomes = [one for one in start.outcomes if one.guess == guess or guess in ("best", "without")]
        outcomes = [one for one in outcomes if guess != "without" or one.guess != PolicyGuess.name]
        if outcomes and since in (None, start.since):
            found.append((start, min(outcomes, key=lambda one: one.cost)))
    return found


def metrics_of(starts: Sequence[Start]) -> dict[str, Metric]:
    """Return what an artifact says of itself: the policy beside `hold`, as without a plan, and beside `shift`.

    There are none where the policy had nothing to say.
    """
    both = [start for start in starts if {"hold", "policy"} <= {one.guess for one in start.outcomes}]
    moving = [start for start in both if "shift" in {one.guess for one in start.outcomes}]

    def median(some: Sequence[Start], guess: str, key: str) -> float:
        if key == "iterations":
            return float(np.mean([one.iterations for _, one in of(some, guess)]))
        return float(np.median([getattr(one, key) / start.optimum for start, one in of(some, guess)]))

    metrics = {
        "cold_iterations": (both, "hold", "iterations"),
        "cold_guess_cost_ratio": (both, "hold", "cost"),
        "cold_cost_ratio_after_one_iteration": (both, "hold", "improved"),
        "walking_iterations": (moving, "shift", "iterations"),
        "walking_guess_cost_ratio": (moving, "shift", "cost"),
        "walking_cost_ratio_after_one_iteration": (moving, "shift", "improved"),
    }
    return {
        name: Metric(value=median(some, "policy", key), baseline=median(some, baseline, key))
        for name, (some, baseline, key) in metrics.items()
        if some
    }
