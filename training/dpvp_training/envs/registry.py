"""What can be learned, by name: the benchmark systems, and the scenarios whose task has a geometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dpvp.config import override, validate
from dpvp.errors import ConfigError
from dpvp.scenario import load_scenario, scenario_names
from dpvp.tasks.reach import ReachTask
from dpvp.tasks.task import Task
from dpvp.tasks.track import TrackTask
from dpvp_training.envs.cartpole import CartpoleConfig, CartpoleTask
from dpvp_training.envs.double_pendulum import DoublePendulumConfig, DoublePendulumTask
from dpvp_training.envs.pendulum import PendulumConfig, PendulumTask
from dpvp_training.envs.problem import Geometry, Problem
from dpvp_training.envs.quadrotor import QuadrotorConfig, QuadrotorTask
from dpvp_training.envs.reach import ReachGeometry
from dpvp_training.envs.system import SystemConfig, SystemTask
from dpvp_training.envs.track import TrackGeometry
from dpvp_training.envs.unicycle import UnicycleConfig, UnicycleTask

_SYSTEMS: dict[str, tuple[Callable[[], SystemConfig], Callable[[Any], SystemTask]]] = {
    "cartpole": (CartpoleConfig, CartpoleTask),
    "double_pendulum": (DoublePendulumConfig, DoublePendulumTask),
    "pendulum": (PendulumConfig, PendulumTask),
    "quadrotor": (QuadrotorConfig, QuadrotorTask),
    "unicycle": (UnicycleConfig, UnicycleTask),
}


def system_names() -> list[str]:
    """Names of the benchmark systems, sorted."""
    return sorted(_SYSTEMS)


def problem_names() -> list[str]:
    """Names that `load_problem` knows, sorted; it also takes the path of a scenario."""
    return sorted([*_SYSTEMS, *(name for name in scenario_names() if _geometry(load_scenario(name).task))])


def load_system(name: str, overrides: tuple[str, ...] = ()) -> SystemTask:
    """Load a benchmark system; `overrides` are `dotted.key=value` each, such as `costs.effort=0.1`.

    Raises:
        ConfigError: unknown name or key, or an unusable value.
    """
    if name not in _SYSTEMS:
        raise ConfigError("training", "system", name, f"must be one of {', '.join(system_names())}")
    make_config, make_task = _SYSTEMS[name]
    default = make_config()
    content = default.model_dump()
    for text in overrides:
        override(content, text)
    return make_task(validate(type(default), content, name))


def load_problem(name: str, overrides: tuple[str, ...] = ()) -> Problem:
    """Load a problem.

    Args:
        name: one of `problem_names()`, or the path of a scenario that ends in .yaml.
        overrides: `dotted.key=value` each, the value in YAML: of the system's configuration, such as
            `costs.effort=0.1`, or of the scenario.

    Raises:
        ConfigError: unknown name or key, an unusable value, or a scenario that nobody can learn yet.
        GoalError: the default goal is not one that the task accepts.
    """
    if name in _SYSTEMS:
        task = load_system(name, overrides)
        return Problem(name, task, task.check_goal(task.config.goal), task.geometry())
    if name not in scenario_names() and not name.endswith((".yaml", ".yml")):
        expected = f"must be one of {', '.join(problem_names())} or a path to a scenario's .yaml"
        raise ConfigError("training", "task", name, expected)
    scenario = load_scenario(name, overrides)
    geometry = _geometry(scenario.task)
    if geometry is None:
        raise ConfigError(scenario.file, "task.kind", scenario.task.kind, f"needs a geometry in {__package__}")
    return Problem(scenario.name, scenario.task, np.array(scenario.goal), geometry)


def _geometry(task: Task) -> Geometry | None:
    if isinstance(task, ReachTask):
        return ReachGeometry(task.robot)
    return TrackGeometry(task) if isinstance(task, TrackTask) else None
