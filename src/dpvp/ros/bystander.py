"""Bystander: hears what plant, loop and supervisor say of themselves, and says what operators and others say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from dpvp.plan import Array
from dpvp.record.feed import LOOP_STATUS
from dpvp.robot import JointMap
from dpvp.ros.convert import goal_message, goal_type, message_matrix, stamp_of
from dpvp.ros.local import ros_environment
from dpvp.ros.messages import Control
from dpvp.ros.node import COMMAND, LATCHED, STREAM
from dpvp.ros.pilot import Pilot
from dpvp.ros.record_node import ANY_OFFER
from dpvp.scenario import Scenario

ANSWER = 2.0  # s in which a service has to answer


class Listener(Protocol):
    """Who is told what is heard, as it arrives."""

    def joints(self, q: Array, v: Array, effort: Array) -> None:
        """Take positions, velocities and torques of the joints, (nu,) each: rad, rad/s, Nm."""
        ...

    def gains(self, gain: Array) -> None:
        """Take the gains (nu, 2 nu) of a command."""
        ...

    def phase(self, name: str) -> None:
        """Take what the law at the plant does."""
        ...

    def ruling(self, state: str, reason: str) -> None:
        """Take what the supervisor allows."""
        ...

    def loop(self, state: str, reason: str) -> None:
        """Take what the loop does."""
        ...


class Bystander:
    """Talks with the node of a pilot, which somebody else spins."""

    def __init__(self, pilot: Pilot, scenario: Scenario, listener: Listener) -> None:
        """Tell `listener` what is heard from now on."""
        self._pilot, self._node, self._scenario, self._listener = pilot, pilot.node, scenario, listener
        self._map: JointMap | None = None
        create = self._node.create_subscription
        create(JointState, "joint_states", self._on_joints, ANY_OFFER)
        create(Control, "control", self._on_control, STREAM)
        create(String, "world_node/phase", lambda message: listener.phase(message.data), LATCHED)
        create(DiagnosticStatus, "supervisor_node/verdict", lambda m: listener.ruling(*_said(m)), ANY_OFFER)
        create(DiagnosticArray, "/diagnostics", self._on_diagnostics, ANY_OFFER)
        self._goal = self._node.create_publisher(goal_type(scenario.task), "goal", COMMAND)
        self._stop = self._node.create_publisher(Bool, "estop", LATCHED)

    def say_goal(self, goal: Array) -> None:
        """Send a goal, in the units of the task."""
        now = self._node.get_clock().now().to_msg()
        self._goal.publish(goal_message(goal, self._scenario.task, self._scenario.robot.base, now))

    def say_stop(self, *, pressed: bool) -> None:
        """Press the emergency stop, or release it."""
        self._stop.publish(Bool(data=pressed))

    @contextmanager
    def clock(self) -> Iterator[Publisher]:
        """Publish on /clock too, beside the plant."""
        publisher = self._node.create_publisher(Clock, "/clock", STREAM)
        try:
            yield lambda t: publisher.publish(Clock(clock=stamp_of(t)))
        finally:
            self._node.destroy_publisher(publisher)

    def ask(self, service: str) -> bool:
        """Call a service of type Trigger; False if nobody answers, or refuses. Who should answer may be dead."""
        client = self._node.create_client(Trigger, service)
        try:
            if not client.wait_for_service(timeout_sec=0.5):
                return False
            future, end = client.call_async(Trigger.Request()), time.monotonic() + ANSWER
            while not future.done() and time.monotonic() < end:
                self._pilot.wait(0.02)
            return bool(future.done() and future.result().success)
        finally:
            self._node.destroy_client(client)

    def _on_joints(self, message: JointState) -> None:
        if self._map is None:
            self._map = JointMap(self._scenario.robot.joint_names, list(message.name))
        self._listener.joints(*map(self._map.reorder, (message.position, message.velocity, message.effort)))

    def _on_control(self, message: Control) -> None:
        nu = self._scenario.robot.nu
        self._listener.gains(message_matrix(message.feedback_gain, "feedback_gain", (nu, 2 * nu)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == LOOP_STATUS:
                self._listener.loop(*_said(status))


class Publisher(Protocol):
    """Publishes a time, s."""

    def __call__(self, t: float) -> None:
        """Publish."""
        ...


def _said(status: DiagnosticStatus) -> tuple[str, str]:
    said = {item.key: item.value for item in status.values}
    return said.get("state", ""), said.get("reason", "")


@contextmanager
def ros_graph() -> Iterator[None]:
    """Take part in the ROS graph of this machine while the block lasts."""
    os.environ.update(ros_environment())  # read when the graph is joined
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()
