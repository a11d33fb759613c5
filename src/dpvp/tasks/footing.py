"""Footing: what a learned policy sees of legs that walk besides the residual, wherever they are and head.

In units of about one, for n feet and joints q:

    cos φ, sin φ, v_x, v_y, ω        phase and command
    stands (n)                       1 for feet that stand in the middle of the node that begins now, else 0
    (p_z - floor) / clearance (n)    heights of the feet over the mean of those that stand by now
    q - q_nominal                    rad
    q̇ / 10                           rad/s

Who stands is told by the clock, and by all feet standing where a robot without a command is calm. Flags jump; between
jumps their derivative is zero.
"""

from __future__ import annotations

import numpy as np

from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.gait import Gait
from dpvp.tasks.legs import Legs
from dpvp.tasks.strides import Strides

SPEED = 10.0  # rad/s


class Footing:
    """The features of a state and a goal (phase, two speeds, turn, heading)."""

    def __init__(self, robot: Robot, legs: Legs, gait: Gait, strides: Strides) -> None:
        """Take the feet from `legs` and who stands from `gait` and `strides`."""
        self._robot, self._legs, self._gait, self._strides = robot, legs, gait, strides
        self._nominal = robot.nominal[robot.nq - robot.nu :]

    def __call__(self, x: Array, goal: Array) -> Array:
        """Return the features (5 + 2 n + 2 nu,) in the (nx,) state `x`."""
        robot, heights = self._robot, self._legs.places(x[: self._robot.nq])[:, 2]
        over = (heights - heights[self._now(goal)].mean()) / self._gait.clearance
        q, v = x[robot.nq - robot.nu : robot.nq] - self._nominal, x[robot.nx - robot.nu :] / SPEED
        told = [np.cos(goal[0]), np.sin(goal[0]), *goal[1:4]]
        return np.concatenate([told, self._stands(x, goal), over, q, v])

    def by_x(self, x: Array, goal: Array) -> Array:
        """Return the derivative (5 + 2 n + 2 nu, ndx)."""
        nv, nu, n = self._robot.nv, self._robot.nu, len(self._robot.feet)
        heights, by_x = self._legs.heights_by_q(x[: self._robot.nq]), np.zeros((5 + 2 * n + 2 * nu, 2 * nv))
        by_x[5 + n : 5 + 2 * n, :nv] = (heights - heights[self._now(goal)].mean(axis=0)) / self._gait.clearance
        by_x[5 + 2 * n : -nu, nv - nu : nv] = np.eye(nu)
        by_x[-nu:, 2 * nv - nu :] = np.eye(nu) / SPEED
        return by_x

    def _stands(self, x: Array, goal: Array) -> Array:
        middle = goal[:1] + np.pi * self._strides.first_dt(goal) / self._gait.period
        return np.where(self._strides.still(x, goal), 1.0, self._gait.stands(middle)[0])

    def _now(self, goal: Array) -> Array:
        return np.asarray(self._gait.stands(goal[:1])[0])
