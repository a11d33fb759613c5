"""View: what a net sees of a robot that walks, in torch: the same wherever it is and heads.

In units of about one, for n feet, joints q and a period of N nodes:

    p_z - floor (n + 1)              heights of base and feet over the mean of the feet that are to stand by now, dm
    airborne (n)                     1 for feet so high that they count as being in the air, else 0
    up (2)                           roll and pitch as gravity sees them, tenths of a radian
    away, still                      error of the heading, rad; 1 where the robot is calm and may stand, else 0
    v, ω                             of the base in its own axes, m/s and rad/s
    v_x, v_y, ω                      commanded
    q - q_nominal, q̇ / 10            rad, rad/s
    tick (N), rest                   which node of the period begins next (one of N is 1), and in how many nodes

Nothing here reads the place of the base: what would cancel in theory would cost digits in single precision. Who stands
when is a matter of the clock alone but for feet in the air and calm robots; see `dpvp.tasks.gait`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from dpvp.tasks.gait import AT_ONCE
from dpvp.tasks.walk import WalkTask
from dpvp_training.systems.dpvp.walks.feet import Feet, rotation_of

TENTH = 0.1
SPEED = 10.0  # rad/s


class View(nn.Module):
    """What is seen of states and goals; nothing to train."""

    offsets: Tensor
    hips: Tensor
    nominal: Tensor
    ticks: Tensor

    def __init__(self, task: WalkTask) -> None:
        """Take legs and gait of `task`; float64 unless moved."""
        super().__init__()
        robot, legs, gait = task.robot, task.legs, task.gait
        self.feet = Feet(robot)
        self._nq, self._rise = robot.nq, legs.rise
        self._gait, self._nodes, self._calm = gait, round(gait.period / task.dt), task.config.strides.calm
        buffers = {
            "offsets": np.array(gait.offsets),
            "hips": legs.hips,
            "nominal": robot.nominal[robot.nq - robot.nu :],
            "ticks": np.arange(self._nodes, dtype=np.float64),
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.array(values)))

    def forward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return what is seen (B, ns) of states (B, nx) and goals (B, 5)."""
        rotation = rotation_of(x[:, 3:7])
        feet = (rotation[:, None] @ self.feet(x[:, 7 : self._nq])[..., None])[..., 0]  # from the base, world axes
        stands = self._standing(goal[:, :1])
        floor = (feet[..., 2] * stands).sum(dim=1, keepdim=True) / stands.sum(dim=1, keepdim=True)
        over = feet[..., 2] - floor
        parts = [
            (-floor - self._rise) / TENTH,
            over / TENTH,
            (over > self._calm.lifted).to(x.dtype),
            rotation[:, 2, :2] / TENTH,
            self._heading(rotation, feet, x, goal),
            x[:, self._nq : self._nq + 6],
            goal[:, 1:4],
            x[:, 7 : self._nq] - self.nominal,
            x[:, self._nq + 6 :] / SPEED,
            self._clock(goal[:, :1]),
        ]
        return torch.cat(parts, dim=1)

    def _standing(self, phase: Tensor) -> Tensor:
        """Return 1 for the feet that are to stand at `phase` (B, 1), rad, else 0: (B, n)."""
        cycles = torch.remainder(phase / (2.0 * math.pi) + self.offsets, 1.0)
        return (cycles < self._gait.duty).to(phase.dtype)

    def _clock(self, phase: Tensor) -> Tensor:
        """Return the next tick (B, N) and the rest until then (B, 1); see `Gait.until_tick`."""
        ticks = phase / (2.0 * math.pi) * self._nodes
        after = torch.ceil(ticks)
        after = torch.where(after - ticks > AT_ONCE, after, after + 1.0)
        is_next = (torch.remainder(after, self._nodes) - self.ticks).abs() < 0.5
        return torch.cat([is_next.to(phase.dtype), after - ticks], dim=1)

    def _heading(self, rotation: Tensor, feet: Tensor, x: Tensor, goal: Tensor) -> Tensor:
        """Return the error of the heading, rad, and whether the robot may stand (B, 2); see `Strides.still`."""
        calm, ahead = self._calm, rotation[:, :2, 0] / rotation[:, :2, 0].norm(dim=1, keepdim=True)
        yaw = torch.atan2(ahead[:, 1:], ahead[:, :1])
        away = torch.remainder(yaw - goal[:, 4:] + math.pi, 2.0 * math.pi) - math.pi
        along = (feet[..., :2] * ahead[:, None]).sum(-1)
        across = feet[..., 1] * ahead[:, None, 0] - feet[..., 0] * ahead[:, None, 1]
        offsets = (torch.stack([along, across], dim=-1) - self.hips).norm(dim=-1)
        speed = (rotation @ x[:, self._nq : self._nq + 3, None])[:, :2, 0].norm(dim=1, keepdim=True)
        unmoved = goal[:, 1:4].abs().amax(dim=1, keepdim=True) <= calm.command
        right = (away.abs() <= calm.heading) & (speed < calm.speed)
        still = unmoved & right & (offsets.amax(dim=1, keepdim=True) < calm.offset)
        return torch.cat([away, still.to(x.dtype)], dim=1)
