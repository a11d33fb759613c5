"""EndEffector: where the tip of an arm is, how it moves with the joints, and which posture brings it to a point."""

from __future__ import annotations

import numpy as np
import pinocchio

from dpvp.plan import Array
from dpvp.robot import Robot

POSTURES = 6  # random ones from which inverse kinematics starts, besides those given
ITERATIONS = 60
NEAR = 1e-4  # m; closer need not be


class EndEffector:
    """Kinematics of a robot's end effector in the world; not for two threads at once."""

    def __init__(self, robot: Robot) -> None:
        """Make the workspace."""
        self._robot, self._data = robot, robot.model.createData()
        self._frame = robot.model.getFrameId(robot.end_effector)
        joints = np.arange(robot.nv)
        self._first, self._last = np.minimum.outer(joints, joints), np.maximum.outer(joints, joints)

    def position_and_jacobian(self, q: Array) -> tuple[Array, Array]:
        """Return the position (3,), m, and its Jacobian (3, nv), m/rad, for joint positions (nq,), rad."""
        jacobian = self._jacobian(q)
        return np.array(self._data.oMf[self._frame].translation), np.asarray(jacobian[:3])

    def derivatives(self, q: Array) -> tuple[Array, Array, Array]:
        """Return position (3,), Jacobian J (3, nv) and ∂J/∂q (3, nv, nv), the last index being that of q.

        For revolute joints on one chain ∂J_j/∂q_i = a_min(i,j) × J_max(i,j), with a the axes of the joints.
        """
        jacobian = self._jacobian(q)
        linear, axes = jacobian[:3], jacobian[3:]
        a, b = axes[:, self._first], linear[:, self._last]
        slope = a[[1, 2, 0]] * b[[2, 0, 1]] - a[[2, 0, 1]] * b[[1, 2, 0]]
        return np.array(self._data.oMf[self._frame].translation), np.asarray(linear), slope

    def posture_at(self, point: Array, seeds: list[Array], share: float) -> tuple[Array, float]:
        """Return the posture nearest to `point`, m, found by damped Gauss-Newton, and its distance, m.

        Searches from `seeds` (nq,) and from a few fixed random postures within `share` of the position limits.
        """
        limits, best = self._robot.limits, (np.zeros(self._robot.nq), np.inf)
        rng = np.random.default_rng(0)
        box = share * limits.position_lower, share * limits.position_upper
        for seed in [*seeds, *rng.uniform(*box, (POSTURES, self._robot.nq))]:
            q = np.clip(seed, limits.position_lower, limits.position_upper)
            for _ in range(ITERATIONS):
                position, jacobian = self.position_and_jacobian(q)
                e = position - point
                if (distance := float(np.linalg.norm(e))) < best[1]:
                    best = (q, distance)
                if distance < NEAR:
                    return best
                step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(3), e)
                q = np.clip(q - step, limits.position_lower, limits.position_upper)
        return best

    def _jacobian(self, q: Array) -> Array:
        """Return the (6, nv) Jacobian, linear above angular, in the axes of the world; places the frame."""
        model, data = self._robot.model, self._data
        full = pinocchio.computeFrameJacobian(model, data, q, self._frame, pinocchio.LOCAL_WORLD_ALIGNED)
        pinocchio.updateFramePlacement(model, data, self._frame)
        return np.asarray(full)
