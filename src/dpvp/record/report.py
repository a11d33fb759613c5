"""A recorded run, read back: the series behind its picture and its metrics, and both drawn and written anew."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.plan import Array
from dpvp.record.feed import Goal, RunFeed, Sample
from dpvp.record.metrics import STAMP_TRUSTED, RunMetrics, write_metrics
from dpvp.record.recording import read_messages, recover
from dpvp.record.rundir import new_run_dir
from dpvp.scenario import Scenario, load_scenario
from dpvp.untrusted import LARGEST_TEXT, parse_json, read_bounded
from dpvp.view.plots import RunSeries, draw_run

log = logging.getLogger(__name__)

SCENARIO, RECORDING, METRICS, PICTURE = "scenario.yaml", "run.mcap", "metrics.json", "run.png"
_DRAWN_STATES = 20_000  # a longer run is drawn with every second, third, ... state
_NAME = re.compile(r"[\w.+-]{1,100}")  # of a scenario, as it can be the name of a file
_TIME_PREFIX = re.compile(r"^[\dT:.\-]+_(?=.)")


def open_run(scenario: str, folder: str) -> tuple[Scenario, Path]:
    """Return the scenario and the folder of a run that begins, the folder with `scenario.yaml` in it.

    Args:
        scenario: name of a scenario or path of its file.
        folder: made if missing; empty: `runs/<time>_<scenario>` below the working directory.

    Raises:
        ConfigError: the scenario cannot be used.
        EnvironmentProblem: the folder cannot be written.
    """
    loaded = load_scenario(scenario)
    loaded.name = _TIME_PREFIX.sub("", loaded.name)
    if not folder:
        return loaded, new_run_dir(loaded, Path("runs"))
    path = Path(folder).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not (path / SCENARIO).exists():
            loaded.save(path / SCENARIO)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be the folder of a run ({error.strerror}); choose another") from None
    return loaded, path


def load_run(folder: Path) -> Scenario:
    """Return the scenario of the run in `folder`.

    Raises:
        ConfigError: the folder does not hold a run.
    """
    for name in (SCENARIO, RECORDING):
        if not (folder / name).is_file():
            raise ConfigError(folder, "run", name, "is missing here; give the folder of a run, runs/<time>_<scenario>")
    scenario = load_scenario(str(folder.resolve() / SCENARIO))
    scenario.name = _recorded_name(folder) or _TIME_PREFIX.sub("", scenario.name)
    return scenario


def _recorded_name(folder: Path) -> str:
    """Return what the recorder called the scenario; empty if that is not known."""
    try:
        name = parse_json(read_bounded(folder / METRICS, LARGEST_TEXT).decode("utf-8"))["scenario"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def read_run(folder: Path) -> tuple[RunMetrics, RunSeries]:
    """Read the recording in `folder` from its first message to its last whole one.

    Raises:
        ConfigError: the folder does not hold a run.
    """
    scenario = load_run(folder)
    metrics = RunMetrics(scenario, folder)
    feed = RunFeed(scenario.robot, metrics)
    states, goals = list[tuple[float, Sample]](), list[tuple[float, Goal]]()
    scalars: dict[str, list[tuple[float, float]]] = {"mpc_node/plan_ms": [], "world_node/state_age_ms": []}
    for full_name, when, message in read_messages(folder / RECORDING, lambda name: feed.topic_of(name) is not None):
        topic = feed.topic_of(full_name)
        if topic is None:
            continue
        taken = feed.take(topic, message)
        if isinstance(taken, Sample):
            states.append((when, taken))
        elif isinstance(taken, Goal):
            goals.append((when, taken))
        elif taken is not None:
            scalars[topic].append((when, taken))
    return metrics, _series(scenario, metrics, states, goals, scalars)


def write_report(folder: Path) -> dict[str, Any]:
    """Write the metrics and the picture of the run in `folder` anew and return the metrics; see `rebuild`."""
    return rebuild(folder)[0]


def rebuild(folder: Path) -> tuple[dict[str, Any], RunSeries]:
    """Mend the recording in `folder` if it was cut off, write its metrics and picture anew, return what they show.

    Raises:
        ConfigError: the folder does not hold a run.
    """
    load_run(folder)
    recover(folder / RECORDING)
    metrics, series = read_run(folder)
    summary = metrics.summary()
    write_metrics(folder / METRICS, summary)
    draw_run(series, folder / PICTURE)
    return summary, series


def _series(
    scenario: Scenario,
    metrics: RunMetrics,
    states: list[tuple[float, Sample]],
    arrived: list[tuple[float, Goal]],
    scalars: dict[str, list[tuple[float, float]]],
) -> RunSeries:
    """Put what was read on one time axis that starts with the first goal, or with the first state if there is none."""
    robot, config = scenario.robot, scenario.config
    goals = [(_set_at(when, goal.stamp, states), goal.numbers) for when, goal in arrived]
    starts = [when for when, _ in goals[:1] or states[:1]]
    begin = starts[0] if starts else 0.0
    reached = next((when - begin for when, s in states if s.t >= metrics.reached_since), math.nan)
    states = states[:: max(1, math.ceil(len(states) / _DRAWN_STATES))]
    unknown = np.full(robot.nu, math.nan)
    plans, ages = (np.array(scalars[name]).reshape(-1, 2) for name in scalars)
    summary = metrics.summary()
    return RunSeries(
        title=scenario.name,
        joint_names=robot.joint_names,
        t=np.array([when - begin for when, _ in states]),
        error=np.array([_error(scenario, when, sample, goals) for when, sample in states]),
        velocity=np.array([sample.v[-robot.nu :] for _, sample in states]).reshape(-1, robot.nu),
        effort=np.array([unknown if s.effort is None else s.effort for _, s in states]).reshape(-1, robot.nu),
        velocity_limit=robot.limits.velocity,
        effort_limit=robot.limits.effort,
        plan_t=plans[:, 0] - begin,
        plan_ms=plans[:, 1],
        age_t=ages[:, 0] - begin,
        age_ms=ages[:, 1],
        period_ms=1e3 / config.rates.plan,
        goal_t=np.array([when - begin for when, _ in goals]),
        reached_t=reached,
        reached_after=summary["reached_at_s"],
        success_error=scenario.task.tolerance,
        final_error=summary["final_error"],
        error_unit=scenario.task.error_unit,
        begin=begin,
    )


def _set_at(arrival: float, stamp: float, states: list[tuple[float, Sample]]) -> float:
    """Return the log time at which a goal counts; the rule is that of `RunMetrics`."""
    for when, sample in states:
        if stamp == 0.0:
            return min(arrival, when)
        if (late := sample.t - stamp) >= 0.0:
            return min(arrival, when - late) if late < STAMP_TRUSTED else arrival
    return arrival


def _error(scenario: Scenario, when: float, sample: Sample, goals: list[tuple[float, Array]]) -> float:
    """Return the error towards the goal that was set at log time `when`; NaN before the first."""
    goal = next((p for since, p in reversed(goals) if since <= when), None)
    task = scenario.task
    return math.nan if goal is None else task.error(np.concatenate([sample.q, sample.v]), task.later(goal, sample.t))
