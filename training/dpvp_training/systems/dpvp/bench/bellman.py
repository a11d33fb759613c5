"""Study: does the value satisfy Bellman's equation, and does it equal what long horizons cost?"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dpvp.learned.value import ValueFunction
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.bench.report import Results, asks_of, new_progress, output, setting_of, spread, summary
from dpvp_training.systems.dpvp.closed_loop import Arena, Setting
from dpvp_training.systems.dpvp.label import Ask, Labeller, Study


@dataclass(frozen=True)
class Args:
    """Bellman residual, and the value beside V_400, on the task's own start box."""

    task: str = "kuka_reach"
    """Benchmark system or scenario."""
    artifact: str | None = None
    """Artifact; that with the name of the task if absent."""
    count: int = 200
    """Starts."""
    horizons: tuple[int, ...] = (5, 10, 20, 50)
    """T of OCP_T + V beside OCP_2T + V."""
    long: int = 400
    """Nodes of the problem without value that stands for the infinite horizon."""
    workers: int | None = None
    """Processes."""
    seed: int = 3
    """Of the starts."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/bellman_<task>.json if absent."""


def run(args: Args) -> int:
    """Measure; exit code 0."""
    problem = load_problem(args.task)
    setting, _ = setting_of(args.task, args.artifact, args.long)
    file = output(args.json, "bellman", args.task)
    conditions = {"task": args.task, "count": args.count, "seed": args.seed, "long": args.long}
    results = Results(file, "bellman", conditions)
    asks = asks_of(problem.task, problem.goal, args.count, args.seed, default=True)
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        costs = np.array(spread(executor, progress, "values", functools.partial(values, setting, args.horizons), asks))
    learned, long, short = costs[:, 0], costs[:, 1], costs[:, 2:]
    results.set("value", {"mean": float(np.mean(long)), "mse": float(np.mean((learned - long) ** 2))})
    for k, horizon in enumerate(args.horizons):
        once, twice = short[:, 2 * k], short[:, 2 * k + 1]
        row = {"bellman": summary((np.abs(twice - once) / twice).tolist())}
        results.add({"horizon": horizon} | row | {"to_long": summary((np.abs(once - long) / long).tolist())})
    Console().print(_table(results.content))
    return 0


def values(setting: Setting, horizons: tuple[int, ...], ask: Ask) -> tuple[float, ...]:
    """Return V(x), V_long(x) and, for every T, the costs of OCP_T + V and of OCP_2T + V."""
    artifact = _arena(setting).artifact
    learned = ValueFunction(artifact).value(ask.start, ask.goal).value
    costs = [_labeller(setting, None, setting.steps).solve(ask.start, ask.goal, [], [])]
    ended = [_labeller(setting, artifact.folder, nodes) for T in horizons for nodes in (T, 2 * T)]
    costs += [labeller.solve(ask.start, ask.goal, [], []) for labeller in ended]
    return learned, *costs


@functools.lru_cache(maxsize=1)
def _arena(setting: Setting) -> Arena:
    return Arena(setting)


@functools.lru_cache(maxsize=32)
def _labeller(setting: Setting, value: Path | None, horizon: int) -> Labeller:
    return Labeller(Study(setting.problem, setting.overrides, value, horizon, 1, 1, approach=setting.approach))


def _table(content: dict[str, Any]) -> Table:
    value = content["value"]
    table = Table(
        title=f"MSE of V to V_{content['conditions']['long']}: {value['mse']:.2e} (mean V {value['mean']:.3f})"
    )
    for column in ("T", "|OCP_2T - OCP_T| / OCP_2T, mean", "worst", "|OCP_T - V_long| / V_long, mean", "worst"):
        table.add_column(column, justify="right")
    for row in content["rows"]:
        figures = (f"{100 * row[key][of]:.2f} %" for key in ("bellman", "to_long") for of in ("mean", "worst"))
        table.add_row(str(row["horizon"]), *figures)
    return table
