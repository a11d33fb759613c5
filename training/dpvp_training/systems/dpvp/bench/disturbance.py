"""Study: the arm in MuJoCo, pushed and other than its model, with and without what was learned.

The plant runs at the scenario's feedback rate with the runtime's own feedback law, plans come at its plan rate and are
followed one period after they were asked for. Two parts:

- pushes: four short forces on the end effector at the times of the published figure `mpc_disturbance` (Parag et al.,
  ICRA 2022), each scaled for each way to plan until the end effector is thrown off as far as it was there.
- errors: random starts; what is at the end effector, inertias and, in a second case, the masses of the links are wrong,
  torques are noisy and the sensor is late. Every way to plan meets the same.

There is no integral action: an arm that is heavier than its model ends off its goal, whoever plans.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dpvp.bench.plant import Course, Disturbance, DisturbedLoop, Push
from dpvp.bench.variants import Variant
from dpvp.bench.worker import Job
from dpvp.errors import ConfigError
from dpvp.learned.artifact import artifact_folder
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.reach import ReachConfig
from dpvp.view.bench_plot import draw_disturbance
from dpvp_training.core.executor import LocalExecutor
from dpvp_training.systems.dpvp.bench.report import Results, new_progress, output

PUSH_TIMES = (1.0, 3.6, 5.8, 8.0)  # s
PUSH_SECONDS, PEAK = 0.1, 0.2  # s; m, how far the end effector is thrown off
DIRECTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0))  # of the pushes, axes of the world
AFTER = 3.0  # s simulated after the last push
SETTLED, CALIBRATION = 0.2, 1.0  # s: by then the law follows plans and a force can be tried, and how long is watched
FIRST_FORCE, TRIES = 80.0, 3  # N; peaks grow almost in proportion, so that few tries find a force
BACK = 0.01  # m, when the end effector counts as back


@dataclass(frozen=True)
class Args:
    """Pushes, and errors of the model, in MuJoCo."""

    task: str = "kuka_reach"
    """Scenario."""
    artifact: str | None = None
    """Artifact; that of the scenario or else that with its name if absent."""
    count: int = 100
    """Runs with errors of each kind, for every way to plan."""
    pushes: int = len(PUSH_TIMES)
    """The first so many of the four pushes."""
    error: float = 0.2
    """Share by which masses and inertias are wrong at most."""
    noise: float = 0.001
    """Standard deviation of white torque noise at the plant's rate, as a share of each joint's limit."""
    sensor_delay: float = 0.004
    """Age of what the sensor shows in the runs with errors, s."""
    plan_delay: float | None = None
    """From asking for a plan to following it, s; one plan period if absent."""
    workers: int | None = None
    """Processes."""
    seed: int = 0
    """Of the starts, the errors and the noise."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/disturbance_<task>.json if absent."""
    png: Path | None = None
    """File for the picture; beside the results if absent."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default_factory=tuple)
    """Change the scenario: dotted.key=value, may be given more than once."""


@dataclass(frozen=True)
class _Item:
    """One run with errors: how to plan, what is wrong, and the seed of everything that is drawn."""

    job: Job
    disturbance: Disturbance
    seed: tuple[int, int]


def run(args: Args) -> int:
    """Measure; exit code 0."""
    scenario = load_scenario(args.task, args.set)
    artifact = args.artifact or scenario.config.artifact or scenario.name
    folder = artifact_folder(artifact).resolve()
    scenario = Scenario(scenario.name, scenario.config.model_copy(update={"artifact": str(folder)}), scenario.file)
    jobs = {name: Job.of(scenario, way) for name, way in _ways(scenario).items()}
    file = output(args.json, "disturbance", scenario.name)
    results = Results(file, "disturbance", {"artifact": artifact} | _conditions(args, scenario))
    times = PUSH_TIMES[: args.pushes]
    if times:
        function = functools.partial(_pushed, times=times, plan_delay=args.plan_delay)
        _measure(results, args, "pushes", function, [({"way": way}, job) for way, job in jobs.items()])
    items = [
        ({"case": case, "way": way, "number": number}, _Item(job, wrong, (args.seed, number)))
        for number in range(args.count)
        for case, wrong in _cases(args).items()
        for way, job in jobs.items()
    ]
    _measure(results, args, "errors", _follow, items)
    results.set("summary", summaries(results.content["rows"]))
    draw_disturbance(results.content, args.png or file.with_suffix(".png"))
    for table in _tables(results.content):
        Console().print(table)
    return 0


def summaries(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum up the runs with errors, case by case and way by way; one that crashed has no success and is lost."""
    errors, found = [row for row in rows if row["part"] == "errors"], []
    for case, way in dict.fromkeys((row["case"], row["way"]) for row in errors):
        own = [row for row in errors if (row["case"], row["way"]) == (case, way)]
        final = np.array([row["final_error"] for row in own])
        p10, p50, p90, worst = np.percentile(final, (10, 50, 90, 100), method="higher").tolist()
        found.append(
            {
                "case": case,
                "way": way,
                "runs": len(own),
                "success_rate": float(np.mean([row["success"] for row in own])),
                "within_1cm": float(np.mean(final < BACK)),
                "final_error": {"p10": p10, "p50": p50, "p90": p90, "worst": worst},
            }
        )
    return found


def _ways(scenario: Scenario) -> dict[str, Variant]:
    """Return the ways to plan that are compared, by name; the planner is the scenario's."""
    kind = scenario.config.planner.kind
    return {
        f"{kind} T=10, learned value and policy": Variant(kind, 10, "value", "policy"),
        f"{kind} T=10, quadratic": Variant(kind, 10, "quadratic", "shift"),
        f"{kind} T=30, quadratic": Variant(kind, 30, "quadratic", "shift"),
    }


def _cases(args: Args) -> dict[str, Disturbance]:
    """Return what is wrong with the arm, by name."""
    known = Disturbance(
        payload=args.error,
        inertia=args.error,
        noise=args.noise,
        sensor_delay=args.sensor_delay,
        plan_delay=args.plan_delay,
    )
    return {"masses of links as modelled": known, "masses of links wrong": replace(known, mass=args.error)}


def _reach(scenario: Scenario) -> ReachConfig:
    task = scenario.config.task
    if not isinstance(task, ReachConfig):
        raise ConfigError(scenario.file, "task.kind", task.kind, "must be reach: nothing else is disturbed here")
    return task


def _conditions(args: Args, scenario: Scenario) -> dict[str, object]:
    rates, limit, success = scenario.config.rates, scenario.config.run, _reach(scenario).success
    return {
        "task": scenario.name,
        "planner": scenario.config.planner.kind,
        "iterations": 1,
        "plan_hz": rates.plan,
        "feedback_hz": rates.feedback,
        "plan_delay": 1.0 / rates.plan if args.plan_delay is None else args.plan_delay,
        "cases": {name: asdict(wrong) for name, wrong in _cases(args).items()},
        "push_seconds": PUSH_SECONDS,
        "success": success.model_dump() | {"within": limit.within, "for": limit.settle},
        "final_error": f"mean of the last {limit.settle:g} s of {limit.within + limit.settle:g} s",
        "count": args.count,
        "seed": args.seed,
    }


def _measure(
    results: Results,
    args: Args,
    part: str,
    function: Callable[[Any], dict[str, Any]],
    items: Sequence[tuple[dict[str, Any], Any]],
) -> None:
    """Add the row of every item, which is its labels and what `function` makes of the rest, as it becomes known."""
    with LocalExecutor(args.workers) as executor, new_progress() as progress:
        bar = progress.add_task(part, total=len(items))
        for index, row in executor.map(function, [item for _, item in items]):
            labels = {"part": part, **items[index][0]}
            results.add(labels | (row or {"crashed": True, "success": False, "final_error": np.inf}))
            progress.update(bar, advance=1, description=_progress(part, results.content["rows"]))


def _progress(part: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if part == "pushes":
        return part
    own = [row["success"] for row in rows if row["part"] == part]
    return f"{part}: {sum(own)} of {len(own)} at the goal"


def _pushed(job: Job, times: tuple[float, ...], plan_delay: float | None) -> dict[str, Any]:
    """Hold the scenario's goal under pushes at `times`, s."""
    loop = _loop(job)
    scenario = loop.scenario
    start = np.concatenate([_reach(scenario).starts.centre, np.zeros(scenario.robot.nv)])

    def follow(pushes: tuple[Push, ...], seconds: float) -> Course:
        disturbance = Disturbance(pushes=pushes, plan_delay=plan_delay)
        return loop.run(start, np.array(scenario.goal), seconds, disturbance, np.random.default_rng(0))

    def push(at: float, direction: tuple[float, ...], size: float) -> Push:
        return Push(at, PUSH_SECONDS, tuple(size * part for part in direction))

    pushes = list[Push]()
    for at, direction in zip(times, DIRECTIONS, strict=False):
        size = FIRST_FORCE
        for _ in range(TRIES):
            course = follow((push(SETTLED, direction, size),), CALIBRATION)
            size *= PEAK / float(np.max(course.error))
        pushes.append(push(at, direction, size))
    course = follow(tuple(pushes), times[-1] + AFTER)
    ends = [*times[1:], np.inf]
    return {
        "pushes": [asdict(p) | course.recovery(p.at, end, BACK) for p, end in zip(pushes, ends, strict=True)],
        "t": np.round(course.t, 4).tolist(),
        "error": np.round(course.error, 6).tolist(),
        **_counts(course),
    }


def _follow(item: _Item) -> dict[str, Any]:
    """Go from a random start to the scenario's goal with everything wrong that the item says."""
    loop, rng = _loop(item.job), np.random.default_rng(item.seed)
    limit = loop.scenario.config.run
    start, goal = loop.scenario.task.sample_start(rng), np.array(loop.scenario.goal)
    course = loop.run(start, goal, limit.within + limit.settle, item.disturbance, rng)
    reached_at = course.reached_at(limit.settle)
    last = course.t > course.t[-1] - limit.settle
    return {
        "success": reached_at <= limit.within,
        "reached_at": reached_at,
        "final_error": float(np.mean(course.error[last])),
        **_counts(course),
    }


@functools.lru_cache(maxsize=3)
def _loop(job: Job) -> DisturbedLoop:
    return DisturbedLoop(job.scenario())


def _counts(course: Course) -> dict[str, Any]:
    counts = {name: dict(getattr(course, name)) for name in ("statuses", "guesses", "advice")}
    return {**counts, "held": course.held}


def _tables(content: Mapping[str, Any]) -> list[Table]:
    pushes = Table(title="pushes")
    for column in ("way to plan", "force [N]", "peak [m]", "back within 1 cm after [s]"):
        pushes.add_column(column, justify="left" if column == "way to plan" else "right")
    for row in content["rows"]:
        for push in row.get("pushes", ()):
            force = float(np.linalg.norm(push["force"]))
            pushes.add_row(row["way"], f"{force:.0f}", f"{push['peak']:.3f}", f"{push['back_after']:.2f}")
    errors = Table(title="errors of the model, noise and delay")
    for column in ("case", "way to plan", "success", "final error p10 [mm]", "p50", "p90", "worst"):
        errors.add_column(column, justify="left" if column in ("case", "way to plan") else "right")
    for row in content["summary"]:
        figures = (f"{1e3 * value:.1f}" for value in row["final_error"].values())
        errors.add_row(row["case"], row["way"], f"{100 * row['success_rate']:.0f} %", *figures)
    return [pushes, errors]
