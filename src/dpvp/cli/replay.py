"""`dpvp replay`: ask the planner again what it was asked in a recorded run, as it was or changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dpvp.errors import ConfigError
from dpvp.jsonfile import to_json
from dpvp.record.replay import Replayed, Span, bounds, budgets, read_solved, summary
from dpvp.record.replay import replay as asked_again
from dpvp.record.report import RECORDING, SCENARIO, load_run
from dpvp.scenario import Scenario, load_scenario
from dpvp.view.replay_plot import ReplaySeries, draw_replay

QUICK = 200  # plans


@dataclass(frozen=True)
class ReplayArgs:
    """Ask the planner again what it was asked in a recorded run and compare the plans bit for bit.

    Without options the scenario of the run is used, and every plan does as many iterations as it did then: on the same
    machine with the same versions all come out equal. With --artifact or --set another planner is asked the same. It
    does as many iterations as its predecessor too, unless planner.kind, planner.iterations or planner.budget is
    changed: then its own budget counts.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run: runs/<time>_<scenario>."""
    artifact: str | None = None
    """Another artifact: a name below config/artifacts/ or, with a /, a path; null: none."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default_factory=tuple)
    """Change the scenario: dotted.key=value, may be given more than once."""
    since: Annotated[float, tyro.conf.arg(name="from")] = 0.0
    """Compare from here on, s after the first plan."""
    until: Annotated[float, tyro.conf.arg(name="to")] = math.inf
    """Compare up to here, s after the first plan."""
    quick: bool = False
    """Compare 200 plans at most."""
    json: Path | None = None
    """Write the figures to this file."""
    png: Path | None = None
    """Draw the two as a picture."""


def replay_run(args: ReplayArgs, console: Console) -> tuple[Scenario, list[Replayed]]:
    """Replay; return the scenario that was asked now and what came of it.

    Raises:
        ConfigError: the folder holds no run with plans, or the changed scenario is for another robot or task.
    """
    before = load_run(args.run)
    changes = ((f"artifact={args.artifact}",) if args.artifact else ()) + args.set
    after = load_scenario(str(args.run.resolve() / SCENARIO), changes)
    if (after.robot.joint_names, after.task.goal_layout) != (before.robot.joint_names, before.task.goal_layout):
        raise ConfigError(
            "--set", "scenario", " ".join(args.set), "must keep the robot and the goal that were recorded"
        )
    asked = read_solved(args.run / RECORDING, before.robot)
    span = Span(args.since, args.until, QUICK if args.quick else len(asked))
    first, last = bounds(asked, span)
    results = list[Replayed]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar, differing = progress.add_task("plans", total=last - first), 0
        for result in asked_again(asked, after, budgets(before.config.planner, after.config.planner), span):
            results.append(result)
            differing += bool(result.differs)
            progress.update(bar, advance=1, description=f"plans, {differing} differ")
    return after, results


def replay(args: ReplayArgs) -> int:
    """Replay, show and write what came of it; return 0 if all plans came out the same, else 1.

    Raises:
        ConfigError: see `replay_run`; also if not one plan could be compared.
    """
    console = Console(stderr=True)
    scenario, results = replay_run(args, console)
    figures = {"run": str(args.run), "changed": [*args.set, *([f"artifact={args.artifact}"] if args.artifact else [])]}
    figures |= summary(results)
    if args.json is not None:
        args.json.write_text(to_json(figures), encoding="utf-8")
    if not figures["compared"]:
        raise ConfigError(args.run, "run", RECORDING, "has no plan whose beginning is recorded: nothing to compare")
    if args.png is not None:
        draw_replay(_series(scenario, results), args.png)
    out = Console()
    out.print(_table(figures))
    for line in _lines(figures):
        out.print(line, soft_wrap=True, highlight=False)
    return 1 if figures["differing"] else 0


def _table(figures: dict[str, Any]) -> Table:
    table = Table(title=f"{figures['compared']} plans, asked again")
    for column in ("", "recorded", "replayed"):
        table.add_column(column, justify="left" if not column else "right")
    both = [figures["recorded"], figures["replayed"]]
    table.add_row("cost, median", *(f"{one['cost']['p50']:.6g}" for one in both))
    table.add_row("iterations, mean", *(f"{one['iterations']['mean']:.2f}" for one in both))
    table.add_row("plan time p50, ms", *(f"{one['plan_ms']['p50']:.2f}" for one in both))
    table.add_row("plan time p99, ms", *(f"{one['plan_ms']['p99']:.2f}" for one in both))
    for kind in ("status", "guess", "advice"):
        for name in dict.fromkeys(name for one in both for name in one[kind]):
            table.add_row(f"{kind} {name}", *(str(one[kind].get(name, 0)) for one in both))
    return table


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = []
    for key, text in (
        ("unanswered", "asks were never answered: the solver ended first"),
        ("unknown_start", "plans begin where a plan ended that is not in the recording: not compared"),
    ):
        if figures[key]:
            lines.append(f"{figures[key]} {text}")
    if not figures["differing"]:
        return [*lines, f"all {figures['compared']} plans are the same, bit for bit"]
    apart, first = figures["first_control_difference_nm"], figures["first_difference"]
    what = ", ".join(f"{name} in {count}" for name, count in figures["what_differs"].items())
    lines.append(f"{figures['differing']} of {figures['compared']} plans differ: {what}")
    lines.append(f"first torques differ by {apart['p50']:.3g} Nm in the median plan, by {apart['max']:.3g} Nm at most")
    lines.append(
        f"the first that differs is plan {first['number']}, {first['t_s']:.3f} s after the first: "
        f"{', '.join(first['differs'])}"
    )
    return lines


def _series(scenario: Scenario, results: Sequence[Replayed]) -> ReplaySeries:
    pairs = [(r, r.recorded.outcome.plan, r.outcome.plan) for r in results if r.recorded.outcome and r.outcome]
    limits = scenario.robot.limits.effort
    differing = sum(bool(result.differs) for result, _, _ in pairs)
    return ReplaySeries(
        title=f"{scenario.name}: {len(pairs)} plans asked again, {differing or 'none'} differ",
        t=np.array([result.t for result, _, _ in pairs]),
        cost=np.array([[plan.cost for plan in plans] for _, *plans in pairs]).T,
        ms=np.array([[1e3 * plan.timings.total for plan in plans] for _, *plans in pairs]).T,
        usable=np.array([[float(plan.status.usable) for plan in plans] for _, *plans in pairs]).T,
        apart=np.array([float(np.max(np.abs(result.control_difference) / limits)) for result, _, _ in pairs]),
    )
