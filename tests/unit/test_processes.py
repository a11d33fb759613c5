"""processes.py and controllers.py: what is started for each mode, in which order, and what is refused before that."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from dpvp.config import validate
from dpvp.description import Mode, robot_urdf
from dpvp.errors import ConfigError, DpvpError
from dpvp.robot import load_robot
from dpvp.ros import processes
from dpvp.ros.bringup import Bringup
from dpvp.ros.processes import ProcessSpec, bringup_processes, installed, missing_packages
from dpvp.scenario import Scenario, load_scenario

MODES = get_args(Mode)
SPAWNERS = ["spawn_broadcasters", "spawn_fallback", "spawn_feedback"]
PLUGINS = {
    "mock": "mock_components/GenericSystem",
    "mujoco": "mujoco_ros2_control/MujocoSystemInterface",
    "gazebo": "gz_ros2_control/GazeboSimSystem",
    "topic": "joint_state_topic_hardware_interface/JointStateTopicSystem",
    "hardware": "lbr_ros2_control::SystemInterface",
}
expanded = functools.cache(robot_urdf)  # xacro is slow, and most tests ask for the same few
Install = Callable[..., None]
Edit = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach")


@pytest.fixture(autouse=True)
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """No ROS package is installed, except those that this function is given."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    monkeypatch.setattr(processes, "robot_urdf", expanded)

    def make(*packages: str) -> None:
        for package in packages:
            folder = tmp_path / "prefix" / "share" / package
            folder.mkdir(parents=True)
            (folder / "package.xml").write_text("<package/>", encoding="utf-8")

    return make


@pytest.fixture
def edit(tmp_path: Path, scenario: Scenario) -> Edit:
    """Copy controllers.yaml with one text replaced."""

    def replace(old: str, new: str) -> Path:
        content = (scenario.robot.folder / "controllers.yaml").read_text(encoding="utf-8")
        assert old in content, f"{old!r} is not in controllers.yaml"
        file = tmp_path / "mine.yaml"
        file.write_text(content.replace(old, new), encoding="utf-8")
        return file

    return replace


def start(scenario: Scenario, **given: Any) -> dict[str, ProcessSpec]:
    specs = bringup_processes(scenario, Bringup(**({"plant": "ros2_control"} | given)), Path("/runs/one"))
    assert len({spec.name for spec in specs}) == len(specs)
    return {spec.name: spec for spec in specs}


def words_after(spec: ProcessSpec, option: str) -> list[str]:
    return [word for before, word in zip(spec.arguments, spec.arguments[1:], strict=False) if before == option]


def controllers_of(spec: ProcessSpec) -> list[str]:
    return list(spec.arguments[: spec.arguments.index("-c")])


def description(specs: dict[str, ProcessSpec]) -> ET.Element:
    return ET.fromstring(str(specs["robot_state_publisher"].parameters["robot_description"]))


@pytest.mark.parametrize("mode", MODES)
class TestStock:
    """Every mode with stock ros2_control."""

    def test_order(self, scenario: Scenario, mode: str) -> None:
        plant = ["gazebo", "clock_bridge", "gazebo_create"] if mode == "gazebo" else ["controller_manager"]
        expected = ["robot_state_publisher", *plant, *SPAWNERS, "supervisor_node", "mpc_node", "record_node"]
        assert list(start(scenario, mode=mode)) == expected

    def test_each_spawner_waits_for_the_one_before(self, scenario: Scenario, mode: str) -> None:
        specs = start(scenario, mode=mode)
        assert [specs[name].after for name in SPAWNERS] == [
            "gazebo_create" if mode == "gazebo" else "",
            *SPAWNERS[:-1],
        ]
        assert all(specs[name].once and not specs[name].required for name in SPAWNERS)
        assert all(not spec.after or spec.after in specs for spec in specs.values())

    def test_spawned_controllers_are_described_in_the_files(self, scenario: Scenario, mode: str) -> None:
        specs = start(scenario, mode=mode)
        described: dict[str, Any] = {}
        for file in words_after(specs["spawn_feedback"], "--param-file"):
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            described |= content["/**/controller_manager"]["ros__parameters"]
            described |= {key.rpartition("/")[2]: {} for key in content if key.rpartition("/")[2] not in described}
        spawned = [name for spawner in SPAWNERS for name in controllers_of(specs[spawner])]
        chain = ["linear_feedback_controller", "joint_state_estimator"]
        if mode == "hardware":
            chain.append("position_follower")
        assert spawned == ["joint_state_broadcaster", "damping_controller", *chain]
        assert all("type" in described[name] for name in spawned)
        for spawner in SPAWNERS:
            packages = {described[name]["type"].split("/")[0] for name in controllers_of(specs[spawner])}
            assert set(specs[spawner].needs) == packages

    def test_only_the_fallback_stays_inactive_and_only_the_chain_is_a_group(
        self, scenario: Scenario, mode: str
    ) -> None:
        specs = start(scenario, mode=mode)
        assert ["--inactive" in specs[name].arguments for name in SPAWNERS] == [False, True, False]
        assert ["--activate-as-group" in specs[name].arguments for name in SPAWNERS] == [False, False, True]
        assert all(words_after(specs[name], "-c") == ["controller_manager"] for name in SPAWNERS)
        patience = [words_after(specs[name], "--controller-manager-timeout") for name in SPAWNERS]
        assert patience == [[] if mode == "hardware" else ["60"]] * 3

    def test_files_exist_and_say_who_adds_gravity(self, scenario: Scenario, mode: str) -> None:
        specs = start(scenario, mode=mode)
        files = [Path(file) for file in words_after(specs["spawn_feedback"], "--param-file")]
        names = ["controllers.yaml", *(["controllers.hardware.yaml"] if mode == "hardware" else [])]
        assert [file.name for file in files] == names
        assert all(file.is_absolute() and file.is_file() for file in files)
        if mode != "gazebo":
            assert specs["controller_manager"].parameter_files == tuple(files)

    def test_description_has_the_joints_and_the_plugin(self, scenario: Scenario, mode: str) -> None:
        urdf = description(start(scenario, mode=mode))
        moving = [joint.get("name") for joint in urdf.findall("joint") if joint.get("type") == "revolute"]
        assert tuple(moving) == scenario.robot.joint_names
        control = urdf.find("ros2_control")
        assert control is not None
        assert control.findtext("hardware/plugin") == PLUGINS[mode]
        assert tuple(joint.get("name") for joint in control.findall("joint")) == scenario.robot.joint_names

    def test_time_and_start(self, scenario: Scenario, mode: str) -> None:
        specs, simulated = start(scenario, mode=mode), mode in ("mujoco", "gazebo")
        assert specs["robot_state_publisher"].parameters["use_sim_time"] is simulated
        assert specs["mpc_node"].parameters["use_sim_time"] is simulated
        assert specs["mpc_node"].parameters["start"] is simulated
        assert start(scenario, mode=mode, start="true")["mpc_node"].parameters["start"] is True
        assert start(scenario, mode=mode, start="false")["mpc_node"].parameters["start"] is False

    def test_all_is_over_when_the_plant_or_the_planner_ends(self, scenario: Scenario, mode: str) -> None:
        required = {spec.name for spec in start(scenario, mode=mode).values() if spec.required}
        assert required == {
            "supervisor_node",
            "mpc_node",
            *(["gazebo", "clock_bridge"] if mode == "gazebo" else ["controller_manager"]),
        }

    def test_all_packages_are_missing_here(self, scenario: Scenario, mode: str) -> None:
        missing = missing_packages(list(start(scenario, mode=mode).values()))
        assert {"controller_manager", "linear_feedback_controller", "joint_state_broadcaster"} <= set(missing)
        assert len(set(missing)) == len(missing)


class TestPlants:
    """Who runs the plant."""

    def test_own_world(self, scenario: Scenario) -> None:
        specs = start(scenario, plant="dpvp", lock_step=True, record=False)
        assert list(specs) == ["robot_state_publisher", "world_node", "supervisor_node", "mpc_node"]
        assert specs["robot_state_publisher"].optional
        assert specs["world_node"].parameters == {"scenario": scenario.file, "lock_step": True}
        assert specs["mpc_node"].parameters["lock_step"] is True
        assert missing_packages(list(specs.values())) == ("dpvp",)

    def test_real_time_tells_each_of_our_processes_its_role(self, scenario: Scenario) -> None:
        plain, told = (start(scenario, plant="dpvp", realtime=realtime) for realtime in (False, True))
        roles = {name: spec.environment.get("DPVP_REALTIME") for name, spec in told.items()}
        expected = {name: name for name in ("world_node", "supervisor_node", "mpc_node")}
        assert roles == dict.fromkeys(told) | expected
        assert not any("DPVP_REALTIME" in spec.environment for spec in plain.values())
        assert told["mpc_node"].environment.items() >= plain["mpc_node"].environment.items()

    def test_none_starts_the_planner_alone(self, scenario: Scenario) -> None:
        found = list(start(scenario, plant="none", mode="hardware", driver="kuka"))
        assert found == ["supervisor_node", "mpc_node", "record_node"]

    def test_auto_prefers_stock_where_all_of_it_is_installed(self, scenario: Scenario, install: Install) -> None:
        assert "world_node" in start(scenario, plant="auto")
        install("mujoco_ros2_control", "robot_state_publisher")
        assert "world_node" in start(scenario, plant="auto")
        install("linear_feedback_controller")
        assert start(scenario, plant="auto")["controller_manager"].package == "mujoco_ros2_control"
        assert "world_node" in start(scenario, plant="auto", lock_step=True)
        assert "controller_manager" in start(scenario, plant="auto", mode="mock")

    def test_installed(self, install: Install) -> None:
        assert not installed("rviz2")
        install("rviz2")
        assert installed("rviz2")
        assert not installed("")


class TestArguments:
    """Arguments arrive where they belong."""

    def test_goal(self, scenario: Scenario) -> None:
        for text in ("0.4 0.1 0.6", "0.4, 0.1, 0.6", "[0.4, 0.1, 0.6]"):
            assert start(scenario, plant="dpvp", goal=text)["mpc_node"].parameters["goal"] == [0.4, 0.1, 0.6]
        assert "goal" not in start(scenario, plant="dpvp")["mpc_node"].parameters

    def test_extras(self, scenario: Scenario) -> None:
        specs = start(scenario, plant="dpvp", rviz=True, foxglove=True, view=True)
        assert list(specs)[-4:] == ["record_node", "view_node", "rviz2", "foxglove_bridge"]
        assert specs["record_node"].parameters["run_dir"] == "/runs/one"
        assert Path(specs["rviz2"].arguments[1]).is_file()
        assert "record_node" not in start(scenario, plant="dpvp", record=False)

    def test_simulators_get_scene_window_and_namespace(self, scenario: Scenario) -> None:
        hardware = description(start(scenario, mode="mujoco", headless=False)).find("ros2_control/hardware")
        assert hardware is not None
        given = {param.get("name"): param.text for param in hardware.findall("param")}
        assert given["headless"] == "false"
        assert Path(str(given["mujoco_model"])) == scenario.robot.scene
        gazebo = start(scenario, mode="gazebo", namespace="/left/")
        assert description(gazebo).findtext("gazebo/plugin/ros/namespace") == "left"
        assert "-s" in gazebo["gazebo"].arguments
        assert "-s" not in start(scenario, mode="gazebo", headless=False)["gazebo"].arguments

    def test_gazebo_puts_a_robot_on_its_feet(self, scenario: Scenario) -> None:
        assert "-z" not in start(scenario, mode="gazebo")["gazebo_create"].arguments
        walking = load_scenario("kuka_reach")
        walking.robot = load_robot("go2")
        assert words_after(start(walking, mode="gazebo")["gazebo_create"], "-z") == ["0.3188"]

    def test_controllers_file(self, scenario: Scenario, edit: Edit) -> None:
        mine = edit("p: 180.0", "p: 90.0")
        specs = start(scenario, mode="gazebo", controllers_file=str(mine))
        assert words_after(specs["spawn_feedback"], "--param-file") == [str(mine)]
        assert description(specs).findtext("gazebo/plugin/parameters") == str(mine)

    def test_robot_ip(self, scenario: Scenario) -> None:
        def remote(**given: str) -> str | None:
            params = description(start(scenario, mode="hardware", **given)).iter("param")
            return next((param.text for param in params if param.get("name") == "remote_host"), None)

        assert remote() == "INADDR_ANY"
        assert remote(robot_ip="192.170.10.2") == "192.170.10.2"

    def test_names_of_the_scenario_reach_the_description(self) -> None:
        renamed = load_scenario("kuka_reach", ("robot.prefix=''", "robot.joint_stem=joint_"))
        urdf = description(start(renamed, plant="dpvp"))
        assert urdf.find("joint[@name='joint_7']") is not None


class TestRefused:
    """What cannot work is refused with the argument, the file and the key in the message."""

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"mode": "gazebo", "plant": "dpvp"}, "plant = 'dpvp'.*mode is gazebo"),
            ({"mode": "mock", "lock_step": True}, "lock_step = True.*plant dpvp"),
            ({"plant": "dpvp", "lock_step": True, "realtime": True}, "realtime = True: in lock-step no time passes"),
            ({"goal": "1 2"}, "goal has shape"),
            ({"goal": "5 0 0"}, "goal x = 5"),
            ({"mode": "hardware", "driver": "kuka"}, "driver = 'kuka'.*no joint velocities.*plant none"),
            ({"mode": "hardware", "driver": "odrive"}, "driver = 'odrive': iiwa14 has lbr, kuka"),
        ],
    )
    def test_contradictions(self, scenario: Scenario, given: dict[str, Any], message: str) -> None:
        with pytest.raises(DpvpError, match=message):
            start(scenario, **given)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"mode": "mujuco"}, "mode = 'mujuco'.*'mujoco'"),
            ({"goal": "here"}, "goal = 'here'.*must be numbers"),
            ({"namespace": "two words"}, "namespace"),
            ({"record": "perhaps"}, "record = 'perhaps'"),
            ({"gaol": "1 2 3"}, "gaol.*known here.*goal"),
        ],
    )
    def test_values(self, given: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            validate(Bringup, given, "launch arguments")

    def test_controllers_for_other_joints(self) -> None:
        renamed = load_scenario("kuka_reach", ("robot.prefix=left_",))
        with pytest.raises(ConfigError, match=r"controllers\.yaml.*moving_joint_names.*left_A1.*controllers_file"):
            start(renamed, mode="mock")

    @pytest.mark.parametrize(
        ("old", "new", "mode", "message"),
        [
            ("compensation_effort: false", "compensation_effort: true", "mock", "remove_gravity.*must be False"),
            ("      fallback_controllers: [damping_controller]\n", "", "mock", "fallback_controllers"),
            ("[damping_controller]", "[daming_controller]", "mock", "fallback_controllers.*daming_controller"),
            ("update_rate: 1000", "update_rate: 300", "gazebo", "update_rate = 300.*divide"),
        ],
    )
    def test_unusable_controllers(
        self, scenario: Scenario, edit: Edit, old: str, new: str, mode: str, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            start(scenario, mode=mode, controllers_file=str(edit(old, new)))

    def test_missing_controllers_file(self, scenario: Scenario) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml.*must exist"):
            start(scenario, mode="mock", controllers_file="nowhere.yaml")
