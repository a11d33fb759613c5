"""Mirror: what left is becomes right. A robot that is the same on both sides gets twice as much out of its labels.

Mirrored at the plane through its middle, a robot at phase φ of a gait in which opposite feet take turns is one at
phase φ + π, with the legs of one side in the place of those of the other. Places across, and turns about what lies
along the plane, change their sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpvp.plan import Array
from dpvp.tasks.walk import WalkTask
from dpvp_training.systems.dpvp.walks.feet import joint_axes
from dpvp_training.systems.dpvp.walks.paths import Paths

PLACE, TURN = np.array([1.0, -1.0, 1.0]), np.array([-1.0, 1.0, -1.0])
NEAR = 1e-3  # m and cycles


class Mirror:
    """Mirrors the paths of one robot and gait."""

    def __init__(self, task: WalkTask) -> None:
        """Pair the legs.

        Raises:
            ValueError: legs or gait are not those of a robot with two like sides.
        """
        hips, offsets, n = task.legs.hips, np.array(task.gait.offsets), len(task.robot.feet)
        apart = np.linalg.norm(hips[:, None] * PLACE[:2] - hips[None], axis=2)
        legs = apart.argmin(axis=1)
        turns = np.abs((offsets[legs] - offsets) % 1.0 - 0.5)
        if apart.min(axis=1).max() > NEAR or turns.max() > NEAR:
            raise ValueError(f"{task.robot.name}: its sides differ, in their legs or in when they stand")
        joints = task.robot.nu // n
        self._joints = (legs[:, None] * joints + np.arange(joints)).ravel()
        axes = joint_axes(task.robot)
        flips = axes[self._joints] * TURN  # what a turn about the axis of the other side's joint looks like
        self._signs = np.sign((flips * axes).sum(axis=1))

    def __call__(self, paths: Paths) -> Paths:
        """Return the mirrored paths."""
        nq = 7 + len(self._joints)
        place, turn, joints, v = np.split(paths.x, [3, 7, nq], axis=1)
        x = [PLACE * place, np.array([-1.0, 1.0, -1.0, 1.0]) * turn, self._of_joints(joints), self._of_speeds(v)]
        goal = paths.goal * [1.0, 1.0, -1.0, -1.0, -1.0] + [np.pi, 0.0, 0.0, 0.0, 0.0]
        goal[:, [0, 4]] %= 2.0 * np.pi
        half = paths.steps.shape[2] // 2
        steps = [self._of_speeds(paths.steps[..., :half]), self._of_speeds(paths.steps[..., half:])]
        return Paths(
            x=np.concatenate(x, axis=1),
            goal=goal,
            steps=np.concatenate(steps, axis=2).astype(np.float32),
            us=self._of_joints(paths.us).astype(np.float32),
            cost=paths.cost,
        )

    def _of_joints(self, values: NDArray[np.floating]) -> Array:
        return np.asarray(self._signs * values[..., self._joints])

    def _of_speeds(self, values: NDArray[np.floating]) -> Array:
        """Mirror speeds (..., 6 + nu) or steps of base and joints."""
        base = np.concatenate([PLACE, TURN]) * values[..., :6]
        return np.concatenate([base, self._of_joints(values[..., 6:])], axis=-1)
