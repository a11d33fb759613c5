"""Geometry of dpvp's track: leg, path and the motion that follows it exactly, in torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dpvp.tasks.track import TrackTask
from dpvp_training.core.dynamics import DynamicChain
from dpvp_training.envs.problem import Geometry


class TrackGeometry(Geometry):
    """What `TrackTask` says of states and goals; same symbols as in `dpvp.tasks.planar_leg`."""

    plane: Tensor
    origin: Tensor
    centre: Tensor

    def __init__(self, task: TrackTask) -> None:
        """Take leg and path of `task`."""
        super().__init__()
        leg, config = task.leg, task.config
        self.chain = DynamicChain(task.robot.model, task.robot.end_effector)
        for name, values in (("plane", leg.plane), ("origin", leg.origin), ("centre", np.array(config.centre))):
            self.register_buffer(name, torch.from_numpy(np.array(values, dtype=np.float64)))
        self._nq, self._dt, self._step = task.robot.nq, task.dt, 2.0 * math.pi * task.dt / config.period
        self._first, self._second = complex(leg.links[0]), complex(leg.links[1])
        self._sense, self._side, self._bend = leg.sense, leg.side, leg.bend

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return e (B, 4), m and rad/s; see `Geometry.residual`."""
        before, here = self._posture(goal, -1), self._posture(goal, 0)
        away = (self.chain.position(x[:, : self._nq]) - self._place(goal, 0)) @ self.plane.T
        return torch.cat([away, x[:, self._nq :] - (here - before) / self._dt], dim=1)

    def features(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return [e; cos φ; sin φ; L; h] (B, 8)."""
        told = [torch.cos(goal[:, :1]), torch.sin(goal[:, :1]), goal[:, 1:]]
        return torch.cat([self.residual(x, goal), *told], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the torques (B, 2), Nm, that keep a foot on the path which is there."""
        before, here, after = (self._posture(goal, k) for k in (-1, 0, 1))
        v, v_after = (here - before) / self._dt, (after - here) / self._dt
        return self.chain.inverse_dynamics(here, v, (v_after - v) / self._dt)

    def _place(self, goal: Tensor, node: int) -> Tensor:
        """Return the place (B, 3) on the path, m, so many nodes from now."""
        phase = goal[:, 0] + node * self._step
        along = -0.5 * goal[:, 1] * torch.cos(phase)
        up = goal[:, 2] * torch.relu(torch.sin(phase))
        return self.centre + torch.stack([along, torch.zeros_like(along), up], dim=1)

    def _posture(self, goal: Tensor, node: int) -> Tensor:
        """Return the posture (B, 2), rad, that belongs to `_place`."""
        y = (self._place(goal, node) - self.origin) @ self.plane.T
        real, imaginary = y[:, 0], y[:, 1]
        a, b = abs(self._first), abs(self._second)
        cosine = (real * real + imaginary * imaginary - a * a - b * b) / (2.0 * a * b)
        bent = torch.acos(cosine.clamp(-1.0, 1.0))  # nobody asks beyond the reach: any number will do
        second = self._side * bent - self._bend
        # z / (w_1 + w_2 exp(i q_2)): its angle is that of z times the conjugate of the denominator
        cos, sin = torch.cos(second), torch.sin(second)
        down = self._first.real + self._second.real * cos - self._second.imag * sin
        across = self._first.imag + self._second.real * sin + self._second.imag * cos
        first = torch.atan2(imaginary * down - real * across, real * down + imaginary * across)
        return torch.stack([first, self._sense * second], dim=1)
