"""The description of the processes as actions of `ros2 launch`; what the launch files share.

`launch` and `launch_ros` are imported inside the functions that need them: they exist on ROS machines only.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dpvp.config import validate
from dpvp.errors import EnvironmentProblem
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.ros.bringup import Bringup
from dpvp.ros.lifeline import lifeline
from dpvp.ros.processes import ProcessSpec, bringup_processes, installed, missing_packages
from dpvp.ros.security import network, secured
from dpvp.scenario import Scenario, load_scenario, scenario_names

SOURCES = {  # what apt does not have
    "hardware_unitree_sdk2": "https://github.com/legubiao/quadruped_ros2_control",
    "lbr_ros2_control": "https://github.com/lbr-stack/lbr_fri_ros2_stack",
    "odrive_ros2_control": "https://github.com/odriverobotics/ros_odrive",
}


@dataclass(frozen=True)
class LaunchArgument:
    """One argument of the launch files; no choices means any value."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


def launch_arguments(scenario: str = "kuka_reach") -> tuple[LaunchArgument, ...]:
    """Return the arguments: the scenario, with its default, then every field of `Bringup`."""
    names = ", ".join(scenario_names())
    arguments = [LaunchArgument("scenario", scenario, f"name of a scenario ({names}) or path of a scenario file")]
    for name, field in Bringup.model_fields.items():
        kind, default = field.annotation, field.get_default()
        if kind is bool:
            text, choices = str(default).lower(), ("true", "false")
        else:
            text, choices = str(default), get_args(kind) if get_origin(kind) is Literal else ()
        arguments.append(LaunchArgument(name, text, field.description or "", choices))
    return tuple(arguments)


def declared_arguments() -> list[Any]:
    """Return the arguments as actions of a launch description."""
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=f"{argument.description}.",
            choices=argument.choices or None,
        )
        for argument in launch_arguments()
    ]


def start(context: Any) -> list[Any]:
    """Read the arguments from `context`, make the run folder and return the actions that start everything.

    Raises:
        ConfigError, GoalError, ModelMismatchError: an argument, the scenario or a file cannot be used.
        EnvironmentProblem: packages are missing, each of them named, or the run folder cannot be made.
    """
    from launch.actions import LogInfo, SetEnvironmentVariable
    from launch.logging import get_logger

    given = dict(context.launch_configurations)
    for doubt in _doubts(given):
        get_logger("dpvp").warning(doubt)
    bringup = validate(Bringup, {name: given[name] for name in Bringup.model_fields}, "launch arguments")
    scenario = load_scenario(given["scenario"])
    _require_packages(bringup, bringup_processes(scenario, bringup, Path()))  # before anything is made or started
    run_dir = _run_dir(scenario, bringup)
    specs = secured(bringup_processes(resolved(scenario, run_dir), bringup, run_dir), bringup.security)
    private, warning = network(bringup.mode, bringup.security, os.environ)
    if warning:
        get_logger("dpvp").warning(warning)
    left_out = [spec for spec in specs if spec.optional and not installed(spec.package)]
    started = [spec for spec in specs if spec not in left_out]
    lines = [
        f"{scenario.name} in mode {bringup.mode}: {', '.join(spec.name for spec in started)}; run folder {run_dir}",
        *(f"{spec.name} is left out: {spec.package} is not installed ({_apt(spec.package)})" for spec in left_out),
    ]
    alone = [SetEnvironmentVariable(name, value) for name, value in private.items()]
    return [*alone, *(LogInfo(msg=line) for line in lines), *_actions(started, bringup.namespace)]


def _run_dir(scenario: Scenario, bringup: Bringup) -> Path:
    if not bringup.run_dir:
        return new_run_dir(scenario, Path("runs"))
    folder = Path(bringup.run_dir).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scenario.save(folder / "scenario.yaml")
    except OSError as error:
        raise EnvironmentProblem(f"run_dir: {folder} cannot be written ({error.strerror}); choose another") from None
    return folder


def _actions(specs: Sequence[ProcessSpec], namespace: str) -> list[Any]:
    """Return the actions that start `specs`; those with an `after` wait inside the event handler of that one."""
    from launch.actions import RegisterEventHandler
    from launch.event_handlers import OnProcessExit

    processes = {spec.name: _process(spec, namespace) for spec in specs}
    handlers = [
        RegisterEventHandler(
            OnProcessExit(
                target_action=processes[spec.name],
                on_exit=_reaction(spec, [processes[other.name] for other in specs if other.after == spec.name]),
            )
        )
        for spec in specs
        if spec.once or spec.required
    ]
    return [*handlers, *(processes[spec.name] for spec in specs if not spec.after)]


def _process(spec: ProcessSpec, namespace: str) -> Any:
    from launch.actions import ExecuteProcess
    from launch_ros.actions import Node

    # `ros2 launch` leaves its nodes behind when it gets SIGTERM or is killed: ours are told to end then
    ours = lifeline() if spec.package == "dpvp" else {}
    common: dict[str, Any] = {
        "output": "screen",
        "emulate_tty": True,
        "additional_env": ours | dict(spec.environment),
        "sigterm_timeout": str(spec.patience),
    }
    if not spec.package:
        return ExecuteProcess(cmd=[spec.executable, *spec.arguments], name=spec.name, **common)
    # no name: it would be given to every node of the process, to a manager's controllers too
    return Node(
        package=spec.package,
        executable=spec.executable,
        namespace=namespace or None,
        parameters=[*map(str, spec.parameter_files), *filter(None, (dict(spec.parameters),))],
        arguments=list(spec.arguments),
        ros_arguments=["--enclave", spec.enclave] if spec.enclave else None,
        remappings=list(spec.remappings),
        **common,
    )


def _reaction(spec: ProcessSpec, followers: list[Any]) -> Any:
    """Return what happens when the process of `spec` has ended.

    An exception inside an event handler stops the launch, is shown as its reason and makes `ros2 launch` end with 1.
    """
    from launch.actions import Shutdown

    def react(event: Any, context: Any) -> list[Any] | None:
        if context.is_shutdown:
            return None
        if event.returncode != 0:
            raise RuntimeError(f"{spec.name} ended with exit code {event.returncode} and takes all with it; see above")
        return followers if spec.once else [Shutdown(reason=f"{spec.name} has ended")]

    return react


def _require_packages(bringup: Bringup, specs: Sequence[ProcessSpec]) -> None:
    missing = missing_packages(specs)
    if not missing:
        return
    ways = {package: _apt(package) for package in missing}
    from_apt = [way for way in ways.values() if way.startswith("ros-")]
    mend = [f"{package}: {way}" for package, way in ways.items() if way not in from_apt]
    if from_apt:
        mend.insert(0, f"sudo apt install {' '.join(from_apt)}")
    if "mujoco_ros2_control" in {spec.package for spec in specs}:
        mend.append("or take dpvp's own MuJoCo world with plant:=dpvp")
    raise EnvironmentProblem(
        f"mode {bringup.mode} needs ROS packages that are not installed: {', '.join(missing)}. {'; '.join(mend)}"
    )


def _apt(package: str) -> str:
    """Return the apt package of a ROS package, or where else it comes from."""
    if package == "dpvp":
        return "build the workspace with colcon and source its install/setup.bash"
    if package in SOURCES:
        return f"build it from {SOURCES[package]}"
    return f"ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package.replace('_', '-')}"


def _doubts(given: Mapping[str, str]) -> list[str]:
    """`ros2 launch` accepts any argument: say which ones look like a slip of the pen."""
    known = [argument.name for argument in launch_arguments()]
    close = {name: difflib.get_close_matches(name, known, 1, 0.7) for name in given if name not in known}
    return [f"argument {name} is unknown and ignored; is {hit[0]} meant?" for name, hit in close.items() if hit]
