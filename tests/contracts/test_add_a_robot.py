"""docs/add_a_robot.md, followed to the letter: what it says is what is run here, and the arm reaches its goal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import tyro

from contracts.test_drivers import TestEveryRobot as DriverContract
from contracts.test_robot import TestControllers as ControllerContract
from contracts.test_robot import TestPostures as PostureContract
from contracts.test_robot import TestScene as SceneContract
from contracts.test_robot import TestUrdf as UrdfContract
from contracts.test_robot import scene_of
from contracts.test_scenarios import (  # noqa: F401  (run here with the scenario below)
    test_it_plans_from_rest_and_goes_on_from_there,
    test_its_own_goal_and_drawn_ones_are_accepted,
    test_what_is_saved_is_the_same_scenario,
)
from dpvp.bench.plant import Course
from dpvp.cli.bench import BenchArgs
from dpvp.cli.run import RunArgs
from dpvp.config import validate
from dpvp.description import RobotConfig, read_description
from dpvp.robot import Robot, load_robot
from dpvp.ros.bringup import Bringup
from dpvp.ros.launching import launch_arguments
from dpvp.ros.processes import bringup_processes
from dpvp.scenario import Scenario, load_scenario
from guide import GUIDE, blocks, follow, parts, skip_without_meshes

skip_without_meshes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of someone who has read it all."""
    folder = tmp_path_factory.mktemp("whole")
    for part in parts():
        follow(part, folder)
    return folder


@pytest.fixture(scope="module")
def robot(whole: Path) -> Robot:
    return load_robot(str(whole / "panda"))


@pytest.fixture(scope="module")
def scenario(whole: Path) -> Scenario:
    return load_scenario(str(whole / "panda_reach.yaml"))


@pytest.fixture(scope="module")
def arm(robot: Robot) -> Robot:
    return robot


@pytest.fixture(scope="module")
def scene(robot: Robot) -> mujoco.MjModel:
    return scene_of(robot)


@pytest.fixture(scope="module")
def config(robot: Robot) -> RobotConfig:
    return read_description(robot.folder)


class TestScene(SceneContract):
    """As robots that come with dpvp."""


class TestPostures(PostureContract):
    """As robots that come with dpvp."""


class TestUrdf(UrdfContract):
    """As robots that come with dpvp."""


class TestControllers(ControllerContract):
    """As robots that come with dpvp."""


class TestDrivers(DriverContract):
    """As robots that come with dpvp."""


def test_the_arm_reaches(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planner, feedback law and MuJoCo in lock-step, as the guide starts them."""
    ((_, _, program),) = blocks(parts()[0], "python")
    monkeypatch.chdir(first)
    told: dict[str, Any] = {}
    exec(compile(program, str(GUIDE), "exec"), told)  # noqa: S102  (that is what it is for)
    course, scenario = told["course"], told["scenario"]
    assert isinstance(course, Course)
    assert course.error[0] > 0.2
    assert course.reached_at(scenario.config.run.settle) < 3.0
    assert course.error[-1] < scenario.config.task.success.error
    assert course.held == 0


def test_both_urdfs_are_the_same_arm(first: Path, robot: Robot) -> None:
    assert load_robot(str(first / "panda")).model_hash == robot.model_hash


def test_a_saved_scenario_still_finds_the_robot(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(first)
    scenario = load_scenario("panda_reach.yaml")
    scenario.save(tmp_path / "again.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_scenario("again.yaml").robot.folder == scenario.robot.folder == (first / "panda").resolve()


def test_samples_of_a_range_without_zero_are_inside_it(first: Path) -> None:
    """Joint 4 cannot be stretched: shares of its range are about its middle."""
    scenario = load_scenario(str(first / "panda_reach.yaml"))
    limits, rng = scenario.robot.limits, np.random.default_rng(1)
    for _ in range(50):
        q = scenario.task.sample_state(rng)[: scenario.robot.nq]
        assert ((q > limits.position_lower) & (q < limits.position_upper)).all()


def test_commands_are_understood(first: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that would need ROS, or minutes: their arguments are read, and the scenario they name is loaded."""
    verbs: dict[str, Any] = {"run": RunArgs, "bench": BenchArgs}
    lines = [line for part in parts() for _, _, text in blocks(part, "sh") for line in text.splitlines()]
    for line in lines:
        words = shlex.split(line.replace("$PWD", str(whole)))
        if words[0] == "dpvp":
            monkeypatch.chdir(first)
            arguments = tyro.cli(verbs[words[1]], args=words[2:])
            scenario = load_scenario(arguments.scenario)
            scenario.task.check_goal(getattr(arguments, "goal", None) or scenario.goal)
        elif words[:2] == ["ros2", "launch"]:
            given = dict(word.split(":=") for word in words[4:])
            assert set(given) <= {argument.name for argument in launch_arguments()}
            launched(load_scenario(given.pop("scenario")), **given | {"robot_ip": "10.0.0.7"})
    assert {line.split()[0] for line in lines} == {"dpvp", "ros2", "python"}


def launched(scenario: Scenario, **given: str) -> None:
    """What `ros2 launch` would start around ros2_control."""
    bringup = validate(Bringup, {"plant": "ros2_control"} | given, "launch arguments")
    specs = {spec.name: spec for spec in bringup_processes(scenario, bringup, Path())}
    described = str(specs["robot_state_publisher"].parameters["robot_description"])
    assert ("<plugin>franka_hardware/" in described) == (bringup.mode == "hardware")
    assert ('<param name="robot_ip">10.0.0.7</param>' in described) == (bringup.mode == "hardware")
    assert [name for name in specs if name.startswith("spawn_")] == [
        "spawn_broadcasters",
        "spawn_fallback",
        "spawn_feedback",
    ]
