"""estimator_node over real DDS, against a quadruped that the test plays: what it publishes, and when it is silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_srvs.srv import Trigger

from dpvp.control.base_state import BaseMeasurement
from dpvp.robot import Robot, load_robot
from dpvp.ros.convert import stamp_of
from dpvp.ros.local import LocalProcesses
from dpvp.ros.messages import Contact, Control, Sensor
from dpvp.ros.node import COMMAND, STREAM
from dpvp.ros.processes import ProcessSpec
from rosgraph import PATIENCE, Peer, processes
from walker import Trot, Truth, trot

pytestmark = pytest.mark.alone

PERIOD, IMPATIENCE = 0.01, 0.2  # s between two measurements, and for which the answer to one is waited for
GAIT = Trot(stand=0.5, period=0.25)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
SILENT = "silent"  # frame of a message that is not to be sent
OVERRIDES = {"imu_timeout": 1.0, "support_timeout": 1.0, "odom_rate": 1000.0}  # slow machines are not what is tested


class Quadruped(Peer):
    """Sends what the sensors of a walking robot say, with whatever wrong a test wants in it, and hears the answers."""

    def __init__(self, robot: Robot, folder: Path) -> None:
        super().__init__()
        self.robot, self.folder = robot, folder
        self.truths = trot(robot, GAIT, 1.5, dt=PERIOD)
        self.sensors: list[Sensor] = []
        self.odometry: list[Odometry] = []
        self.base: dict[str, str] = {}
        self.sent: dict[tuple[int, int], Truth] = {}
        self.imu = self.node.create_publisher(Imu, "imu", STREAM)
        self.joints = self.node.create_publisher(JointState, "joint_states", COMMAND)
        self.control = self.node.create_publisher(Control, "control", STREAM)
        self.node.create_subscription(Sensor, "estimator_node/sensor", self._on_sensor, BEST_EFFORT)
        self.node.create_subscription(Odometry, "odom", self.odometry.append, BEST_EFFORT)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.t, self.sent_at, self.answered = time.time(), 0.0, True
        self.stand()

    def stand(self) -> None:
        """Let nothing be wrong, and the robot stand."""
        self.change_imu: Callable[[Imu], object] = lambda message: None
        self.change_joints: Callable[[JointState], object] = lambda message: None
        self.walks, self.step = False, 0

    def send(self) -> None:
        """Send the next measurement once the last one is answered, so that a busy machine loses none."""
        waited = time.monotonic() - self.sent_at
        if waited < PERIOD or (waited < IMPATIENCE and not self.answered):
            return
        self.t, self.sent_at, self.answered = self.t + PERIOD, time.monotonic(), False
        stamp, truth = stamp_of(self.t), self.truths[self.step]
        self.step = min(self.step + 1, len(self.truths) - 1) if self.walks else 0
        self.sent[stamp.sec, stamp.nanosec] = truth
        if self.walks:
            self.control.publish(planned(self.robot, truth.measurement.contacts))
        imu, joints = imu_message(truth.measurement), joint_message(self.robot, truth.measurement)
        imu.header.stamp, joints.header.stamp = stamp, stamp_of(self.t)
        self.change_imu(imu)
        self.change_joints(joints)
        if imu.header.frame_id != SILENT:
            self.imu.publish(imu)
        if joints.header.frame_id != SILENT:
            self.joints.publish(joints)

    def ask(self, kind: type, name: str, request: object) -> object:
        """Call a service of the node while the sensors go on."""
        client = self.node.create_client(kind, f"estimator_node/{name}")
        assert self.until(client.service_is_ready, self.send)
        future = client.call_async(request)
        assert self.until(future.done, self.send)
        return future.result()

    @property
    def log(self) -> str:
        return (self.folder / "estimator_node.log").read_text(encoding="utf-8")

    def _on_sensor(self, message: Sensor) -> None:
        self.sensors.append(message)
        self.answered = True

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "estimator_node: base":
                self.base = {item.key: item.value for item in status.values}


def imu_message(m: BaseMeasurement) -> Imu:
    message = Imu()
    for part, values in (
        (message.orientation, dict(zip("xyzw", m.orientation, strict=True))),
        (message.angular_velocity, dict(zip("xyz", m.gyro, strict=True))),
        (message.linear_acceleration, dict(zip("xyz", m.accelerometer, strict=True))),
    ):
        for axis, value in values.items():
            setattr(part, axis, float(value))
    message.orientation_covariance = np.diag([4e-6, 5e-6, 6e-6]).ravel()
    message.angular_velocity_covariance = np.diag([1e-4, 2e-4, 3e-4]).ravel()
    return message


def joint_message(robot: Robot, m: BaseMeasurement) -> JointState:
    """In another order than the robot's, as broadcasters send it."""
    message = JointState(name=list(robot.joint_names[::-1]))
    message.position, message.velocity, message.effort = m.q[::-1], m.v[::-1], np.arange(12.0)[::-1]
    return message


def planned(robot: Robot, contacts: np.ndarray) -> Control:
    message = Control()
    feet = zip(robot.feet, contacts, strict=True)
    message.initial_state.contacts = [Contact(name=foot, active=bool(stands)) for foot, stands in feet]
    return message


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quadruped]:
    folder = tmp_path_factory.mktemp("estimator")
    specs = [ProcessSpec("estimator_node", "dpvp", "estimator_node", OVERRIDES)]
    with processes(specs, folder):
        quadruped = Quadruped(load_robot("go2"), folder)
        assert quadruped.until(lambda: bool(quadruped.sensors), quadruped.send), quadruped.log
        yield quadruped
        quadruped.node.destroy_node()


@pytest.fixture
def go2(running: Quadruped) -> Quadruped:
    """A robot that stands, estimated anew."""
    running.stand()
    assert running.ask(Trigger, "reset", Trigger.Request()).success
    running.sensors.clear()
    running.odometry.clear()
    assert running.until(lambda: len(running.sensors) > 20 and running.base["status"] == "OK", running.send)
    return running


def pose(message: Sensor) -> np.ndarray:
    place, turn = message.base_pose.position, message.base_pose.orientation
    return np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w])


def twist(message: Sensor) -> np.ndarray:
    linear, angular = message.base_twist.linear, message.base_twist.angular
    return np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])


def test_walking_it_says_where_the_base_is(go2: Quadruped) -> None:
    go2.walks = True
    assert go2.until(lambda: go2.step == len(go2.truths) - 1, go2.send)
    go2.walks = False
    answered = [(go2.sent[m.header.stamp.sec, m.header.stamp.nanosec], m) for m in go2.sensors]
    walked = [(truth, m) for truth, m in answered if truth.measurement.t > GAIT.stand]
    assert len(walked) > 60
    assert np.linalg.norm(walked[-1][0].q[:2]) > 0.2
    for truth, message in walked:
        np.testing.assert_allclose(pose(message)[:3], truth.q[:3], atol=0.01)
        np.testing.assert_allclose(pose(message)[3:], truth.q[3:7], atol=1e-6)
        np.testing.assert_allclose(twist(message)[:3], truth.v[:3], atol=0.06)
        np.testing.assert_allclose(twist(message)[3:], truth.v[3:6], atol=1e-6)
    flags = np.array([[contact.active for contact in message.contacts] for _, message in walked])
    assert 0.4 < flags.mean() < 0.7  # two of four, apart from the moments around the change


def test_joints_are_in_the_order_of_the_robot(go2: Quadruped) -> None:
    joints, truth = go2.sensors[-1].joint_state, go2.truths[0]
    assert tuple(joints.name) == go2.robot.joint_names
    np.testing.assert_array_equal(joints.position, truth.measurement.q)
    np.testing.assert_array_equal(joints.velocity, truth.measurement.v)
    np.testing.assert_array_equal(joints.effort, np.arange(12.0))
    assert [contact.name for contact in go2.sensors[-1].contacts] == list(go2.robot.feet)
    assert all(contact.active for contact in go2.sensors[-1].contacts)


def test_odometry(go2: Quadruped) -> None:
    assert go2.until(lambda: bool(go2.odometry), go2.send)
    message = go2.odometry[-1]
    assert (message.header.frame_id, message.child_frame_id) == ("odom", go2.robot.base)
    assert message.pose.pose.position.z == pytest.approx(go2.robot.nominal[2], abs=2e-3)
    covariance = np.reshape(message.pose.covariance, (6, 6))
    np.testing.assert_allclose(np.diag(covariance)[3:], [4e-6, 5e-6, 6e-6])
    assert np.all(np.diag(covariance) > 0)
    np.testing.assert_allclose(np.diag(np.reshape(message.twist.covariance, (6, 6)))[3:], [1e-4, 2e-4, 3e-4])


def silent(message: Imu | JointState) -> None:
    message.header.frame_id = SILENT


def frozen(go2: Quadruped) -> Callable[[Imu], None]:
    stamp = stamp_of(go2.t)

    def change(message: Imu) -> None:
        message.header.stamp = stamp

    return change


@pytest.mark.parametrize("kind", ["imu", "joints", "frozen"])
def test_lost_sensors_silence_the_node_until_they_are_back(go2: Quadruped, kind: str) -> None:
    if kind == "joints":
        go2.change_joints = silent
    else:
        go2.change_imu = silent if kind == "imu" else frozen(go2)
    go2.spin(0.5, go2.send)  # what was under way arrives
    assert go2.until(lambda: go2.base["status"] == "LOST", go2.send)
    go2.sensors.clear()
    go2.spin(0.3, go2.send)
    assert go2.sensors == []
    assert "LOST: " in go2.log
    go2.stand()
    assert go2.until(lambda: go2.base["status"] == "OK" and len(go2.sensors) > 10, go2.send)
    np.testing.assert_allclose(pose(go2.sensors[-1])[:3], go2.robot.nominal[:3], atol=2e-3)


def nan_gyro(message: Imu) -> None:
    message.angular_velocity.y = float("nan")


def no_orientation(message: Imu) -> None:
    message.orientation_covariance[0] = -1.0


def zero_quaternion(message: Imu) -> None:
    message.orientation.w = 0.0


def of_long_ago(message: Imu) -> None:
    message.header.stamp.sec -= 1


def nan_joint(message: JointState) -> None:
    message.position[3] = float("nan")


def no_velocity(message: JointState) -> None:
    message.velocity = []


def other_names(message: JointState) -> None:
    message.name = [f"joint_{i}" for i in range(12)]


def one_missing(message: JointState) -> None:
    for field in ("name", "position", "velocity"):
        setattr(message, field, list(getattr(message, field))[:-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nan_gyro, "not finite"),
        (no_orientation, "gives no orientation"),
        (zero_quaternion, "needs 1"),
        (of_long_ago, "apart"),
        (nan_joint, "not finite"),
        (no_velocity, "joint values"),
        (other_names, "unknown: joint_0"),
        (one_missing, "missing: FL_hip_joint"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_published_for_it(go2: Quadruped, change: Callable, words: str) -> None:
    attribute = "change_imu" if change.__annotations__["message"] == "Imu" else "change_joints"
    setattr(go2, attribute, change)
    go2.spin(0.5, go2.send)  # what was under way arrives, and is reported
    go2.sensors.clear()
    refused = int(go2.base["refused"])
    assert go2.until(lambda: int(go2.base["refused"]) > refused + 3, go2.send)
    assert go2.sensors == []
    assert go2.until(lambda: words in go2.log, go2.send), go2.log
    go2.stand()
    assert go2.until(lambda: len(go2.sensors) > 10, go2.send)


def test_contacts_of_unknown_feet_are_refused(go2: Quadruped) -> None:
    refused = int(go2.base["refused"])
    wrong = planned(go2.robot, np.ones(4))
    wrong.initial_state.contacts[0].name = "LF_FOOT"

    def send() -> None:  # with every measurement: what is refused is said once a second at most
        go2.control.publish(wrong)
        go2.send()

    assert go2.until(lambda: int(go2.base["refused"]) > refused, send)
    assert go2.until(lambda: "contacts are of ['LF_FOOT'" in go2.log, send)


def test_in_the_air_it_falls_silent(go2: Quadruped) -> None:
    """A plan without any foot on the ground: the accelerometer alone will not do for long."""

    def fly() -> None:
        go2.control.publish(planned(go2.robot, np.zeros(4)))
        go2.send()

    assert go2.until(lambda: go2.base["status"] == "UNSUPPORTED", fly)
    go2.sensors.clear()
    go2.spin(0.2, fly)
    assert go2.sensors == []
    assert go2.until(lambda: go2.base["status"] == "OK", go2.send)  # no plan any more: it stands again


def test_reset_puts_it_where_the_parameter_says(go2: Quadruped) -> None:
    for place in ([1.0, -2.0, 0.5], [0.0, 0.0, 0.0]):
        change = Parameter("place", value=place).to_parameter_msg()
        go2.ask(SetParameters, "set_parameters", SetParameters.Request(parameters=[change]))
        assert go2.ask(Trigger, "reset", Trigger.Request()).success
        go2.sensors.clear()
        assert go2.until(lambda: len(go2.sensors) > 10, go2.send)
        x, y, _, *turn = pose(go2.sensors[-1])
        yaw = 2 * np.arctan2(turn[2], turn[3])
        np.testing.assert_allclose([x, y, yaw], place, atol=2e-3)
    short = Parameter("place", value=[1.0, 2.0]).to_parameter_msg()
    answer = go2.ask(SetParameters, "set_parameters", SetParameters.Request(parameters=[short]))
    assert not answer.results[0].successful


def test_lifecycle(go2: Quadruped) -> None:
    """Deactivated it is silent; active again it starts anew."""

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return go2.ask(ChangeState, "change_state", request).success

    assert change(Transition.TRANSITION_DEACTIVATE)
    go2.spin(0.1, go2.send)
    go2.sensors.clear()
    go2.spin(0.3, go2.send)
    assert go2.sensors == []
    assert change(Transition.TRANSITION_CLEANUP)
    assert change(Transition.TRANSITION_CONFIGURE)
    assert change(Transition.TRANSITION_ACTIVATE)
    assert go2.until(lambda: len(go2.sensors) > 10, go2.send)
    np.testing.assert_allclose(pose(go2.sensors[-1])[:3], go2.robot.nominal[:3], atol=2e-3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"robot": "iiwa14"}, "fixed to the ground"),
        ({"robot": "go3"}, "must be one of"),
        ({"leg_velocity": -1.0}, "leg_velocity"),
        ({"contacts": "guessed"}, "contacts"),
    ],
)
def test_what_cannot_work_ends_the_node_with_a_reason(tmp_path: Path, parameters: dict, words: str) -> None:
    specs = [ProcessSpec("estimator_node", "dpvp", "estimator_node", parameters)]
    with LocalProcesses(specs, tmp_path) as running:
        end = time.monotonic() + PATIENCE
        while running.ended() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert running.ended() == "estimator_node"
        assert words in running.last_words("estimator_node")
