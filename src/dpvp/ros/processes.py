"""Which processes a scenario needs: one description that feeds `dpvp run` and the launch files alike."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dpvp.config import read_yaml, share_directory
from dpvp.description import robot_urdf, xacro_arguments
from dpvp.errors import ConfigError
from dpvp.realtime import realtime
from dpvp.ros.bringup import Bringup
from dpvp.ros.controllers import FEEDBACK, ControllerGroup, controller_groups, succession
from dpvp.scenario import Scenario

_MANAGER_PATIENCE = "60"  # s in which a simulator must have loaded the controller manager
_PLUGIN_PACKAGES = {"gazebo": "gz_ros2_control", "topic": "joint_state_topic_hardware_interface"}
IMU = "imu_sensor_broadcaster/imu"  # where ros2_control's broadcaster of that name publishes
_ENVIRONMENT = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}  # of dpvp's own nodes


@dataclass(frozen=True)
class ProcessSpec:
    """One process.

    Attributes:
        name: what other specs and messages refer to; also the name of the node where it has one only.
        package, executable: as `ros2 run` takes them; an empty package means a plain command.
        parameters: ROS parameters.
        parameter_files: ROS parameter files, after which `parameters` apply.
        arguments: command line.
        environment: added to the environment.
        after: name of a spec that has to end well before this one starts.
        once: it does its work and ends; when it fails, the whole bring-up ends.
        required: the whole bring-up ends when this process ends.
        optional: left out where its package is not installed.
        needs: packages that it loads, besides its own.
        patience: s that it may take to end when it is asked to.
        enclave: of SROS2, in which it runs; empty: none.
    """

    name: str
    package: str
    executable: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    parameter_files: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    after: str = ""
    once: bool = False
    required: bool = False
    optional: bool = False
    needs: tuple[str, ...] = ()
    patience: float = 5.0
    enclave: str = ""


def installed(package: str) -> bool:
    """True if the ROS package is on AMENT_PREFIX_PATH."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return any(prefix and (Path(prefix) / "share" / package / "package.xml").is_file() for prefix in prefixes)


def missing_packages(specs: Sequence[ProcessSpec]) -> tuple[str, ...]:
    """Return the packages that `specs` cannot do without and that are not installed, each once, in order."""
    needed = [package for spec in specs if not spec.optional for package in (spec.package, *spec.needs) if package]
    return tuple(package for package in dict.fromkeys(needed) if not installed(package))


def bringup_processes(scenario: Scenario, bringup: Bringup, run_dir: Path) -> tuple[ProcessSpec, ...]:
    """Return the processes of `scenario` for `bringup`, in the order in which they are to be started.

    Those that serve the plant come first. `run_dir` is where the recorder writes.

    Raises:
        ConfigError: arguments that contradict each other or the scenario, or a file of controllers that does.
        GoalError: the task refuses the goal.
    """
    plant = _resolved_plant(bringup)
    _check(scenario, bringup, plant)
    if plant == "ros2_control":
        below = _ros2_control(scenario, bringup)
    else:
        below = _own_world(scenario, bringup) if plant == "dpvp" else ()
    loop = (*_supervisor(scenario, bringup, plant), _mpc(scenario, bringup))
    specs = (*below, *_estimator(scenario, bringup), *loop, *_extras(scenario, bringup, run_dir))
    return tuple(map(_in_real_time, specs)) if bringup.realtime else specs


def _in_real_time(spec: ProcessSpec) -> ProcessSpec:
    """Tell a process of ours what it is to do for its timing."""
    ours = realtime(spec.name) if spec.package == "dpvp" else {}
    return replace(spec, environment={**spec.environment, **ours})


def _resolved_plant(bringup: Bringup) -> str:
    if bringup.plant != "auto":
        return bringup.plant
    if bringup.mode != "mujoco":
        return "ros2_control"
    stock = all(map(installed, ("mujoco_ros2_control", "robot_state_publisher", FEEDBACK)))
    return "ros2_control" if stock and not bringup.lock_step else "dpvp"


def _check(scenario: Scenario, bringup: Bringup, plant: str) -> None:
    """Refuse arguments that cannot be meant together."""
    if plant == "dpvp" and bringup.mode != "mujoco":
        raise ConfigError("bring-up", "plant", plant, f"dpvp's world is for mode mujoco; mode is {bringup.mode}")
    if plant != "dpvp" and bringup.lock_step:
        raise ConfigError("bring-up", "lock_step", True, "only dpvp's world waits: needs mode mujoco and plant dpvp")
    if bringup.realtime and bringup.lock_step:
        raise ConfigError("bring-up", "realtime", True, "in lock-step no time passes; leave one of the two out")
    if bringup.driver and bringup.driver not in (drivers := scenario.robot.drivers):
        raise ConfigError("bring-up", "driver", bringup.driver, f"{scenario.robot.name} has {', '.join(drivers)}")
    if bringup.goal:
        scenario.task.check_goal(bringup.goal_numbers)
    if plant == "ros2_control" and bringup.mode == "hardware" and bringup.driver == "kuka":
        reason = (
            f"kuka_drivers reports no joint velocities, which {FEEDBACK} needs, and its own robot_manager switches "
            "controllers: start it with a velocity estimator of your own and give plant none here (its joints are "
            "called joint_1 to joint_7: set robot.prefix to '' and robot.joint_stem to joint_ in the scenario)"
        )
        raise ConfigError("bring-up", "driver", "kuka", reason)


def _own_world(scenario: Scenario, bringup: Bringup) -> tuple[ProcessSpec, ...]:
    parameters = {"scenario": scenario.file, "lock_step": bringup.lock_step}
    world = ProcessSpec("world_node", "dpvp", "world_node", parameters, environment=_ENVIRONMENT, required=True)
    return (_state_publisher(scenario, bringup, optional=True), world)


def _mpc(scenario: Scenario, bringup: Bringup) -> ProcessSpec:
    parameters: dict[str, object] = {
        "scenario": scenario.file,
        "start": bringup.track_at_once,
        "lock_step": bringup.lock_step,
        "supervised": bringup.supervised,
        "shadow": bringup.shadow,
        # the loop's own time is that of the states it gets; only stamps of sending use the node's clock
        "use_sim_time": bringup.use_sim_time,
    }
    if bringup.goal:
        parameters["goal"] = list(bringup.goal_numbers)
    node = ("mpc_node", "dpvp", "mpc_node", parameters)
    return ProcessSpec(*node, remappings=_state(scenario), environment=_ENVIRONMENT, required=True)


def _supervisor(scenario: Scenario, bringup: Bringup, plant: str) -> tuple[ProcessSpec, ...]:
    """What watches, and hands the plant over among the controllers of its file."""
    if not bringup.supervised:
        return ()
    parameters: dict[str, object] = {
        "scenario": scenario.file,
        "lock_step": bringup.lock_step,
        "shadow": bringup.shadow,
        "use_sim_time": bringup.use_sim_time,
    }
    if plant == "ros2_control":
        names = succession(_controller_files(scenario, bringup))
        parameters |= {"chain": list(names.chain), "fallbacks": list(names.fallbacks)}
    node = ("supervisor_node", "dpvp", "supervisor_node", parameters)
    return (ProcessSpec(*node, remappings=_state(scenario), environment=_ENVIRONMENT, required=True),)


def _state(scenario: Scenario) -> tuple[tuple[str, str], ...]:
    """Return the remapping by which those who need the whole state get it: of a floating base from the estimator."""
    return (("sensor", "estimator_node/sensor"),) if scenario.robot.floating else ()


def _estimator(scenario: Scenario, bringup: Bringup) -> tuple[ProcessSpec, ...]:
    """What says where the base is, if nothing fixes it."""
    if not scenario.robot.floating:
        return ()
    choice = scenario.config.robot
    parameters: dict[str, object] = {"robot": choice.name, "use_sim_time": bringup.use_sim_time}
    parameters["lock_step"] = bringup.lock_step
    if choice.prefix is not None:
        parameters["prefix"] = choice.prefix
    node = ("estimator_node", "dpvp", "estimator_node", parameters)
    return (ProcessSpec(*node, remappings=(("imu", IMU),), environment=_ENVIRONMENT, required=True),)


def _state_publisher(scenario: Scenario, bringup: Bringup, *, optional: bool) -> ProcessSpec:
    parameters = {"robot_description": _description(scenario, bringup), "use_sim_time": bringup.use_sim_time}
    # linear_feedback_controller asks a node of exactly this name for the URDF
    package = "robot_state_publisher"
    return ProcessSpec(package, package, package, parameters, optional=optional)


def _description(scenario: Scenario, bringup: Bringup) -> str:
    """Return the URDF of the robot for this bring-up; arguments that its xacro does not know are left out."""
    choice, folder = scenario.config.robot, scenario.robot.folder
    arguments = {
        "mode": bringup.mode,
        "driver": bringup.driver or None,
        "headless": str(bringup.headless).lower(),
        "namespace": bringup.namespace.strip("/"),
        "controllers": str(_controller_files(scenario, bringup)[0]),
        "controller_ip": bringup.robot_ip or None,
        "remote_host": bringup.robot_ip or None,
        "robot_ip": bringup.robot_ip or None,
        "prefix": choice.prefix,
        "joint_stem": choice.joint_stem,
    }
    declared = xacro_arguments(folder / read_yaml(folder / "robot.yaml")["urdf"])
    given = {key: value for key, value in arguments.items() if value is not None and key in declared}
    return robot_urdf(choice.name, **given)


def _extras(scenario: Scenario, bringup: Bringup, run_dir: Path) -> tuple[ProcessSpec, ...]:
    sim = {"use_sim_time": bringup.use_sim_time}
    specs = []
    if bringup.record:
        parameters = {"scenario": scenario.file, "run_dir": str(run_dir)}
        node = ("record_node", "dpvp", "record_node", parameters)
        specs.append(ProcessSpec(*node, environment=_ENVIRONMENT, patience=20.0))  # it draws the picture at the end
    if bringup.view:
        scenario_only = {"scenario": scenario.file}
        specs.append(ProcessSpec("view_node", "dpvp", "view_node", scenario_only, environment=_ENVIRONMENT))
    if bringup.rviz:
        config = share_directory() / "config" / "rviz" / f"{scenario.robot.name}.rviz"
        shown = ("-d", str(config)) if config.is_file() else ()
        specs.append(ProcessSpec("rviz2", "rviz2", "rviz2", sim, arguments=shown))
    if bringup.foxglove:
        specs.append(ProcessSpec("foxglove_bridge", "foxglove_bridge", "foxglove_bridge", sim))
    return tuple(specs)


def _ros2_control(scenario: Scenario, bringup: Bringup) -> tuple[ProcessSpec, ...]:
    """Stock ros2_control around the plant: description, manager or simulator, then the spawners one after the other."""
    files = _controller_files(scenario, bringup)
    groups = controller_groups(files, scenario.robot, bringup.mode)
    if bringup.mode == "gazebo":
        plant = _gazebo(scenario, bringup)
    else:
        package = "mujoco_ros2_control" if bringup.mode == "mujoco" else "controller_manager"
        drivers = scenario.robot.drivers
        plugins = _PLUGIN_PACKAGES | {"hardware": drivers[bringup.driver or next(iter(drivers))]}
        needs = (plugins[bringup.mode],) if bringup.mode in plugins else ()
        manager = ("controller_manager", package, "ros2_control_node", {"use_sim_time": bringup.use_sim_time}, files)
        plant = (ProcessSpec(*manager, required=True, needs=needs),)
    publisher = _state_publisher(scenario, bringup, optional=False)
    return (publisher, *plant, *_spawners(bringup, files, groups))


def _controller_files(scenario: Scenario, bringup: Bringup) -> tuple[Path, ...]:
    folder = scenario.robot.folder
    files = [Path(bringup.controllers_file).absolute() if bringup.controllers_file else folder / "controllers.yaml"]
    if bringup.mode == "hardware":
        files += sorted(folder.glob("controllers.hardware.yaml"))
    return tuple(files)


def _spawners(bringup: Bringup, files: Sequence[Path], groups: Sequence[ControllerGroup]) -> tuple[ProcessSpec, ...]:
    words = ["-c", "controller_manager", *(word for file in files for word in ("--param-file", str(file)))]
    if bringup.mode != "hardware":  # the robot may be switched on much later
        words += ["--controller-manager-timeout", _MANAGER_PATIENCE]
    after = ["gazebo_create" if bringup.mode == "gazebo" else "", *(group.name for group in groups)]
    return tuple(
        ProcessSpec(
            group.name,
            "controller_manager",
            "spawner",
            arguments=(*group.controllers, *words, *([group.option] if group.option else [])),
            after=before,
            once=True,
            needs=group.packages,
        )
        for group, before in zip(groups, after, strict=False)
    )


def _gazebo(scenario: Scenario, bringup: Bringup) -> tuple[ProcessSpec, ...]:
    """Gazebo server, the robot put into it, and /clock brought out of it; the controller manager lives inside."""
    folders = (os.environ.get(name) for name in ("GZ_SIM_SYSTEM_PLUGIN_PATH", "LD_LIBRARY_PATH"))
    server = ("-r", "-s") if bringup.headless else ("-r",)
    world = str(share_directory() / "config" / "gazebo" / "world.sdf")
    height = ("-z", f"{scenario.robot.nominal[2]:.4f}") if scenario.robot.floating else ()
    create = ("-topic", "robot_description", "-name", scenario.robot.name, *height)
    clock = ("/clock@rosgraph_msgs/msg/Clock[gz.msgs.Clock",)
    return (
        ProcessSpec(
            "gazebo",
            "",
            "gz",
            arguments=("sim", *server, world),
            environment={"GZ_SIM_SYSTEM_PLUGIN_PATH": os.pathsep.join(filter(None, folders))},
            required=True,
            needs=("ros_gz_sim", _PLUGIN_PACKAGES["gazebo"]),
        ),
        ProcessSpec("clock_bridge", "ros_gz_bridge", "parameter_bridge", arguments=clock, required=True),
        ProcessSpec("gazebo_create", "ros_gz_sim", "create", arguments=create, once=True),
    )
