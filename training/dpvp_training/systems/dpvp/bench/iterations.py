"""Study: iterations until convergence of one long problem, by where the solver starts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crocoddyl
import numpy as np
from rich.console import Console
from rich.table import Table

from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp.plan import Array
from dpvp.planning.policy_guess import PolicyGuess
from dpvp.planning.terminal import ValueTerminal
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.bench.pictures import draw_iterations
from dpvp_training.systems.dpvp.bench.report import Results, asks_of, new_progress, output, setting_of, spread, summary
from dpvp_training.systems.dpvp.closed_loop import Arena, Setting
from dpvp_training.systems.dpvp.label import ITERATIONS, Ask

STOP = 1e-9  # crocoddyl's default: the expected decrease of the cost now, Σ ‖Q_u‖² in the release of the papers
GUESSES = ("gravity, no value", "policy, no value", "gravity", "shifted plan", "policy")


@dataclass(frozen=True)
class Args:
    """Solver iterations by initial guess, T=100, from random starts to the default goal."""

    task: str = "kuka_reach"
    """Benchmark system or scenario."""
    artifact: str | None = None
    """Artifact; that with the name of the task if absent."""
    count: int = 600
    """Starts."""
    horizon: int = 100
    """Nodes."""
    workers: int | None = None
    """Processes."""
    seed: int = 2
    """Of the starts."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/iterations_<task>.json if absent."""


def run(args: Args) -> int:
    """Measure; exit code 0."""
    problem = load_problem(args.task)
    setting, _ = setting_of(args.task, args.artifact, None)
    file = output(args.json, "iterations", args.task)
    conditions = {"task": args.task, "horizon": args.horizon, "count": args.count, "seed": args.seed, "stop": STOP}
    results = Results(file, "iterations", conditions)
    asks = asks_of(problem.task, problem.goal, args.count, args.seed, default=True)
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        text = f"iterations, T={args.horizon}"
        counts = np.array(spread(executor, progress, text, functools.partial(count, setting, args.horizon), asks))
    for k, name in enumerate(GUESSES):
        now, published = counts[:, k].T
        row = {
            "guess": name,
            "unsolved": int(np.sum(now < 0)),
            "all": now.tolist(),
            "all_published": published.tolist(),
        }
        figures = {"iterations": now, "iterations_published": published}
        results.add(row | {key: summary(values[values >= 0].tolist()) for key, values in figures.items()})
    draw_iterations(results.content, file.with_suffix(".png"))
    Console().print(_table(results.content))
    return 0


def count(setting: Setting, horizon: int, ask: Ask) -> tuple[tuple[int, int], ...]:
    """Return the iterations, as crocoddyl counts them, for each of `GUESSES` and both criteria; -1: not converged."""
    return _counter(setting, horizon).count(ask)


@functools.lru_cache(maxsize=1)
def _counter(setting: Setting, horizon: int) -> Counter:
    return Counter(setting, horizon)


class Counter:
    """The problem with and without the learned value, and their solvers."""

    def __init__(self, setting: Setting, horizon: int) -> None:
        """Build both."""
        arena = Arena(setting)
        task = arena.problem.task
        value = ValueTerminal(task, ValueFunction(arena.artifact), TerminalWeights(*setting.fallback))
        self._plain, self._ended = task.ocp(horizon, TerminalWeights()), task.ocp(horizon, value)
        self._plain_solver = crocoddyl.SolverFDDP(self._plain.problem)
        self._solver = crocoddyl.SolverFDDP(self._ended.problem)
        self._policy = PolicyGuess(Policy(arena.artifact))

    def count(self, ask: Ask) -> tuple[tuple[int, int], ...]:
        """See `count`."""
        self._plain.aim(ask.start, ask.goal)
        self._ended.aim(ask.start, ask.goal)
        plain = _solve(self._plain_solver, *_at_rest(self._plain, ask.start), feasible=False)
        plain_learned = self._from_policy(self._plain, self._plain_solver, ask)
        learned = self._from_policy(self._ended, self._solver, ask)
        gravity = _solve(self._solver, *_at_rest(self._ended, ask.start), feasible=False)
        return plain, plain_learned, gravity, self._after_one_step(), learned

    def _from_policy(self, ocp: Ocp, solver: crocoddyl.SolverFDDP, ask: Ask) -> tuple[int, int]:
        guess = self._policy.propose(ocp, ask.start, ask.goal, 0.0, None)
        return (-1, -1) if guess is None else _solve(solver, guess.xs, guess.us)

    def _after_one_step(self) -> tuple[int, int]:
        """Solve again one node later from the shifted solution that the solver holds."""
        xs, us = np.array(self._solver.xs), np.array(self._solver.us)
        moved = np.concatenate([us[1:], us[-1:]])
        self._ended.problem.x0 = xs[1]
        return _solve(self._solver, self._ended.rollout(moved), moved)


def _at_rest(ocp: Ocp, start: Array) -> tuple[Array, Array]:
    """Return the published "gravity" start: the state repeated, with the torques that carry it."""
    return np.tile(start, (ocp.horizon + 1, 1)), np.tile(ocp.gravity(start), (ocp.horizon, 1))


class Gradients(crocoddyl.CallbackAbstract):  # type: ignore[misc]
    """Notes Σ ‖Q_u‖² of every iteration: crocoddyl 1 stopped by it, as the published figures did."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.norms: list[float] = []

    def __call__(self, solver: crocoddyl.SolverAbstract) -> None:
        """Note that of the iteration that has just ended."""
        self.norms.append(sum(float(q @ q) for q in solver.Qu))


def _solve(solver: crocoddyl.SolverFDDP, xs: Array, us: Array, *, feasible: bool = True) -> tuple[int, int]:
    gradients = Gradients()
    solver.setCallbacks([gradients])
    good = solver.solve(list(xs), list(us), ITERATIONS, feasible, np.nan)
    published = next((k for k, norm in enumerate(gradients.norms) if norm < STOP), int(solver.iter))
    return (int(solver.iter), published) if good else (-1, -1)


def _table(content: dict[str, Any]) -> Table:
    table = Table(title=f"iterations until convergence, T={content['conditions']['horizon']}")
    for column in ("guess", "mean", "median", "p99", "worst", "mean, published criterion", "unsolved"):
        table.add_column(column, justify="left" if column == "guess" else "right")
    for row in content["rows"]:
        figures = (f"{row['iterations'][key]:.2f}" for key in ("mean", "median", "p99", "worst"))
        published = f"{row['iterations_published']['mean']:.2f}"
        table.add_row(row["guess"], *figures, published, str(row["unsolved"]))
    return table
