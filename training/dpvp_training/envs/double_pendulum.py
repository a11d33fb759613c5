"""Double pendulum: swing two links up and balance them with a motor at the first joint only.

State (θ1, θ2, ω1, ω2), zero upright, θ2 relative to the first link; control u, the torque at joint 1, Nm. A node of dt
seconds costs

    dt (w_goal ½ Σ w_i e_i² + w_effort ½ u²),   e = (sin θ1, sin θ2, 1 - cos θ1, 1 - cos θ2, ω1, ω2)

as in the public runs that preceded Parag et al., ICRA 2022, whose weights per node are 1e-5 and 1e-4. The links are
those of `double_pendulum` in example-robot-data, as far as motion in their plane goes: what CAD left of offsets across
the links (2 µm) is zero, so that upright is an equilibrium without torque. The joints have no friction.
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


class DoublePendulumCosts(Config):
    """Weights of the cost per second."""

    goal: float = Field(1e-3, ge=0, description="of ½ Σ w_i e_i²; 1e-5 per node")
    entries: tuple[float, ...] = Field(
        (1.5, 1.5, 1.0, 1.0, 0.1, 0.1), min_length=6, max_length=6, description="w_i, one per entry of e"
    )
    effort: float = Field(1e-2, ge=0, description="of ½ u², 1/(Nm)²; 1e-4 per node")


class Link(Config):
    """One link, as seen from its joint."""

    mass: float = Field(gt=0, description="kg")
    length: float = Field(gt=0, description="to the next joint, m")
    centre: float = Field(description="distance of the centre of mass, m")
    inertia: float = Field(gt=0, description="about the axis of the joint through the centre of mass, kg m²")


class DoublePendulumConfig(SystemConfig):
    """Numbers of the double pendulum: those of the runs; horizon and tolerance are our choice."""

    first: Link = Link(mass=0.26703, length=0.1, centre=0.036012, inertia=0.00040827)
    second: Link = Link(mass=0.33238, length=0.2, centre=0.10088, inertia=0.0011753)
    gravity: float = Field(9.81, gt=0, description="m/s²")
    costs: DoublePendulumCosts = DoublePendulumCosts()
    dt: float = Field(0.01, gt=0, description="length of a node, s")
    horizon: int = Field(160, gt=0, description="V_T > 0.999 V_2T in 50 samples")
    approach: int = Field(60, gt=0)
    goal: tuple[float, ...] = (0.0,)
    goals: tuple[float, ...] = Field((0.0,), description="upright alone needs no torque: zero is the only goal")
    states: tuple[float, ...] = (pi, pi, 0.5, 0.5)
    tolerance: float = Field(0.1, gt=0)
    controls: tuple[float, ...] = Field((1.2,), description="Nm; optima need 1.1 Nm at most in 12 samples")


class DoublePendulumTask(SystemTask):
    """Stand upright on both links; the goal (1,), rad, is the angle of the first one and zero."""

    kind, goal_layout = "double_pendulum", (("angle", "rad"),)
    config: DoublePendulumConfig

    def __init__(self, config: DoublePendulumConfig) -> None:
        """Make the task; the terminal scaling is that of the running cost."""
        parameters = config.model_dump(include={"first", "second", "gravity"})
        machine = SystemMachine("double_pendulum", ("joint1", "joint2"), 4, 4, nv=2, nu=1, parameters=parameters)
        scaling = 100.0 * np.sqrt(config.costs.entries)
        super().__init__(machine, config, crocoddyl.StateMultibody(_model(config)), scaling)

    def geometry(self) -> DoublePendulumGeometry:
        """Return the double pendulum in torch."""
        return DoublePendulumGeometry()

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e (6,) as above and its Jacobian (6, 4)."""
        e, jacobian = np.empty(6), np.eye(6, 4, k=-2)
        _fill(e, x)
        _fill_jacobian(jacobian, x)
        return e, jacobian

    def _running(self) -> tuple[crocoddyl.ActionModelAbstract, Callable[[Array], None]]:
        state, weights = self.space, self.config.costs
        entries = crocoddyl.ActivationModelWeightedQuad(np.array(weights.entries))
        effort = crocoddyl.ResidualModelControl(state, 1)
        costs = crocoddyl.CostModelSum(state, 1)
        costs.addCost("goal", crocoddyl.CostModelResidual(state, entries, _Residual(state)), weights.goal)
        costs.addCost("effort", crocoddyl.CostModelResidual(state, effort), weights.effort)
        dynamics = crocoddyl.DifferentialActionModelFreeFwdDynamics(state, _Motor(state), costs)
        return crocoddyl.IntegratedActionModelEuler(dynamics, self.dt), lambda goal: None


class DoublePendulumGeometry(Geometry):
    """The double pendulum in torch."""

    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return e as above; see `Geometry.residual`."""
        angles = x[:, :2]
        return torch.cat([torch.sin(angles), 1.0 - torch.cos(angles), x[:, 2:]], dim=1)

    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return zeros: upright it needs no torque, and elsewhere none keeps the second link."""
        return torch.zeros_like(x[:, :1])


class _ResidualData(crocoddyl.ResidualDataAbstract):  # type: ignore[misc]
    """Arrays fetched once, as in `NodeData`."""

    def __init__(self, model: crocoddyl.ResidualModelAbstract, collector: crocoddyl.DataCollectorAbstract) -> None:
        super().__init__(model, collector)
        self.e, self.jacobian = self.r, self.Rx
        self.jacobian[:] = np.eye(6, 4, k=-2)


class _Residual(crocoddyl.ResidualModelAbstract):  # type: ignore[misc]
    """e as a residual of crocoddyl's."""

    def __init__(self, state: crocoddyl.StateMultibody) -> None:
        super().__init__(state, 6, 1, True, True, False)

    def createData(self, collector: crocoddyl.DataCollectorAbstract) -> _ResidualData:  # noqa: N802
        return _ResidualData(self, collector)

    def calc(self, data: _ResidualData, x: Array, u: Array | None = None) -> None:
        _fill(data.e, x)

    def calcDiff(self, data: _ResidualData, x: Array, u: Array | None = None) -> None:  # noqa: N802
        _fill_jacobian(data.jacobian, x)


class _MotorData(crocoddyl.ActuationDataAbstract):  # type: ignore[misc]
    """Arrays fetched once, as in `NodeData`."""

    def __init__(self, model: crocoddyl.ActuationModelAbstract) -> None:
        super().__init__(model)
        self.torques, self.dtau_du = self.tau, np.array([1.0, 0.0])


class _Motor(crocoddyl.ActuationModelAbstract):  # type: ignore[misc]
    """Torques (u, 0)."""

    def __init__(self, state: crocoddyl.StateMultibody) -> None:
        super().__init__(state, 1)

    def createData(self) -> _MotorData:  # noqa: N802
        return _MotorData(self)

    def calc(self, data: _MotorData, x: Array, u: Array) -> None:
        data.torques[0] = u[0]

    def calcDiff(self, data: _MotorData, x: Array, u: Array) -> None:  # noqa: N802
        """Nothing: the Jacobian is constant."""


def _fill(e: Array, x: Array) -> None:
    """Write the residual (6,)."""
    first, second, rate1, rate2 = x.tolist()
    e[0], e[1], e[2], e[3] = sin(first), sin(second), 1.0 - cos(first), 1.0 - cos(second)
    e[4], e[5] = rate1, rate2


def _fill_jacobian(jacobian: Array, x: Array) -> None:
    """Write what changes of the residual's Jacobian (6, 4)."""
    first, second, _, _ = x.tolist()
    jacobian[0, 0], jacobian[1, 1], jacobian[2, 0], jacobian[3, 1] = cos(first), cos(second), sin(first), sin(second)


def _model(config: DoublePendulumConfig) -> pinocchio.Model:
    model = pinocchio.Model()
    model.name, model.gravity.linear = "double_pendulum", np.array([0.0, 0.0, -config.gravity])
    parent, placement = 0, pinocchio.SE3.Identity()
    for name, link in (("joint1", config.first), ("joint2", config.second)):
        parent = model.addJoint(parent, pinocchio.JointModelRX(), placement, name)
        body = pinocchio.Inertia(link.mass, np.array([0.0, 0.0, link.centre]), link.inertia * np.diag([1.0, 0.0, 0.0]))
        model.appendBodyToJoint(parent, body, pinocchio.SE3.Identity())
        placement = pinocchio.SE3(np.eye(3), np.array([0.0, 0.0, link.length]))
    return model
