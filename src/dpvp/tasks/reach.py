"""Reach: bring a frame of an arm to a point. Kuka static reach of Parag et al., ICRA 2022, and its public code.

Cost of a node of dt seconds, with e = p(q) - goal:

    dt (w_goal ½‖e‖² + w_velocity ½ Σ s_i² q̇_i² + w_effort ½‖τ - g(q)‖² + w_limit ½‖viol(x)‖²)

where viol is what exceeds 95 % of the position limits or the soft velocity limit. Dynamics are the arm's free forward
dynamics, semi-implicit Euler.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import crocoddyl
import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from dpvp.config import Config
from dpvp.errors import ConfigError, GoalError
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.arm import ArmNodes
from dpvp.tasks.end_effector import EndEffector
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights

Weight = Annotated[float, Field(ge=0.0)]
Point = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]

SLOW = 0.3  # share of the soft velocity limit


class ReachWeights(Config):
    """Weights of the running cost."""

    goal: Weight = Field(2.0, description="of ½‖p - goal‖², 1/m²")
    velocity: Weight = Field(0.2, description="of ½ Σ s_i² q̇_i², s²/rad²")
    velocity_scale: tuple[Weight, ...] = Field((), description="s, one per joint; empty: all 1")
    effort: Weight = Field(0.01, description="of ½‖τ - g(q)‖², 1/(Nm)²")
    limit: Weight = Field(0.1, description="of ½‖violation of the soft limits‖²")


class ReachStarts(Config):
    """Box from which start states are drawn."""

    centre: tuple[float, ...] = Field(description="joint positions in the middle of the box, rad")
    half_width: float = Field(0.9, gt=0, description="rad; the box is cut at the position limits")
    speed: float = Field(0.01, ge=0, description="joint velocities are drawn from ± this, rad/s")


class ReachSuccess(Config):
    """When the goal counts as reached."""

    error: float = Field(0.01, gt=0, description="largest distance, m")
    speed: float = Field(0.05, gt=0, description="largest ‖q̇‖, rad/s")


class ReachConfig(Config):
    """The `task` section of a scenario that reaches."""

    kind: Literal["reach"] = "reach"
    goal: Point = Field(description="target of the end effector in the base frame, m")
    dt: float = Field(0.03, gt=0, le=0.2, description="length of a node, s")
    weights: ReachWeights = ReachWeights()
    position_share: float = Field(0.95, gt=0, le=1, description="share of the position limits that costs nothing")
    soft_velocity: float = Field(1.0, gt=0, description="joint speed above which the limit cost starts, rad/s")
    velocity_share: float = Field(
        0.85, gt=0, le=1, description="share of the velocity limits that hard limits allow; the rest is for delay"
    )
    goal_share: float = Field(0.6, gt=0, le=1, description="goals are drawn from this share of the joint ranges")
    workspace_lower: Point = Field((-1.0, -1.0, 0.05), description="goals below are refused, m")
    workspace_upper: Point = Field((1.0, 1.0, 1.4), description="goals above are refused, m")
    base_clearance: float = Field(0.25, ge=0, description="least distance of a goal from the axis of joint 1, m")
    starts: ReachStarts
    success: ReachSuccess = ReachSuccess()


class ReachTask:
    """Bring the robot's end effector to a point (3,) in the base frame, m."""

    kind, goal_size, error_unit = "reach", 3, "m"
    goal_layout: tuple[tuple[str, str], ...] = (("x", "m"), ("y", "m"), ("z", "m"))

    def __init__(self, robot: Robot, config: ReachConfig, file: str = "scenario") -> None:
        """Check `config`, read from `file`, against the robot.

        Raises:
            ConfigError: an array has not one entry per joint.
        """
        given = {"weights.velocity_scale": config.weights.velocity_scale, "starts.centre": config.starts.centre}
        for key, values in given.items():
            if len(values) != robot.nq and (values or key == "starts.centre"):
                reason = f"needs {robot.nq} numbers, one per joint of {robot.name}"
                raise ConfigError(file, f"task.{key}", values, reason)
        self.config, self.dt = config, config.dt
        self._robot = robot
        self._tip = EndEffector(robot)
        self._nodes = ArmNodes(robot, config.dt, config.velocity_share)

    @property
    def robot(self) -> Robot:
        """The arm."""
        return self._robot

    @property
    def costs(self) -> dict[str, Any]:
        """Weights and soft limits of the running cost; see `Task.costs`."""
        return self.config.model_dump(mode="json", include={"weights", "position_share", "soft_velocity"})

    @property
    def rest(self) -> tuple[int, ...]:
        """The joint velocities."""
        return tuple(range(self._robot.nv, self._robot.ndx))

    @property
    def tolerance(self) -> float:
        """Of the distance, m."""
        return self.config.success.error

    @property
    def state_bounds(self) -> tuple[Array, Array]:
        """Position and velocity limits of the robot; of the latter the share that plans may use."""
        return self._nodes.bounds

    def ocp(
        self,
        horizon: int,
        terminal: TerminalWeights | crocoddyl.ActionModelAbstract,
        *,
        hard_limits: bool = False,
    ) -> Ocp:
        """Build the problem; see `Task.ocp`."""
        goal = self._goal_residual()
        running = self._nodes.running(self._running_costs(goal), hard_limits=hard_limits)
        first = self._nodes.first(self._running_costs(goal)) if hard_limits else None
        if isinstance(terminal, TerminalWeights):
            last = self._nodes.last(self._terminal_costs(goal, terminal), hard_limits=hard_limits)
            aims = []
        else:
            last, aims = terminal, [terminal.aim]

        def aim(point: Array) -> None:
            goal.reference = point
            for move in aims:
                move(point)

        return Ocp(running, last, horizon, self.dt, aim, first=first)

    def terminal_model(self, weights: TerminalWeights) -> tuple[crocoddyl.ActionModelAbstract, object]:
        """Return a stand-alone quadratic terminal model and the residual whose `reference` is its goal."""
        goal = self._goal_residual()
        return self._nodes.last(self._terminal_costs(goal, weights), hard_limits=False), goal

    def later(self, goal: Array, seconds: float) -> Array:
        """Return the goal: it stands still."""
        return goal

    def place(self, goal: Array) -> Array:
        """Return the goal."""
        return goal

    def check_goal(self, goal: ArrayLike) -> Array:
        """Return the goal (3,), m, or raise `GoalError` saying why the arm cannot or must not go there."""
        point = np.array(goal, dtype=np.float64)
        if point.shape != (3,):
            raise GoalError(f"goal has shape {point.shape}: a reach needs x y z in metres")
        if not np.all(np.isfinite(point)):
            raise GoalError(f"goal {point.tolist()} holds NaN or infinity: give three finite numbers in metres")
        for axis, value, low, high in zip(
            "xyz", point, self.config.workspace_lower, self.config.workspace_upper, strict=True
        ):
            if not low <= value <= high:
                raise GoalError(f"goal {axis} = {value:.3f} m is outside the workspace [{low:.2f}, {high:.2f}] m")
        if (radius := float(np.hypot(point[0], point[1]))) < self.config.base_clearance:
            least = self.config.base_clearance
            raise GoalError(f"goal is {radius:.3f} m from the axis of joint 1: at least {least:.2f} m is needed")
        seeds = [self.robot.nominal, np.array(self.config.starts.centre)]
        q, distance = self._tip.posture_at(point, seeds, self.config.goal_share)
        if distance > self.config.success.error:
            nearest = np.round(self.robot.frame_position(q), 3).tolist()
            raise GoalError(
                f"goal {np.round(point, 3).tolist()} m is out of reach of {self.robot.name} by {distance:.3f} m "
                f"(nearest point found: {nearest})"
            )
        return point

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e (3,), m, from the goal to the tip in the axes of the first link, and de/dx (3, ndx)."""
        f, by_x = self.features(x, goal)
        return f[:3], by_x[:3]

    def observe(self, x: Array, goal: Array) -> Array:
        """Return [e; J row by row], m and m/rad, in the axes of the first link: what a reach costs depends on J(q)."""
        e, jacobian = self._tip.seen(x[: self.robot.nq], goal)
        return np.concatenate([e, jacobian.ravel()])

    def features(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return what `observe` returns, and its derivative."""
        nv = self.robot.nv
        e, jacobian, e_q, jacobian_q = self._tip.seen_derivatives(x[: self.robot.nq], goal)
        by_x = np.zeros((3 + 3 * nv, 2 * nv))
        by_x[:3, :nv], by_x[3:, :nv] = e_q, jacobian_q.reshape(3 * nv, nv)
        return np.concatenate([e, jacobian.ravel()]), by_x

    def error(self, x: Array, goal: Array) -> float:
        """Distance of the end effector from the goal, m."""
        return float(np.linalg.norm(self.robot.frame_position(x[: self.robot.nq]) - goal))

    def reached(self, x: Array, goal: Array) -> bool:
        """True if both the distance and ‖q̇‖ are below the success thresholds."""
        slow = float(np.linalg.norm(x[self.robot.nq :])) < self.config.success.speed
        return slow and self.error(x, goal) < self.config.success.error

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Draw from the box of `ReachStarts`: (nx,), [rad, rad/s]."""
        starts, limits = self.config.starts, self.robot.limits
        centre = np.array(starts.centre)
        q = rng.uniform(
            np.maximum(centre - starts.half_width, limits.position_lower),
            np.minimum(centre + starts.half_width, limits.position_upper),
        )
        return np.concatenate([q, rng.uniform(-starts.speed, starts.speed, self.robot.nv)])

    def sample_state(self, rng: np.random.Generator) -> Array:
        """Draw from `goal_share` of the joint ranges, at rest or slowly moving: (nx,), [rad, rad/s].

        Fast states are not drawn joint by joint, but come about on the way to goals.
        """
        q = rng.uniform(*self.robot.limits.positions(self.config.goal_share))
        speed = rng.choice([0.0, SLOW]) * self.config.soft_velocity
        return np.concatenate([q, rng.uniform(-speed, speed, self.robot.nv)])

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Draw a point that some posture within `goal_share` of the joint ranges reaches."""
        box = self.robot.limits.positions(self.config.goal_share)
        while True:
            q = rng.uniform(*box)
            try:
                return self.check_goal(self.robot.frame_position(q))
            except GoalError:
                continue

    def _goal_residual(self) -> crocoddyl.ResidualModelFrameTranslation:
        nodes = self._nodes
        return crocoddyl.ResidualModelFrameTranslation(
            nodes.state, nodes.frame, np.array(self.config.goal), nodes.actuation.nu
        )

    def _running_costs(self, goal: crocoddyl.ResidualModelAbstract) -> crocoddyl.CostModelSum:
        weights, state, nu = self.config.weights, self._nodes.state, self._nodes.actuation.nu
        at_rest = crocoddyl.ResidualModelState(state, state.zero(), nu)
        scale = np.concatenate([np.zeros(state.nv), np.square(weights.velocity_scale or np.ones(state.nv))])
        low, high = self.robot.limits.positions(self.config.position_share)
        fast = np.full(state.nv, self.config.soft_velocity)
        bounds = crocoddyl.ActivationBounds(np.concatenate([low, -fast]), np.concatenate([high, fast]))
        costs = crocoddyl.CostModelSum(state, nu)
        barrier = crocoddyl.ActivationModelQuadraticBarrier(bounds)
        effort = crocoddyl.ResidualModelControlGrav(state, nu)
        weighted = crocoddyl.ActivationModelWeightedQuad(scale)
        costs.addCost("goal", crocoddyl.CostModelResidual(state, goal), weights.goal)
        costs.addCost("velocity", crocoddyl.CostModelResidual(state, weighted, at_rest), weights.velocity)
        costs.addCost("effort", crocoddyl.CostModelResidual(state, effort), weights.effort)
        costs.addCost("limit", crocoddyl.CostModelResidual(state, barrier, at_rest), weights.limit)
        return costs

    def _terminal_costs(
        self, goal: crocoddyl.ResidualModelAbstract, weights: TerminalWeights
    ) -> crocoddyl.CostModelSum:
        state, nu = self._nodes.state, self._nodes.actuation.nu
        costs = crocoddyl.CostModelSum(state, nu)
        velocities = crocoddyl.ActivationModelWeightedQuad(np.repeat([0.0, 1.0], state.nv))
        at_rest = crocoddyl.ResidualModelState(state, state.zero(), nu)
        costs.addCost("goal", crocoddyl.CostModelResidual(state, goal), weights.goal)
        costs.addCost("velocity", crocoddyl.CostModelResidual(state, velocities, at_rest), weights.velocity)
        return costs
