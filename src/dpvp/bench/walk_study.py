"""What a walking robot can take, on the estimate of its base: distance, pushes, wrong masses, turns, standing.

    python -m dpvp.bench.walk_study --json docs/bench/quadruped_walk.json

Speeds and ways are those of the truth. Beside the JSON, which grows walk by walk, come a table and a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from dpvp.bench.closed_loop import percentiles
from dpvp.bench.results import Results
from dpvp.bench.sensing import SensingPlant
from dpvp.bench.walk import Course, Walk, WalkingLoop
from dpvp.scenario import load_scenario
from dpvp.view.walk_plot import draw_walks

WALKS = (
    Walk("trot 10 m", 21.0, (0.5, 0.0, 0.0)),
    Walk("turn", 6.0, (0.3, 0.0, 0.5)),
    Walk("pushed by 50 N", 6.0, (0.5, 0.0, 0.0), push=50.0),
    Walk("masses ±15 %", 6.0, (0.5, 0.0, 0.0), mass=0.15),
    Walk("pushed, masses ±15 %", 6.0, (0.5, 0.0, 0.0), push=50.0, mass=0.15),
    Walk("stand, pushed by 50 N", 6.0, (0.0, 0.0, 0.0), push=50.0),
    Walk("stand", 60.0, (0.0, 0.0, 0.0), seeds=1),
)
TRACE = 10  # samples of a course for one that is kept


def study(loop: WalkingLoop, walks: Sequence[Walk], most: int) -> Iterator[dict[str, Any]]:
    """Do every walk with its seeds, `most` at most; yield a row for each that the JSON of a bench can hold."""
    for walk in walks:
        seeds = range(min(walk.seeds, most))
        courses = [loop.run(walk, np.random.default_rng(seed)) for seed in track(seeds, description=f"{walk.name:>24}")]
        yield row_of(loop, replace(walk, seeds=len(seeds)), courses)


def row_of(loop: WalkingLoop, walk: Walk, courses: Sequence[Course]) -> dict[str, Any]:
    """Return what the courses of a walk came to."""
    found = [course.summary(walk, loop.task) for course in courses]
    return {
        "walk": asdict(walk),
        "survived": sum(not course.fell for course in courses),
        "plan_ms": percentiles(np.concatenate([course.plan_ms for course in courses])),
        "solve_ms": percentiles(np.concatenate([course.solve_ms for course in courses])),
        "courses": [
            row | {"trace": course.xs[::TRACE, :2].round(3).tolist()}
            for row, course in zip(found, courses, strict=True)
        ],
    }


def table(content: Mapping[str, Any]) -> str:
    """Return the rows as a table of Markdown, with the command, the conditions, the machine and the date."""
    lines = [
        f"`python -m dpvp.bench.walk_study`, {content['date'][:10]}, {content['machine']['processor']}, "
        f"{content['machine']['cores']} cores: {', '.join(f'{k} {v}' for k, v in content['conditions'].items())}",
        "",
        "| walk | command | upright | moved | rms error, worst | turn, mean | torque, most | joint speed, most |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        walk, courses = row["walk"], row["courses"]
        worst = max(course["velocity_rms"] for course in courses)
        moved = [course["moved"] for course in courses]
        turn = float(np.mean([course["turn"] for course in courses]))
        effort, speed = (max(course[key] for course in courses) for key in ("effort_share", "speed_share"))
        lines.append(
            f"| {walk['name']}, {walk['seconds']:g} s | {' '.join(f'{v:g}' for v in walk['command'])} "
            f"| {row['survived']} of {walk['seeds']} | {min(moved):.2f} to {max(moved):.2f} m "
            f"| {worst:.3f} m/s | {turn:.3f} rad/s | {effort:.0%} | {speed:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main(json: Path, scenario: str = "quadruped_walk", seeds: int = 20, set: tuple[str, ...] = ()) -> None:
    """Study a scenario whose task is to walk.

    Args:
        json: file for the results; table and picture get the same name.
        scenario: name or file.
        seeds: of each walk at most.
        set: changes of the scenario, dotted.key=value.
    """
    loaded = load_scenario(scenario, set)
    loop, config = WalkingLoop(loaded, plant=SensingPlant), loaded.config
    conditions = {
        "state": "estimated",
        "gait": getattr(config.task, "gait", ""),
        "horizon": config.planner.horizon,
        "dt": loaded.task.dt,
        **{f"{name}_hz": rate for name, rate in config.rates.model_dump().items()},
        "plan_delay": 1.0 / config.rates.plan,
    }
    results = Results(json, loaded.name, conditions)
    for row in study(loop, WALKS, seeds):
        results.add_row(row)
        json.with_suffix(".md").write_text(table(results.content), encoding="utf-8")
    draw_walks(results.content, json.with_suffix(".png"))
    Console().print(table(results.content), soft_wrap=True)


if __name__ == "__main__":
    tyro.cli(main)
