"""Pendulum: swing a point mass up with a torque that is too weak to lift it.

State (θ, θ̇), θ = 0 upright; control u, the torque, Nm. A node of dt seconds costs

    dt (w_angle ½ (sin²θ + (1 - cos θ)²) + w_rate ½ θ̇² + w_effort ½ u² + w_limit ½ max(|u| - u_max, 0)²)

The papers that show a pendulum do not define it (Parag et al., ICRA 2022), so all numbers are our choice: m = 1 kg,
l = 1 m, u_max = 2.5 Nm of the 9.81 Nm that gravity has, and θ² + 0.1 θ̇² + 1e-3 u² as cost, with the smooth
2 - 2 cos θ = sin²θ + (1 - cos θ)² in place of the square of the wrapped angle, which has a kink where the mass hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

import crocoddyl
import numpy as np
import pinocchio
import torch
from pydantic import Field
from torch import Tensor

from dpvp.config import Config
from dpvp.plan import Array
from dpvp_training.envs.machine import SystemMachine
from dpvp_training.envs.problem import Geometry
from dpvp_training.envs.system import SystemConfig, SystemTask


class PendulumCosts(Config):
    """Weights of the cost per second."""

    angle: float = Field(2.0, ge=0, description="of ½ (sin²θ + (1 - cos θ)²)")
    rate: float = Field(0.2, ge=0, description="of ½ θ̇², s²/rad²")
    effort: float = Field(2e-3, ge=0, description="of ½ u², 1/(Nm)²")
    limit: float = Field(100.0, ge=0, description="of ½ max(|u| - u_max, 0)², 1/(Nm)²")
    torque_limit: float = Field(2.5, gt=0, description="u_max, Nm")


class PendulumConfig(SystemConfig):
    """Numbers of the pendulum, all our choice."""

    mass: float = Field(1.0, gt=0, description="kg, all at the tip")
    length: float = Field(1.0, gt=0, description="m")
    gravity: float = Field(9.81, gt=0, description="m/s²")
    costs: PendulumCosts = PendulumCosts()
    dt: float = Field(0.05, gt=0, description="length of a node, s")
    horizon: int = Field(120, gt=0, description="V_T > 0.9999 V_2T in 50 samples")
    approach: int = Field(60, gt=0)
    goal: tuple[float, ...] = (0.0,)
    goals: tuple[float, ...] = Field((0.0,), description="upright alone needs no torque: zero is the only goal")
    states: tuple[float, ...] = (pi, 1.0)
    tolerance: float = Field(0.1, gt=0)
    controls: tuple[float, ...] = Field((3.0,), description="Nm; what is beyond u_max costs, and optima have 2.7 Nm")


class PendulumTask(SystemTask):
    """Stand upright; the goal (1,), rad, is zero, because all other angles need a torque for ever."""

    kind, goal_layout = "pendulum", (("angle", "rad"),)
    config: PendulumConfig

    def __init__(self, config: PendulumConfig) -> None:
        """Make the task."""
        parameters = config.model_dump(include={"mass", "length", "gravity"})
        machine = SystemMachine("pendulum", ("joint",), nx=2, ndx=2, nv=1, nu=1, parameters=parameters)
        super().__init__(machine, config, crocoddyl.StateMultibody(_model(config)), [3.0, 3.0, 1.0])

    def geometry(self) -> PendulumGeometry:
        """Return the pendulum in torch."""
        return PendulumGeometry()

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e = (sin θ, 1 - cos θ, θ̇) and its Jacobian (3, 2)."""
        c, s = cos(x[0]), sin(x[0])
        return np.array([s, 1.0 - c, x[1]]), np.array([[c, 0.0], [s, 0.0], [0.0, 1.0]])

    def _running(self) -> tuple[crocoddyl.ActionModelAbstract, Callable[[Array], None]]:
        state, weights = self.space, self.config.costs
        actuation, costs = crocoddyl.ActuationModelFull(state), crocoddyl.CostModelSum(state, 1)
        frame, above = state.pinocchio.getFrameId("unit"), np.array([0.0, 0.0, 1.0])
        tip = crocoddyl.ResidualModelFrameTranslation(state, frame, above, 1)
        standing = crocoddyl.ResidualModelState(state, state.zero(), 1)
        effort = crocoddyl.ResidualModelControl(state, 1)
        rate = crocoddyl.ActivationModelWeightedQuad(np.array([0.0, 1.0]))
        limit = np.array([weights.torque_limit])
        barrier = crocoddyl.ActivationModelQuadraticBarrier(crocoddyl.ActivationBounds(-limit, limit))
        costs.addCost("angle", crocoddyl.CostModelResidual(state, tip), weights.angle)
        costs.addCost("rate", crocoddyl.CostModelResidual(state, rate, standing), weights.rate)
        costs.addCost("effort", crocoddyl.CostModelResidual(state, effort), weights.effort)
        costs.addCost("limit", crocoddyl.CostModelResidual(state, barrier, effort), weights.limit)
        dynamics = crocoddyl.DifferentialActionModelFreeFwdDynamics(state, actuation, costs)
        return crocoddyl.IntegratedActionModelEuler(dynamics, self.dt), lambda goal: None


class PendulumGeometry(Geometry):
    """The pendulum in torch."""

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return (sin θ, 1 - cos θ, θ̇); see `Geometry.residual`."""
        angle = x[:, :1]
        return torch.cat([torch.sin(angle), 1.0 - torch.cos(angle), x[:, 1:]], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return zeros: upright it needs no torque, and what it needs elsewhere is mostly beyond the limit."""
        return torch.zeros_like(x[:, :1])


def _model(config: PendulumConfig) -> pinocchio.Model:
    """The pendulum, with a frame `unit` that is 1 m from the joint: its place is (-, sin θ, cos θ)."""
    model = pinocchio.Model()
    model.name, model.gravity.linear = "pendulum", np.array([0.0, 0.0, -config.gravity])
    joint = model.addJoint(0, pinocchio.JointModelRX(), pinocchio.SE3.Identity(), "joint")
    bob = pinocchio.Inertia(config.mass, np.array([0.0, 0.0, config.length]), np.zeros((3, 3)))
    model.appendBodyToJoint(joint, bob, pinocchio.SE3.Identity())
    end = pinocchio.SE3(np.eye(3), np.array([0.0, 0.0, 1.0]))
    model.addFrame(pinocchio.Frame("unit", joint, 0, end, pinocchio.FrameType.OP_FRAME))
    return model
