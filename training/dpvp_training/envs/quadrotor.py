"""Quadrotor: fly to a point and hover there.

State (p, quaternion xyzw, v, ω), nx = 13 and ndx = 12, velocities in the body's frame; control: four thrusts, N. With
δ = x ⊖ (goal, upright, at rest) in crocoddyl's tangent of the state, a node of dt seconds costs

    dt (½ Σ w_i δ_i² + w_effort ½‖u - u_hover‖² + w_limit ½‖viol(u)‖²)

where viol is what exceeds the range of the thrusts. Mass and inertia are those of the Hector quadrotor
(hector_description, in example-robot-data); rotors, range of thrusts, dt and weights are those of crocoddyl's quadrotor
example (Mastalli et al., ICRA 2020) and of the public runs that preceded Parag et al., ICRA 2022. There control is
regularised about zero and the state about the origin, so that hovering at the goal has a price; here it is free.

The residual has the way from the goal in the axes of the body, Rᵀ(p - goal), as its velocities are: however the machine
has turned, they belong together in the same way. The residual of the attitude is (sin φ a, 1 - cos φ) for a rotation by
φ about the axis a: unlike log3 smooth everywhere and the same for both signs of the quaternion, and unlike its first
three entries alone not zero upside down.
"""

from __future__ import annotations

from collections.abc import Callable

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


class QuadrotorCosts(Config):
    """Weights of the cost per second."""

    position: float = Field(1e-2, ge=0, description="1/m²")
    attitude: float = Field(1.1e-2, ge=0, description="1/rad²: of the pose 1e-2, of the state 1e-6 · 1000")
    velocity: float = Field(1e-3, ge=0, description="of v and ω: 1e-6 · 1000")
    effort: float = Field(1e-6, ge=0, description="of ½‖u - u_hover‖², 1/N²")
    limit: float = Field(0.1, ge=0, description="of ½‖viol(u)‖², 1/N²; our choice: thrusts end at 5.1 N")
    least_thrust: float = Field(0.1, ge=0, description="N")
    most_thrust: float = Field(5.0, gt=0, description="N")


class QuadrotorConfig(SystemConfig):
    """Numbers of the quadrotor; boxes, horizon and tolerance are our choice."""

    mass: float = Field(1.477, gt=0, description="kg")
    inertia: tuple[float, ...] = Field((0.01152, 0.01152, 0.0218), min_length=3, max_length=3, description="kg m²")
    arm: float = Field(0.1525, gt=0, description="from the centre to a rotor, m")
    drag: float = Field(1e-6 / 6.6e-5, gt=0, description="torque about a rotor's axis per thrust, m")
    gravity: float = Field(9.81, gt=0, description="m/s²")
    costs: QuadrotorCosts = QuadrotorCosts()
    dt: float = Field(0.03, gt=0, description="length of a node, s")
    horizon: int = Field(80, gt=0, description="V_T > 0.999 V_2T in 50 samples")
    approach: int = Field(40, gt=0)
    goal: tuple[float, ...] = Field((1.0, 0.0, 1.0), description="that of the example")
    goals: tuple[float, ...] = (1.0, 1.0, 1.0)
    states: tuple[float, ...] = (1.0,) * 3 + (0.5,) * 3 + (1.0,) * 6
    tolerance: float = Field(0.1, gt=0)
    controls: tuple[float, ...] = Field((3.6,) * 4, description="N: from hover down to no thrust, and as far up")

    @property
    def hover(self) -> float:
        """Thrust of each rotor that carries the machine, N."""
        return self.mass * self.gravity / 4


class QuadrotorTask(SystemTask):
    """Hover at the point (3,), m."""

    kind, goal_layout = "quadrotor", (("x", "m"), ("y", "m"), ("z", "m"))
    config: QuadrotorConfig

    def __init__(self, config: QuadrotorConfig) -> None:
        """Make the task; the terminal scaling makes of the running cost per second 1e4 times as much."""
        parameters = config.model_dump(mode="json", include={"mass", "inertia", "arm", "drag", "gravity"})
        names = ("x", "y", "z", "roll", "pitch", "yaw")
        machine = SystemMachine("quadrotor", names, nx=13, ndx=12, nv=6, nu=4, parameters=parameters)
        costs = config.costs
        weights = np.repeat([costs.position, costs.attitude, costs.velocity], [3, 4, 6])
        super().__init__(machine, config, crocoddyl.StateMultibody(_model(config)), 100.0 * np.sqrt(weights))

    def geometry(self) -> QuadrotorGeometry:
        """Return the quadrotor in torch."""
        return QuadrotorGeometry(self.config)

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e (13,) = (Rᵀ(p - goal), sin φ a, 1 - cos φ, v, ω) and its Jacobian (13, 12)."""
        vector, scalar = x[3:6], x[6]
        cross = pinocchio.skew(vector)
        turn = np.eye(3) + 2.0 * (cross @ cross - scalar * cross)  # Rᵀ
        away = turn @ (x[:3] - goal)
        jacobian = np.zeros((13, 12))  # the tangent is in the body's frame
        jacobian[:3, :3] = np.eye(3)
        jacobian[:3, 3:6] = pinocchio.skew(away)
        jacobian[3:6, 3:6] = scalar * (scalar * np.eye(3) + cross) - np.outer(vector, vector)
        jacobian[6, 3:6] = 2.0 * scalar * vector
        jacobian[7:, 6:] = np.eye(6)
        return np.concatenate([away, 2.0 * scalar * vector, [2.0 * (vector @ vector)], x[7:]]), jacobian

    def sample_state(self, rng: np.random.Generator) -> Array:
        """Draw position, rotation vector and velocities from the box of the configuration: (nx,)."""
        most = np.array(self.config.states)
        drawn = rng.uniform(-most, most)
        attitude = pinocchio.Quaternion(pinocchio.exp3(drawn[3:6])).coeffs()
        return np.concatenate([drawn[:3], attitude, drawn[6:]])

    def _running(self) -> tuple[crocoddyl.ActionModelAbstract, Callable[[Array], None]]:
        state, weights, hover = self.space, self.config.costs, np.full(4, self.config.hover)
        away = crocoddyl.ResidualModelState(state, state.zero(), 4)
        effort = crocoddyl.ResidualModelControl(state, hover)
        entries = np.repeat([weights.position, weights.attitude, weights.velocity], [3, 3, 6])
        bounds = crocoddyl.ActivationBounds(weights.least_thrust - hover, weights.most_thrust - hover)
        barrier = crocoddyl.ActivationModelQuadraticBarrier(bounds)
        costs = crocoddyl.CostModelSum(state, 4)
        weighted = crocoddyl.ActivationModelWeightedQuad(entries)
        costs.addCost("state", crocoddyl.CostModelResidual(state, weighted, away), 1.0)
        costs.addCost("effort", crocoddyl.CostModelResidual(state, effort), weights.effort)
        costs.addCost("limit", crocoddyl.CostModelResidual(state, barrier, effort), weights.limit)
        actuation = crocoddyl.ActuationModelFloatingBaseThrusters(state, _thrusters(self.config))
        dynamics = crocoddyl.DifferentialActionModelFreeFwdDynamics(state, actuation, costs)

        def aim(goal: Array) -> None:
            away.reference = np.concatenate([goal, state.zero()[3:]])

        return crocoddyl.IntegratedActionModelEuler(dynamics, self.dt), aim

    def _hold(self, x: Array) -> Array:
        """Thrusts that carry the weight."""
        return np.full(4, self.config.hover)


class QuadrotorGeometry(Geometry):
    """The quadrotor in torch."""

    def __init__(self, config: QuadrotorConfig) -> None:
        """Take the thrust that carries the weight."""
        super().__init__()
        self._hover = config.hover

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return (Rᵀ(p - goal), sin φ a, 1 - cos φ, v, ω); see `Geometry.residual`."""
        away, vector, scalar = x[:, :3] - goal, x[:, 3:6], x[:, 6:7]
        across = torch.linalg.cross(vector, away)
        away = away + 2.0 * (torch.linalg.cross(vector, across) - scalar * across)
        versine = 2.0 * (vector * vector).sum(dim=1, keepdim=True)
        return torch.cat([away, 2.0 * scalar * vector, versine, x[:, 7:]], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the thrusts that carry the weight."""
        return torch.full_like(x[:, :4], self._hover)


def _thrusters(config: QuadrotorConfig) -> list[crocoddyl.Thruster]:
    """Rotors in front, left, behind and right, neighbours turning in opposite directions."""
    turns = crocoddyl.ThrusterType.CCW, crocoddyl.ThrusterType.CW
    rotors = []
    for number, direction in enumerate(([1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0])):
        place = pinocchio.SE3(np.eye(3), config.arm * np.array(direction))
        rotors.append(crocoddyl.Thruster(place, config.drag, turns[number % 2]))
    return rotors


def _model(config: QuadrotorConfig) -> pinocchio.Model:
    model = pinocchio.Model()
    model.name, model.gravity.linear = "quadrotor", np.array([0.0, 0.0, -config.gravity])
    joint = model.addJoint(0, pinocchio.JointModelFreeFlyer(), pinocchio.SE3.Identity(), "root_joint")
    body = pinocchio.Inertia(config.mass, np.zeros(3), np.diag(config.inertia))
    model.appendBodyToJoint(joint, body, pinocchio.SE3.Identity())
    return model
