"""Study: where plans of a walk start, and how soon they converge from there.

States are those of outings in MuJoCo that nothing was learned from: at the start, on the way, after a new command and
in a push. Guesses are compared at the same states; see `dpvp_training.systems.dpvp.walks.starts`.
"""

from __future__ import annotations

import functools
import itertools
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
from dpvp_training.envs.outing import OutingConfig
from dpvp_training.systems.dpvp.bench.pictures import draw_starts
from dpvp_training.systems.dpvp.bench.report import Results, new_progress, output, quantiles, spread
from dpvp_training.systems.dpvp.walks.starts import GUESSES, SHARE, Outcome, Setting, Start, measure, of

EVERYWHERE = "anything"
SINCE = (EVERYWHERE, "start", "command", "push", "walk")
PLAIN = "artifact=null", "planner.guesses=[shift]"  # guesses are compared where none of them had a say


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


def run(args: Args) -> int:
    """Measure; exit code 0."""
    folder, file = artifact_folder(args.artifact or args.task).resolve(), output(args.json, "starts", args.task)
    outing = OutingConfig(seconds=args.seconds, push=args.push)
    horizon = load_scenario(args.task).config.planner.horizon
    names = "outings", "every", "seconds", "push", "seed"
    results = Results(
        file, "starts", {"task": args.task, "horizon": horizon} | {name: getattr(args, name) for name in names}
    )
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        setting = Setting(args.task, PLAIN, folder, outing, args.every)
        seeds = [(args.seed, 1, k) for k in range(args.outings)]
        found = spread(executor, progress, "guesses", functools.partial(measure, setting), seeds)
        for row in rows_of([start for several in found for start in several]):
            results.add(row)
    results.set("complete", True)
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
        **{f"{key}_ratio": quantiles(values) for key, values in ratios.items()},
        "iterations": quantiles([one.iterations for one in solved]),
        "enough": quantiles([one.enough for one in enough]),
        "total_ms": quantiles([one.total_ms for one in solved]),
        "enough_ms": quantiles([one.enough_ms for one in enough]),
        "guess_ms": quantiles([one.guess_ms for _, one in pairs]),
        "poorer": sum(not one.converged <= (1.0 + SHARE) * start.optimum for start, one in pairs),
        "all": [one.iterations for one in solved],
        "all_enough": [one.enough for one in enough],
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
