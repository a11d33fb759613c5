"""A foot on its path in MuJoCo, with a plant that is not as the planner believes: how far from its place is it?

Masses and inertias are wrong, joints have friction of which the planner knows nothing, and plans come late.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dpvp.bench.plant import Disturbance, DisturbedLoop
from dpvp.bench.variants import Variant
from dpvp.bench.worker import Job
from dpvp.learned.artifact import artifact_folder
from dpvp.scenario import Scenario, load_scenario
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.systems.dpvp.bench.report import Results, new_progress, output, spread, summary

WAYS = {
    "T=5, learned value and policy": (5, "value", "policy"),
    "T=5": (5, "zero", "shift"),
    "T=20": (20, "zero", "shift"),
    "T=100": (100, "zero", "shift"),
}
NONE = "as modelled"


@dataclass(frozen=True)
class Args:
    """Errors of the plant while a path is followed, in MuJoCo."""

    task: str = "leg_track"
    """Scenario."""
    artifact: str | None = None
    """Artifact; that with the scenario's name if absent."""
    count: int = 20
    """Plants with errors, for every way to plan."""
    cycles: int = 4
    """Times around the path; the last one counts."""
    error: float = 0.1
    """Share by which masses and inertias are wrong at most."""
    friction: float = 0.1
    """Coulomb friction of the joints at most, Nm."""
    workers: int | None = None
    """Processes."""
    seed: int = 0
    """Of the errors."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/tracking_<task>.json if absent."""


@dataclass(frozen=True)
class _Item:
    """One run: how to plan, what is wrong, and the seed of what is drawn."""

    job: Job
    disturbance: Disturbance
    seed: tuple[int, int]
    period: float
    cycles: int


def run(args: Args) -> int:
    """Measure; exit code 0."""
    scenario = load_scenario(args.task)
    folder = str(artifact_folder(args.artifact or scenario.name).resolve())
    scenario = Scenario(scenario.name, scenario.config.model_copy(update={"artifact": folder}), scenario.file)
    period, kind = float(scenario.task.costs["period"]), scenario.config.planner.kind
    wrong = Disturbance(payload=args.error, mass=args.error, inertia=args.error, friction=args.friction)
    cases = {NONE: (Disturbance(), 1), f"masses ±{100 * args.error:g} %, friction": (wrong, args.count)}
    conditions = {"task": scenario.name, "planner": kind, "plan_hz": scenario.config.rates.plan, "cycles": args.cycles}
    file = output(args.json, "tracking", scenario.name)
    results = Results(file, "tracking", conditions | {"wrong": asdict(wrong), "seed": args.seed, "count": args.count})
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        for way, (horizon, terminal, guess) in WAYS.items():
            job = Job.of(scenario, Variant(kind, horizon, terminal, guess))  # type: ignore[arg-type]
            for case, (disturbance, count) in cases.items():
                items = [_Item(job, disturbance, (args.seed, k), period, args.cycles) for k in range(count)]
                found = spread(executor, progress, f"{way}, {case}", _follow, items)
                results.add({"way": way, "case": case, "runs": count} | _summed(found))
    results.set("complete", value=True)
    Console().print(_table(results.content))
    return 0


def _follow(item: _Item) -> dict[str, float]:
    """Follow the scenario's path from rest in the nominal posture."""
    loop, rng = _loop(item.job), np.random.default_rng(item.seed)
    scenario = loop.scenario
    start = np.concatenate([scenario.robot.nominal, np.zeros(scenario.robot.nv)])
    course = loop.run(start, np.array(scenario.goal), item.cycles * item.period, item.disturbance, rng)
    last = course.error[course.t >= (item.cycles - 1) * item.period]
    return {
        "rms": float(np.sqrt(np.mean(last**2))),
        "largest": float(np.max(last)),
        "held": float(course.held),
        "policy": float(course.guesses.get("policy", 0)) / len(course.t),
        "value": float(course.advice.get("value_used", 0)) / len(course.t),
    }


@functools.lru_cache(maxsize=2)
def _loop(job: Job) -> DisturbedLoop:
    return DisturbedLoop(job.scenario())


def _summed(found: list[dict[str, float]]) -> dict[str, Any]:
    shares = {key: float(np.mean([one[key] for one in found])) for key in ("policy", "value")}
    errors = {key: summary([one[key] for one in found]) for key in ("rms", "largest")}
    return {**errors, **shares, "held": sum(one["held"] for one in found)}


def _table(content: Mapping[str, Any]) -> Table:
    table = Table(title=f"{content['conditions']['task']}: error of the foot over the last cycle")
    for column in ("way to plan", "plant", "runs", "rms, mean [mm]", "rms, worst [mm]", "largest [mm]"):
        table.add_column(column, justify="left" if column in ("way to plan", "plant") else "right")
    for row in content["rows"]:
        figures = row["rms"]["mean"], row["rms"]["worst"], row["largest"]["worst"]
        table.add_row(row["way"], row["case"], str(row["runs"]), *(f"{1e3 * value:.2f}" for value in figures))
    return table
