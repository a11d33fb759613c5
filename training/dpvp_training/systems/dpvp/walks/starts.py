"""Starts: what guesses are worth to the planner of a walk, on outings that nothing was learned from.

At some plans of an outing every guess is improved until the solver has converged. The cheapest end of all counts as the
optimum. The guesses:

    hold          the torques that carry the posture, simulated: what the planner does without another guess
    reference     what the nodes refer to, made consistent as `dpvp.planning.solve.Linearised` does; nothing is learned
    trajectory    the learned prediction, made consistent in the same way
    shift         the plan before, where there is one

To make a guess consistent takes about as long as an iteration of the solver and counts as one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import crocoddyl
import numpy as np

from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import Metric
from dpvp.learned.trajectory import Trajectory
from dpvp.plan import Array
from dpvp.planning.guess import Guess, HoldGuess, ShiftGuess
from dpvp.planning.solve import Linearised
from dpvp.planning.trajectory_guess import TrajectoryGuess
from dpvp.scenario import load_scenario
from dpvp_training.envs.outing import Moment, OutingConfig, Outings

ITERATIONS = 150
SHARE = 0.01  # of the optimum, within which a plan is good enough to be followed
GUESSES = {"hold": 0, "reference": 1, "trajectory": 1, "shift": 0}  # and the iterations that are in them


@dataclass(frozen=True)
class Setting:
    """Where it is measured; hashable.

    Attributes:
        scenario, overrides: for `load_scenario`.
        artifact: folder of the learned trajectories.
        outing: what happens on the way.
        every: of so many plans one is measured at, and the first ones after something has happened.
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
        first: cost after the first iteration, the one that is in the guess counted.
        converged: after all of them; infinite where the solver gave up.
        iterations: until the solver stops (expected decrease below 1e-9), and `enough` until the cost is within a
            hundredth of the optimum; -1 where it never was.
        guess_ms, solve_ms: time of the guess and of all iterations after it, and `enough_ms` of the guess and of those
            until the cost is good enough, ms.
    """

    guess: str
    cost: float
    first: float
    converged: float
    iterations: int
    enough: int
    guess_ms: float
    solve_ms: float
    enough_ms: float


@dataclass(frozen=True)
class Start:
    """One plan: what had happened, the optimum, and what became of every guess that there was."""

    since: str
    optimum: float
    outcomes: tuple[Outcome, ...]


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
        self._solver, self._linearised = crocoddyl.SolverFDDP(self._ocp.problem), Linearised(self._ocp)
        trajectory = Trajectory(load_artifact(setting.artifact, self._task.robot, self._task), planner.horizon)
        self._learned = TrajectoryGuess(trajectory, self._ocp)

    def measure(self, rng: np.random.Generator) -> list[Start]:
        """See `measure`."""
        starts, before = list[Start](), ""
        for number, moment in enumerate(self._outings.moments(rng)):
            if number % self._every == 0 or moment.since not in ("walk", before):
                starts.append(self._start(moment))
            before = moment.since
        return starts

    def _start(self, moment: Moment) -> Start:
        x, goal, t, ocp = moment.x, self._task.later(moment.goal, moment.t), moment.t, self._ocp
        ocp.aim(x, goal)
        sources: dict[str, Callable[[], Guess | None]] = {
            "hold": lambda: HoldGuess().propose(ocp, x, goal, t, None),
            "reference": lambda: self._reference(x, goal),
            "trajectory": lambda: self._learned.propose(ocp, x, goal, t, None),
            "shift": lambda: ShiftGuess().propose(ocp, x, goal, t, moment.previous),
        }
        found = [self._followed(name, source) for name, source in sources.items()]
        outcomes = [one for one in found if one is not None]
        optimum = min(outcome.converged for outcome, _, _ in outcomes)
        return Start(moment.since, optimum, tuple(_counted(*one, optimum) for one in outcomes))

    def _reference(self, x: Array, goal: Array) -> Guess | None:
        xs = self._task.reference(x, goal, self._ocp.horizon).xs
        us = np.array([self._ocp.gravity(x, node) for node in range(self._ocp.horizon)])
        return self._linearised.guess("reference", np.concatenate([x[None], xs[1:]]), us)

    def _followed(self, name: str, source: Callable[[], Guess | None]) -> tuple[Outcome, Array, Array] | None:
        """Improve a guess; return also its costs after every iteration, from the guess on, and when they were known."""
        began = time.perf_counter()
        guess = source()
        guess_ms = 1e3 * (time.perf_counter() - began)
        if guess is None or not np.isfinite(guess.cost):
            return None
        noted = _Costs()
        self._solver.setCallbacks([noted])
        began = time.perf_counter()
        good = self._solver.solve(list(guess.xs), list(guess.us), ITERATIONS, True, np.nan)
        solve_ms = 1e3 * (time.perf_counter() - began)
        end = float(self._solver.cost) if good else np.inf
        if not good:
            self._ocp.mend()
        costs, clock = np.array([guess.cost, *noted.costs]), 1e3 * (np.array([began, *noted.clock]) - began)
        first = costs[min(1 - GUESSES[name], len(costs) - 1)]
        iterations = GUESSES[name] + int(self._solver.iter)
        outcome = Outcome(name, guess.cost, first, end, iterations, -1, guess_ms, solve_ms, np.nan)
        return outcome, costs, guess_ms + clock


class _Costs(crocoddyl.CallbackAbstract):  # type: ignore[misc]
    """Notes cost and time after every iteration."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.costs: list[float] = []
        self.clock: list[float] = []

    def __call__(self, solver: crocoddyl.SolverFDDP) -> None:
        """Note those of the iteration that has just ended."""
        self.costs.append(float(solver.cost))
        self.clock.append(time.perf_counter())


def _counted(outcome: Outcome, costs: Array, clock: Array, optimum: float) -> Outcome:
    """Say when the costs were close to the optimum."""
    close = np.flatnonzero(costs <= (1.0 + SHARE) * optimum)
    if not len(close):
        return outcome
    return replace(outcome, enough=GUESSES[outcome.guess] + int(close[0]), enough_ms=float(clock[close[0]]))


def of(starts: Sequence[Start], guess: str, since: str | None = None) -> list[tuple[Start, Outcome]]:
    """Return what became of one guess, where there was one, after what `since` says or everywhere."""
    pairs = [(start, outcome) for start in starts for outcome in start.outcomes if outcome.guess == guess]
    return [pair for pair in pairs if since in (None, pair[0].since)]


def metrics_of(starts: Sequence[Start]) -> dict[str, Metric]:
    """Return what an artifact says of itself, as the start of a plan that has none before it, beside `hold`.

    There are none where it had nothing to say.
    """
    both = [start for start in starts if {"hold", "trajectory"} <= {one.guess for one in start.outcomes}]
    if not both:
        return {}

    def metric(figure: Callable[[Start, Outcome], float]) -> Metric:
        learned, hold = (float(np.mean([figure(*pair) for pair in of(both, name)])) for name in ("trajectory", "hold"))
        return Metric(value=learned, baseline=hold)

    return {
        "cold_iterations": metric(lambda _, one: one.iterations),
        "cold_iterations_to_one_percent": metric(lambda _, one: one.enough if one.enough >= 0 else ITERATIONS),
    }
