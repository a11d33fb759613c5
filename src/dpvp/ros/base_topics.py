"""What a simulated robot whose base floats says beside its joints: its IMU, and where its base truly is."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import Imu

from dpvp.ros.convert import fill_pose, fill_twist, stamp_of
from dpvp.ros.node import STREAM
from dpvp.ros.processes import IMU
from dpvp.worlds.mujoco import MujocoWorld


class BaseTopics:
    """Publishes `imu_sensor_broadcaster/imu`, as noisy as the scene says, and `~/odom`, the truth, for who judges."""

    def __init__(self, node: Node, base: str, imu: str, rng: np.random.Generator) -> None:
        """Publish from `node` for a robot with the frames `base` and `imu`; noise is drawn from `rng`."""
        self._base, self._frame, self._rng = base, imu, rng
        self._imu = node.create_publisher(Imu, IMU, STREAM)
        self._truth = node.create_publisher(Odometry, "~/odom", STREAM)

    def publish(self, world: MujocoWorld) -> None:
        """Say what the sensors of `world` say, and the truth."""
        measured, reading = world.read(), world.read_imu(self._rng)
        imu, truth = Imu(), Odometry()
        imu.header.stamp = truth.header.stamp = stamp_of(measured.t)
        imu.header.frame_id, truth.header.frame_id, truth.child_frame_id = self._frame, "world", self._base
        turn, spin, force = imu.orientation, imu.angular_velocity, imu.linear_acceleration
        turn.x, turn.y, turn.z, turn.w = map(float, reading.orientation)
        spin.x, spin.y, spin.z = map(float, reading.gyro)
        force.x, force.y, force.z = map(float, reading.accelerometer)
        fill_pose(truth.pose.pose, measured.q[:7])
        fill_twist(truth.twist.twist, measured.v[:6])
        self._imu.publish(imu)
        self._truth.publish(truth)
