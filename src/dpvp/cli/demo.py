"""`dpvp demo`: shows that everything works, and ends with 0 only if it does."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dpvp.cli.run import UNHURRIED, run_once
from dpvp.plan import Array
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from dpvp.ros.pilot import Episode


@dataclass(frozen=True)
class DemoArgs:
    """Options of `dpvp demo`."""

    scenario: Annotated[str, tyro.conf.Positional] = "kuka_reach"
    """Name of a scenario or path of a scenario file."""
    starts: int = 20
    """Random starts to the scenario's goal, in lock-step."""
    goals: int = 20
    """Random reachable goals from the nominal posture, in lock-step."""
    seed: int = 0
    """Seed of both."""
    runs: Path = Path("runs")
    """Folder in which the runs' own folders are made."""


@dataclass(frozen=True)
class Case:
    """One episode to try: start state (nx,) and goal."""

    kind: str
    start: Array
    goal: Array


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    kind: str
    start: list[float]
    goal: list[float]
    success: bool
    reached_at: float
    error: float
    speed: float


def demo(args: DemoArgs) -> int:
    """Run the demonstration; exit code 0 only if every single run reached its goal in time."""
    console = Console()
    scenario = load_scenario(args.scenario)
    measured = run_once(scenario, None, args.runs, console)
    outcomes = campaign(args.scenario, cases(scenario, args), args.runs, console)
    console.print(_table(scenario, measured, outcomes))
    good = measured["success"] and all(outcome.success for outcome in outcomes)
    console.print("[green]all reached[/green]" if good else "[red]not all reached[/red]")
    return 0 if good else 1


def cases(scenario: Scenario, args: DemoArgs) -> list[Case]:
    """Draw the starts and the goals."""
    rng, task, robot = np.random.default_rng(args.seed), scenario.task, scenario.robot
    nominal = np.concatenate([robot.nominal, np.zeros(robot.nv)])
    starts = [Case("random start", task.sample_start(rng), np.array(scenario.goal)) for _ in range(args.starts)]
    return starts + [Case("random goal", nominal, task.sample_goal(rng)) for _ in range(args.goals)]


def campaign(name: str, tries: list[Case], runs: Path, console: Console) -> list[Outcome]:
    """Try every case through the nodes in lock-step; each outcome is in campaign.jsonl as soon as it is known."""
    from dpvp.ros.bringup import Bringup
    from dpvp.ros.session import session

    scenario = load_scenario(name, UNHURRIED)
    run_dir = new_run_dir(scenario, runs)
    scenario = resolved(scenario, run_dir)
    outcomes: list[Outcome] = []
    bringup = Bringup(plant="dpvp", start="false", lock_step=True, record=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    log = run_dir / "campaign.jsonl"
    with (
        session(scenario, bringup, run_dir) as running,
        log.open("w", encoding="utf-8", buffering=1) as lines,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("lock-step: 0 reached", total=len(tries))
        for case in tries:
            pilot = running.pilot
            pilot.aim(case.goal)
            pilot.ask("mpc_node/start")
            outcome = _outcome(case, pilot.follow(case.goal, pilot.reset(case.start)))
            outcomes.append(outcome)
            lines.write(json.dumps(asdict(outcome)) + "\n")
            reached = sum(done.success for done in outcomes)
            progress.update(bar, advance=1, description=f"lock-step: {reached} reached")
    return outcomes


def _outcome(case: Case, episode: Episode) -> Outcome:
    start, goal = case.start.tolist(), case.goal.tolist()
    return Outcome(case.kind, start, goal, episode.success, episode.reached_at, episode.error, episode.speed)


def _table(scenario: Scenario, measured: dict[str, object], outcomes: list[Outcome]) -> Table:
    within = scenario.config.run.within
    table = Table(title=f"{scenario.name}: at the goal and at rest within {within:g} s")
    for column in ("what", "reached", "slowest [s]", "largest error [mm]", "fastest at the end [rad/s]"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row(
        "real time, nominal posture to the scenario's goal",
        f"{int(bool(measured['success']))}/1",
        _number(measured["reached_at_s"], 2),
        _number(measured["final_error"], 1, 1e3),
        _number(measured["final_speed_rad_s"], 4),
    )
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        group = [outcome for outcome in outcomes if outcome.kind == kind]
        table.add_row(
            f"lock-step, {kind}s",
            f"{sum(outcome.success for outcome in group)}/{len(group)}",
            _number(np.nanmax([outcome.reached_at for outcome in group]), 2),
            _number(max(outcome.error for outcome in group), 1, 1e3),
            _number(max(outcome.speed for outcome in group), 4),
        )
    return table


def _number(value: object, digits: int, scale: float = 1.0) -> str:
    return "-" if not isinstance(value, (int, float)) else f"{scale * float(value):.{digits}f}"
