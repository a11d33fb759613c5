"""EndEffector: where the tip of an arm is, how it moves with the joints, and which posture brings it to a point.

What is learned sees it in the axes of the first link, R_1(q_1)ᵀ: an arm that has turned about its first joint is the
same arm with another goal, so that nothing about that turn has to be learned. With e = p - point,

    e' = R_1ᵀ e        ∂e'/∂q_1 = R_1ᵀ (J_1 - a_1 × e)        ∂e'/∂q_k = R_1ᵀ J_k
    J' = R_1ᵀ J        ∂J'/∂q_1 = 0                           ∂J'/∂q_k = R_1ᵀ ∂J/∂q_k
"""

from __future__ import annotations

import numpy as np
import pinocchio

from dpvp.plan import Array
from dpvp.robot import Robot

POSTURES = 6  # random ones from which inverse kinematics starts, besides those given
ITERATIONS = 60
NEAR = 1e-4  # m; closer need not be
ACROSS = np.stack([pinocchio.skew(axis).ravel() for axis in np.eye(3)])  # a @ ACROSS are the rows of a ×


class EndEffector:
    """Kinematics of a robot's end effector; not for two threads at once."""

    def __init__(self, robot: Robot) -> None:
        """Make the workspace."""
        self._robot, self._data = robot, robot.model.createData()
        self._frame = robot.model.getFrameId(robot.end_effector)
        # views of what pinocchio computes: asking for them takes longer than computing
        self._position = self._data.oMf[self._frame].translation
        self._turn = self._data.oMi[1].rotation.T
        nv = robot.nv
        of_p, of_j, of_q = np.meshgrid(range(3), range(nv), range(nv), indexing="ij")
        # of ∂J/∂q (3, nv, nv) among the products a_n × J_m (n, 3, m)
        self._products = (3 * np.minimum(of_j, of_q) + of_p) * nv + np.maximum(of_j, of_q)

    def position_and_jacobian(self, q: Array) -> tuple[Array, Array]:
        """Return the position (3,), m, and its Jacobian (3, nv), m/rad, in the world, for positions (nq,), rad."""
        jacobian = self._jacobian(q)
        return self._position.copy(), jacobian[:3]

    def seen(self, q: Array, point: Array) -> tuple[Array, Array]:
        """Return e' (3,), m, from `point` to the tip, and J' (3, nv), m/rad, both in the axes of the first link."""
        jacobian = self._jacobian(q)
        return self._turn @ (self._position - point), self._turn @ jacobian[:3]

    def seen_derivatives(self, q: Array, point: Array) -> tuple[Array, Array, Array, Array]:
        """Return what `seen` does, ∂e'/∂q (3, nv) and ∂J'/∂q (3, nv, nv), the last index being that of q.

        For revolute joints on one chain ∂J_j/∂q_i = a_min(i,j) × J_max(i,j), with a the axes of the joints.
        """
        jacobian = self._jacobian(q)
        linear, axes, e = self._turn @ jacobian[:3], self._turn @ jacobian[3:], self._turn @ (self._position - point)
        across = (axes.T @ ACROSS).reshape(-1, 3, 3)
        slope = (across @ linear).ravel()[self._products]
        slope[:, :, 0] = 0.0
        by_q = linear.copy()
        by_q[:, 0] -= across[0] @ e
        return e, linear, by_q, slope

    def posture_at(self, point: Array, seeds: list[Array], share: float) -> tuple[Array, float]:
        """Return the posture nearest to `point`, m, found by damped Gauss-Newton, and its distance, m.

        Searches from `seeds` (nq,) and from a few fixed random postures within `share` of the position limits.
        """
        limits, best = self._robot.limits, (np.zeros(self._robot.nq), np.inf)
        rng = np.random.default_rng(0)
        for seed in [*seeds, *rng.uniform(*limits.positions(share), (POSTURES, self._robot.nq))]:
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
