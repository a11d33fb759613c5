"""Study: optimal control problems labelled per second, beside one process that calls crocoddyl in a loop."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path

import crocoddyl
import numpy as np
from rich.console import Console

from dpvp.tasks.task import TerminalWeights
from dpvp_training.core.executor import make_executor
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.bench.report import Results, asks_of, new_progress, output
from dpvp_training.systems.dpvp.config import load_config
from dpvp_training.systems.dpvp.label import ITERATIONS, Ask, Study, label


@dataclass(frozen=True)
class Args:
    """Problems solved per second: the executor with labels, and a plain loop without."""

    task: str = "kuka_reach"
    """Benchmark system or scenario."""
    count: int = 100
    """Starts and goals."""
    repeats: int = 3
    """Of both, in turn."""
    workers: int | None = None
    """Processes."""
    seed: int = 4
    """Of the starts."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/throughput_<task>.json if absent."""


def run(args: Args) -> int:
    """Measure; exit code 0."""
    problem, config = load_problem(args.task), load_config(args.task, ())
    study = config.study
    asks = asks_of(problem.task, problem.goal, args.count, args.seed, default=False)
    work = Study(args.task, config.problem, None, study.scout_horizon, study.scout_keep, study.stride)
    file = output(args.json, "throughput", args.task)
    results = Results(file, "throughput", {"task": args.task, "horizon": work.horizon, "count": args.count})
    with make_executor("local", args.workers) as executor, new_progress() as progress:
        bar = progress.add_task("solving", total=2 * args.repeats * args.count)
        for _ in executor.map(functools.partial(label, work), asks[:8]):
            pass  # processes start and build their problems
        for repeat in range(args.repeats):
            begin = time.perf_counter()
            for _ in executor.map(functools.partial(label, work), asks):
                progress.advance(bar)
            spread = args.count / (time.perf_counter() - begin)
            begin = time.perf_counter()
            _loop(args.task, config.problem, work.horizon, asks)
            progress.advance(bar, args.count)
            results.add({"repeat": repeat, "executor": spread, "loop": args.count / (time.perf_counter() - begin)})
    rows = results.content["rows"]
    ratio = float(np.median([row["executor"] / row["loop"] for row in rows]))
    results.set("ratio", ratio)
    Console().print(f"{rows[-1]['executor']:.1f} problems a second with labels, {ratio:.2f} x a loop in one process")
    return 0


def _loop(task: str, overrides: tuple[str, ...], horizon: int, asks: list[Ask]) -> None:
    ocp = load_problem(task, overrides).task.ocp(horizon, TerminalWeights())
    solver = crocoddyl.SolverFDDP(ocp.problem)
    for ask in asks:
        ocp.aim(ask.start, ask.goal)
        solver.solve([ask.start] * (horizon + 1), [ocp.gravity(ask.start)] * horizon, ITERATIONS, False, np.nan)
