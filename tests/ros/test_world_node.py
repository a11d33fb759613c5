"""world_node over real DDS: what it publishes, what it refuses, and what it does when commands stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from dpvp.ros.convert import seconds
from dpvp.ros.messages import Control, Sensor
from dpvp.scenario import load_scenario
from rosgraph import Bench, control_for, graph

pytestmark = pytest.mark.alone

BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


class Plant:
    """The running world as a test sees it."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.sensors: list[Sensor] = []
        self.ages: list[float] = []
        self.clocks: list[Clock] = []
        bench.node.create_subscription(Sensor, "sensor", self._on_sensor, BEST_EFFORT)
        bench.node.create_subscription(
            Float64, "world_node/state_age_ms", lambda m: self.ages.append(m.data), BEST_EFFORT
        )
        bench.node.create_subscription(Clock, "/clock", self.clocks.append, BEST_EFFORT)

    def _on_sensor(self, message: Sensor) -> None:
        self.sensors = [*self.sensors[-999:], message]

    @property
    def t(self) -> float:
        return seconds(self.sensors[-1].header.stamp) if self.sensors else 0.0

    @property
    def q(self) -> np.ndarray:
        return np.array(self.sensors[-1].joint_state.position)

    @property
    def log(self) -> str:
        return (self.folder / "world_node.log").read_text(encoding="utf-8")

    def reset(self, start: list[float]) -> Trigger.Response:
        change = Parameter("start", value=start).to_parameter_msg()
        self.bench.call(SetParameters, "world_node/set_parameters", SetParameters.Request(parameters=[change]))
        return self.bench.call(Trigger, "world_node/reset", Trigger.Request())


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("world")
    with graph(load_scenario("kuka_reach"), folder, ("world_node",)) as (bench, _):
        plant = Plant(bench, folder)
        assert bench.until(lambda: len(plant.sensors) > 10 and bool(bench.joints) and bool(bench.world))
        yield plant


def send(plant: Plant, control: Callable[[], Control]) -> Callable[[], None]:
    """Return a function that sends a control about every 10 ms of the plant's time."""
    last = [-1.0]

    def each() -> None:
        if plant.t - last[0] >= 0.01:
            last[0] = plant.t
            plant.bench.control.publish(control())

    return each


def test_without_commands_the_arm_stays_where_it_is(plant: Plant) -> None:
    assert plant.reset(plant.bench.scenario.robot.nominal.tolist()).success
    began = plant.t
    assert plant.bench.until(lambda: plant.t > began + 0.5)
    assert plant.bench.world["phase"] == "PD"
    np.testing.assert_allclose(plant.q, plant.bench.scenario.robot.nominal, atol=1e-3)


def test_messages_are_those_of_the_stock_controllers(plant: Plant) -> None:
    message, robot = plant.sensors[-1], plant.bench.scenario.robot
    assert tuple(message.joint_state.name) == robot.joint_names
    assert np.isnan(message.base_pose.position.x)
    assert np.isnan(message.base_twist.angular.z)
    assert len(message.contacts) == 0
    joints = plant.bench.joints[-1]
    assert set(joints.name) == set(robot.joint_names)
    assert len(joints.position) == len(joints.velocity) == len(joints.effort) == robot.nv


def test_time_is_that_of_the_wall(plant: Plant) -> None:
    """What a busy machine has no time for is counted as late, and not made up for."""

    def passed() -> tuple[float, float]:
        """The times of the wall and of the plant, s, when it reports next; what was late counts as if it had run."""
        plant.bench.world.clear()
        assert plant.bench.until(lambda: bool(plant.bench.world))
        report, dt = plant.bench.world, 1.0 / plant.bench.scenario.config.rates.feedback
        return time.monotonic(), dt * (int(report["steps"]) + int(report["late_steps"]))

    start = passed()
    for _ in range(20):  # reports may come late: the longer it takes, the less that matters
        wall, plants = np.subtract(passed(), start)
        if wall > 1.5 and 0.8 < plants / wall < 1.2:
            break
    assert 0.8 < plants / wall < 1.2
    assert plant.bench.until(lambda: bool(plant.clocks) and abs(seconds(plant.clocks[-1].clock) - plant.t) < 0.2)


def test_commands_move_the_arm_and_silence_holds_it(plant: Plant) -> None:
    scenario, bench = plant.bench.scenario, plant.bench
    robot = scenario.robot
    start = robot.nominal + 0.1
    assert plant.reset(start.tolist()).success
    plant.ages.clear()
    each = send(plant, lambda: control_for(scenario, plant.t))
    assert bench.until(lambda: np.abs(plant.q - robot.nominal).max() < 0.03, each)
    assert bench.until(lambda: bench.world["phase"] == "FEEDBACK", each)
    assert len(plant.ages) > 20
    assert min(plant.ages) >= 0.0
    assert bench.until(lambda: bench.world["phase"] == "HOLD")
    resting = plant.q
    assert bench.until(lambda: bench.world["phase"] == "DAMPING")
    began = plant.t
    assert bench.until(lambda: plant.t > began + 0.3)
    np.testing.assert_allclose(plant.q, resting, atol=5e-3)


def wrong_shape(message: Control) -> None:
    message.feedback_gain.layout.dim[1].size = 7


def short_data(message: Control) -> None:
    message.feedback_gain.data = message.feedback_gain.data[:50]


def nan_effort(message: Control) -> None:
    message.feedforward.data[3] = np.nan


def nan_gain(message: Control) -> None:
    message.feedback_gain.data[50] = np.nan


def no_names(message: Control) -> None:
    message.initial_state.joint_state.name = []


def swapped_names(message: Control) -> None:
    names = list(message.initial_state.joint_state.name)
    message.initial_state.joint_state.name = [names[1], names[0], *names[2:]]


def test_unusable_controls_are_refused_and_nothing_moves(plant: Plant) -> None:
    bench, nominal = plant.bench, plant.bench.scenario.robot.nominal
    assert plant.reset(nominal.tolist()).success
    wrongs = {
        wrong_shape: "feedback_gain has shape (7, 7) with 98 numbers: needs (7, 14)",
        short_data: "feedback_gain has shape (7, 14) with 50 numbers: needs (7, 14)",
        nan_effort: "command u0 holds NaN or infinity",
        nan_gain: "command gain holds NaN or infinity",
        no_names: "control is for joints []",
        swapped_names: "control is for joints ['lbr_A2', 'lbr_A1'",
    }
    for wrong, words in wrongs.items():
        said = len(plant.log)

        def unusable(wrong: Callable[[Control], None] = wrong) -> Control:
            message = control_for(bench.scenario, plant.t)
            wrong(message)
            return message

        # what is wrong is said once a second
        assert bench.until(lambda said=said, words=words: words in plant.log[said:], send(plant, unusable)), words
    assert bench.until(lambda: int(bench.world["controls_refused"]) >= len(wrongs))
    assert bench.world["phase"] == "PD"
    np.testing.assert_allclose(plant.q, nominal, atol=1e-3)


def test_a_start_of_wrong_length_is_refused(plant: Plant) -> None:
    response = plant.reset([0.0, 1.0, 2.0])
    assert not response.success
    assert "needs 7 positions" in response.message
