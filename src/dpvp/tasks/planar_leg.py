"""PlanarLeg: two revolute joints with parallel axes, forwards and backwards in closed form.

In the plane across the axes, with complex numbers and the axis as direction of positive turns, the tip is at

    z = w_1 exp(i q_1) + w_2 exp(i (q_1 + q_2))

w_1 and w_2 being the links at zero. So |z|² = l_1² + l_2² + 2 l_1 l_2 cos(q_2 + δ) with δ the angle from w_1 to w_2,
which two postures solve; the one whose knee is bent like the robot's nominal posture is taken.
"""

from __future__ import annotations

import numpy as np
import pinocchio

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot

FLAT = 1e-6  # m and rad by which axes and links may leave the plane


class PlanarLeg:
    """Kinematics of a robot with two joints whose axes are parallel.

    Attributes:
        plane: (2, 3) the directions in which places in the plane are counted, in the base frame.
        reach: least and largest distance of the tip from the first joint, m.
        origin: (3,) the first joint in the plane of the tip, base frame, m.
        links: w_1 and w_2, m; `sense` is -1 where the second joint turns against the first, else 1.
        bend: δ, rad; `side` the sign of sin(q_2 + δ) that the knee is to have.
    """

    def __init__(self, robot: Robot) -> None:
        """Read axes and links off the robot at zero.

        Raises:
            ModelMismatchError: it has not two revolute joints with parallel axes.
        """
        model, data = robot.model, robot.model.createData()
        pinocchio.framesForwardKinematics(model, data, pinocchio.neutral(model))
        jacobian = pinocchio.computeJointJacobians(model, data, pinocchio.neutral(model))
        axes = np.array(jacobian[3:]).T
        if robot.nv != 2 or np.linalg.norm(axes, axis=1).min() < 1.0 - FLAT or abs(axes[0] @ axes[1]) < 1.0 - FLAT:
            wanted = "two revolute joints with parallel axes"
            raise ModelMismatchError(f"{robot.name}: joints", wanted, f"{robot.nv} with axes {axes.tolist()}")
        hip, knee = (np.array(data.oMi[i].translation) for i in (1, 2))
        tip = np.array(data.oMf[model.getFrameId(robot.end_effector)].translation)
        along = knee - hip - ((knee - hip) @ axes[0]) * axes[0]
        first = along / np.linalg.norm(along)
        self.plane = np.stack([first, np.cross(axes[0], first)])
        self.links = np.array([self._complex(knee - hip), self._complex(tip - knee)])
        self.sense = float(np.sign(axes[0] @ axes[1]))  # of the second joint beside the first
        self.origin = hip + ((tip - hip) @ axes[0]) * axes[0]
        lengths = np.abs(self.links)
        self.reach = float(abs(lengths[0] - lengths[1])), float(lengths.sum())
        self.bend = float(np.angle(self.links[1] / self.links[0]))
        self.side = float(np.sign(np.sin(self.sense * robot.nominal[1] + self.bend))) or 1.0

    def distance(self, points: Array) -> Array:
        """Return how far points (n, 3), m, are from the first joint in the plane: (n,), m."""
        return np.abs(self._complex(points - self.origin))

    def points(self, q: Array) -> Array:
        """Return where the tip is, (n, 3), m, in postures (n, 2), rad."""
        first = np.exp(1j * q[:, 0])
        z = self.links[0] * first + self.links[1] * first * np.exp(1j * self.sense * q[:, 1])
        return np.asarray(self.origin + np.stack([z.real, z.imag], axis=1) @ self.plane)

    def postures(self, points: Array) -> Array:
        """Return the postures (n, 2), rad, in which the tip is at points (n, 3), m; NaN where none is."""
        z, (a, b) = self._complex(points - self.origin), np.abs(self.links)
        with np.errstate(invalid="ignore"):
            bent = np.arccos((np.abs(z) ** 2 - a**2 - b**2) / (2.0 * a * b))
            second = self.side * bent - self.bend
            first = np.angle(z / (self.links[0] + self.links[1] * np.exp(1j * second)))
        return np.stack([first, self.sense * second], axis=1)

    def _complex(self, vectors: Array) -> Array:
        return np.asarray(vectors @ self.plane[0] + 1j * (vectors @ self.plane[1]))
