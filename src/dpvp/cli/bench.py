"""`dpvp bench`: planners against the optimum, and loop rates through the real nodes; JSON and PNG."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from dpvp.errors import DpvpError
from dpvp.record.rundir import new_run_dir
from dpvp.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from dpvp.bench.results import Results
    from dpvp.bench.variants import Variant
    from dpvp.bench.worker import Worker
    from dpvp.plan import Array


@dataclass(frozen=True)
class BenchArgs:
    """Measure planners, horizons, ends of horizons, guesses and rates.

    Closed loop: ways to plan on the task's own dynamics, one iteration a plan; the cost is compared with that of the
    whole motion solved to convergence. Rates: the real nodes at 100, 250, 500 and 1000 Hz. What an artifact has learned
    takes part where the scenario has one: --set artifact=FOLDER.
    """

    scenario: Annotated[str, tyro.conf.Positional] = "kuka_reach"
    """Name of a scenario or path of a scenario file."""
    quick: bool = False
    """A look within three minutes: three random starts instead of twenty, horizons of 5, 10 and 20, fewer rates."""
    starts: int | None = None
    """Random starts, if neither twenty nor three."""
    json: Path | None = None
    """File for the results; bench.json in the run's own folder if absent."""
    png: Path | None = None
    """File for the picture; bench.png in the run's own folder if absent."""
    runs: Path = Path("runs")
    """Folder in which the run's own folder is made."""
    seed: int = 0
    """Seed of the random starts and goals."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default_factory=tuple)
    """Change the scenario: dotted.key=value, may be given more than once."""


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        horizons: of the planners, nodes.
        starts: random ones, besides the nominal posture.
        steps: of a trial.
        rate_seconds: for each rate; 0 measures none.
        peer_seconds: for the rate of the nearest peer, which also tells how old states are when they have become
            commands.
        few_rates: rates of the shortest horizon and of the longest only.
    """

    horizons: tuple[int, ...] = (3, 5, 10, 20, 50, 100)
    starts: int = 20
    steps: int = 200
    rate_seconds: float = 10.0
    peer_seconds: float = 20.0
    few_rates: bool = False


FULL = Extent()
QUICK = Extent(horizons=(5, 10, 20), starts=3, rate_seconds=5.0, peer_seconds=5.0, few_rates=True)


def bench(args: BenchArgs) -> int:
    """Measure; exit code 0 if everything could be measured, whatever came of it."""
    console = Console(stderr=True)
    scenario = load_scenario(args.scenario, args.set)
    run_dir = new_run_dir(scenario, args.runs)
    file = args.json or run_dir / "bench.json"
    console.print(f"{scenario.name}: measuring; results go to {file}, logs to {run_dir}")
    extent = QUICK if args.quick else FULL
    if args.starts is not None:
        extent = replace(extent, starts=args.starts)
    return measure(scenario, extent, args.seed, file, args.png or file.with_suffix(".png"), run_dir)


def measure(scenario: Scenario, extent: Extent, seed: int, file: Path, png: Path, run_dir: Path) -> int:
    """Measure `extent` on `scenario`, write `file` (JSON) and `png`, print the tables; return the exit code."""
    from dpvp.bench.results import Results
    from dpvp.bench.worker import Worker
    from dpvp.view.bench_plot import draw_bench

    console = Console(stderr=True)
    results = Results(file, scenario.name, _conditions(scenario, extent, seed))
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        with Worker(run_dir / "solver.log") as worker:
            good = _closed_loops(scenario, extent, seed, results, worker, progress)
        if extent.rate_seconds > 0.0:
            good = _rates(scenario, extent, seed, results, run_dir, progress) and good
    draw_bench(results.content, png)
    for table in _tables(results.content):
        Console().print(table)
    console.print(f"results: {file}, picture: {png}")
    return 0 if good else 1


def draw_starts(scenario: Scenario, count: int, seed: int) -> list[Array]:
    """Return the nominal posture at rest and `count` random starts, (nx,) each."""
    robot, rng = scenario.robot, np.random.default_rng(seed)
    nominal = np.concatenate([robot.nominal, np.zeros(robot.nv)])
    return [nominal, *(scenario.task.sample_start(rng) for _ in range(count))]


def _conditions(scenario: Scenario, extent: Extent, seed: int) -> dict[str, object]:
    from dpvp.bench.closed_loop import FIRST_ITERATIONS

    return {
        "steps": extent.steps,
        "dt": scenario.task.dt,
        "iterations_per_plan": 1,
        "iterations_of_first_plan": FIRST_ITERATIONS,
        "starts": 1 + extent.starts,
        "seed": seed,
        "goal": list(scenario.goal),
        "artifact": _artifact(scenario),
        "reference": "whole trial, no terminal cost, no hard limits, FDDP to convergence, better of two starts",
    }


def _artifact(scenario: Scenario) -> dict[str, object] | None:
    """Say what the learned parts are."""
    from dpvp.learned.artifact import artifact_folder
    from dpvp.learned.contract import FILE, read_contract

    if (name := scenario.config.artifact) is None:
        return None
    contract = read_contract(artifact_folder(name) / FILE)
    hashes = {head: graph.sha256 for head, graph in contract.graphs.items()}
    return {"name": name, "commit": contract.training.commit, "seed": contract.training.seed, "sha256": hashes}


def _closed_loops(
    scenario: Scenario, extent: Extent, seed: int, results: Results, worker: Worker, progress: Progress
) -> bool:
    from dpvp.bench.closed_loop import CRASHED, closed_loop_row
    from dpvp.bench.reference import NO_REFERENCE, reference_row
    from dpvp.bench.variants import variants
    from dpvp.bench.worker import Job, run_trial, solve_reference

    starts, goal = draw_starts(scenario, extent.starts, seed), np.array(scenario.goal)
    ways = list(variants(scenario.config, extent.horizons))
    bar = progress.add_task("the optimum", total=len(starts) * (1 + len(ways)))
    job = Job.of(scenario, steps=extent.steps)
    references = []
    for start in starts:
        references.append(worker.call(solve_reference, job, start, goal) or NO_REFERENCE)
        progress.advance(bar)
    results.add_row(reference_row(references, extent.steps))
    optimum = [reference.cost for reference in references]
    for way in ways:
        job, trials = Job.of(scenario, way, extent.steps), []
        for start in starts:
            trials.append(worker.call(run_trial, job, start, goal) or CRASHED)
            row = closed_loop_row(way, trials, optimum[: len(trials)])
            _show_row(progress, bar, way, row)
        results.add_row(row)
    return all(reference.converged for reference in references)


def _show_row(progress: Progress, bar: TaskID, way: Variant, row: dict[str, Any]) -> None:
    ratio, time = row["cost_ratio"]["mean"], row["solve_ms"]["p50"]
    name = f"{way.planner} T={way.horizon} {way.terminal} {way.guess}"
    progress.update(bar, advance=1, description=f"{name}: {_number(ratio, 3)} x optimum, {_number(time, 1)} ms")


def _rates(scenario: Scenario, extent: Extent, seed: int, results: Results, run_dir: Path, progress: Progress) -> bool:
    from dpvp.bench.rates import measure_rate, rate_cases
    from dpvp.bench.variants import rate_variants

    cases = list(rate_cases(scenario.config, rate_variants(scenario.config, few=extent.few_rates)))
    bar, good = progress.add_task("loop rates", total=len(cases)), True
    for case in cases:
        planner = case.config.planner
        name = f"{case.hz:g} Hz {planner.kind} T={planner.horizon} {planner.terminal.kind}"
        progress.update(bar, description=name)
        try:
            seconds = extent.peer_seconds if case.label else extent.rate_seconds
            row: dict[str, Any] = measure_rate(case, scenario.name, seconds, run_dir / "rates", seed)
        except DpvpError as error:
            progress.console.print(f"[red]{name}:[/red] {error}")
            good = False
            continue
        results.add_rate(row)
        missed, time = row["missed_share"], row["solve_ms"]["p50"]
        description = f"{name}: {_number(100 * missed, 2)} % missed, {_number(time, 1)} ms"
        progress.update(bar, advance=1, description=description)
    return good


def _tables(content: dict[str, Any]) -> list[Table]:
    rows = Table(title=f"{content['scenario']}: closed loop, cost relative to the optimum")
    for column in ("planner", "T", "terminal", "guess", "p50 [ms]", "p99 [ms]", "mean", "worst", "reached"):
        rows.add_column(column, justify="left" if column in ("planner", "terminal", "guess") else "right", no_wrap=True)
    for row in content["rows"]:
        figures = (*row["solve_ms"].values(), *row["cost_ratio"].values())
        numbers = (_number(value, digits) for value, digits in zip(figures, (2, 2, 3, 3), strict=True))
        reached = f"{round(row['success_rate'] * row['starts'])}/{row['starts']}"
        words = ("optimum", "") if row["label"] == "reference" else (row["terminal"], row["guess"])
        rows.add_row(row["planner"], str(row["horizon"]), *words, *numbers, reached)
    rates = Table(title="loop rates through the nodes")
    times = ("plan p50 [ms]", "p99", "state age p50 [ms]", "p99")
    for column in ("planner", "T", "terminal", "Hz", "missed [%]", *times, ""):
        rates.add_column(column, justify="left" if column in ("planner", "terminal", "") else "right")
    for row in content["rates"]:
        figures = (100 * row["missed_share"], *row["solve_ms"].values(), *row["state_age_ms"].values())
        numbers = (_number(value, 2) for value in figures)
        way = (row["planner"], str(row["horizon"]), row["terminal"])
        rates.add_row(*way, f"{row['hz']:g}", *numbers, row["label"])
    return [rows, rates] if content["rates"] else [rows]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"
