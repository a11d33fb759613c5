"""Track: keep the foot of a leg on a closed path that goes on with time. Leg of the M-DeMoRL experiments.

The path is half an ellipse and its chord, walked once a `period`:

    x = x_0 - L/2 cos φ        z = z_0 + h max(sin φ, 0)        φ = φ_0 + 2π t / period

The goal is (φ, L, h), as it is at the time asked about: `later` moves it on. At the nodes of the problem the path gives
postures q_k in closed form, velocities v_k = (q_k - q_{k-1}) / dt and the torques u_k that lead from one to the next:
following the path exactly is a motion of the discrete dynamics. A node of dt seconds costs

    dt (w_goal ½‖p - p_k‖² + w_velocity ½‖q̇ - v_k‖² + w_effort ½‖τ - u_k‖² + w_limit ½‖viol(x)‖² + w_limit' ½‖viol(τ)‖²)

which is nothing on the path: the value of a state is finite although the motion never ends. viol is what exceeds 95 %
of the position limits or the soft velocity limit, and 90 % of the torque limits.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import crocoddyl
import numpy as np
import pinocchio
from numpy.typing import ArrayLike
from pydantic import Field

from dpvp.config import Config
from dpvp.errors import GoalError
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.arm import ArmNodes
from dpvp.tasks.end_effector import EndEffector
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.planar_leg import PlanarLeg
from dpvp.tasks.task import TerminalWeights

Weight = Annotated[float, Field(ge=0.0)]
Range = Annotated[tuple[float, ...], Field(min_length=2, max_length=2)]

STRETCHED = 0.98  # share of the reach that a path may use: beyond, the knee is straight and the foot cannot follow


class TrackWeights(Config):
    """Weights of the running cost."""

    goal: Weight = Field(100.0, description="of ½‖p - p_k‖², 1/m²")
    velocity: Weight = Field(0.01, description="of ½‖q̇ - v_k‖², s²/rad²")
    effort: Weight = Field(1e-3, description="of ½‖τ - u_k‖², 1/(Nm)²")
    limit: Weight = Field(0.1, description="of ½‖violation of the soft limits of the state‖²")
    effort_limit: Weight = Field(10.0, description="of ½‖violation of the soft limits of the torques‖², 1/(Nm)²")


class TrackConfig(Config):
    """The `task` section of a scenario that tracks."""

    kind: Literal["track"] = "track"
    goal: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)] = Field(
        (0.0, 0.136, 0.06), description="phase at time 0, rad; length and height of the path, m"
    )
    centre: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)] = Field(
        description="middle of the chord, in the base frame, m"
    )
    period: float = Field(1.0, gt=0, description="of the path, s")
    lengths: Range = Field((0.06, 0.2), description="goals are drawn from and refused beyond, m")
    heights: Range = Field((0.02, 0.1), description="goals are drawn from and refused beyond, m")
    dt: float = Field(0.01, gt=0, le=0.1, description="length of a node, s")
    weights: TrackWeights = TrackWeights()
    position_share: float = Field(0.95, gt=0, le=1, description="share of the position limits that costs nothing")
    effort_share: float = Field(0.9, gt=0, le=1, description="share of the torque limits that costs nothing")
    soft_velocity: float = Field(12.0, gt=0, description="joint speed above which the limit cost starts, rad/s")
    velocity_share: float = Field(0.9, gt=0, le=1, description="share of the velocity limits that hard limits allow")
    spread: tuple[float, float] = Field(
        (0.3, 1.0), description="states are drawn so far from the path, rad and rad/s, in each joint"
    )
    tolerance: float = Field(0.003, gt=0, description="largest distance of the foot from its place on the path, m")


@dataclass(frozen=True, eq=False)
class Reference:
    """The path at n + 1 nodes: `points` (n+1, 3), m, `xs` (n+1, nx), and `us` (n+1, nu) that lead on, Nm."""

    points: Array
    xs: Array
    us: Array


class TrackTask:
    """Keep the end effector of a planar leg on the path (φ, L, h), [rad, m, m].

    Attributes:
        leg: its kinematics.
    """

    kind, goal_size, error_unit = "track", 3, "m"
    goal_layout: tuple[tuple[str, str], ...] = (("phase", "rad"), ("length", "m"), ("height", "m"))

    def __init__(self, robot: Robot, config: TrackConfig) -> None:
        """Read the leg off the robot.

        Raises:
            ModelMismatchError: the robot is no planar leg.
        """
        self.config, self.dt, self._robot = config, config.dt, robot
        self.leg, self._tip = PlanarLeg(robot), EndEffector(robot)
        self._nodes = ArmNodes(robot, config.dt, config.velocity_share)
        self._data = robot.model.createData()

    @property
    def robot(self) -> Robot:
        """The leg."""
        return self._robot

    @property
    def costs(self) -> dict[str, Any]:
        """Weights, soft limits, and the path as far as the goal does not say it; see `Task.costs`."""
        return self.config.model_dump(
            mode="json", include={"weights", "position_share", "effort_share", "soft_velocity", "centre", "period"}
        )

    @property
    def rest(self) -> tuple[int, ...]:
        """Nothing: the residual has the velocities."""
        return ()

    @property
    def tolerance(self) -> float:
        """Of the distance, m."""
        return self.config.tolerance

    @property
    def state_bounds(self) -> tuple[Array, Array]:
        """Position and velocity limits of the robot; of the latter the share that plans may use."""
        return self._nodes.bounds

    def later(self, goal: Array, seconds: float) -> Array:
        """Return the goal with the phase that it has `seconds` later, in [0, 2π)."""
        phase = (goal[0] + 2.0 * np.pi * seconds / self.config.period) % (2.0 * np.pi)
        return np.array([phase, goal[1], goal[2]])

    def place(self, goal: Array) -> Array:
        """Return the place on the path (3,), m."""
        return np.asarray(self._path(goal[:1], goal)[0])

    def reference(self, goal: Array, nodes: int) -> Reference:
        """Return the path from the phase of `goal` on over `nodes` nodes."""
        step = 2.0 * np.pi * self.dt / self.config.period
        points = self._path(goal[0] + step * np.arange(-1, nodes + 2), goal)
        q = np.unwrap(self.leg.postures(points), axis=0)
        v = np.diff(q, axis=0) / self.dt  # on the way to each node
        a = np.diff(v, axis=0) / self.dt
        us = [pinocchio.rnea(self.robot.model, self._data, *row).copy() for row in zip(q[1:-1], v[:-1], a, strict=True)]
        return Reference(points[1:-1], np.hstack([q[1:-1], v[:-1]]), np.array(us))

    def ocp(
        self,
        horizon: int,
        terminal: TerminalWeights | crocoddyl.ActionModelAbstract,
        *,
        hard_limits: bool = False,
    ) -> Ocp:
        """Build the problem; see `Task.ocp`. Every node has its own place on the path."""
        places = [_Place(self) for _ in range(horizon + 1)]
        running = [self._nodes.running(place.costs(self.config), hard_limits=hard_limits) for place in places[:-1]]
        first = self._nodes.first(places[0].costs(self.config)) if hard_limits else None
        if isinstance(terminal, TerminalWeights):
            last, ends = self._nodes.last(places[-1].terminal_costs(terminal), hard_limits=hard_limits), []
        else:
            last, ends = terminal, [terminal]

        def aim(goal: Array) -> None:
            reference = self.reference(goal, horizon)
            for place, *values in zip(places, reference.points, reference.xs, reference.us, strict=True):
                place.move(*values)
            for end in ends:
                end.aim(self.later(goal, horizon * self.dt))

        return Ocp(running, last, horizon, self.dt, aim, first=first, later=self.later)

    def terminal_model(self, weights: TerminalWeights) -> tuple[crocoddyl.ActionModelAbstract, Any]:
        """Return a stand-alone quadratic terminal model and what has its goal as `reference`."""
        place = _Place(self)
        return self._nodes.last(place.terminal_costs(weights), hard_limits=False), place

    def check_goal(self, goal: ArrayLike) -> Array:
        """Return the goal (3,) or raise `GoalError` saying why the foot cannot or must not go there."""
        numbers = np.array(goal, dtype=np.float64)
        if numbers.shape != (3,):
            raise GoalError(f"goal has shape {numbers.shape}: a path needs phase [rad], length [m] and height [m]")
        if not np.all(np.isfinite(numbers)):
            raise GoalError(f"goal {numbers.tolist()} holds NaN or infinity: give phase, length and height as numbers")
        for name, value, (low, high) in zip(
            ("length", "height"), numbers[1:], (self.config.lengths, self.config.heights), strict=True
        ):
            if not low <= value <= high:
                raise GoalError(f"goal {name} = {value:.3f} m is outside [{low:.3f}, {high:.3f}] m")
        distances = self.leg.distance(self._path(np.linspace(0.0, 2.0 * np.pi, 73), numbers))
        (near, far), least, most = self.leg.reach, float(distances.min()), float(distances.max())
        if not near / STRETCHED < least <= most < STRETCHED * far:
            raise GoalError(
                f"the path is {least:.3f} to {most:.3f} m from the first joint: {self.robot.name} reaches from "
                f"{near:.3f} to {STRETCHED * far:.3f} m"
            )
        return numbers

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e (4,), m and rad/s: way from the place on the path in the plane of the leg, and q̇ - v; and de/dx."""
        reference, nq = self.reference(goal, 0), self.robot.nq
        position, jacobian = self._tip.position_and_jacobian(x[:nq])
        away = self.leg.plane @ (position - reference.points[0])
        by_x = np.zeros((2 + nq, 2 * nq))
        by_x[:2, :nq], by_x[2:, nq:] = self.leg.plane @ jacobian, np.eye(nq)
        return np.concatenate([away, x[nq:] - reference.xs[0, nq:]]), by_x

    def observe(self, x: Array, goal: Array) -> Array:
        """Return [e; cos φ; sin φ; L; h]."""
        return self._told(self.residual(x, goal)[0], goal)

    def features(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return what `observe` returns, and its derivative."""
        e, by_x = self.residual(x, goal)
        return self._told(e, goal), np.vstack([by_x, np.zeros((4, by_x.shape[1]))])

    def error(self, x: Array, goal: Array) -> float:
        """Distance of the end effector from its place on the path, m."""
        return float(np.linalg.norm(self.robot.frame_position(x[: self.robot.nq]) - self.place(goal)))

    def reached(self, x: Array, goal: Array) -> bool:
        """True if the foot is where it should be."""
        return self.error(x, goal) < self.tolerance

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Draw near the nominal posture, at rest: (nx,), [rad, rad/s]."""
        away, _ = self.config.spread
        q = self.robot.nominal + rng.uniform(-away, away, self.robot.nq)
        return np.concatenate([np.clip(q, self.robot.limits.position_lower, self.robot.limits.position_upper), 0.0 * q])

    def sample_state(self, rng: np.random.Generator) -> Array:
        """Draw a state near some place on some path: (nx,), [rad, rad/s]."""
        away = np.repeat(self.config.spread, self.robot.nq)
        return np.asarray(self.reference(self.sample_goal(rng), 0).xs[0] + rng.uniform(-away, away))

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Draw phase, length and height of a path that the leg can follow."""
        low, high = zip((0.0, 2.0 * np.pi), self.config.lengths, self.config.heights, strict=True)
        while True:
            with contextlib.suppress(GoalError):
                return self.check_goal(rng.uniform(low, high))

    def _path(self, phases: Array, goal: Array) -> Array:
        """Return the places (n, 3), m, at phases (n,), rad."""
        x, y, z = self.config.centre
        rise = goal[2] * np.maximum(np.sin(phases), 0.0)
        return np.stack([x - 0.5 * goal[1] * np.cos(phases), np.full(len(phases), y), z + rise], axis=1)

    def _told(self, e: Array, goal: Array) -> Array:
        return np.concatenate([e, [np.cos(goal[0]), np.sin(goal[0])], goal[1:]])


class _Place:
    """Residuals of one node, and where they are zero."""

    def __init__(self, task: TrackTask) -> None:
        self._task, nodes = task, task._nodes  # noqa: SLF001
        state, nu = nodes.state, nodes.actuation.nu
        self._state, self._nu = state, nu
        self._goal = crocoddyl.ResidualModelFrameTranslation(state, nodes.frame, np.zeros(3), nu)
        self._x = crocoddyl.ResidualModelState(state, state.zero(), nu)
        self._u = crocoddyl.ResidualModelControl(state, np.zeros(nu))

    @property
    def reference(self) -> Array:
        """Of a terminal model by itself: the goal."""
        return self._asked

    @reference.setter
    def reference(self, goal: Array) -> None:
        self._asked = np.array(goal)
        found = self._task.reference(goal, 0)
        self.move(found.points[0], found.xs[0], found.us[0])

    def move(self, point: Array, x: Array, u: Array) -> None:
        self._goal.reference, self._x.reference, self._u.reference = point, x, u

    def costs(self, config: TrackConfig) -> crocoddyl.CostModelSum:
        weights, state, nv = config.weights, self._state, self._state.nv
        limits = self._task.robot.limits
        soft = np.full(nv, config.soft_velocity)
        low, high = limits.positions(config.position_share)
        low, high = np.concatenate([low, -soft]), np.concatenate([high, soft])
        barrier = crocoddyl.ActivationModelQuadraticBarrier(crocoddyl.ActivationBounds(low, high))
        at_zero = crocoddyl.ResidualModelState(state, state.zero(), self._nu)
        costs = self.terminal_costs(TerminalWeights(weights.goal, weights.velocity))
        costs.addCost("effort", crocoddyl.CostModelResidual(state, self._u), weights.effort)
        costs.addCost("limit", crocoddyl.CostModelResidual(state, barrier, at_zero), weights.limit)
        effort = config.effort_share * limits.effort
        excess = crocoddyl.ActivationModelQuadraticBarrier(crocoddyl.ActivationBounds(-effort, effort))
        torques = crocoddyl.ResidualModelControl(state, self._nu)
        costs.addCost("effort_limit", crocoddyl.CostModelResidual(state, excess, torques), weights.effort_limit)
        return costs

    def terminal_costs(self, weights: TerminalWeights) -> crocoddyl.CostModelSum:
        state, costs = self._state, crocoddyl.CostModelSum(self._state, self._nu)
        velocities = crocoddyl.ActivationModelWeightedQuad(np.repeat([0.0, 1.0], state.nv))
        costs.addCost("goal", crocoddyl.CostModelResidual(state, self._goal), weights.goal)
        costs.addCost("velocity", crocoddyl.CostModelResidual(state, velocities, self._x), weights.velocity)
        return costs
