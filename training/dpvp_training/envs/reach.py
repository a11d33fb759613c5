"""Geometry of dpvp's reach: the arm's kinematics and gravity, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from dpvp.robot import Robot
from dpvp_training.core.differentiable import Chain
from dpvp_training.envs.problem import Geometry


class ReachGeometry(Geometry):
    """The end effector of an arm and the torques that carry it."""

    def __init__(self, robot: Robot) -> None:
        """Take the chain of `robot` to its end effector."""
        super().__init__()
        self.chain = Chain(robot.model, robot.end_effector)
        self._nq = robot.nq

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return e (B, 3), m, in the axes of the first link; see `Geometry.residual`."""
        return self.features(x, goal)[:, :3]

    def features(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return [e; J row by row] (B, 3 + 3 nv), m and m/rad, in the axes of the first link."""
        q = x[:, : self._nq]
        world = torch.cat([(self.chain.position(q) - goal)[:, :, None], self.chain.jacobian(q)], dim=2)
        seen = self.chain.turn(q).transpose(1, 2) @ world
        return torch.cat([seen[:, :, 0], seen[:, :, 1:].flatten(1)], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the gravity torques (B, nu), Nm."""
        return self.chain.gravity(x[:, : self._nq])
