"""The launch files: every argument is there, and what they describe starts, waits and stops as it should.

Where `launch` is installed it runs for real, on stand-ins: small scripts that write down how they were called.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from dpvp.config import share_directory, validate
from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.ros import launching
from dpvp.ros.bringup import Bringup

FOLDER = share_directory() / "launch"
needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch and launch_ros come with ROS 2, not with pip"
)
PACKAGES = {
    "dpvp": ("mpc_node", "world_node", "record_node"),
    "robot_state_publisher": ("robot_state_publisher",),
    "controller_manager": ("ros2_control_node", "spawner"),
    "joint_state_broadcaster": (),
    "joint_trajectory_controller": (),
    "linear_feedback_controller": (),
}
# Fails where the test wants it. mpc_node ends well, and with it the launch, as soon as the chain is active.
STAND_IN = """#!/bin/sh
echo "{name} $*" >> "{log}"
case "{name} $*" in *${{STAND_IN_FAILS:-nothing}}*) exit 3;; esac
case {name} in
  spawner) sleep 0.3; exit 0;;
  mpc_node) for i in $(seq 300); do grep -q activate-as-group "{log}" && sleep 1 && exit 0; sleep 0.1; done; exit 4;;
esac
exec sleep 60
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ROS installation of stand-ins; returns the file in which they write down their calls."""
    prefix, log = tmp_path / "prefix", tmp_path / "calls.log"
    for package, executables in PACKAGES.items():
        for file in (f"share/ament_index/resource_index/packages/{package}", f"share/{package}/package.xml"):
            (prefix / file).parent.mkdir(parents=True, exist_ok=True)
            (prefix / file).write_text("<package/>", encoding="utf-8")
        for name in executables:
            script = prefix / "lib" / package / name
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(STAND_IN.format(name=name, log=log), encoding="utf-8")
            script.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.chdir(tmp_path)
    return log


def run_launch(file: str, **arguments: str) -> int:
    """What `ros2 launch dpvp <file> argument:=value ...` does; returns its exit code."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import AnyLaunchDescriptionSource

    service = LaunchService(noninteractive=True)
    source = AnyLaunchDescriptionSource(str(FOLDER / file))
    description = [IncludeLaunchDescription(source, launch_arguments=list(arguments.items()))]
    service.include_launch_description(LaunchDescription(description))
    return int(service.run())


def calls(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


class TestWithoutLaunch:
    """What can be said on any machine."""

    def test_every_field_is_an_argument(self) -> None:
        arguments = launching.launch_arguments()
        assert [argument.name for argument in arguments] == ["scenario", *Bringup.model_fields]
        assert all(argument.description for argument in arguments)

    def test_defaults_are_those_of_the_fields(self) -> None:
        defaults = {argument.name: argument.default for argument in launching.launch_arguments()}
        assert defaults.pop("scenario") == "kuka_reach"
        assert validate(Bringup, defaults, "defaults") == Bringup()

    def test_choices(self) -> None:
        choices = {argument.name: argument.choices for argument in launching.launch_arguments()}
        assert choices["mode"] == ("mock", "mujoco", "gazebo", "topic", "hardware")
        assert choices["record"] == ("true", "false")
        assert choices["start"] == ("auto", "true", "false")
        assert choices["goal"] == ()

    @pytest.mark.parametrize("file", sorted(FOLDER.glob("*.launch.py")), ids=lambda file: file.name)
    def test_each_file_has_a_description_and_leads_to_bringup(self, file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        functions = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        assert "generate_launch_description" in functions
        assert "bringup.launch.py" in text

    def test_a_slip_of_the_pen_is_noticed(self) -> None:
        arguments = {argument.name: argument.default for argument in launching.launch_arguments()}
        assert launching._doubts(arguments) == []
        assert launching._doubts(arguments | {"modee": "mock", "launch-prefix": ""}) == [
            "argument modee is unknown and ignored; is mode meant?"
        ]


@needs_launch
class TestDescription:
    """What `ros2 launch --show-args` shows, and the actions for some arguments."""

    @pytest.mark.parametrize("file", sorted(FOLDER.glob("*.launch.py")), ids=lambda file: file.name)
    def test_all_arguments_are_declared(self, file: Path) -> None:
        from launch.launch_description_sources import get_launch_description_from_python_launch_file

        description = get_launch_description_from_python_launch_file(str(file))
        declared = {argument.name: argument for argument in description.get_launch_arguments()}
        assert set(declared) == {"scenario", *Bringup.model_fields}
        assert list(declared["mode"].choices) == ["mock", "mujoco", "gazebo", "topic", "hardware"]
        assert all(argument.description for argument in declared.values())

    def actions(self, **given: str) -> list[Any]:
        from launch import LaunchContext

        context = LaunchContext()
        defaults = {argument.name: argument.default for argument in launching.launch_arguments()}
        context.launch_configurations.update(defaults | given)
        return launching.start(context)

    def test_own_world(self, log: Path) -> None:
        from launch.actions import RegisterEventHandler
        from launch_ros.actions import Node

        actions = self.actions(plant="dpvp")
        nodes = [action.node_executable for action in actions if isinstance(action, Node)]
        assert nodes == ["robot_state_publisher", "world_node", "mpc_node", "record_node"]
        assert sum(isinstance(action, RegisterEventHandler) for action in actions) == 2  # world_node and mpc_node
        (run_dir,) = Path("runs").iterdir()
        assert re.fullmatch(r"\d{8}-\d{6}_kuka_reach", run_dir.name)
        assert (run_dir / "scenario.yaml").is_file()

    def test_what_waits_is_not_started_at_once(self, log: Path) -> None:
        from launch_ros.actions import Node

        nodes = [action.node_executable for action in self.actions(mode="mock") if isinstance(action, Node)]
        assert nodes == ["robot_state_publisher", "ros2_control_node", "spawner", "mpc_node", "record_node"]

    def test_gazebo_is_a_plain_command(self, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from launch.actions import ExecuteProcess
        from launch_ros.actions import Node

        monkeypatch.setattr(launching, "missing_packages", lambda specs: ())
        actions = self.actions(mode="gazebo")
        plain = [action for action in actions if isinstance(action, ExecuteProcess) and not isinstance(action, Node)]
        assert ["".join(part.text for part in word) for word in plain[0].cmd][:2] == ["gz", "sim"]
        assert len(plain) == 1

    def test_optional_package_is_left_out(self, log: Path) -> None:
        from launch.actions import LogInfo
        from launch_ros.actions import Node

        (log.parent / "prefix" / "share" / "robot_state_publisher" / "package.xml").unlink()
        actions = self.actions(plant="dpvp", record="false")
        assert [action.node_executable for action in actions if isinstance(action, Node)] == ["world_node", "mpc_node"]
        said = ["".join(part.text for part in action.msg) for action in actions if isinstance(action, LogInfo)]
        assert "robot_state_publisher is left out" in said[-1]

    def test_given_run_dir_is_used(self, log: Path) -> None:
        self.actions(plant="dpvp", run_dir="here/there")
        assert Path("here/there/scenario.yaml").is_file()
        assert not Path("runs").exists()

    def test_missing_packages_are_named_before_anything_is_made(
        self, log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROS_DISTRO", "jazzy")
        message = (
            r"mode hardware needs.*lbr_ros2_control, rviz2\. .*ros-jazzy-rviz2; lbr_ros2_control: build it from http"
        )
        with pytest.raises(EnvironmentProblem, match=message):
            self.actions(mode="hardware", rviz="true")
        with pytest.raises(EnvironmentProblem, match=r"mujoco_ros2_control.*plant:=dpvp"):
            self.actions(mode="mujoco", plant="ros2_control")
        assert not Path("runs").exists()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"goal": "there"}, "launch arguments: goal = 'there'"),
            ({"namespace": "a b"}, "launch arguments: namespace = 'a b'"),
            ({"scenario": "nowhere"}, "scenario = 'nowhere': must be one of.*kuka_reach"),
        ],
    )
    def test_bad_values_name_the_argument(self, log: Path, given: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            self.actions(**given)
        assert not Path("runs").exists()


@needs_launch
class TestRunning:
    """The real thing, with stand-ins for the processes."""

    def test_spawners_follow_each_other_and_all_ends_with_the_planner(self, log: Path) -> None:
        assert run_launch("kuka_reach.launch.py", mode="mock", namespace="left") == 0
        spawned = [call for call in calls(log) if call.startswith("spawner")]
        assert [call.split()[1] for call in spawned] == [
            "joint_state_broadcaster",
            "damping_controller",
            "linear_feedback_controller",
        ]
        assert {call.split()[0] for call in calls(log)} == {
            *("robot_state_publisher", "ros2_control_node", "spawner", "mpc_node", "record_node")
        }
        assert all("-r __ns:=/left" in call for call in calls(log))
        assert not any("--params-file" in call for call in spawned)  # spawners would hand it to the controllers
        manager = next(call for call in calls(log) if call.startswith("ros2_control_node"))
        assert "__node:=" not in manager
        assert "controllers.yaml" in manager

    def test_a_spawner_that_fails_stops_everything(
        self, log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("STAND_IN_FAILS", "--inactive")
        assert run_launch("kuka_reach.launch.py", mode="mock") == 1
        assert "spawn_fallback ended with exit code 3" in caplog.text
        assert not any("activate-as-group" in call for call in calls(log))

    def test_a_planner_that_fails_stops_everything(self, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STAND_IN_FAILS", "mpc_node")
        assert run_launch("bringup.launch.py", plant="dpvp") == 1

    def test_nothing_starts_without_the_packages(self, log: Path, caplog: pytest.LogCaptureFixture) -> None:
        assert run_launch("kuka_reach.launch.py", mode="topic") == 1
        assert "joint_state_topic_hardware_interface" in caplog.text
        assert calls(log) == []
        assert not Path("runs").exists()
