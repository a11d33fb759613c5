"""Upright: how far a walking base is from where and how fast it should be, wherever it is and heads.

e, (10,), each row times the root of its weight in the running cost, so that ½‖e‖² is what the base costs there:

    height of the base over the mean of the standing feet, beyond that of the nominal posture, m
    roll and pitch as seen by gravity: with g the upward direction in the frame of the base, g_y and -g_x
    yaw of the base beyond the heading, rad
    velocity of the base beyond the commanded one, (3,) m/s, and rates of turn, (3,) rad/s, in its frame

With R the rotation of the base, g = Rᵀ e_z and, for a turn δ of the base in its own frame, dg = g × δ and the yaw
changes by (g_y δ_y + g_z δ_z) / (g_y² + g_z²).
"""

from __future__ import annotations

import crocoddyl
import numpy as np
import pinocchio

from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.gait import Gait
from dpvp.tasks.legged import LeggedWeights
from dpvp.tasks.legs import Legs
from dpvp.tasks.strides import wrapped
from dpvp.tasks.task import TerminalWeights

SIZE = 10


class Upright:
    """The residual e of a state and a goal (phase, two speeds, turn, heading)."""

    def __init__(self, robot: Robot, legs: Legs, gait: Gait, weights: LeggedWeights) -> None:
        """Take the height and the places of the feet from `legs`."""
        self._robot, self._legs, self._gait, w = robot, legs, gait, weights
        self._roots = np.sqrt([w.height, w.tilt, w.tilt, w.yaw, *[w.speed] * 3, *[w.turn] * 3])

    def __call__(self, x: Array, goal: Array) -> Array:
        """Return e (10,) in the (nx,) state `x`."""
        nq = self._robot.nq
        feet, rotation = self._legs.places(x[:nq]), pinocchio.Quaternion(x[3:7]).toRotationMatrix()
        height = x[2] - feet[self._standing(goal), 2].mean() - self._legs.rise
        away = wrapped(np.arctan2(rotation[1, 0], rotation[0, 0]) - goal[4])
        e = np.concatenate([[height, rotation[2, 1], -rotation[2, 0], away], x[nq : nq + 6]])
        e[[4, 5, 9]] -= goal[1:4]
        return np.asarray(self._roots * e)

    def by_x(self, x: Array, goal: Array) -> Array:
        """Return de/dx (10, ndx)."""
        nq, nv = self._robot.nq, self._robot.nv
        up = pinocchio.Quaternion(x[3:7]).toRotationMatrix()[2]
        across, by_x = pinocchio.skew(up), np.zeros((SIZE, 2 * nv))
        by_x[0, :nv] = -self._legs.heights_by_q(x[:nq])[self._standing(goal)].mean(axis=0)
        by_x[0, :3] += up
        by_x[1, 3:6], by_x[2, 3:6] = across[1], -across[0]
        by_x[3, 4:6] = up[1:] / (up[1:] @ up[1:])
        by_x[4:, nv : nv + 6] = np.eye(6)
        return np.asarray(self._roots[:, None] * by_x)

    def _standing(self, goal: Array) -> Array:
        return np.asarray(self._gait.stands(goal[:1])[0])


class UprightTerminal(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """goal ½‖e‖² + velocity ½‖q̇‖² of the joints as terminal node; being written in Python it needs a single thread."""

    def __init__(self, upright: Upright, state: crocoddyl.StateMultibody, nu: int, weights: TerminalWeights) -> None:
        """Take the robot's state; `aim` sets the goal before the first use."""
        super().__init__(state, nu, 1)
        self._upright, self._weights = upright, weights
        self._joints = slice(state.nv + 6, 2 * state.nv), slice(state.nq + 6, state.nx)  # speeds in tangent and state

    @property
    def reference(self) -> Array:
        """The goal."""
        return self._goal

    @reference.setter
    def reference(self, goal: Array) -> None:
        self._goal = np.array(goal)

    def aim(self, goal: Array) -> None:
        """Set the goal as it will be at the end."""
        self.reference = goal

    def calc(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:
        """Set the cost of the (nx,) state `x`."""
        e = self._upright(x, self._goal)
        speeds = x[self._joints[1]]
        data.cost = 0.5 * (self._weights.goal * e @ e + self._weights.velocity * speeds @ speeds)

    def calcDiff(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:  # noqa: N802
        """Set the gradient (ndx,) and the Gauss-Newton Hessian (ndx, ndx) of what `calc` takes as cost."""
        e, by_x = self._upright(x, self._goal), self._upright.by_x(x, self._goal)
        gradient, hessian = self._weights.goal * by_x.T @ e, self._weights.goal * by_x.T @ by_x
        joints, speeds = self._joints
        gradient[joints] += self._weights.velocity * x[speeds]
        hessian[joints, joints] += self._weights.velocity * np.eye(len(x[speeds]))
        data.Lx, data.Lxx = gradient, hessian
