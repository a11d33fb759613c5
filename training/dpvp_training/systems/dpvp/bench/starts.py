"""Study: where plans of a walk start. What guesses cost, how soon they converge, and what walks are like with them.

States are those of outings in MuJoCo that nothing was learned from: on the way, after a new command, in a push, and at
the start, which also stands for every plan that has none before it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dpvp.learned.artifact import artifact_folder
from dpvp.scenario import load_scenario
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.envs.outing import OutingConfig, Outings
from dpvp_training.systems.dpvp.bench.report import Results, new_progress, output, spread
from dpvp_training.systems.dpvp.starts import SHARE, Outcome, Setting, Start, measure, of

GUESSES = ("hold", "shift", "policy", "without", "best")
SINCE = ("start", "command", "push", "walk")
WAYS = {
    f"{name}{end}": (f"planner.guesses=[{name}]", *more)
    for end, more in {"": (), "; T=10": ("planner.horizon=10",)}.items()
    for name in ("shift", "shift, policy")
}


@dataclass(frozen=True)
class Args:
    """Starts of the plans of a walk."""

    task: str = "quadruped_walk"
    """Scenario."""
    artifact: str | None = None
    """Artifact; that with the scenario's name if absent."""
    outings: int = 30
    """On which guesses are compared."""
    every: int = 5
    """Of so many plans of an outing one is looked at."""
    loops: int = 30
    """Outings with each choice of guesses, from start to end."""
    seconds: float = 4.0
    """Length of an outing."""
    push: float = 80.0
    """Largest push, N."""
    workers: int | None = None
    """Processes."""
    seed: int = 7
    """Of what happens on the way."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/starts_<task>.json if absent."""


@dataclass(frozen=True)
class _Way:
    """One choice of guesses on outings; hashable."""

    scenario: str
    overrides: tuple[str, ...]
    outing: OutingConfig


def run(args: Args) -> int:
    """Measure; exit code 0."""
    folder = artifact_folder(args.artifact or args.task).resolve()
    outing = OutingConfig(seconds=args.seconds, push=args.push)
    conditions: dict[str, Any] = {"task": args.task, "horizon": load_scenario(args.task).config.planner.horizon}
    conditions |= {"outings": args.outings, "loops": args.loops, "seed": args.seed} | outing.model_dump()
    results = Results(output(args.json, "starts", args.task), "starts", conditions)
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        setting = Setting(args.task, (), folder, outing, args.every)
        seeds = [(args.seed, 1, k) for k in range(args.outings)]
        found = spread(executor, progress, "guesses", functools.partial(measure, setting), seeds)
        starts = [start for several in found for start in several]
        for since in SINCE:
            for guess in GUESSES:
                if pairs := of(starts, guess, since):
                    results.add({"since": since, "guess": guess} | _summed(pairs))
        loops = []
        for name, changes in WAYS.items():
            way = _Way(args.task, (f"artifact={folder}", *changes), outing)
            items = [(way, (args.seed, 2, k)) for k in range(args.loops)]
            loops.append({"guesses": name} | _walked(spread(executor, progress, f"walks with {name}", _walk, items)))
    results.set("loops", loops)
    Console().print(_table(results.content))
    return 0


def _summed(pairs: Sequence[tuple[Start, Outcome]]) -> dict[str, Any]:
    """Return the figures of one guess."""
    ratios = {key: [getattr(one, key) / start.optimum for start, one in pairs] for key in ("cost", "improved")}
    solved = [one for _, one in pairs if np.isfinite(one.converged)]
    return {
        "count": len(pairs),
        **{f"{key}_ratio": _quantiles(values) for key, values in ratios.items()},
        "iterations": _quantiles([one.iterations for one in solved]),
        "enough": _quantiles([one.enough for one in solved if one.enough >= 0]),
        "poorer": sum(one.converged > (1.0 + SHARE) * start.optimum for start, one in pairs),
        "policy_wins": sum(one.guess == "policy" for _, one in pairs),
        **{key: _quantiles([getattr(one, key) for one in solved]) for key in ("guess_ms", "solve_ms")},
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return {"mean": np.nan, "median": np.nan, "p90": np.nan}
    return {
        "mean": float(np.mean(array)),
        "median": float(np.median(array)),
        "p90": float(np.percentile(array, 90)),
    }


def _walk(item: tuple[_Way, tuple[int, ...]]) -> dict[str, Any]:
    """Go on one outing from start to end."""
    way, seed = item
    outings = _outings(way)
    task, plans, errors, last = outings.task, [], [], 0.0
    for moment in outings.moments(np.random.default_rng(seed)):
        plans += [] if moment.previous is None else [moment.previous]
        if moment.since == "walk":
            errors.append(task.error(moment.x, moment.goal))
        last = moment.t
    later = plans[1:]
    return {
        "upright": last > way.outing.seconds - 2.0 * task.dt,
        "error": float(np.sqrt(np.mean(np.square(errors)))),
        "cost": float(np.median([plan.cost for plan in later])),
        "mean_cost": float(np.mean([min(plan.cost, 1e3) for plan in later])),
        "guesses": dict(Counter(plan.guess for plan in later)),
        "unusable": sum(not plan.status.usable for plan in later),
        "refused": sum(plan.advice.policy_refused for plan in later),
        "guess_ms": float(np.median([1e3 * plan.timings.guess for plan in later])),
        "plan_ms": float(np.median([1e3 * plan.timings.total for plan in later])),
    }


@functools.lru_cache(maxsize=2)
def _outings(way: _Way) -> Outings:
    return Outings(load_scenario(way.scenario, way.overrides), way.outing)


def _walked(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    guesses: Counter[str] = sum((Counter(one["guesses"]) for one in found), Counter())
    means = ("error", "cost", "mean_cost", "guess_ms", "plan_ms")
    return {
        "outings": len(found),
        "upright": sum(one["upright"] for one in found),
        **{key: float(np.mean([one[key] for one in found if one["upright"]])) for key in means},
        "guesses_won": dict(guesses),
        **{key: sum(one[key] for one in found) for key in ("unusable", "refused")},
    }


def _table(content: Mapping[str, Any]) -> Table:
    table = Table(title=f"{content['conditions']['task']}: guesses beside the optimum")
    for column in ("after", "guess", "plans", "cost", "after one iteration", "iterations", "guess [ms]", "solve [ms]"):
        table.add_column(column, justify="left" if column in ("after", "guess") else "right")
    for row in content["rows"]:
        figures = [f"{row[key]['median']:.2f}" for key in ("cost_ratio", "improved_ratio")]
        figures += [f"{row['iterations']['mean']:.1f}"]
        figures += [f"{row[key]['median']:.1f}" for key in ("guess_ms", "solve_ms")]
        table.add_row(row["since"], row["guess"], str(row["count"]), *figures)
    return table
