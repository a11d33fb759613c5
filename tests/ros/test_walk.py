"""The quadruped through all of its nodes: on the estimate of its base, in lock-step, steered by `cmd_vel`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from std_msgs.msg import Float64MultiArray

from dpvp.errors import GoalError
from dpvp.record.report import read_run
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.ros.bringup import Bringup
from dpvp.ros.convert import fill_pose, fill_twist, goal_of, sensor_message
from dpvp.ros.messages import Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM
from dpvp.ros.pilot import Pilot
from dpvp.ros.processes import ProcessSpec
from dpvp.ros.session import Session, session
from dpvp.scenario import Scenario, load_scenario
from rosgraph import PATIENT, Peer, processes

pytestmark = pytest.mark.alone  # in lock-step, but estimator_node takes what is slow for lost by the wall's clock


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_run_dir(load_scenario("quadruped_walk"), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def scenario(run_dir: Path) -> Scenario:
    return resolved(load_scenario("quadruped_walk", ("run.settle=1.5",)), run_dir)


class Standing(Peer):
    """A robot that stands there and says so, its base included."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self.robot, self.goals = scenario.robot, list[Float64MultiArray]()
        self.sensor = self.node.create_publisher(Sensor, "sensor", STREAM)
        self.velocity = self.node.create_publisher(Twist, "cmd_vel", COMMAND)
        self.node.create_subscription(Float64MultiArray, "mpc_node/active_goal", self.goals.append, LATCHED)

    def send(self) -> None:
        x, nq = self.robot.at_rest(), self.robot.nq
        message = sensor_message(self.robot, time.time(), x[:nq], x[nq:], np.zeros(self.robot.nu))
        fill_pose(message.base_pose, x[:7])
        fill_twist(message.base_twist, x[nq : nq + 6])
        self.sensor.publish(message)

    def steer(self) -> None:
        self.send()
        message = Twist()
        message.linear.x = 0.2
        self.velocity.publish(message)

    @property
    def forwards(self) -> float:
        return float(self.goals[-1].data[1]) if self.goals else np.nan


def test_who_falls_silent_lets_go(tmp_path: Path) -> None:
    """The first test, since `running` keeps this process in a graph until the last one."""
    scenario, file = load_scenario("quadruped_walk", PATIENT), tmp_path / "scenario.yaml"
    scenario.save(file)
    spec = ProcessSpec("mpc_node", "dpvp", "mpc_node", {"scenario": str(file), "start": True})
    with processes([spec], tmp_path):
        robot = Standing(scenario)
        assert robot.until(lambda: robot.forwards == 0.2, robot.steer), (tmp_path / "mpc_node.log").read_text()
        assert robot.until(lambda: robot.forwards == 0.0, robot.send)
    assert "cmd_vel fell silent: the robot stops" in (tmp_path / "mpc_node.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def running(scenario: Scenario, run_dir: Path) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", "98")
        with session(scenario, Bringup(plant="dpvp", start="false", lock_step=True), run_dir) as started:
            yield started


@pytest.fixture(scope="module")
def truth(running: Session) -> list[Odometry]:
    heard: list[Odometry] = []
    running.pilot.node.create_subscription(Odometry, "world_node/odom", heard.append, STREAM)
    return heard


def goal_in_force(pilot: Pilot, scenario: Scenario) -> np.ndarray:
    return goal_of(pilot._active_goal, scenario.robot.base)


@pytest.mark.parametrize(
    ("velocity", "why"),
    [
        ((5.0, 0.0, 0.0), r"forwards = 5.000 m/s is outside \[-0.800, 0.800\] m/s"),
        ((0.0, 0.0, -1.5), r"turn = -1.500 rad/s is outside"),
        ((np.nan, 0.0, 0.0), "NaN or infinity"),
    ],
)
def test_velocities_out_of_range_are_refused_by_the_node_too(
    running: Session, scenario: Scenario, run_dir: Path, velocity: tuple[float, float, float], why: str
) -> None:
    pilot = running.pilot
    with pytest.raises(GoalError, match=why):
        pilot.steer(*velocity)
    pilot.aim(np.array(scenario.goal))
    before = goal_in_force(pilot, scenario)
    message = Twist()
    message.linear.x, message.linear.y, message.angular.z = velocity
    publisher = pilot.node.create_publisher(Twist, "cmd_vel", COMMAND)
    log, said = run_dir / "mpc_node.log", lambda: log.read_text(encoding="utf-8").count("velocity refused")
    heard = said()
    for _ in range(100):
        publisher.publish(message)
        pilot.wait(0.1)
        if said() > heard:
            break
    assert said() > heard
    np.testing.assert_array_equal(goal_in_force(pilot, scenario), before)


def test_it_trots_and_turns_on_the_estimate(running: Session, scenario: Scenario, truth: list[Odometry]) -> None:
    pilot = running.pilot
    pilot.ask("mpc_node/start")
    episode = pilot.follow(pilot.steer(0.5, 0.0, 0.0), pilot.now)
    assert episode.success, episode
    speeds = np.array([[m.twist.twist.linear.x, m.twist.twist.linear.y] for m in truth[-200:]])
    np.testing.assert_allclose(speeds.mean(axis=0), [0.5, 0.0], atol=0.08)
    began, place = pilot.now, truth[-1].pose.pose.position
    assert place.x > 0.5
    assert abs(place.y) < 0.1
    assert abs(place.z - scenario.robot.nominal[2]) < 0.03
    assert pilot.follow(pilot.steer(0.0, 0.0, 0.5), began).success
    turned = [2.0 * np.arctan2(m.pose.pose.orientation.z, m.pose.pose.orientation.w) for m in truth]
    passed = pilot.now - began
    assert turned[-1] == pytest.approx(0.5 * passed, abs=0.2)


def test_what_was_recorded_is_the_walk(running: Session, run_dir: Path) -> None:
    running.pilot.wait(1.0)  # what is recorded is written out every now and then
    metrics, series = read_run(run_dir)
    summary = metrics.summary()
    assert summary["error_unit"] == "m/s"
    assert summary["settled_rms_error"] < 0.1
    assert series.velocity.shape[1] == 12
    assert summary["peak_effort_share"] < 1.0
