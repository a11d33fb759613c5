"""Every scenario at its own rates, through all of its nodes: the share of plan periods that this machine misses.

python -m dpvp.bench.robots --json docs/bench/robots.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import track

from dpvp.bench.rates import RateCase, measure_rate
from dpvp.bench.results import Results
from dpvp.scenario import load_scenario, scenario_names

HEAD = (
    "| scenario | plans, Hz | commands, Hz | planner | missed | plan p50, p99 | state to command p50, p99 | rejected |"
)


def table(content: Mapping[str, Any]) -> str:
    """Return the rows as a table of Markdown, with the command, the machine and the date."""
    machine = content["machine"]
    lines = [
        f"`python -m dpvp.bench.robots`, {content['date'][:10]}, {machine['processor']}, {machine['cores']} cores; "
        f"load before {machine['load']:.1f}; {content['conditions']['seconds']:g} s each",
        "",
        HEAD,
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rates"]:
        plan, age = (
            [f"{values[key]:.1f}" for key in ("p50", "p99")] for values in (row["solve_ms"], row["state_age_ms"])
        )
        lines.append(
            f"| {row['scenario']} | {row['hz']:g} | {row['command_hz']:g} | {row['planner']} T={row['horizon']} "
            f"{row['terminal']} | {row['missed_share']:.1%} | {', '.join(plan)} ms | {', '.join(age)} ms "
            f"| {row['rejected_plans']} of {row['plans']} |"
        )
    return "\n".join(lines) + "\n"


def main(json: Path, seconds: float = 30.0, runs: Path = Path("runs"), seed: int = 0) -> None:
    """Measure one scenario after the other, while goals or commanded velocities change.

    Args:
        json: file for the results; the table gets the same name.
        seconds: of each scenario.
        runs: folder in which the folders of the runs are made.
        seed: of goals.
    """
    results = Results(json, "all", {"seconds": seconds, "seed": seed})
    for name in track(scenario_names(), description="scenarios"):
        config = load_scenario(name).config
        row = measure_rate(RateCase(config.rates.plan, config), name, seconds, runs, seed)
        results.add_rate({"scenario": name, "command_hz": config.rates.command or config.rates.plan} | row)
        json.with_suffix(".md").write_text(table(results.content), encoding="utf-8")
    Console().print(table(results.content), soft_wrap=True)


if __name__ == "__main__":
    tyro.cli(main)
