"""ArmNodes: nodes of the problems of a robot that stands on the ground, each joint with a motor of its own.

Dynamics are the robot's free forward dynamics, semi-implicit Euler.
"""

from __future__ import annotations

import crocoddyl
import numpy as np

from dpvp.plan import Array
from dpvp.robot import Robot


class ArmNodes:
    """Builds nodes of costs, and of the robot's limits where they are hard.

    Attributes:
        state, actuation: crocoddyl's models, which costs are made for.
        frame: of the end effector.
    """

    def __init__(self, robot: Robot, dt: float, velocity_share: float) -> None:
        """Make nodes of `dt` seconds; `velocity_share` of the velocity limits is what plans may use."""
        self._robot, self._dt, self._velocity_share = robot, dt, velocity_share
        self.state = crocoddyl.StateMultibody(robot.model)
        self.actuation = crocoddyl.ActuationModelFull(self.state)
        self.frame = robot.model.getFrameId(robot.end_effector)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Hard limits of the state, lower and upper, (nx,) each."""
        limits, velocity = self._robot.limits, self._velocity_share * self._robot.limits.velocity
        return np.concatenate([limits.position_lower, -velocity]), np.concatenate([limits.position_upper, velocity])

    def running(self, costs: crocoddyl.CostModelSum, *, hard_limits: bool) -> crocoddyl.IntegratedActionModelEuler:
        """Return a node with a control."""
        return self._node(costs, self._dt, self._limits(state=True, effort=True) if hard_limits else None)

    def first(self, costs: crocoddyl.CostModelSum) -> crocoddyl.IntegratedActionModelEuler:
        """Return node 0 of a problem with hard limits: it keeps only those on effort, since its state is given."""
        return self._node(costs, self._dt, self._limits(state=False, effort=True))

    def last(self, costs: crocoddyl.CostModelSum, *, hard_limits: bool) -> crocoddyl.IntegratedActionModelEuler:
        """Return a terminal node."""
        return self._node(costs, 0.0, self._limits(state=True, effort=False) if hard_limits else None)

    def _limits(self, *, state: bool, effort: bool) -> crocoddyl.ConstraintModelManager:
        limits, space, nu = self._robot.limits, self.state, self.actuation.nu
        constraints = crocoddyl.ConstraintModelManager(space, nu)
        if effort:
            residual = crocoddyl.ResidualModelControl(space, np.zeros(nu))
            model = crocoddyl.ConstraintModelResidual(space, residual, -limits.effort, limits.effort)
            constraints.addConstraint("effort", model)
        if state:
            residual = crocoddyl.ResidualModelState(space, space.zero(), nu)
            constraints.addConstraint("state", crocoddyl.ConstraintModelResidual(space, residual, *self.bounds))
        return constraints

    def _node(
        self, costs: crocoddyl.CostModelSum, dt: float, constraints: crocoddyl.ConstraintModelManager | None
    ) -> crocoddyl.IntegratedActionModelEuler:
        extra = [] if constraints is None else [constraints]
        # no `armature` here: pinocchio's dynamics have that of the model, and crocoddyl would add it once more
        dynamics = crocoddyl.DifferentialActionModelFreeFwdDynamics(self.state, self.actuation, costs, *extra)
        return crocoddyl.IntegratedActionModelEuler(dynamics, dt)
