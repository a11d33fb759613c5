"""Study: walks whose plans get lost, with one iteration a plan, from what guesses there are.

Outings in MuJoCo that nothing was learned from, from start to end: the first plan has none before it to go on from, nor
have some on the way. Without another guess they start from `hold`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.learned.artifact import artifact_folder
from dpvp.scenario import load_scenario
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.envs.outing import OutingConfig, Outings
from dpvp_training.systems.dpvp.bench.report import Results, new_progress, output, quantiles, spread

WAYS = "shift", "shift, reference", "shift, trajectory"
AFTER = 10  # plans from one that has none before it on, whose cost is compared


@dataclass(frozen=True)
class Args:
    """Walks whose plans get lost."""

    task: str = "quadruped_walk"
    """Scenario."""
    artifact: str | None = None
    """Artifact; that with the scenario's name if absent."""
    outings: int = 24
    """With each choice of guesses."""
    lost: int = 4
    """Plans that get lost on each."""
    seconds: float = 2.0
    """Length of an outing."""
    push: float = 80.0
    """Largest push, N."""
    workers: int | None = None
    """Processes."""
    seed: int = 7
    """Of what happens on the way."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/lost_<task>.json if absent."""


@dataclass(frozen=True)
class _Way:
    """One choice of guesses on outings; hashable."""

    scenario: str
    overrides: tuple[str, ...]
    outing: OutingConfig


def run(args: Args) -> int:
    """Measure; exit code 0."""
    folder, file = artifact_folder(args.artifact or args.task).resolve(), output(args.json, "lost", args.task)
    outing = OutingConfig(seconds=args.seconds, push=args.push, first=1, lost=args.lost)
    names = "task", "outings", "lost", "seconds", "push", "seed"
    results = Results(file, "lost", {name: getattr(args, name) for name in names})
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        for name in WAYS:
            way = _Way(args.task, (f"artifact={folder}", f"planner.guesses=[{name}]"), outing)
            items = [(way, (args.seed, 2, k)) for k in range(args.outings)]
            results.add({"guesses": name} | _summed(spread(executor, progress, f"walks with {name}", _walk, items)))
    results.set("complete", True)
    return 0


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
        "error": quantiles([one["error"] for one in found]),
        **{key: quantiles(values) for key, values in every.items()},
        "cold_guesses": dict(guesses),
        "unusable": sum(one["unusable"] for one in found),
    }
