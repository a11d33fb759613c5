"""The soak: all nodes at full rate for long. What memory grows, which periods are missed, is all data there?

python -m dpvp.bench.faults.soak --minutes 30 --json docs/bench/soak.json
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress

from dpvp.bench.faults.memory import alive, growth, resident
from dpvp.bench.rates import GOAL_SECONDS
from dpvp.bench.results import Results
from dpvp.record.report import read_run
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Steered

if TYPE_CHECKING:
    from dpvp.ros.session import Session

MOST_GROWTH = 5.0  # MiB of any process after the warm-up
MOST_DRIFT = 0.05  # by which the share of missed periods may be larger in the last third of the time than in the first
SAMPLE = 2.0  # s between two looks at the memory
WARM_UP = 120.0  # s that do not count
SHARE = 3  # periods missed in the first and the last third of the time are compared


class Watch:
    """Samples of what the nodes need and miss."""

    def __init__(self, names: Mapping[str, int]) -> None:
        """Watch the processes of these names and ids."""
        self._pids = dict(names)
        self.t = list[float]()
        self.memory: dict[str, list[float]] = {name: [] for name in names}
        self.periods, self.missed, self.load = list[int](), list[int](), list[float]()

    def look(self, now: float, loop: Mapping[str, str]) -> None:
        """Take a sample at `now`, s, with the newest report of the loop."""
        pids = self._pids | {"solver": int(loop["solver_pid"])}
        self.t.append(now)
        for name, pid in pids.items():
            self.memory.setdefault(name, [np.nan] * (len(self.t) - 1)).append(resident(pid))
        self.periods.append(int(loop["periods"]))
        self.missed.append(int(loop["missed"]))
        self.load.append(os.getloadavg()[0])

    def rows(self) -> list[dict[str, object]]:
        """Return what became of every process."""
        t, found = np.array(self.t), []
        for name, samples in self.memory.items():
            grown = growth(t, np.array(samples), WARM_UP)
            row = {"process": name, "first_mib": grown.first, "last_mib": grown.last, "grown_mib": grown.grown}
            found.append(row | {"slope_mib_per_hour": grown.slope, "mib": [round(mib, 2) for mib in samples]})
        return found

    def missed_shares(self) -> list[float]:
        """Return the share of missed periods in each third of the time."""
        edges = np.linspace(0, len(self.t) - 1, SHARE + 1).round().astype(int)
        periods, missed = np.diff(np.array(self.periods)[edges]), np.diff(np.array(self.missed)[edges])
        return [float(m / p) if p else np.nan for m, p in zip(missed, periods, strict=True)]


def soak(scenario: Scenario, run_dir: Path, minutes: float, seed: int) -> tuple[Watch, Mapping[str, int], list[int]]:
    """Run all nodes of `scenario`; return samples, what the recording holds, and processes that outlived the run."""
    from dpvp.ros.bringup import Bringup
    from dpvp.ros.session import session

    rng, ids = np.random.default_rng(seed), list[int]()
    with session(scenario, Bringup(plant="dpvp", start="false"), run_dir) as running:
        pilot = running.pilot
        pilot.wait_recorder(run_dir / "metrics.json")
        pilot.ask("mpc_node/start")
        watch = Watch(pids := running.processes.pids)
        _move(running, scenario, watch, 60.0 * minutes, rng)
        ids = [*pids.values(), int(pilot.loop["solver_pid"])]
    time.sleep(1.0)
    _, series = read_run(run_dir)
    counted = {"states": len(series.t), "plans": len(series.plan_t), "commands": len(series.age_t)}
    return watch, counted, [pid for pid in ids if alive(pid)]


def _move(running: Session, scenario: Scenario, watch: Watch, seconds: float, rng: np.random.Generator) -> None:
    """Go from goal to goal, and look at the processes."""
    pilot, task = running.pilot, scenario.task
    began = time.monotonic()
    next_goal = began
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("soak", total=seconds)
        while (now := time.monotonic() - began) < seconds:
            if time.monotonic() >= next_goal:
                next_goal += GOAL_SECONDS
                goal = task.sample_goal(rng)
                if isinstance(task, Steered):
                    pilot.steer(*(0.5 * goal[1:4]))
                else:
                    pilot.aim(goal)
            pilot.wait(min(SAMPLE, max(0.05, began + seconds - time.monotonic())))
            watch.look(now, pilot.loop)
            progress.update(bar, completed=now)


def complaints(content: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the result of a soak, `content` as in its JSON."""
    (row,) = content["rows"]
    wrong = [
        f"{process['process']} grew by {process['grown_mib']:.1f} MiB"
        for process in row["processes"]
        if not process["grown_mib"] < MOST_GROWTH
    ]
    first, *_, last = row["missed_shares"]
    if not last - first < MOST_DRIFT:
        wrong.append(f"the share of missed periods drifted from {first:.1%} to {last:.1%}")
    wrong += [f"process {pid} outlived the run" for pid in row["orphans"]]
    return wrong + [f"the recording holds no {name}" for name, count in row["recorded"].items() if not count]


def main(
    json: Path = Path("docs/bench/soak.json"),
    scenario: str = "kuka_reach",
    minutes: float = 30.0,
    runs: Path = Path("runs"),
    seed: int = 0,
) -> int:
    """Let all nodes run at full rate, and look at memory, missed periods and the recording.

    Args:
        json: file for the results.
        scenario: name or file.
        minutes: how long.
        runs: folder in which the folder of the run is made.
        seed: of goals.
    """
    draft = load_scenario(scenario)
    run_dir = new_run_dir(draft, runs)
    results = Results(json, draft.name, {"minutes": minutes, "seed": seed, "sample_s": SAMPLE})
    watch, recorded, orphans = soak(resolved(draft, run_dir), run_dir, minutes, seed)
    row: dict[str, object] = {
        "processes": watch.rows(),
        "missed_shares": watch.missed_shares(),
        "load": {"median": float(np.median(watch.load)), "most": max(watch.load)},
        "recorded": recorded,
        "recording_mb": sum(file.stat().st_size for file in run_dir.glob("*.mcap")) / 1e6,
        "orphans": orphans,
    }
    results.add_row(row)
    console = Console()
    for process in watch.rows():
        console.print(f"{process['process']:>16}: {process['first_mib']:.1f} to {process['last_mib']:.1f} MiB")
    console.print(f"missed periods by thirds of the time: {', '.join(f'{m:.2%}' for m in watch.missed_shares())}")
    wrong = complaints(results.content)
    for text in wrong:
        console.print(f"[red]{text}[/red]")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
