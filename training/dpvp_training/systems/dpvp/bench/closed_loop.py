"""Study: horizons with and without the learned value in closed loop, one iteration a step, beside the optimum."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dpvp.tasks.task import Task
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.envs.registry import load_problem
from dpvp_training.envs.system import SystemTask
from dpvp_training.systems.dpvp.bench.pictures import draw_closed_loop
from dpvp_training.systems.dpvp.bench.report import Results, asks_of, new_progress, output, setting_of, spread, summary
from dpvp_training.systems.dpvp.closed_loop import Setting, Trial, Way, optimum, run_trial
from dpvp_training.systems.dpvp.label import Ask

HORIZONS = 3, 5, 10  # nodes


@dataclass(frozen=True)
class Args:
    """Closed-loop cost by horizon, with and without the learned value."""

    task: str = "kuka_reach"
    """Benchmark system or scenario."""
    artifact: str | None = None
    """Artifact; that with the name of the task if absent."""
    count: int = 100
    """Starts (and goals)."""
    steps: int = 300
    """Nodes of a trial, and of the optimum that it is compared with."""
    timed: int = 5
    """Starts on which the time of plans is compared, all ways in turn in one process."""
    long: int = 100
    """Nodes of the horizon without value that short ones are compared with."""
    workers: int | None = None
    """Processes."""
    seed: int = 1
    """Of the starts and goals."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/closed_loop_<task>.json if absent."""


def run(args: Args) -> int:
    """Measure; exit code 0."""
    problem = load_problem(args.task)
    setting, _ = setting_of(args.task, args.artifact, args.steps)
    file = output(args.json, "closed_loop", args.task)
    ways = [way for T in HORIZONS for way in (Way(T, "value", policy=True), Way(T, "value"), Way(T, "zero"))]
    ways += [Way(args.long, "zero")]
    conditions = {"task": args.task, "steps": setting.steps, "count": args.count, "seed": args.seed, "iterations": 1}
    results = Results(file, "closed_loop", conditions)
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        for where, default in _distributions(problem.task).items():
            asks = asks_of(problem.task, problem.goal, args.count, args.seed, default=default)
            optima = spread(executor, progress, f"{where}: the optimum", functools.partial(optimum, setting), asks)
            for way in ways:
                name = f"{where}: {way.name}"
                some = asks[: args.timed * 4] if way.horizon == args.long else asks
                trials = spread(executor, progress, name, functools.partial(run_trial, setting, way), some)
                results.add(_row(where, way, trials, optima))
    _times(results, setting, ways, asks[: args.timed])
    draw_closed_loop(results.content, file.with_suffix(".png"))
    Console().print(_table(results.content))
    return 0


def _distributions(task: Task) -> dict[str, bool]:
    """Return whether starts come from the task's own box, by name; systems have no other."""
    everywhere = {"all over": False}
    return everywhere if isinstance(task, SystemTask) else {"default goal": True} | everywhere


def _row(where: str, way: Way, trials: list[Trial], optima: list[tuple[float, float]]) -> dict[str, Any]:
    costs, (best, from_rest) = np.array([trial.cost for trial in trials]), np.array(optima[: len(trials)]).T
    ratios = costs / best
    return {
        "where": where,
        "horizon": way.horizon,
        "terminal": way.terminal,
        "policy": way.policy,
        "cost_ratio": summary(ratios.tolist()),
        "cost_ratio_from_rest": summary((costs / from_rest).tolist()),
        "reached": float(np.mean([trial.reached for trial in trials])),
        "guesses": dict(sum((Counter(trial.guesses) for trial in trials), Counter())),
        "advice": dict(sum((Counter(trial.advice) for trial in trials), Counter())),
        "count": len(trials),
        "cost_ratios": ratios.tolist(),
    }


def _times(results: Results, setting: Setting, ways: list[Way], asks: list[Ask]) -> None:
    """Time the ways in turn, start by start, alone in one process."""
    with LocalExecutor(1) as executor, new_progress() as progress:
        bar = progress.add_task("time of plans", total=len(asks) * len(ways))
        plan: dict[Way, list[float]] = {way: [] for way in ways}
        solve: dict[Way, list[float]] = {way: [] for way in ways}
        for ask in asks:
            for way in ways:
                ((_, trial),) = executor.map(functools.partial(run_trial, setting, way), [ask])
                if trial is not None:
                    plan[way] += trial.plan_ms.tolist()
                    solve[way] += trial.solve_ms.tolist()
                progress.advance(bar)
    times = [
        {
            "horizon": way.horizon,
            "terminal": way.terminal,
            "policy": way.policy,
            "plan_ms": summary(plan[way]),
            "solve_ms": summary(solve[way]),
        }
        for way in ways
    ]
    results.set("times", times)


def _table(content: dict[str, Any]) -> Table:
    table = Table(title=f"{content['conditions']['task']}: closed-loop cost beside the optimum")
    for column in ("where", "T", "terminal", "mean", "median", "worst", "reached", "plan p50 [ms]"):
        table.add_column(column, justify="left" if column in ("where", "terminal") else "right")
    times = {(t["horizon"], t["terminal"], t["policy"]): t["plan_ms"]["median"] for t in content["times"]}
    for row in content["rows"]:
        ratio, terminal = row["cost_ratio"], row["terminal"] + (" + policy" if row["policy"] else "")
        figures = (f"{ratio[key]:.4f}" for key in ("mean", "median", "worst"))
        time = times[row["horizon"], row["terminal"], row["policy"]]
        table.add_row(
            row["where"], str(row["horizon"]), terminal, *figures, f"{100 * row['reached']:.0f} %", f"{time:.2f}"
        )
    return table
