"""Labels from walks: what the planner itself meets in MuJoCo, solved to convergence. Runs in worker processes.

Of some plans on an outing the problem is solved until it has converged, from the state there and from one that is a
little off it, so that the policy knows its way back. Horizons are those of the scenario, with its terminal cost: a
walk costs for ever, and there is no value that could say what comes after.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import crocoddyl
import numpy as np

from dpvp.plan import Array
from dpvp.planning.guess import HoldGuess, ShiftGuess, best_guess
from dpvp.scenario import load_scenario
from dpvp_training.envs.outing import Moment, Outings
from dpvp_training.systems.dpvp.config import Stray, StudyConfig, WalksConfig
from dpvp_training.systems.dpvp.label import ITERATIONS, Answer, Ask, hold, nodes_of
from dpvp_training.systems.dpvp.nodes import Nodes

PLACE = slice(0, 3)  # of the base, in the tangent of the state


@dataclass(frozen=True)
class WalkStudy:
    """What workers do; hashable and light enough to be sent with every item.

    Attributes:
        scenario, overrides: for `load_scenario`.
        walks: outings and what of them is solved.
        study: nodes of a solve, and which of them are kept.
    """

    scenario: str
    overrides: tuple[str, ...]
    walks: WalksConfig
    study: StudyConfig


def label_walk(study: WalkStudy, ask: Ask) -> Answer:
    """Go on the outing that the seed of `ask` draws, and label what is met."""
    return _labeller(study).answer(np.random.default_rng(ask.seed))


@functools.lru_cache(maxsize=2)
def _labeller(study: WalkStudy) -> WalkLabeller:
    return WalkLabeller(study)


class WalkLabeller:
    """A robot on outings and the solver of its problems, built once a process."""

    def __init__(self, study: WalkStudy) -> None:
        """Load the scenario."""
        scenario = load_scenario(study.scenario, study.overrides)
        self._study, self._outings = study, Outings(scenario, study.walks.outing)
        self._task = self._outings.task
        self._ocp = self._task.ocp(study.study.horizon, scenario.config.planner.terminal.weights)
        self._solver = crocoddyl.SolverFDDP(self._ocp.problem)

    def answer(self, rng: np.random.Generator) -> Answer:
        """Label one outing."""
        parts, iterations, solves, cost = list[Nodes](), list[int](), 0, np.inf
        for number, moment in enumerate(self._outings.moments(rng)):
            if number % self._study.walks.every:
                continue
            for x in (moment.x, self._off(moment.x, rng)):
                solves += 1
                nodes = self._solved(moment, x, iterations)
                parts += [] if nodes is None else [nodes]
                cost = min(cost, float(self._solver.cost))
        return Answer(Nodes.joined(parts) if parts else None, solves, len(parts), tuple(iterations), cost)

    def _solved(self, moment: Moment, x: Array, iterations: list[int]) -> Nodes | None:
        """Solve from the (nx,) state `x`; None where the solver does not converge."""
        goal, study = self._task.later(moment.goal, moment.t), self._study.study
        guess = best_guess([HoldGuess(), ShiftGuess()], self._ocp, x, goal, moment.t, moment.previous)
        good = np.isfinite(guess.cost) and self._solver.solve(list(guess.xs), list(guess.us), ITERATIONS, True, np.nan)
        iterations.append(int(self._solver.iter) if good else 0)
        if not good:
            self._ocp.mend()
            return None
        try:
            hold(self._solver, list(np.array(self._solver.xs)), list(np.array(self._solver.us)))
        except crocoddyl.Exception:  # without regularisation there is no minimum to second order
            return None
        kept = range(0, min(study.keep, study.horizon), study.stride)
        nodes = nodes_of(self._solver, self._task, self._ocp, goal, kept)
        gain = nodes.gain.copy()
        gain[:, :, PLACE] = 0.0  # feet are led to places in the world; a policy knows of none
        return replace(nodes, gain=gain)

    def _off(self, x: Array, rng: np.random.Generator) -> Array:
        """Draw a state (nx,) a little off `x`."""
        stray, nu = self._study.walks.stray, self._task.robot.nu
        sizes = np.repeat(_deviations(stray), [3, 3, nu, 3, 3, nu])
        return np.array(self._ocp.state.integrate(x, sizes * rng.normal(size=len(sizes))))


def _deviations(stray: Stray) -> list[float]:
    return [0.0, stray.tilt, stray.joints, stray.speed, stray.turn, stray.joint_speed]
