"""Cart-pole: balance a pole on a cart, at a place of the cart.

State (y, θ, ẏ, θ̇), θ = 0 upright; control f, the force on the cart. With μ = m_c + m_p sin²θ,

    ÿ = (f + m_p g sin θ cos θ - m_p l sin θ θ̇²) / μ
    θ̈ = (f cos θ / l + (m_c + m_p) g sin θ / l - m_p sin θ cos θ θ̇²) / μ

integrated by the semi-implicit Euler rule. A node of dt seconds costs dt ½‖w · (sin θ, 1 - cos θ, y - goal, ẏ, θ̇, f)‖².
Dynamics, cost and terminal scaling are those of crocoddyl's cart-pole tutorial (Mastalli et al., ICRA 2020), in which
the goal is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

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


class CartpoleCosts(Config):
    """Scales w inside the square, as the tutorial has them."""

    sine: float = Field(1.0, ge=0, description="of sin θ")
    cosine: float = Field(1.0, ge=0, description="of 1 - cos θ")
    position: float = Field(0.1, ge=0, description="of y - goal, 1/m")
    speed: float = Field(1e-3, ge=0, description="of ẏ, s/m")
    rate: float = Field(1e-3, ge=0, description="of θ̇, s/rad")
    force: float = Field(1.0, ge=0, description="of f, 1/N")


class CartpoleConfig(SystemConfig):
    """Numbers of the cart-pole: the tutorial's; boxes, horizon and tolerance are our choice."""

    cart_mass: float = Field(1.0, gt=0, description="m_c, kg")
    pole_mass: float = Field(0.1, gt=0, description="m_p, kg, all at the tip")
    length: float = Field(0.5, gt=0, description="l, m")
    gravity: float = Field(9.81, gt=0, description="m/s²")
    costs: CartpoleCosts = CartpoleCosts()
    dt: float = Field(0.05, gt=0, description="length of a node, s")
    horizon: int = Field(200, gt=0, description="V_T > 0.996 V_2T in 50 samples")
    approach: int = Field(40, gt=0)
    goal: tuple[float, ...] = (0.0,)
    goals: tuple[float, ...] = (0.5,)
    states: tuple[float, ...] = (1.0, pi, 1.0, 1.0)
    tolerance: float = Field(0.3, gt=0, description="largest ‖e‖ at the goal; the cart comes home slowly")
    controls: tuple[float, ...] = Field((10.0,), description="N; optima need 7.1 N at most in 12 samples")


class CartpoleTask(SystemTask):
    """Balance the pole with the cart at the goal (1,), m."""

    kind, goal_layout = "cartpole", (("position", "m"),)
    config: CartpoleConfig

    def __init__(self, config: CartpoleConfig) -> None:
        """Make the task; the terminal scaling is the tutorial's."""
        parameters = config.model_dump(include={"cart_mass", "pole_mass", "length", "gravity"})
        machine = SystemMachine("cartpole", ("cart", "pole"), nx=4, ndx=4, nv=2, nu=1, parameters=parameters)
        super().__init__(machine, config, crocoddyl.StateVector(4), [100.0, 100.0, 1.0, 0.1, 0.01])

    def geometry(self) -> CartpoleGeometry:
        """Return the cart-pole in torch."""
        return CartpoleGeometry()

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e = (sin θ, 1 - cos θ, y - goal, ẏ, θ̇) and its Jacobian (5, 4)."""
        c, s = cos(x[1]), sin(x[1])
        jacobian = np.zeros((5, 4))
        jacobian[0, 1], jacobian[1, 1] = c, s
        jacobian[2, 0] = jacobian[3, 2] = jacobian[4, 3] = 1.0
        return np.array([s, 1.0 - c, x[0] - goal[0], x[2], x[3]]), jacobian

    def _running(self) -> tuple[crocoddyl.ActionModelAbstract, Callable[[Array], None]]:
        node = _Node(self.config)
        return node, node.aim


class CartpoleGeometry(Geometry):
    """The cart-pole in torch."""

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return (sin θ, 1 - cos θ, y - goal, ẏ, θ̇); see `Geometry.residual`."""
        angle = x[:, 1:2]
        return torch.cat([torch.sin(angle), 1.0 - torch.cos(angle), x[:, :1] - goal, x[:, 2:]], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return zeros: upright the pole needs no force, and elsewhere none keeps it."""
        return torch.zeros_like(x[:, :1])


class _Node(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """A running node; scalars, because arrays of four numbers are slower."""

    def __init__(self, config: CartpoleConfig) -> None:
        super().__init__(crocoddyl.StateVector(4), 1, 6)
        self._dt, self._cart, self._pole = config.dt, config.cart_mass, config.pole_mass
        self._l, self._g = config.length, config.gravity
        costs = config.costs
        scales = costs.sine, costs.cosine, costs.position, costs.speed, costs.rate, costs.force
        self._weights = tuple(config.dt * scale**2 for scale in scales)
        self.aim(np.array(config.goal))

    def aim(self, goal: Array) -> None:
        self._goal = float(goal[0])

    def createData(self) -> NodeData:  # noqa: N802
        _, _, w_y, w_v, w_w, w_f = self._weights
        data = NodeData(self)
        data.f_x[:] = np.eye(4) + self._dt * np.eye(4, k=2)
        data.l_xx[:], data.l_uu[:] = np.diag([w_y, 0.0, w_v, w_w]), w_f
        return data

    def calc(self, data: NodeData, x: Array, u: Array) -> None:
        y, angle, v, w = x.tolist()
        f, dt, s, c = float(u[0]), self._dt, sin(angle), cos(angle)
        w_s, w_c, w_y, w_v, w_w, w_f = self._weights
        acceleration, turning = self._accelerations(s, c, w, f)
        v_next, w_next = v + dt * acceleration, w + dt * turning
        after = data.next_x
        after[0], after[1], after[2], after[3] = y + dt * v_next, angle + dt * w_next, v_next, w_next
        data.cost = 0.5 * (
            w_s * s * s + w_c * (1.0 - c) ** 2 + w_y * (y - self._goal) ** 2 + w_v * v * v + w_w * w * w + w_f * f * f
        )

    def calcDiff(self, data: NodeData, x: Array, u: Array) -> None:  # noqa: N802
        y, angle, v, w = x.tolist()
        f, dt, s, c = float(u[0]), self._dt, sin(angle), cos(angle)
        pole, length, g = self._pole, self._l, self._g
        acceleration, turning = self._accelerations(s, c, w, f)
        share = dt / (self._cart + pole * s * s)  # dt / μ; dμ/dθ = 2 m_p sin θ cos θ
        slope, flat = 2.0 * pole * s * c, c * c - s * s
        v_angle = share * (pole * g * flat - pole * length * c * w * w - slope * acceleration)
        w_angle = share * (((self._cart + pole) * g * c - f * s) / length - pole * flat * w * w - slope * turning)
        v_rate, w_rate = -2.0 * share * pole * length * s * w, -share * slope * w
        v_force, w_force = share, share * c / length
        f_x, f_u, l_x, l_xx = data.f_x, data.f_u, data.l_x, data.l_xx
        f_x[2, 1], f_x[2, 3], f_x[3, 1], f_x[3, 3] = v_angle, v_rate, w_angle, 1.0 + w_rate
        f_x[0, 1], f_x[0, 3], f_x[1, 1], f_x[1, 3] = dt * v_angle, dt * v_rate, 1.0 + dt * w_angle, dt * (1.0 + w_rate)
        f_u[0], f_u[1], f_u[2], f_u[3] = dt * v_force, dt * w_force, v_force, w_force
        w_s, w_c, w_y, w_v, w_w, w_f = self._weights
        l_x[0], l_x[1], l_x[2], l_x[3] = w_y * (y - self._goal), s * (w_s * c + w_c * (1.0 - c)), w_v * v, w_w * w
        l_xx[1, 1] = w_s * c * c + w_c * s * s  # Gauss-Newton
        data.l_u[0] = w_f * f

    def _accelerations(self, s: float, c: float, w: float, f: float) -> tuple[float, float]:
        """ÿ and θ̈."""
        pole, length, g = self._pole, self._l, self._g
        mass = self._cart + pole * s * s
        linear = (f + pole * s * (g * c - length * w * w)) / mass
        angular = ((f * c + (self._cart + pole) * g * s) / length - pole * s * c * w * w) / mass
        return linear, angular
