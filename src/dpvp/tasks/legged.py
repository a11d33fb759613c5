"""LeggedNodes: nodes of the problems of a robot that stands on points of its feet.

Dynamics are those of rigid contacts (K. Budhiraja et al., "Differential dynamic programming for multi-phase rigid
contact dynamics", Humanoids 2018), semi-implicit Euler. Every node has a contact for each foot, and which of them hold
is switched: nothing is built anew while the robot walks. A foot that comes down with some speed loses it within a
node: contacts demand the acceleration -v/dt.

A running node of dt seconds costs, with y = x ⊖ x_reference,

    dt (½ Σ w_i y_i² + w_foot ½ Σ ‖p_i - target_i‖² + w_effort ½‖τ‖² + w_limit ½‖viol‖² + w_friction ½ Σ ‖out_i‖²)

over the feet that are guided and, for `out`, those that stand: by how much their force is outside the inner pyramid of
the friction cone with at least `least_force` upwards, N. viol is what exceeds a share of the limits of torque, position
and speed of the joints.
"""

from __future__ import annotations

from typing import Annotated

import crocoddyl
import numpy as np
import pinocchio
from pydantic import Field

from dpvp.config import Config
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.legs import Legs

Weight = Annotated[float, Field(ge=0.0)]


class LeggedWeights(Config):
    """Weights of a running node."""

    height: Weight = Field(2500.0, description="of ½ error² of the base's height, 1/m²")
    tilt: Weight = Field(100.0, description="of ½ roll² + ½ pitch², 1/rad²")
    yaw: Weight = Field(50.0, description="of ½ error² of the yaw, 1/rad²")
    speed: Weight = Field(100.0, description="of ½‖error of the base's velocity‖², s²/m²")
    turn: Weight = Field(10.0, description="of ½‖error of the base's rates of turn‖², s²/rad²")
    posture: Weight = Field(5.0, description="of ½‖q - nominal‖² of the joints, 1/rad²")
    joint_speed: Weight = Field(0.05, description="of ½‖q̇‖² of the joints, s²/rad²")
    foot: Weight = Field(3000.0, description="of ½ distance² of a foot from its target along the floor, 1/m²")
    foot_height: Weight = Field(5000.0, description="of ½ distance² of a foot from its target upwards, 1/m²")
    effort: Weight = Field(0.005, description="of ½‖τ‖², 1/(Nm)²")
    limit: Weight = Field(1.0, description="of ½‖violation of the soft limits‖²")
    friction: Weight = Field(1.0, description="of ½‖distance of a force from its cone‖², 1/N²")


class Floor(Config):
    """What plans may ask of the floor."""

    friction: float = Field(0.6, gt=0, description="coefficient; less than what the floor has, for safety")
    least_force: float = Field(5.0, ge=0, description="upwards at every foot that stands, N")


class SoftLimits(Config):
    """Shares of the joints' limits that cost nothing."""

    effort: float = Field(0.9, gt=0, le=1)
    position: float = Field(0.95, gt=0, le=1)
    velocity: float = Field(0.8, gt=0, le=1)


class LeggedNode:
    """A node whose contacts and references move.

    Attributes:
        model: crocoddyl's.
    """

    def __init__(self, nodes: LeggedNodes, dt: float) -> None:
        """Build a node of `dt` seconds, in which all feet stand and none is guided."""
        self._names, state, nu = nodes.feet, nodes.state, nodes.actuation.nu
        self._contacts, self._costs = nodes.contacts(dt), crocoddyl.CostModelSum(state, nu)
        self._x = crocoddyl.ResidualModelState(state, state.zero(), nu)
        self._costs.addCost("state", crocoddyl.CostModelResidual(state, nodes.state_activation, self._x), 1.0)
        self._targets = []
        for name, frame in zip(nodes.feet, nodes.frames, strict=True):
            target = crocoddyl.ResidualModelFrameTranslation(state, frame, np.zeros(3), nu)
            cost = crocoddyl.CostModelResidual(state, nodes.foot_activation, target)
            self._costs.addCost(f"{name} target", cost, 1.0, False)
            self._costs.addCost(f"{name} friction", nodes.friction_cost(frame), nodes.weights.friction)
            self._targets.append(target)
        for name, (cost, weight) in nodes.joint_costs().items():
            self._costs.addCost(name, cost, weight)
        dynamics = crocoddyl.DifferentialActionModelContactFwdDynamics(
            state, nodes.actuation, self._contacts, self._costs, 0.0, True
        )
        self.model = crocoddyl.IntegratedActionModelEuler(dynamics, dt)
        self._stands, self._guided = [True] * len(nodes.feet), [False] * len(nodes.feet)

    def move(self, x: Array, stands: list[bool], guided: list[bool], targets: Array) -> None:
        """Set the reference (nx,) of the state, which feet stand, which are guided and to where (n, 3), m."""
        self._x.reference = x
        if stands != self._stands:
            for name, holds in zip(self._names, stands, strict=True):
                self._contacts.changeContactStatus(name, holds)
                self._costs.changeCostStatus(f"{name} friction", holds)
            self._stands = stands
        if guided != self._guided:
            for name, leads in zip(self._names, guided, strict=True):
                self._costs.changeCostStatus(f"{name} target", leads)
            self._guided = guided
        for residual, leads, target in zip(self._targets, guided, targets, strict=True):
            if leads:
                residual.reference = target


class LeggedNodes:
    """What all nodes of a robot share.

    Attributes:
        state, actuation: crocoddyl's models.
        feet, frames: names and frames of the feet.
        weights: of the costs.
    """

    def __init__(self, robot: Robot, legs: Legs, weights: LeggedWeights, floor: Floor, soft: SoftLimits) -> None:
        """Prepare nodes of `robot`."""
        self.state = crocoddyl.StateMultibody(robot.model)
        self.actuation = crocoddyl.ActuationModelFloatingBase(self.state)
        self.feet, self.frames, self.weights = robot.feet, legs.frames, weights
        self._limits, self._soft = robot.limits, soft
        self._cone = crocoddyl.FrictionCone(np.eye(3), floor.friction, 4, True, floor.least_force, np.inf)
        w, n = weights, self.actuation.nu
        by_q = [0.0, 0.0, w.height, w.tilt, w.tilt, w.yaw, *[w.posture] * n]
        by_v = [*[w.speed] * 3, *[w.turn] * 3, *[w.joint_speed] * n]
        self.state_activation = crocoddyl.ActivationModelWeightedQuad(np.array(by_q + by_v))
        self.foot_activation = crocoddyl.ActivationModelWeightedQuad(np.array([w.foot, w.foot, w.foot_height]))

    def contacts(self, dt: float) -> crocoddyl.ContactModelMultiple:
        """Return contacts of all feet with the floor."""
        nu, gains = self.actuation.nu, np.array([0.0, 1.0 / dt])
        contacts = crocoddyl.ContactModelMultiple(self.state, nu)
        for name, frame in zip(self.feet, self.frames, strict=True):
            contact = crocoddyl.ContactModel3D(self.state, frame, np.zeros(3), pinocchio.LOCAL_WORLD_ALIGNED, nu, gains)
            contacts.addContact(name, contact)
        return contacts

    def friction_cost(self, frame: int) -> crocoddyl.CostModelResidual:
        """Return the cost of a force at a foot that is outside its cone."""
        residual = crocoddyl.ResidualModelContactFrictionCone(self.state, frame, self._cone, self.actuation.nu, True)
        return crocoddyl.CostModelResidual(self.state, _outside(self._cone.lb, self._cone.ub), residual)

    def joint_costs(self) -> dict[str, tuple[crocoddyl.CostModelResidual, float]]:
        """Return the costs of efforts and soft limits, and their weights."""
        state, nu, base = self.state, self.actuation.nu, self.state.nv - self.actuation.nu
        limits, soft, free = self._limits, self._soft, np.full(base, np.inf)
        middle = 0.5 * (limits.position_lower + limits.position_upper)
        half, speed = soft.position * (limits.position_upper - middle), soft.velocity * limits.velocity
        low = np.concatenate([-free, middle - half, -free, -speed])
        high = np.concatenate([free, middle + half, free, speed])
        effort = crocoddyl.ResidualModelControl(state, np.zeros(nu))
        joints = crocoddyl.ResidualModelState(state, state.zero(), nu)
        most = soft.effort * limits.effort
        return {
            "effort": (crocoddyl.CostModelResidual(state, effort), self.weights.effort),
            "effort limit": (crocoddyl.CostModelResidual(state, _outside(-most, most), effort), self.weights.limit),
            "joint limit": (crocoddyl.CostModelResidual(state, _outside(low, high), joints), self.weights.limit),
        }


def _outside(low: Array, high: Array) -> crocoddyl.ActivationModelQuadraticBarrier:
    return crocoddyl.ActivationModelQuadraticBarrier(crocoddyl.ActivationBounds(low, high))
