"""Labels: what the planner of a walk meets in MuJoCo, solved to convergence. Runs in worker processes.

Solves start infeasibly: from the plan that was followed until then, else from the reference of the problem. A state a
little off another starts from the solution of that one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import crocoddyl
import numpy as np

from dpvp.plan import Array, Plan
from dpvp.planning.predicted_guess import Prediction, referred
from dpvp.scenario import load_scenario
from dpvp.tasks.strides import heading
from dpvp_training.envs.outing import Outings
from dpvp_training.systems.dpvp.walks.config import LabelConfig, Stray
from dpvp_training.systems.dpvp.walks.paths import Paths

OTHER = 0.5  # share of the second problems that have another command


@dataclass(frozen=True)
class Study:
    """What workers do; hashable and light enough to be sent with every item.

    Attributes:
        scenario, overrides: for `load_scenario`.
        config: outings and what of them is solved.
    """

    scenario: str
    overrides: tuple[str, ...]
    config: LabelConfig


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of an outing: paths that have converged, and the iterations of every solve; -1 where it did not."""

    paths: Paths | None
    iterations: tuple[int, ...]


def label(study: Study, seed: tuple[int, ...]) -> Answer:
    """Go on the outing that `seed` draws, and label what is met."""
    return _labeller(study).answer(np.random.default_rng(seed))


@functools.lru_cache(maxsize=2)
def _labeller(study: Study) -> Labeller:
    return Labeller(study)


class Labeller:
    """A robot on outings and the solver of its problems, built once a process."""

    def __init__(self, study: Study) -> None:
        """Load the scenario."""
        scenario = load_scenario(study.scenario, study.overrides)
        self._config, self._outings = study.config, Outings(scenario, study.config.outing)
        self._task, planner = self._outings.task, scenario.config.planner
        self._ocp = self._task.ocp(planner.horizon, planner.terminal.weights)
        self._referred = referred(self._task, self._ocp)
        self._solver = crocoddyl.SolverFDDP(self._ocp.problem)
        self._solver.th_stop = study.config.stop

    def answer(self, rng: np.random.Generator) -> Answer:
        """Label one outing."""
        found = list[tuple[Paths | None, int]]()
        for number, moment in enumerate(self._outings.moments(rng)):
            if number % self._config.every == 0:
                goal = self._task.later(moment.goal, moment.t)
                found += self._both(moment.x, goal, self._shifted(moment.x, goal, moment.t, moment.previous), rng)
        for _ in range(self._config.at_rest):
            x, phase = self._task.sample_start(rng), rng.uniform(0.0, 2.0 * np.pi)
            goal = self._commanded(x, phase, rng)
            found += self._both(x, goal, self._by_reference(x, goal), rng)
        parts = [path for path, _ in found if path is not None]
        return Answer(Paths.joined(parts) if parts else None, tuple(iterations for _, iterations in found))

    def _both(
        self, x: Array, goal: Array, guess: Prediction, rng: np.random.Generator
    ) -> list[tuple[Paths | None, int]]:
        """Solve from a state, and from one a little off it, half the time with another command."""
        found = [self._solved(x, goal, *guess)]
        if found[0][0] is not None:
            solution, off = (np.array(self._solver.xs), np.array(self._solver.us)), self._off(x, rng)
            goal = self._commanded(off, goal[0], rng) if rng.random() < OTHER else goal
            found.append(self._solved(off, goal, *solution))
        return found

    def _solved(self, x: Array, goal: Array, xs: Array, guess: Array) -> tuple[Paths | None, int]:
        """Solve from the (nx,) state `x`, beginning with states (T+1, nx), of which it is the first, and controls."""
        ocp, solver = self._ocp, self._solver
        ocp.aim(x, goal)
        if not solver.solve([x, *xs[1:]], list(guess), self._config.iterations, False, np.nan):
            ocp.mend()
            return None, -1
        steps = np.array([ocp.state.diff(x, after) for after in list(solver.xs)[1:]], np.float32)
        us = np.array(solver.us, np.float32)
        path = Paths(x[None], goal[None], steps[None], us[None], np.array([solver.cost]))
        return path, int(solver.iter) + 1

    def _shifted(self, x: Array, goal: Array, t: float, previous: Plan | None) -> Prediction:
        """Return the plan that was followed until time `t`, s, from then on."""
        if previous is None:
            return self._by_reference(x, goal)
        self._ocp.aim(x, goal)
        xs, us, _ = previous.shifted(t, self._ocp.first_dt)
        return xs, us

    def _by_reference(self, x: Array, goal: Array) -> Prediction:
        self._ocp.aim(x, goal)
        return self._referred(x, goal)

    def _commanded(self, x: Array, phase: float, rng: np.random.Generator) -> Array:
        """Return the goal of a robot in the (nx,) state `x` to which another command is given."""
        goal = self._task.check_goal([phase, *self._outings.command(rng), heading(x)[0]])
        return self._task.later(goal, 0.0)

    def _off(self, x: Array, rng: np.random.Generator) -> Array:
        """Draw a state (nx,) a little off `x`."""
        stray, nu = self._config.stray, self._task.robot.nu
        sizes = np.repeat(_deviations(stray), [3, 3, nu, 3, 3, nu])
        return np.array(self._ocp.state.integrate(x, sizes * rng.normal(size=len(sizes))))


def _deviations(stray: Stray) -> list[float]:
    return [0.0, stray.tilt, stray.joints, stray.speed, stray.turn, stray.joint_speed]
