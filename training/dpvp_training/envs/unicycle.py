"""Unicycle: drive to a pose.

State (x, y, heading), control (speed, turning rate), x⁺ = x + dt (v cos θ, v sin θ, ω). With e the pose as seen from
the goal, a node costs

    w_state² ½‖e‖² + w_control² ½‖(v, ω)‖²

This is crocoddyl's `ActionModelUnicycle` (Mastalli et al., ICRA 2020) with a goal that need not be the origin, and with
the weights (1, 1) of the public runs that preceded Parag et al., ICRA 2022. As there, dt is not in the cost and the
heading is a number on a line: a full turn has to be turned back. Sideways the linearised cart cannot move, so that the
value has a crease there and grows as |y|, and what is left of y dies out slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, sin

import crocoddyl
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dpvp.config import Config
from dpvp.plan import Array
from dpvp_training.envs.machine import SystemMachine
from dpvp_training.envs.problem import Geometry
from dpvp_training.envs.system import NodeData, SystemConfig, SystemTask


class UnicycleCosts(Config):
    """Scales inside the squares, as crocoddyl has them."""

    state: float = Field(1.0, ge=0, description="w_state, 1/m and 1/rad")
    control: float = Field(1.0, ge=0, description="w_control, s/m and s/rad")


class UnicycleConfig(SystemConfig):
    """Numbers of the unicycle; the box is that of the runs that the weights are from, the rest is our choice."""

    costs: UnicycleCosts = UnicycleCosts()
    dt: float = Field(0.1, gt=0, description="length of a node, s; crocoddyl's default")
    horizon: int = Field(250, gt=0, description="V_T > 0.99 V_2T in 37 of 50 samples, 0.997 in the mean")
    approach: int = Field(20, gt=0)
    goal: tuple[float, ...] = (0.0, 0.0, 0.0)
    goals: tuple[float, ...] = (0.5, 0.5, 0.5)
    states: tuple[float, ...] = (1.0, 1.0, float(np.pi))
    tolerance: float = Field(0.1, gt=0)
    controls: tuple[float, ...] = Field((2.5, 4.0), description="m/s and rad/s; optima need 2.2 and 3.3 in 12 samples")


class UnicycleTask(SystemTask):
    """Drive to the pose (x, y, heading), m and rad."""

    kind, goal_layout = "unicycle", (("x", "m"), ("y", "m"), ("heading", "rad"))
    config: UnicycleConfig

    def __init__(self, config: UnicycleConfig) -> None:
        """Make the task."""
        machine = SystemMachine("unicycle", ("x", "y", "heading"), nx=3, ndx=3, nv=3, nu=2, parameters={})
        super().__init__(machine, config, crocoddyl.StateVector(3), [config.costs.state] * 3)

    def geometry(self) -> UnicycleGeometry:
        """Return the unicycle in torch."""
        return UnicycleGeometry()

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return the pose as seen from the goal (3,) and its Jacobian (3, 3)."""
        c, s = cos(goal[2]), sin(goal[2])
        jacobian = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return jacobian @ (x - goal), jacobian

    def _running(self) -> tuple[crocoddyl.ActionModelAbstract, Callable[[Array], None]]:
        node = _Node(self.config)
        return node, node.aim


class UnicycleGeometry(Geometry):
    """The unicycle in torch."""

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the poses as seen from the goals; see `Geometry.residual`."""
        c, s = torch.cos(goal[:, 2:]), torch.sin(goal[:, 2:])
        away = x - goal
        along, across = away[:, :1], away[:, 1:2]
        return torch.cat([c * along + s * across, c * across - s * along, away[:, 2:]], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return zeros: it stands everywhere."""
        return torch.zeros_like(x[:, :2])


class _Node(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """A running node; scalars, because arrays of three numbers are slower."""

    def __init__(self, config: UnicycleConfig) -> None:
        super().__init__(crocoddyl.StateVector(3), 2, 5)
        self._dt, self._w_x, self._w_u = config.dt, config.costs.state**2, config.costs.control**2
        self.aim(np.array(config.goal))

    def aim(self, goal: Array) -> None:
        self._goal = tuple(goal.tolist())

    def createData(self) -> NodeData:  # noqa: N802
        data = NodeData(self)
        data.f_x[:], data.f_u[2, 1] = np.eye(3), self._dt
        data.l_xx[:], data.l_uu[:] = self._w_x * np.eye(3), self._w_u * np.eye(2)
        return data

    def calc(self, data: NodeData, x: Array, u: Array) -> None:
        (px, py, heading), (v, w) = x.tolist(), u.tolist()
        gx, gy, turned = self._goal
        after = data.next_x
        after[0] = px + self._dt * v * cos(heading)
        after[1] = py + self._dt * v * sin(heading)
        after[2] = heading + self._dt * w
        away = (px - gx) ** 2 + (py - gy) ** 2 + (heading - turned) ** 2
        data.cost = 0.5 * (self._w_x * away + self._w_u * (v * v + w * w))

    def calcDiff(self, data: NodeData, x: Array, u: Array) -> None:  # noqa: N802
        (px, py, heading), (v, w) = x.tolist(), u.tolist()
        gx, gy, turned = self._goal
        dc, ds = self._dt * cos(heading), self._dt * sin(heading)
        f_x, f_u, l_x, l_u = data.f_x, data.f_u, data.l_x, data.l_u
        f_x[0, 2], f_x[1, 2], f_u[0, 0], f_u[1, 0] = -v * ds, v * dc, dc, ds
        l_x[0], l_x[1], l_x[2] = self._w_x * (px - gx), self._w_x * (py - gy), self._w_x * (heading - turned)
        l_u[0], l_u[1] = self._w_u * v, self._w_u * w
