"""`make faults`: the fault campaign, in simulated time on every scenario and on running nodes.

python -m dpvp.bench.faults --json docs/bench/faults.json
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpvp.bench.faults.campaign import cases, measure_usual, pool, run_cases
from dpvp.bench.faults.catalogue import KINDS
from dpvp.bench.faults.harm import REAL_KINDS
from dpvp.bench.faults.judge import Finding
from dpvp.bench.faults.real import run_real
from dpvp.bench.faults.results import Journal, read_journal, rows, table, totals
from dpvp.bench.machine import describe_machine
from dpvp.record.metrics import write_metrics
from dpvp.scenario import scenario_names
from dpvp.view.faults_plot import draw_faults

QUICK_KINDS = 14  # of all, evenly spread, once each on every scenario


class Tally:
    """Findings into the journal, and their sum on the console."""

    def __init__(self, journal: Journal, progress: Progress, count: int) -> None:
        """Show a bar for `count` faults."""
        self._journal, self._progress = journal, progress
        self._bar = progress.add_task("faults", total=count, crossings=0, slowest=0.0)
        self._crossings, self._slowest = 0, 0.0

    def add(self, finding: Finding) -> None:
        """Take what became of a fault."""
        self._journal.add(finding)
        self._crossings += bool(finding.crossed_by_fault)
        self._slowest = max(self._slowest, finding.periods if finding.periods > 0.0 else 0.0)
        self._progress.update(self._bar, advance=1, crossings=self._crossings, slowest=self._slowest)
        if finding.wrong:
            case, wrong = finding.case, ", ".join(finding.wrong)
            self._progress.console.print(f"[red]{finding.scenario} {case.kind} seed {case.seed}: {wrong}[/red]")


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("beyond limits {task.fields[crossings]}, slowest {task.fields[slowest]:.2f} periods"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


def main(
    json: Path = Path("docs/bench/faults.json"),
    each: int = 4,
    real: int = 2,
    quick: bool = False,
    scenarios: tuple[str, ...] = (),
    real_scenarios: tuple[str, ...] = ("kuka_reach",),
    kinds: tuple[str, ...] = (),
    runs: Path = Path("runs"),
    seed: int = 0,
    jobs: int = 2,
    resume: bool = False,
) -> int:
    """Inject faults and judge what the robot does; exit code 0 only if none crossed a limit and all were made safe.

    Args:
        json: file for the results; records, table and picture get the same name.
        each: faults of every kind on every scenario in simulated time.
        real: faults of every kind on running nodes.
        quick: a part of it, in a few minutes; the files are those of `json` too.
        scenarios: in simulated time; all if empty.
        real_scenarios: on running nodes.
        kinds: names of those that are done; all if empty.
        runs: folder for the folders of runs.
        seed: of everything.
        jobs: processes in simulated time.
        resume: go on where a campaign with the same arguments was cut off, by the records that it left.
    """
    names = scenarios or tuple(scenario_names())
    chosen = [kind for kind in KINDS if not kinds or kind.name in kinds]
    chosen_real = [kind for kind in REAL_KINDS if not kinds or kind.name in kinds]
    if quick:
        each, real, chosen, chosen_real = 1, min(real, 1), chosen[:: -(-len(chosen) // QUICK_KINDS)], chosen_real[::5]
    content = _head({"each": each, "real": real, "seed": seed, "load before": round(os.getloadavg()[0], 1)})
    file = json.with_suffix(".jsonl")
    done = {(record["scenario"], record["kind"], record["seed"]) for record in (read_journal(file) if resume else ())}
    journal = Journal(file, on=resume)
    drawn = [(n, case) for n, case in cases(chosen, names, each, seed) if (n, case.kind, case.seed) not in done]
    with _bar() as progress, pool(jobs) as workers:
        content["usual"] = measure_usual(workers, names) if each else {}
        _take(run_cases(workers, drawn, content["usual"]), Tally(journal, progress, len(drawn)))
    with _bar() as progress:
        tally = Tally(journal, progress, real * len(chosen_real) * len(real_scenarios))
        for name in real_scenarios if real else ():
            _take(run_real(name, chosen_real, real, runs, seed), tally)
    finish(json, content, read_journal(file))
    Console().print(table(content), soft_wrap=True)
    return 1 if content["totals"]["crossings"] or content["totals"]["not_as_wanted"] else 0


def finish(json: Path, content: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Sum up the records in `content`, and write it as JSON, table and picture."""
    names = {kind.name for kind in REAL_KINDS}
    content["rows"], content["real"] = rows(KINDS, records), rows(REAL_KINDS, records)
    content["loads"] = [record["load"] for record in records if record["kind"] in names]
    content["totals"] = totals(content["rows"] + content["real"])
    write_metrics(json, content)
    json.with_suffix(".md").write_text(table(content), encoding="utf-8")
    draw_faults(content, json.with_suffix(".png"))


def _head(conditions: dict[str, object]) -> dict[str, Any]:
    """Return what the results say of the machine, the time and the conditions."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"machine": asdict(describe_machine()), "date": now, "conditions": conditions}


def _take(found: Iterator[Finding], tally: Tally) -> None:
    for finding in found:
        tally.add(finding)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
