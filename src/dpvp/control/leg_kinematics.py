"""Where the feet are and how they move, seen from the IMU: what leg kinematics tell the base estimator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot

BASE = 1  # index of the joint that carries the base
STILL = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), np.zeros(6)  # a base in the origin, at rest


@dataclass(frozen=True)
class FeetMotion:
    """Motion of the feet relative to an IMU that stands still, each (n_feet, 3) in the frame of the IMU.

    Attributes:
        position: of the foot frames, m.
        velocity: of the foot frames, m/s.
        spin: angular velocity of the links that carry them, rad/s.
    """

    position: Array
    velocity: Array
    spin: Array


class LegKinematics:
    """Forward kinematics of a robot's legs; owns pinocchio data, so that one thread at a time may ask.

    Attributes:
        joints, feet: numbers of them; their order is the robot's.
        imu: placement of the IMU in the base.
        radius: height of the foot frames over the ground where they stand, m; that of round feet around them.
    """

    def __init__(self, robot: Robot) -> None:
        """Look at the legs of `robot` from its IMU.

        Raises:
            ModelMismatchError: the base of the robot does not float, or does not carry the IMU.
        """
        if robot.imu is None:
            raise ModelMismatchError(f"{robot.name}: base", "floating, on feet", f"{robot.base}, fixed to the ground")
        self._model, self._data = robot.model, robot.model.createData()
        self._frames = [robot.model.getFrameId(foot) for foot in robot.feet]
        self.joints, self.feet = len(robot.joint_names), len(robot.feet)
        carried = {frame.name: frame.placement for frame in robot.model.frames if frame.parentJoint == BASE}
        if robot.imu not in carried:
            hint = f"the base carries {', '.join(carried)}"
            raise ModelMismatchError(f"{robot.name}: frame of the IMU", robot.imu, "no such frame on the base", hint)
        self.imu = carried[robot.imu].copy()
        pinocchio.framesForwardKinematics(self._model, self._data, robot.nominal)
        self.radius = float(np.mean([self._data.oMf[frame].translation[2] for frame in self._frames]))

    def measure(self, q: Array, v: Array) -> FeetMotion:
        """Return the motion of the feet for joint positions `q` (n,) rad and velocities `v` (n,) rad/s."""
        model, data = self._model, self._data
        pinocchio.forwardKinematics(model, data, np.concatenate([STILL[0], q]), np.concatenate([STILL[1], v]))
        places = [pinocchio.updateFramePlacement(model, data, frame).translation for frame in self._frames]
        aligned = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED
        twists = np.array([pinocchio.getFrameVelocity(model, data, frame, aligned).vector for frame in self._frames])
        turn = self.imu.rotation  # rows times it: from the frame of the base to that of the IMU
        position = (np.array(places) - self.imu.translation) @ turn
        return FeetMotion(position, twists[:, :3] @ turn, twists[:, 3:] @ turn)
