"""`cmd_vel`: velocities that somebody commands, until they fall silent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from geometry_msgs.msg import Twist
from rclpy.node import Node

from dpvp.errors import GoalError
from dpvp.ros.node import COMMAND


class VelocityTopic:
    """Hands what is commanded on `cmd_vel` to a loop; who falls silent lets go: the robot stops."""

    def __init__(self, node: Node, steer: Callable[[tuple[float, float, float]], None], timeout: float) -> None:
        """Listen on `node`.

        Args:
            node: of the loop.
            steer: takes the velocity forwards and to the left, m/s, and the turn, rad/s; raises `GoalError` if it is
                refused.
            timeout: silence after which the robot stops, s; 0: never.
        """
        self._node, self._steer, self._timeout = node, steer, timeout
        self._heard_at = math.inf
        self.subscription = node.create_subscription(Twist, "cmd_vel", self._on_velocity, COMMAND)

    def look(self) -> None:
        """Let the robot stop when whoever steered it fell silent."""
        now = time.monotonic()
        if 0.0 < self._timeout < now - self._heard_at:
            self._heard_at = math.inf
            self._node.get_logger().warning("cmd_vel fell silent: the robot stops")
            self._steer((0.0, 0.0, 0.0))

    def _on_velocity(self, message: Twist) -> None:
        try:
            self._steer((message.linear.x, message.linear.y, message.angular.z))
        except GoalError as error:
            text = f"velocity refused, the old one stays: {error}"
            self._node.get_logger().error(text, throttle_duration_sec=1.0)
        else:
            self._heard_at = time.monotonic()
