"""What the parameter files of ros2_control say, checked against the robot before anything is started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpvp.config import read_yaml
from dpvp.description import Mode
from dpvp.errors import ConfigError
from dpvp.robot import Robot

FEEDBACK = "linear_feedback_controller"  # name of the controller and of its package
ESTIMATOR, DAMPING = "joint_state_estimator", "damping_controller"
MANAGER = "controller_manager"
GAZEBO_STEPS = 1000  # physics steps per second of config/gazebo/world.sdf


@dataclass(frozen=True)
class Succession:
    """Who commands the joints, and who takes over from it.

    Attributes:
        chain: the feedback law, then the controllers that feed it.
        fallbacks: what damps instead.
    """

    chain: tuple[str, ...] = (FEEDBACK, ESTIMATOR)
    fallbacks: tuple[str, ...] = (DAMPING,)


@dataclass(frozen=True)
class ControllerGroup:
    """Controllers that one spawner loads: their names, its option, and the packages that hold them."""

    name: str
    controllers: tuple[str, ...]
    option: str
    packages: tuple[str, ...]


def controller_groups(files: Sequence[Path], robot: Robot, mode: Mode) -> tuple[ControllerGroup, ...]:
    """Return what is to be spawned, one group after the other, of the controllers in `files`.

    First the broadcasters. Then the fallbacks, loaded but inactive: a fallback has to be configured before the
    controller that falls back to it. At last, as one group, the feedback law with the estimators that feed it, which
    are the controllers of its package. Controllers that are none of these are left to the user.

    Args:
        files: ROS parameter files with keys such as `/**/controller_manager`; later ones override earlier ones.
        robot: must be the one that the files are written for.
        mode: decides what an effort command means.

    Raises:
        ConfigError: the files are for another robot or another meaning of effort, or there is nothing to fall back to.
    """
    nodes, file = _node_parameters(files), ", ".join(map(str, files))
    manager = nodes.get(MANAGER, {})
    types = {name: str(given["type"]) for name, given in manager.items() if isinstance(given, dict) and "type" in given}
    _check_feedback(file, nodes.get(FEEDBACK, {}), robot, mode)
    _check_rate(file, manager.get("update_rate"), mode)
    # the one that receives comes before those that feed it
    chain = sorted((name for name, kind in types.items() if kind.startswith(f"{FEEDBACK}/")), key=FEEDBACK.__ne__)
    fallbacks = _fallbacks(manager, chain)
    if not fallbacks or not all(isinstance(name, str) and name in types for name in fallbacks):
        reason = "must name controllers of this file that take over when the chain fails, for example one that damps"
        raise ConfigError(file, f"{MANAGER}.{FEEDBACK}.fallback_controllers", fallbacks, reason)
    members = (
        ("spawn_broadcasters", [name for name, kind in types.items() if kind.endswith("Broadcaster")], ""),
        ("spawn_fallback", fallbacks, "--inactive"),
        ("spawn_feedback", chain, "--activate-as-group"),
    )
    return tuple(
        ControllerGroup(name, tuple(controllers), option, _packages(types[controller] for controller in controllers))
        for name, controllers, option in members
        if controllers
    )


def succession(files: Sequence[Path]) -> Succession:
    """Return who takes over from whom in parameter files that `controller_groups` accepts.

    Only what feeds the law goes with it. The law's package has estimators for other ends too, such as one that tells a
    driver where the arm is: without it the driver would pull the arm back to where it was taken over.
    """
    nodes = _node_parameters(files)
    prefix = f"{FEEDBACK}/"
    writes = {name: given.get("command_interfaces") or () for name, given in nodes.items()}
    chain = (FEEDBACK, *(name for name in writes if any(each.startswith(prefix) for each in writes[name])))
    return Succession(chain, tuple(_fallbacks(nodes.get(MANAGER, {}), chain)))


def _fallbacks(manager: Mapping[str, Any], chain: Iterable[str]) -> list[Any]:
    """Return what the file names as fallbacks of `chain`, each once, whatever it is."""
    named = [manager[member].get("fallback_controllers") for member in chain]
    fallbacks = [name for names in named if isinstance(names, list) for name in names]
    return [name for i, name in enumerate(fallbacks) if name not in fallbacks[:i]]


def _packages(types: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind.partition("/")[0] for kind in types))


def _node_parameters(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return node -> its parameters, those of later files over those of earlier ones."""
    merged: dict[str, dict[str, Any]] = {}
    for file in files:
        for key, content in read_yaml(file).items():
            given = content.get("ros__parameters") if isinstance(content, dict) else None
            if not isinstance(given or {}, dict):
                raise ConfigError(file, f"{key}.ros__parameters", given, "must be a mapping of parameters to values")
            merged.setdefault(key.rpartition("/")[2], {}).update(given or {})
    return merged


def _check_feedback(file: str, feedback: Mapping[str, Any], robot: Robot, mode: Mode) -> None:
    wanted = {
        "moving_joint_names": list(robot.joint_names),  # in this order: gains carry no names
        "remove_gravity_compensation_effort": robot.effort[mode] == "over_gravity",
    }
    for key, value in wanted.items():
        if feedback.get(key) != value:
            reason = f"must be {value} for {robot.name} in mode {mode}; another file is given as controllers_file"
            raise ConfigError(file, f"{FEEDBACK}.{key}", feedback.get(key), reason)


def _check_rate(file: str, rate: object, mode: Mode) -> None:
    if mode == "gazebo" and not (isinstance(rate, int) and rate > 0 and GAZEBO_STEPS % rate == 0):
        reason = f"must divide the {GAZEBO_STEPS} physics steps that Gazebo takes per second"
        raise ConfigError(file, f"{MANAGER}.update_rate", rate, reason)
