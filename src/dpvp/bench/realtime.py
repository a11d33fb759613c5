"""A scenario with and without what `--realtime` does, on a machine that is otherwise idle and on one that is not.

python -m dpvp.bench.realtime --json docs/bench/realtime.json
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import track

from dpvp.bench.machine import describe_machine
from dpvp.bench.rates import RateCase, measure_rate
from dpvp.bench.results import Results
from dpvp.control.latency import STAGES
from dpvp.ros.lifeline import lifeline
from dpvp.scenario import load_scenario
from dpvp.view.latency_plot import draw_latencies

HOG = "from dpvp.ros.lifeline import hold_lifeline; hold_lifeline()\nwhile True: pass"
HEAD = (
    "| nodes | beside | load before | missed periods | of them asleep | loop wakes late p50, p99, max | plan p50, p99 "
    "| state to control p50, p99, max |"
)


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """Let `count` ordinary processes compute for nothing meanwhile."""
    environment = os.environ | lifeline()
    started = [subprocess.Popen([sys.executable, "-c", HOG], env=environment) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def table(content: Mapping[str, Any]) -> str:
    """Return the rows as a table of Markdown, with the command, the machine and the date."""
    machine, conditions = content["machine"], content["conditions"]
    lines = [
        f"`python -m dpvp.bench.realtime {content['scenario']}`, {content['date'][:10]}, {machine['processor']}, "
        f"{machine['cores']} cores, kernel {machine['kernel']}; {conditions['seconds']:g} s each; times in ms",
        "",
        HEAD,
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rates"]:
        late, whole = (_times(row["latencies"], stage, "p50", "p99", "max") for stage in ("wake", "whole"))
        plan = ", ".join(f"{row['solve_ms'][key]:.1f}" for key in ("p50", "p99"))
        asleep = row["missed_asleep"] / row["periods"] if row["periods"] else 0.0
        lines.append(
            f"| {'--realtime' if row['realtime'] else 'ordinary'} | {row['hogs']} hogs | {row['load']:.1f} "
            f"| {row['missed_share']:.1%} of {row['periods']} | {asleep:.1%} | {late} | {plan} | {whole} |"
        )
    return "\n".join(lines) + "\n"


def _times(latencies: Mapping[str, str], stage: str, *keys: str) -> str:
    assert stage in STAGES
    return ", ".join(f"{float(latencies.get(f'latency_{stage}_ms_{key}', 'nan')):.2f}" for key in keys)


def draw(content: Mapping[str, Any], file: Path) -> None:
    """Draw the latencies of all rows."""
    runs = {}
    for row in content["rates"]:
        name = f"{'--realtime' if row['realtime'] else 'ordinary'}, {row['hogs']} hogs"
        runs[name] = row["latencies"] | {key: str(row[key]) for key in ("periods", "missed_share", "missed_asleep")}
    draw_latencies(runs, file, 1e3 / content["rates"][0]["hz"])


def main(
    scenario: tyro.conf.Positional[str] = "kuka_reach",
    json: Path = Path("docs/bench/realtime.json"),
    seconds: float = 30.0,
    hog_count: int = len(os.sched_getaffinity(0)),
    runs: Path = Path("runs"),
    seed: int = 0,
) -> None:
    """Measure: without hogs and with, each with ordinary nodes and with those that take the measures of real time.

    Args:
        scenario: name of a scenario or path of a scenario file.
        json: file for the results; table and picture get the same name.
        seconds: of each of the four measurements.
        hog_count: processes that compute for nothing; by default one for every core.
        runs: folder in which the folders of the runs are made; their logs say which measures took.
        seed: of goals.
    """
    loaded = load_scenario(scenario)
    results = Results(json, loaded.name, {"seconds": seconds, "seed": seed})
    cases = list(itertools.product((0, hog_count), (False, True)))
    for count, realtime in track(cases, description=loaded.name):
        load = describe_machine().load
        case = RateCase(loaded.config.rates.plan, loaded.config)
        with hogs(count):
            row = measure_rate(case, loaded.name, seconds, runs, seed, realtime=realtime)
        results.add_rate({"realtime": realtime, "hogs": count, "load": load} | row)
        json.with_suffix(".md").write_text(table(results.content), encoding="utf-8")
    draw(results.content, json.with_suffix(".png"))
    Console().print(table(results.content), soft_wrap=True)


if __name__ == "__main__":
    tyro.cli(main)
