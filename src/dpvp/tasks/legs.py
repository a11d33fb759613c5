"""Legs: where the feet of a robot with a floating base are, and how far they reach."""

from __future__ import annotations

import numpy as np
import pinocchio

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot


class Legs:
    """Kinematics of the feet; not for two threads at once.

    Attributes:
        frames: of the feet, in their order.
        hips: (n, 2) places of the feet under a base that stands in the nominal posture, in its frame, m.
        rise: height of that base over its feet, m.
        reach: (n,) distance from a foot to the second joint of its leg, stretched, m.
    """

    def __init__(self, robot: Robot) -> None:
        """Read the legs off the nominal posture.

        Raises:
            ModelMismatchError: the robot's base is fixed to the ground.
        """
        if not robot.floating:
            raise ModelMismatchError(f"{robot.name}: base", "floating, with feet", f"{robot.base}, fixed to the ground")
        self._model, self._data = robot.model, robot.model.createData()
        self.frames = [robot.model.getFrameId(foot) for foot in robot.feet]
        self._placements = [self._data.oMf[frame] for frame in self.frames]
        standing = self.places(robot.nominal) - robot.nominal[:3]
        self.hips, self.rise = standing[:, :2], -float(standing[:, 2].mean())
        self.reach = np.array([self._stretched(frame) for frame in self.frames])

    def places(self, q: Array) -> Array:
        """Return where the feet are in the world, (n, 3), m, at the configuration `q` (nq,)."""
        pinocchio.forwardKinematics(self._model, self._data, q)
        for frame in self.frames:
            pinocchio.updateFramePlacement(self._model, self._data, frame)
        return np.array([placement.translation for placement in self._placements])

    def heights_by_q(self, q: Array) -> Array:
        """Return the derivatives (n, nv) of the feet's heights, m, by the tangent of `q` (nq,)."""
        world = pinocchio.LOCAL_WORLD_ALIGNED
        pinocchio.computeJointJacobians(self._model, self._data, q)
        rows = [pinocchio.getFrameJacobian(self._model, self._data, frame, world)[2] for frame in self.frames]
        return np.array(rows)

    def _stretched(self, frame: int) -> float:
        """Return the length of a leg from its second joint, about which it swings forwards, to its foot, m."""
        model, joint = self._model, self._model.frames[frame].parentJoint
        length = float(np.linalg.norm(model.frames[frame].placement.translation))
        while model.parents[model.parents[model.parents[joint]]] > 0:
            length += float(np.linalg.norm(model.jointPlacements[joint].translation))
            joint = model.parents[joint]
        return length
