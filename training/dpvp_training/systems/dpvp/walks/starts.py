"""Starts: what guesses are worth to the planner of a walk, on outings that nothing was learned from.

At some plans of an outing every guess is improved until the solver has converged. The cheapest end of all counts as the
optimum. The guesses:

    hold          the torques that carry the posture, simulated: what the planner does without another guess
    reference     what the nodes refer to, made consistent as `PredictedGuess` does; nothing is learned
    trajectory    the learned prediction, made consistent in the same way
    shift         the plan before, where there is one

To make a guess consistent takes about as long as an iteration of the solver and counts as one.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import crocoddyl
import numpy as np

from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import Metric
from dpvp.learned.trajectory import Trajectory
from dpvp.plan import Array
from dpvp.planning.guess import GuessSource, HoldGuess, ShiftGuess
from dpvp.planning.predicted_guess import PredictedGuess, referred
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
        guess_ms, total_ms, enough_ms: processor time until there was a guess, until the solver stopped, and until the
            cost was good enough, ms.
    """

    guess: str
    cost: float
    first: float
    converged: float
    iterations: int
    enough: int
    guess_ms: float
    total_ms: float
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
        self._solver = crocoddyl.SolverFDDP(self._ocp.problem)
        trajectory = Trajectory(load_artifact(setting.artifact, self._task.robot, self._task), planner.horizon)
        self._sources: tuple[GuessSource, ...] = (
            HoldGuess(),
            PredictedGuess("reference", referred(self._task, self._ocp), self._ocp),
            PredictedGuess("trajectory", trajectory, self._ocp),
            ShiftGuess(),
        )

    def measure(self, rng: np.random.Generator) -> list[Start]:
        """See `measure`."""
        starts, before = list[Start](), ""
        for number, moment in enumerate(self._outings.moments(rng)):
            if number % self._every == 0 or moment.since not in ("walk", before):
                starts.append(self._start(moment))
            before = moment.since
        return starts

    def _start(self, moment: Moment) -> Start:
        self._ocp.aim(moment.x, self._task.later(moment.goal, moment.t))
        found = [self._improved(source, moment) for source in self._sources]
        followed = [one for one in found if one is not None]
        optimum = min(one.converged for one in followed)
        return Start(moment.since, optimum, tuple(one.outcome(optimum) for one in followed))

    def _improved(self, source: GuessSource, moment: Moment) -> Improved | None:
        """Improve the guess of a source, if it has one, until the solver stops."""
        clock, x, goal = _Clock(), moment.x, self._task.later(moment.goal, moment.t)
        previous = moment.previous if source.name == ShiftGuess.name else None
        guess = source.propose(self._ocp, x, goal, moment.t, previous)
        if guess is None or not math.isfinite(guess.cost):
            return None
        clock.note(guess.cost)
        self._solver.setCallbacks([clock])
        solved = self._solver.solve(list(guess.xs), list(guess.us), ITERATIONS, True, np.nan)
        clock.note(self._solver.cost)
        if not solved:
            self._ocp.mend()
        return Improved(source.name, solved, np.array(clock.costs), np.array(clock.times))


class _Clock(crocoddyl.CallbackAbstract):  # type: ignore[misc]
    """Notes costs and processor time of this thread, ms, since it was made."""

    def __init__(self) -> None:
        """Start."""
        super().__init__()
        self.costs: list[float] = []
        self.times: list[float] = []
        self._began = time.thread_time()

    def __call__(self, solver: crocoddyl.SolverFDDP) -> None:
        """Note an iteration that has just ended."""
        self.note(solver.cost)

    def note(self, cost: float) -> None:
        """Note a cost that has just become known."""
        self.costs.append(float(cost))
        self.times.append(1e3 * (time.thread_time() - self._began))


@dataclass(frozen=True, eq=False)
class Improved:
    """A guess and its iterations: costs, and times until they were known, of the guess, every iteration and the end."""

    guess: str
    solved: bool
    costs: Array
    times: Array

    @property
    def converged(self) -> float:
        """Cost at the end; infinite where the solver gave up."""
        return float(self.costs[-1]) if self.solved else math.inf

    def outcome(self, optimum: float) -> Outcome:
        """Say how soon it was close to the optimum."""
        costs, within = self.costs[:-1], GUESSES[self.guess]
        close = np.flatnonzero(costs <= (1.0 + SHARE) * optimum)
        return Outcome(
            guess=self.guess,
            cost=float(costs[0]),
            first=float(costs[min(1 - within, len(costs) - 1)]),
            converged=self.converged,
            iterations=within + len(costs) - 1,
            enough=within + int(close[0]) if len(close) else -1,
            guess_ms=float(self.times[0]),
            total_ms=float(self.times[-1]),
            enough_ms=float(self.times[close[0]]) if len(close) else math.nan,
        )


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
