"""Study: where plans of a walk start. How soon guesses converge, and what walks are like whose plans get lost.

States are those of outings in MuJoCo that nothing was learned from: at the start, on the way, after a new command and
in a push. Guesses are compared at the same states; see `dpvp_training.systems.dpvp.walks.starts`. Then whole outings
follow with one iteration a plan, also for plans that have none before them: the first, and some on the way.
"""

from __future__ import annotations

import functools
import itertools
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
from dpvp_training.systems.dpvp.bench.pictures import draw_starts
from dpvp_training.systems.dpvp.bench.report import Results, new_progress, output, spread
from dpvp_training.systems.dpvp.walks.starts import GUESSES, SHARE, Outcome, Setting, Start, measure, of

EVERYWHERE = "anything"
SINCE = (EVERYWHERE, "start", "command", "push", "walk")
WAYS = "shift", "shift, reference", "shift, trajectory"
PLAIN = "artifact=null", "planner.guesses=[shift]"  # guesses are compared where none of them had a say
AFTER = 10  # plans from one that has none before it on, whose cost is compared


@dataclass(frozen=True)
class Args:
    """Starts of the plans of a walk."""

    task: str = "quadruped_walk"
    """Scenario."""
    artifact: str | None = None
    """Artifact; that with the scenario's name if absent."""
    outings: int = 24
    """On which guesses are compared."""
    every: int = 10
    """Of so many plans of an outing one is looked at, and the first ones after something has happened."""
    loops: int = 24
    """Outings with each choice of guesses, from start to end."""
    lost: int = 4
    """Plans that get lost on each of these."""
    seconds: float = 2.0
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
    folder, file = artifact_folder(args.artifact or args.task).resolve(), output(args.json, "starts", args.task)
    outing = OutingConfig(seconds=args.seconds, push=args.push)
    horizon = load_scenario(args.task).config.planner.horizon
    names = "outings", "every", "loops", "lost", "seconds", "push", "seed"
    results = Results(
        file, "starts", {"task": args.task, "horizon": horizon} | {name: getattr(args, name) for name in names}
    )
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        setting = Setting(args.task, PLAIN, folder, outing, args.every)
        seeds = [(args.seed, 1, k) for k in range(args.outings)]
        found = spread(executor, progress, "guesses", functools.partial(measure, setting), seeds)
        for row in rows_of([start for several in found for start in several]):
            results.add(row)
        outing, loops = outing.model_copy(update={"first": 1, "lost": args.lost}), []
        for name in WAYS:
            way = _Way(args.task, (f"artifact={folder}", f"planner.guesses=[{name}]"), outing)
            items = [(way, (args.seed, 2, k)) for k in range(args.loops)]
            loops.append({"guesses": name} | _summed(spread(executor, progress, f"walks with {name}", _walk, items)))
    results.set("loops", loops)
    draw_starts(results.content, file.with_suffix(".png"))
    Console().print(_table(results.content))
    return 0


def rows_of(starts: Sequence[Start]) -> list[dict[str, Any]]:
    """Return the figures of every guess after everything that happened."""
    keys = itertools.product(SINCE, GUESSES)
    found = [(since, guess, of(starts, guess, None if since == EVERYWHERE else since)) for since, guess in keys]
    return [{"since": since, "guess": guess} | _figures(pairs) for since, guess, pairs in found if pairs]


def _figures(pairs: Sequence[tuple[Start, Outcome]]) -> dict[str, Any]:
    ratios = {key: [getattr(one, key) / start.optimum for start, one in pairs] for key in ("cost", "first")}
    solved = [one for _, one in pairs if np.isfinite(one.converged)]
    enough = [one for one in solved if one.enough >= 0]
    return {
        "count": len(pairs),
        **{f"{key}_ratio": _quantiles(values) for key, values in ratios.items()},
        "iterations": _quantiles([one.iterations for one in solved]),
        "enough": _quantiles([one.enough for one in enough]),
        "total_ms": _quantiles([one.total_ms for one in solved]),
        "enough_ms": _quantiles([one.enough_ms for one in enough]),
        "guess_ms": _quantiles([one.guess_ms for _, one in pairs]),
        "poorer": sum(not one.converged <= (1.0 + SHARE) * start.optimum for start, one in pairs),
        "all": [one.iterations for one in solved],
        "all_enough": [one.enough for one in enough],
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return dict.fromkeys(("mean", "median", "p90"), np.nan)
    return {
        "mean": float(np.mean(array)),
        "median": float(np.median(array)),
        "p90": float(np.percentile(array, 90)),
    }


def _walk(item: tuple[_Way, tuple[int, ...]]) -> dict[str, Any]:
    """Go on one outing from start to end."""
    way, seed = item
    outings = _outings(way)
    moments = list(outings.moments(np.random.default_rng(seed)))
    errors = [outings.task.error(moment.x, moment.goal) for moment in moments]
    # a moment knows the plan that was made at the one before
    made = {k: after.previous for k, after in enumerate(moments[1:]) if after.previous is not None}
    cold = [k for k in made if moments[k].previous is None]
    after = [made[k].cost for first in cold for k in range(first, first + AFTER) if k in made]
    return {
        "upright": moments[-1].t > way.outing.seconds - 2.0 * outings.task.dt,
        "error": float(np.sqrt(np.mean(np.square(errors)))),
        "first": [made[k].cost for k in cold],
        "after": after,
        "guesses": dict(Counter(made[k].guess for k in cold)),
        "unusable": sum(not plan.status.usable for plan in made.values()),
    }


@functools.lru_cache(maxsize=2)
def _outings(way: _Way) -> Outings:
    return Outings(load_scenario(way.scenario, way.overrides), way.outing)


def _summed(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    guesses: Counter[str] = sum((Counter(one["guesses"]) for one in found), Counter())
    every = {key: [value for one in found for value in one[key]] for key in ("first", "after")}
    return {
        "outings": len(found),
        "upright": sum(one["upright"] for one in found),
        "error": _quantiles([one["error"] for one in found]),
        **{key: _quantiles(values) for key, values in every.items()},
        "cold_guesses": dict(guesses),
        "unusable": sum(one["unusable"] for one in found),
    }


def _table(content: Mapping[str, Any]) -> Table:
    table = Table(title=f"{content['conditions']['task']}: guesses beside the optimum")
    for column in ("after", "guess", "plans", "first iteration", "until it stops", "within 1 %", "[ms]"):
        table.add_column(column, justify="left" if column in ("after", "guess") else "right")
    for row in content["rows"]:
        figures = [
            f"{row['first_ratio']['median']:.2f}",
            *(f"{row[key]['mean']:.1f}" for key in ("iterations", "enough")),
        ]
        table.add_row(row["since"], row["guess"], str(row["count"]), *figures, f"{row['enough_ms']['mean']:.1f}")
    return table
