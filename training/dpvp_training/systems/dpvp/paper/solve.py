"""Problems of the published algorithm, solved one at a time (steps 1, 3 and 4). Runs in worker processes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import crocoddyl
import numpy as np

from dpvp.plan import Array
from dpvp.tasks.task import TerminalWeights
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.paper.config import Activation
from dpvp_training.systems.dpvp.paper.terminal import PublishedTerminal, SquaredResiduals

Trajectory = tuple[Array, Array]


@dataclass(frozen=True)
class Sweep:
    """What the problems of an episode have in common; hashable and light enough to be sent with every item.

    Attributes:
        problem, overrides: for `load_problem`; the goal is its default one.
        horizon: T, nodes.
        iterations: most of a solve.
        approach: nodes of a first, easier solve where nothing is predicted; 0: none.
        value: arrays of the value net at the end; None is no terminal cost.
        activations: of its hidden layers.
    """

    problem: str
    overrides: tuple[str, ...]
    horizon: int
    iterations: int
    approach: int
    value: Path | None = None
    activations: tuple[Activation, ...] = ()


@dataclass(frozen=True, eq=False)
class Ask:
    """A start (nx,), and the states (T+1, nx) and controls (T, nu) that are predicted for it, where there are any."""

    start: Array
    predicted: Trajectory | None = None


@dataclass(frozen=True, eq=False)
class Solved:
    """What came of a start.

    Attributes:
        cost: of the solution; `gradient` (ndx,) that of the cost, from the backward pass.
        xs, us: (T, nx) states from the second on, and (T, nu).
        iterations: of the solver, an easier solve not counted.
        converged: whether its stop criterion was met.
    """

    cost: float
    gradient: Array
    xs: Array
    us: Array
    iterations: int
    converged: bool


def solve(sweep: Sweep, ask: Ask) -> Solved:
    """Solve by FDDP from an infeasible start: what is predicted, else the start repeated with what carries it."""
    return _sweeper(sweep).solve(ask)


@functools.lru_cache(maxsize=2)
def _sweeper(sweep: Sweep) -> Sweeper:
    return Sweeper(sweep)


class Sweeper:
    """The optimal control problem of a sweep, built once a process."""

    def __init__(self, sweep: Sweep) -> None:
        """Load the problem and, where there is one, the value."""
        self._sweep, problem = sweep, load_problem(sweep.problem, sweep.overrides)
        task, self._goal = problem.task, problem.goal
        terminal: TerminalWeights | PublishedTerminal = TerminalWeights()
        if sweep.value is not None:
            with np.load(sweep.value, allow_pickle=False) as arrays:
                net = SquaredResiduals(dict(arrays), sweep.activations)
            terminal = PublishedTerminal(task, net, problem.goal)
        self._ocp = task.ocp(sweep.horizon, terminal)
        self._easier = task.ocp(sweep.approach, TerminalWeights(1.0)) if sweep.approach else None

    def solve(self, ask: Ask) -> Solved:
        """See `solve`."""
        xs, us = self._from_rest(ask.start) if ask.predicted is None else ask.predicted
        self._ocp.aim(ask.start, self._goal)
        solver = crocoddyl.SolverFDDP(self._ocp.problem)  # a new one, which remembers nothing of other starts
        converged = solver.solve(list(xs), list(us), self._sweep.iterations, False, np.nan)
        states, controls = np.array(solver.xs)[1:], np.array(solver.us)
        return Solved(float(solver.cost), np.array(solver.Vx[0]), states, controls, int(solver.iter), bool(converged))

    def _from_rest(self, start: Array) -> Trajectory:
        ocp, horizon = self._ocp, self._sweep.horizon
        xs, us = np.tile(start, (horizon + 1, 1)), np.tile(ocp.gravity(start), (horizon, 1))
        if self._easier is None:
            return xs, us
        self._easier.aim(start, self._goal)
        solver, nodes = crocoddyl.SolverFDDP(self._easier.problem), min(self._easier.horizon, horizon)
        solver.solve(
            [start] * (self._easier.horizon + 1), [us[0]] * self._easier.horizon, self._sweep.iterations, False, np.nan
        )
        xs[: nodes + 1], us[:nodes] = np.array(solver.xs)[: nodes + 1], np.array(solver.us)[:nodes]
        xs[nodes + 1 :], us[nodes:] = xs[nodes], ocp.gravity(xs[nodes])  # it ends close to the goal and stays there
        return xs, us
