"""Feet: where they are as seen from the base, in torch."""

from __future__ import annotations

import numpy as np
import pinocchio
import torch
from torch import Tensor, nn

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot


class Feet(nn.Module):
    """Kinematics of legs of as many revolute joints each, in the axes of the base.

    As in `dpvp_training.core.differentiable`, a joint turns its link by 1 + sin q K + (1 - cos q) K².
    """

    constant: Tensor
    by_sin: Tensor
    by_cos: Tensor
    steps: Tensor
    ends: Tensor

    def __init__(self, robot: Robot) -> None:
        """Read the legs off the model of `robot`.

        Raises:
            ModelMismatchError: its joints are not those of one leg after the other.
        """
        super().__init__()
        model, frames = robot.model, [robot.model.frames[robot.model.getFrameId(foot)] for foot in robot.feet]
        chains = [[joint for joint in model.supports[frame.parentJoint] if joint > 1] for frame in frames]
        if [joint for chain in chains for joint in chain] != list(range(2, model.njoints)) or robot.nu % len(frames):
            wanted = "one leg after the other, with as many joints each"
            raise ModelMismatchError(f"{robot.name}: joints", wanted, ", ".join(robot.joint_names))
        self._joints = robot.nu // len(frames)
        placements = [[model.jointPlacements[joint] for joint in chain] for chain in chains]
        axes = np.array([[_axis(model, joint) for joint in chain] for chain in chains])
        cross = np.array([[pinocchio.skew(axis) for axis in leg] for leg in axes])
        base = np.array([[placement.rotation for placement in leg] for leg in placements])
        buffers = {
            "constant": base @ (np.eye(3) + cross @ cross),
            "by_sin": base @ cross,
            "by_cos": -base @ cross @ cross,
            "steps": np.array([[placement.translation for placement in leg] for leg in placements]),
            "ends": np.array([frame.placement.translation for frame in frames]),
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)))

    def forward(self, q: Tensor) -> Tensor:
        """Return where the feet are in the frame of the base (B, n, 3), m, at the joint angles (B, nu), rad."""
        turns = self._turns(q)
        places = self.ends.expand(len(q), -1, -1)
        for joint in range(self._joints - 1, -1, -1):  # from the tip, vectors only
            places = self.steps[:, joint] + (turns[:, :, joint] @ places[..., None])[..., 0]
        return places

    def _turns(self, q: Tensor) -> Tensor:
        """Return the rotations (B, n, joints, 3, 3) of the joints."""
        angles = q.reshape(len(q), -1, self._joints)[..., None, None]
        return self.constant + torch.sin(angles) * self.by_sin + torch.cos(angles) * self.by_cos


def joint_axes(robot: Robot) -> Array:
    """Return the axes (nu, 3) of the joints, in the axes of the base where all of them are at zero."""
    model, data = robot.model, robot.model.createData()
    pinocchio.forwardKinematics(model, data, pinocchio.neutral(model))
    first = data.oMi[1].rotation.T
    return np.array([first @ data.oMi[joint].rotation @ _axis(model, joint) for joint in range(2, model.njoints)])


def _axis(model: pinocchio.Model, joint: int) -> Array:
    data = model.joints[joint].createData()
    model.joints[joint].calc(data, pinocchio.neutral(model))
    return np.reshape(data.S, (6, -1))[3:, 0]


def rotation_of(quaternions: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) of unit quaternions (B, 4), xyzw."""
    i, j, k, w = quaternions.T
    rows = [
        [1.0 - 2.0 * (j * j + k * k), 2.0 * (i * j - k * w), 2.0 * (i * k + j * w)],
        [2.0 * (i * j + k * w), 1.0 - 2.0 * (i * i + k * k), 2.0 * (j * k - i * w)],
        [2.0 * (i * k - j * w), 2.0 * (j * k + i * w), 1.0 - 2.0 * (i * i + j * j)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
