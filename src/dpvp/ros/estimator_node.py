"""estimator_node: where the base of a legged robot is, for whoever plans: a lifecycle node around `BaseEstimator`.

Subscribes `imu`, `joint_states`, and for the contacts either `control` (those that the MPC has planned, in its
`initial_state.contacts`) or `sensor` (those that the plant has sensed, in its `contacts`); publishes `~/sensor`, which
is the plant's `sensor` with the base in it, `odom`, /tf where there is tf2_msgs, and `/diagnostics`; service `~/reset`.
What cannot be estimated is not published, so that those who listen see it grow old, and hold.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from typing import Literal

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from pydantic import Field
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_srvs.srv import Trigger

from dpvp.control.base_estimator import BaseEstimator
from dpvp.control.base_state import BaseEstimate, EstimateStatus, EstimatorConfig, Place
from dpvp.control.leg_kinematics import LegKinematics
from dpvp.errors import MessageError
from dpvp.plan import Array
from dpvp.robot import Robot, load_robot
from dpvp.ros.diagnostics import diagnostics_message, status_message
from dpvp.ros.lifecycle import IDLE_SPIN, InterfaceNode, NodeParameters
from dpvp.ros.messages import Control, Sensor, TFMessage
from dpvp.ros.node import COMMAND, STREAM, run_node
from dpvp.ros.odometry import (
    contacts_of,
    estimated_sensor,
    measurement_of,
    odometry_message,
    transform_message,
)

logger = logging.getLogger("dpvp.ros.estimator_node")

SENSORS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)  # a hiccup must not lose acceleration
TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)  # as tf2 has it
WATCH = 0.01  # s between looks at the clock: how late silence is noticed
REPORT_PERIOD = 0.2  # s

LEVELS = {
    EstimateStatus.OK: DiagnosticStatus.OK,
    EstimateStatus.NOT_STARTED: DiagnosticStatus.WARN,
    EstimateStatus.LOST: DiagnosticStatus.ERROR,
    EstimateStatus.UNSUPPORTED: DiagnosticStatus.ERROR,
}


class EstimatorParameters(EstimatorConfig, NodeParameters):
    """Parameters of estimator_node: the noise and the times of the filter, and these."""

    robot: str = Field("go2", description="name of a robot whose base floats, or path of its folder")
    prefix: str = Field("", description="comes before the names of joints and links; empty: that of robot.yaml")
    contacts: Literal["planned", "sensed"] = Field(
        "planned", description="which contacts: planned, in `control`, or sensed, in `sensor`"
    )
    contact_timeout: float = Field(
        0.2, gt=0, le=10, description="without contacts for so long every foot is taken to stand, unless it moves, s"
    )
    apart: float = Field(0.01, gt=0, le=1, description="most time between an IMU and its joint states, s")
    place: tuple[float, ...] = Field(
        (0.0, 0.0, 0.0),
        min_length=3,
        max_length=3,
        description="x, y (m) and yaw (rad) of the base in frame `world` at start and ~/reset",
        json_schema_extra={"dynamic": True},
    )
    world: str = Field("odom", description="name of the frame that is fixed to the ground")
    lock_step: bool = Field(False, description="the plant waits: silence means nothing")
    odom_rate: float = Field(50.0, ge=0, le=1000, description="messages on `odom` and /tf, Hz; 0: none")


class EstimatorInterface:
    """The estimator with its topics; exists while the node is configured."""

    def __init__(self, node: LifecycleNode, parameters: EstimatorParameters) -> None:
        """Load the robot and connect `node`.

        Raises:
            ConfigError, ModelMismatchError: there is no such robot, its base is fixed, or does not carry the IMU.
        """
        self._node, self._parameters, self._robot = node, parameters, _robot(parameters)
        legs = LegKinematics(self._robot)
        self._estimator = BaseEstimator(legs, parameters, self._place())
        self._sensor = node.create_publisher(Sensor, "~/sensor", STREAM)
        self._odometry = node.create_publisher(Odometry, "odom", COMMAND)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", COMMAND)
        self._tf = node.create_publisher(TFMessage, "/tf", TRANSFORMS) if TFMessage else None
        self._subscriptions = [
            node.create_subscription(Imu, "imu", self._on_imu, SENSORS),
            node.create_subscription(JointState, "joint_states", self._on_joints, SENSORS),
            node.create_subscription(Control, "control", self._on_control, STREAM)
            if parameters.contacts == "planned"
            else node.create_subscription(Sensor, "sensor", self._on_contacts, STREAM),
        ]
        self._service = node.create_service(Trigger, "~/reset", self._on_reset)
        self._imu: Imu | None = None
        self._joints: JointState | None = None
        self._estimate: BaseEstimate | None = None
        self._stamps: tuple[Time, Time] | None = None  # of the IMU and the joints behind it
        self._contacts = np.ones(legs.feet)
        self._contacts_at = self._estimated_at = -math.inf  # on the steady clock, as those that follow
        self._odometry_at = self._reported_at = -math.inf
        self._status, self._counts = EstimateStatus.NOT_STARTED, {"estimates": 0, "refused": 0}
        self.active = False

    def activate(self) -> None:
        """Begin to estimate, at the place that the parameters say."""
        self._reset()
        self.active = True

    def deactivate(self) -> None:
        """Fall silent."""
        self.active = False

    def close(self) -> None:
        """Disconnect."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_service(self._service)
        for publisher in (self._sensor, self._odometry, self._diagnostics, self._tf):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def work(self) -> float:
        """Look after what is silent, report, and return the seconds until that is due again."""
        if not self.active:
            return IDLE_SPIN
        now, before, self._status = time.monotonic(), self._status, self._status_now()
        if before is not self._status:
            level = logging.ERROR if LEVELS[self._status] == DiagnosticStatus.ERROR else logging.INFO
            logger.log(level, f"{self._status.name}: {self._status.value}")
        if now - self._reported_at >= REPORT_PERIOD:
            self._reported_at = now
            self._report()
        return WATCH

    def _status_now(self) -> EstimateStatus:
        if self._estimate is None:
            return EstimateStatus.NOT_STARTED
        waited = 0.0 if self._parameters.lock_step else time.monotonic() - self._estimated_at
        silent = waited > self._parameters.imu_timeout
        return EstimateStatus.LOST if silent else self._estimate.status

    def _on_imu(self, message: Imu) -> None:
        self._imu = message
        self._use_pair()

    def _on_joints(self, message: JointState) -> None:
        self._joints = message
        self._use_pair()

    def _use_pair(self) -> None:
        """Estimate as soon as there is an IMU message and joint states that were not used yet."""
        if self._imu is None or self._joints is None or not self.active:
            return
        imu, joints, self._imu, self._joints = self._imu, self._joints, None, None
        stamps = imu.header.stamp, joints.header.stamp
        if self._estimate is not None and stamps == self._stamps:  # a plant that waits for us asks again
            self._publish(self._estimate, imu, joints)
            return
        contacts, apart = self._contacts_now(), self._parameters.apart
        try:
            measurement = measurement_of(self._robot.joint_names, imu, joints, contacts, apart)
            self._estimate = self._estimator.update(measurement)
        except MessageError as error:
            self._refuse(error)
            return
        self._estimated_at, self._stamps = time.monotonic(), stamps
        self._counts["estimates"] += 1
        self._publish(self._estimate, imu, joints)

    def _refuse(self, error: MessageError) -> None:
        self._counts["refused"] += 1
        text = f"measurement refused ({self._counts['refused']} so far): {error}"
        self._node.get_logger().error(text, throttle_duration_sec=1.0)
        if self._status_now() is EstimateStatus.LOST:  # a plant whose time began anew would be refused for ever
            self._estimator.resume()

    def _publish(self, estimate: BaseEstimate, imu: Imu, joints: JointState) -> None:
        if not estimate.valid:
            return
        self._sensor.publish(estimated_sensor(estimate, self._robot.joint_names, self._robot.feet, imu, joints))
        now, rate = time.monotonic(), self._parameters.odom_rate
        if rate and now - self._odometry_at >= 1.0 / rate:
            self._odometry_at = now
            message = odometry_message(estimate, imu, self._parameters.world, self._robot.base)
            self._odometry.publish(message)
            if self._tf is not None:
                self._tf.publish(transform_message(message))

    def _on_control(self, message: Control) -> None:
        self._on_contacts(message.initial_state)

    def _on_contacts(self, message: Sensor) -> None:
        """Take the contacts of a message that names any."""
        if not message.contacts:
            return
        try:
            self._contacts = contacts_of(self._robot.feet, message.contacts)
            self._contacts_at = time.monotonic()
        except MessageError as error:
            self._refuse(error)

    def _contacts_now(self) -> Array:
        """Return the contacts in force; who says nothing stands, and feet that move all the same are noticed."""
        waited = 0.0 if self._parameters.lock_step else time.monotonic() - self._contacts_at
        old = waited > self._parameters.contact_timeout
        return np.ones(len(self._robot.feet)) if old else self._contacts

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset()
        place = self._place()
        response.success = True
        response.message = f"starts anew at x = {place.x} m, y = {place.y} m, yaw = {place.yaw} rad"
        return response

    def _reset(self) -> None:
        self._estimator.reset(self._place())
        self._imu = self._joints = self._estimate = None

    def _place(self) -> Place:
        return Place(*(float(value) for value in self._node.get_parameter("place").value))

    def _report(self) -> None:
        values = {"status": self._status.name, "started": self._estimator.started} | self._counts
        if self._estimate is not None:
            deviation = np.sqrt(np.diag(self._estimate.covariance))
            values |= {
                "standing": " ".join(str(int(stands)) for stands in self._estimate.standing),
                "height": f"{self._estimate.q[2]:.4f}",
                "speed": f"{np.linalg.norm(self._estimate.v[:3]):.3f}",
                "accelerometer_bias": " ".join(f"{value:.3f}" for value in self._estimate.bias),
                "position_deviation": f"{deviation[:3].max():.4f}",
                "velocity_deviation": f"{deviation[3:].max():.4f}",
            }
        part, level = "estimator_node: base", LEVELS[self._status]
        status = status_message(part, self._robot.name, level, self._status.value, values)
        self._diagnostics.publish(diagnostics_message(status, self._node.get_clock().now().to_msg()))


class EstimatorNode(InterfaceNode[EstimatorParameters]):
    """The lifecycle of `EstimatorInterface`: configured it has a robot, active it publishes."""

    def __init__(self) -> None:
        """Declare the parameters and start; see `InterfaceNode`."""
        super().__init__("estimator_node", EstimatorParameters)

    def make(self) -> EstimatorInterface:
        """Load the robot and connect."""
        return EstimatorInterface(self, self.settings)


def _robot(parameters: EstimatorParameters) -> Robot:
    """Return the robot of the parameters, by name or by folder."""
    return load_robot(parameters.robot, parameters.prefix or None)


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(EstimatorNode, args)


if __name__ == "__main__":
    sys.exit(main())
