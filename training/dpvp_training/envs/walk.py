"""Geometry of dpvp's walk: where the feet are as seen from the base, and who carries it, in torch.

Nothing here reads the place of the base: what would cancel in theory would cost digits in single precision.
"""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
import pinocchio
import torch
from torch import Tensor, nn

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.footing import SPEED
from dpvp.tasks.gait import AT_ONCE
from dpvp.tasks.walk import WalkTask
from dpvp_training.envs.problem import Geometry

PLACE, QUATERNION = 1e6, 1.001  # how far from zero numbers of a base may be: m, and a unit with room for rounding


class WalkGeometry(Geometry):
    """What `WalkTask` says of states and goals; see `dpvp.tasks.upright` and `dpvp.tasks.footing`.

    The feed-forward are the torques with which the feet that stand carry equal shares of the weight, legs without one
    of their own. It keeps no equilibrium, for a walk has none: a policy adds to it wherever it is.
    """

    ends = False
    anywhere = MappingProxyType({**dict.fromkeys(range(3), PLACE), **dict.fromkeys(range(3, 7), QUATERNION)})
    roots: Tensor
    offsets: Tensor
    hips: Tensor
    nominal: Tensor

    def __init__(self, task: WalkTask) -> None:
        """Take legs and gait of `task`."""
        super().__init__()
        robot, legs = task.robot, task.legs
        self.feet = Feet(robot)
        self._n, self._nq, self._rise = len(robot.feet), robot.nq, legs.rise
        self._gait, self._dt, self._calm = task.gait, task.dt, task.config.strides.calm
        self._weight = float(np.linalg.norm(robot.model.gravity.linear) * pinocchio.computeTotalMass(robot.model))
        w = task.config.weights
        buffers = {
            "roots": np.sqrt([w.height, w.tilt, w.tilt, w.yaw, *[w.speed] * 3, *[w.turn] * 3]),
            "offsets": np.array(task.gait.offsets),
            "hips": legs.hips,
            "nominal": robot.nominal[robot.nq - robot.nu :],
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.array(values)))

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return e (B, 10); see `Geometry.residual`."""
        return self._residual(_rotation(x), self._heights(x), x, goal)

    def features(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return e and what `Footing` says (B, 15 + 2 n + 2 nu)."""
        rotation, heights = _rotation(x), self._heights(x)
        floor = _mean(heights, self._standing(goal[:, :1]))
        told = [torch.cos(goal[:, :1]), torch.sin(goal[:, :1]), goal[:, 1:4], self._stands(x, goal)]
        joints = x[:, 7 : self._nq] - self.nominal
        speeds = x[:, self._nq + 6 :] / SPEED
        over = (heights - floor) / self._gait.clearance
        return torch.cat([self._residual(rotation, heights, x, goal), *told, over, joints, speeds], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the torques (B, nu), Nm, by which the standing feet carry the weight."""
        stands = self._stands(x, goal)
        share = self._weight * stands / stands.sum(dim=1, keepdim=True)
        up = _rotation(x)[:, 2]
        levers, axes = self.feet.levers(x[:, 7 : self._nq])  # (B, n, joints, 3)
        torques = (torch.linalg.cross(axes, levers) * up[:, None, None]).sum(-1)
        carried: Tensor = -(share[:, :, None] * torques).flatten(1)
        return carried

    def _residual(self, rotation: Tensor, heights: Tensor, x: Tensor, goal: Tensor) -> Tensor:
        height = -_mean(heights, self._standing(goal[:, :1])) - self._rise
        yaw = torch.atan2(rotation[:, 1, :1], rotation[:, 0, :1])
        away = torch.remainder(yaw - goal[:, 4:] + math.pi, 2.0 * math.pi) - math.pi
        tilt, velocity = [rotation[:, 2, 1:2], -rotation[:, 2, :1]], x[:, self._nq : self._nq + 6]
        none = torch.zeros_like(height)
        commanded = torch.cat([goal[:, 1:3], none, none, none, goal[:, 3:4]], dim=1)
        e: Tensor = torch.cat([height, *tilt, away, velocity - commanded], dim=1) * self.roots
        return e

    def _heights(self, x: Tensor) -> Tensor:
        """Return how high the feet are over the base (B, n), m."""
        heights: Tensor = (self.feet(x[:, 7 : self._nq]) * _rotation(x)[:, None, 2]).sum(-1)
        return heights

    def _standing(self, phase: Tensor) -> Tensor:
        """Return 1 for the feet that stand at `phase` (B, 1), rad, else 0: (B, n)."""
        cycles = torch.remainder(phase / (2.0 * math.pi) + self.offsets, 1.0)
        return (cycles < self._gait.duty).to(phase.dtype)

    def _stands(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return 1 for the feet that stand in the node that begins, else 0: (B, n); see `Gait.until_tick`."""
        ticks = goal[:, :1] / (2.0 * math.pi) * self._gait.period / self._dt
        rest = torch.ceil(ticks) - ticks
        rest = torch.where(rest > AT_ONCE, rest, rest + 1.0)
        by_clock = self._standing(goal[:, :1] + math.pi * self._dt / self._gait.period * rest)
        still = self._still(x, goal).to(x.dtype)
        return torch.maximum(by_clock, still)

    def _still(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return where (B, 1) no speed is commanded and the robot is calm; see `Strides.still`."""
        rotation, calm = _rotation(x), self._calm
        ahead = rotation[:, :2, 0] / rotation[:, :2, 0].norm(dim=1, keepdim=True)
        yaw = torch.atan2(ahead[:, 1:], ahead[:, :1])
        away = torch.remainder(yaw - goal[:, 4:] + math.pi, 2.0 * math.pi) - math.pi
        places = (rotation[:, None] @ self.feet(x[:, 7 : self._nq])[..., None])[..., :2, 0]
        offsets = (_seen(places, ahead[:, None]) - self.hips).norm(dim=-1)
        speed = (rotation @ x[:, self._nq : self._nq + 3, None])[:, :2, 0].norm(dim=1, keepdim=True)
        unmoved = goal[:, 1:4].abs().amax(dim=1, keepdim=True) <= calm.command
        right = (away.abs() <= calm.heading) & (speed < calm.speed)
        still: Tensor = unmoved & right & (offsets.amax(dim=1, keepdim=True) < calm.offset)
        return still


class Feet(nn.Module):
    """Kinematics of legs of as many revolute joints each, in the axes of the base.

    As in `dpvp_training.core.differentiable`, a joint turns its link by 1 + sin q K + (1 - cos q) K².
    """

    axes: Tensor
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
            "axes": (base @ axes[..., None])[..., 0],  # a joint does not turn its own axis
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

    def levers(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ways from the joints to their feet, m, and the axes: (B, n, joints, 3) each, axes of the base."""
        turns, levers, axes = self._turns(q), list[Tensor](), list[Tensor]()
        turn, place = torch.eye(3, dtype=q.dtype).expand(len(q), len(self.ends), 3, 3), torch.zeros_like(self.ends)
        for joint in range(self._joints):
            place = place + (turn @ self.steps[:, joint, :, None])[..., 0]
            axes.append((turn @ self.axes[:, joint, :, None])[..., 0])
            levers.append(place)
            turn = turn @ turns[:, :, joint]
        foot = place + (turn @ self.ends[..., None])[..., 0]
        return foot[:, :, None] - torch.stack(levers, dim=2), torch.stack(axes, dim=2)

    def _turns(self, q: Tensor) -> Tensor:
        """Return the rotations (B, n, joints, 3, 3) of the joints."""
        angles = q.reshape(len(q), -1, self._joints)[..., None, None]
        return self.constant + torch.sin(angles) * self.by_sin + torch.cos(angles) * self.by_cos


def _axis(model: pinocchio.Model, joint: int) -> Array:
    data = model.joints[joint].createData()
    model.joints[joint].calc(data, pinocchio.neutral(model))
    return np.reshape(data.S, (6, -1))[3:, 0]


def _rotation(x: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) of the base in the world."""
    i, j, k, w = x[:, 3:7].T
    rows = [
        [1.0 - 2.0 * (j * j + k * k), 2.0 * (i * j - k * w), 2.0 * (i * k + j * w)],
        [2.0 * (i * j + k * w), 1.0 - 2.0 * (i * i + k * k), 2.0 * (j * k - i * w)],
        [2.0 * (i * k - j * w), 2.0 * (j * k + i * w), 1.0 - 2.0 * (i * i + j * j)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _seen(places: Tensor, ahead: Tensor) -> Tensor:
    """Return places (..., 2) as seen by who looks along the unit vectors `ahead` (..., 2)."""
    along = (places * ahead).sum(-1)
    across = places[..., 1] * ahead[..., 0] - places[..., 0] * ahead[..., 1]
    return torch.stack([along, across], dim=-1)


def _mean(heights: Tensor, stands: Tensor) -> Tensor:
    """Return the mean (B, 1) of the heights of feet that stand."""
    return (heights * stands).sum(dim=1, keepdim=True) / stands.sum(dim=1, keepdim=True)
