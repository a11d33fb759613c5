"""Walk: carry a base over a floor at a commanded velocity, on point feet that take turns.

The goal is (φ, v_x, v_y, ω, ψ): the phase of the gait, the speed forwards and to the left over a level floor, the rate
of turn, and the heading. `later` moves the phase and the heading on. Everything else that a plan refers to follows from
the measured state; see `Strides`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import crocoddyl
import numpy as np
import pinocchio
from numpy.typing import ArrayLike
from pydantic import Field

from dpvp.config import Config
from dpvp.errors import ConfigError, GoalError
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.gait import Gait, Speed
from dpvp.tasks.legged import Floor, LeggedNode, LeggedNodes, LeggedWeights, SoftLimits
from dpvp.tasks.legs import Legs
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.strides import Reference, Strides, StridesConfig, heading
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.upright import Upright, UprightTerminal

SHORTEST = 2  # nodes that a stance and a swing have to last
STRETCHED = 0.97  # share of a leg's reach that a stance may use

LIFT_AFTER = 2  # nodes after which a foot of a robot that stood lifts


class WalkConfig(Config):
    """The `task` section of a scenario that walks."""

    kind: Literal["walk"] = "walk"
    goal: Annotated[tuple[float, ...], Field(min_length=5, max_length=5)] = Field(
        (0.0, 0.0, 0.0, 0.0, 0.0),
        description="phase at time 0, rad; speed forwards and to the left, m/s; turn, rad/s; heading at time 0, rad",
    )
    gait: str = Field("trot", description="one of `gaits`")
    gaits: dict[str, Gait] = Field(
        {
            "trot": Gait(period=0.48, duty=0.55, offsets=(0.0, 0.5, 0.5, 0.0), most=(0.8, 0.4, 1.0)),
            "walk": Gait(period=0.8, duty=0.75, offsets=(0.0, 0.5, 0.25, 0.75), most=(0.4, 0.2, 0.5)),
            "stand": Gait(period=1.0, duty=1.0, offsets=(0.0, 0.0, 0.0, 0.0)),
        },
        description="offsets in the order of the robot's feet",
    )
    dt: float = Field(0.02, gt=0, le=0.1, description="length of a node, s")
    weights: LeggedWeights = LeggedWeights()
    floor: Floor = Floor()
    soft_limits: SoftLimits = SoftLimits()
    strides: StridesConfig = StridesConfig()
    acceleration: tuple[Speed, Speed, Speed] = Field(
        (1.0, 1.0, 2.0), description="by which commanded velocities are taken up: m/s², m/s², rad/s²"
    )
    tolerance: float = Field(0.1, gt=0, description="largest error of the velocity over the floor, m/s")


class WalkTask:
    """Carry the base of a legged robot at (v_x, v_y, ω) from phase φ and heading ψ on, [rad, m/s, m/s, rad/s, rad]."""

    kind, goal_size, error_unit = "walk", 5, "m/s"
    goal_layout: tuple[tuple[str, str], ...] = (
        ("phase", "rad"), ("forwards", "m/s"), ("leftwards", "m/s"), ("turn", "rad/s"), ("heading", "rad"),
    )  # fmt: skip

    def __init__(self, robot: Robot, config: WalkConfig, file: str = "scenario") -> None:
        """Read the legs off the robot and check the gait against them.

        Raises:
            ModelMismatchError: the robot's base does not float.
            ConfigError: there is no such gait, or the robot cannot walk in it.
        """
        self.config, self.dt, self._robot, self._file = config, config.dt, robot, file
        self._legs = Legs(robot)
        self.gait = self._checked_gait()
        self._strides = Strides(robot, self._legs, self.gait, config.dt, config.strides)
        self._nodes = LeggedNodes(robot, self._legs, config.weights, config.floor, config.soft_limits)
        self._upright = Upright(robot, self._legs, self.gait, config.weights)
        self._zero = np.concatenate([robot.nominal, np.zeros(robot.nv)])

    @property
    def robot(self) -> Robot:
        """What walks."""
        return self._robot

    @property
    def legs(self) -> Legs:
        """Kinematics of what it walks on; not for two threads at once."""
        return self._legs

    @property
    def costs(self) -> dict[str, Any]:
        """Weights, limits, and the gait; see `Task.costs`."""
        include = {"weights", "floor", "soft_limits", "strides"}
        return self.config.model_dump(mode="json", include=include) | {"gait": self.gait.model_dump(mode="json")}

    @property
    def rest(self) -> tuple[int, ...]:
        """Nothing: legs that walk never rest."""
        return ()

    @property
    def tolerance(self) -> float:
        """Of the velocity, m/s."""
        return self.config.tolerance

    @property
    def state_bounds(self) -> tuple[Array, Array]:
        """Position and velocity limits of the joints; the base has none."""
        limits, free = self._robot.limits, np.full(self._robot.nv - self._robot.nu, np.inf)
        low = np.concatenate([-free, limits.position_lower, -free, -limits.velocity])
        return low, np.concatenate([free, limits.position_upper, free, limits.velocity])

    def later(self, goal: Array, seconds: float) -> Array:
        """Return the goal with the phase and the heading that it has `seconds` later, in [0, 2π)."""
        moved = goal.copy()
        moved[0] += 2.0 * np.pi * seconds / self.gait.period
        moved[4] += goal[3] * seconds
        moved[[0, 4]] %= 2.0 * np.pi
        return moved

    def place(self, goal: Array) -> Array:
        """Return nothing: a velocity is no place."""
        return np.full(3, np.nan)

    def stands(self, x: Array, goal: Array) -> tuple[bool, ...]:
        """Return which feet are to stand now."""
        return tuple(self._strides.stands(x, goal).tolist())

    def commanded(self, goal: Array, command: ArrayLike, x: Array, t: float) -> Array:
        """Return the goal with another velocity; see `Steered`. The same velocity changes nothing.

        Who stands begins with the phase in which a foot lifts next: in the middle of a swing that foot would be late.
        """
        velocity = np.asarray(command, dtype=np.float64)
        if np.array_equal(velocity, goal[1:4]):
            return goal
        phase = float(goal[0])
        if not goal[1:4].any() and all(self.stands(x, self.later(goal, t))):
            phase = (self.gait.before_lift(LIFT_AFTER * self.dt) - 2.0 * np.pi * t / self.gait.period) % (2.0 * np.pi)
        bearing = float(heading(x)[0]) - float(velocity[2]) * t
        return self.check_goal([phase, *velocity, bearing])

    def towards(self, goal: Array, command: ArrayLike, x: Array, t: float, seconds: float) -> Array:
        """Return the goal with a velocity that is nearer to `command`; see `Steered`."""
        most = seconds * np.array(self.config.acceleration)
        change = np.clip(np.asarray(command, dtype=np.float64) - goal[1:4], -most, most)
        return self.commanded(goal, goal[1:4] + change, x, t)

    def reference(self, x: Array, goal: Array, horizon: int) -> Reference:
        """Return what the nodes of a problem from the (nx,) state `x` on refer to."""
        return self._strides.reference(x, goal, horizon)

    def ocp(
        self,
        horizon: int,
        terminal: TerminalWeights | crocoddyl.ActionModelAbstract,
        *,
        hard_limits: bool = False,
    ) -> Ocp:
        """Build the problem; see `Task.ocp`.

        Raises:
            ConfigError: with `hard_limits`, which legs have as costs only.
        """
        if hard_limits:
            raise ConfigError(self._file, "planner.kind", "csqp", "must be ddp: legs have their limits as costs")
        nodes = [LeggedNode(self._nodes, self.dt) for _ in range(horizon)]
        if isinstance(terminal, TerminalWeights):
            last = UprightTerminal(self._upright, self._nodes.state, self._robot.nu, terminal)
        else:
            last = terminal

        aimed = b""  # at what: guesses are made for the same as plans

        def aim(goal: Array) -> None:
            nonlocal aimed
            x = np.array(ocp.problem.x0)
            if aimed != (aimed := x.tobytes() + goal.tobytes()):
                self.reference(x, goal, horizon).lead(nodes)
                nodes[0].model.dt = ocp.first_dt = self._strides.first_dt(goal)
            last.aim(self.later(goal, ocp.span))

        ocp = Ocp([node.model for node in nodes], last, horizon, self.dt, aim, later=self.later)
        return ocp

    def terminal_model(self, weights: TerminalWeights) -> tuple[crocoddyl.ActionModelAbstract, Any]:
        """Return a stand-alone quadratic terminal model, which is also what has its goal as `reference`."""
        model = UprightTerminal(self._upright, self._nodes.state, self._robot.nu, weights)
        return model, model

    def check_goal(self, goal: ArrayLike) -> Array:
        """Return the goal (5,) or raise `GoalError` saying why the robot must not walk so."""
        numbers = np.array(goal, dtype=np.float64)
        if numbers.shape != (5,):
            raise GoalError(
                f"goal has shape {numbers.shape}: a walk needs phase [rad], speeds forwards and to the left [m/s], "
                "rate of turn [rad/s] and heading [rad]"
            )
        if not np.all(np.isfinite(numbers)):
            raise GoalError(f"goal {numbers.tolist()} holds NaN or infinity: give five numbers")
        for (name, unit), value, most in zip(self.goal_layout[1:4], numbers[1:4], self.gait.most, strict=True):
            if abs(value) > most:
                raise GoalError(f"commanded {name} = {value:.3f} {unit} is outside [{-most:.3f}, {most:.3f}] {unit}")
        return numbers

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e (10,) and de/dx (10, ndx); see `Upright`."""
        return self._upright(x, goal), self._upright.by_x(x, goal)

    def observe(self, x: Array, goal: Array) -> Array:
        """Return [e; cos φ; sin φ; v_x; v_y; ω]: of the heading only its error matters."""
        return self._told(self._upright(x, goal), goal)

    def features(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return what `observe` returns, and its derivative."""
        e, by_x = self.residual(x, goal)
        return self._told(e, goal), np.vstack([by_x, np.zeros((5, by_x.shape[1]))])

    def error(self, x: Array, goal: Array) -> float:
        """Distance of the velocity over the floor from the commanded one, m/s."""
        return float(np.linalg.norm(heading(x)[1] - goal[1:3]))

    def reached(self, x: Array, goal: Array) -> bool:
        """True if the base has the commanded velocity."""
        return self.error(x, goal) < self.config.tolerance

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Draw near the nominal posture, at rest, on the floor, with any heading: (nx,)."""
        return self._state(rng, joints=0.05, tilt=0.0, speed=0.0)

    def sample_state(self, rng: np.random.Generator) -> Array:
        """Draw from around what happens on the way: (nx,), tilted, with some speed of base and joints."""
        return self._state(rng, joints=0.3, tilt=0.2, speed=1.0)

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Draw a phase at which a node begins, a command within the range and any heading."""
        most, nodes = np.array(self.gait.most), round(self.gait.period / self.dt)
        phase, bearing = 2.0 * np.pi * rng.integers(nodes) / nodes, rng.uniform(0.0, 2.0 * np.pi)
        return self.check_goal([phase, *rng.uniform(-most, most), bearing])

    def _state(self, rng: np.random.Generator, joints: float, tilt: float, speed: float) -> Array:
        """Draw a state whose feet are on the floor in the mean."""
        robot, x = self._robot, self._zero.copy()
        low, high = robot.limits.position_lower, robot.limits.position_upper
        x[7 : robot.nq] = np.clip(x[7 : robot.nq] + rng.uniform(-joints, joints, robot.nu), low, high)
        angles = rng.uniform((-tilt, -tilt, -np.pi), (tilt, tilt, np.pi))
        x[3:7] = pinocchio.Quaternion(pinocchio.rpy.rpyToMatrix(*angles)).coeffs()
        lowest = self._legs.places(self._zero[: robot.nq])[:, 2].mean()
        x[2] += lowest - self._legs.places(x[: robot.nq])[:, 2].mean()
        x[robot.nq :] = speed * rng.uniform(-1.0, 1.0, robot.nv)
        return x

    def _told(self, e: Array, goal: Array) -> Array:
        return np.concatenate([e, [np.cos(goal[0]), np.sin(goal[0])], goal[1:4]])

    def _checked_gait(self) -> Gait:
        """Return the gait; ConfigError if there is none of its name or the legs cannot follow it."""
        config, file = self.config, self._file
        if config.gait not in config.gaits:
            raise ConfigError(file, "task.gait", config.gait, f"must be one of {', '.join(sorted(config.gaits))}")
        gait, key, feet = config.gaits[config.gait], f"task.gaits.{config.gait}", len(self._robot.feet)
        if len(gait.offsets) != feet:
            raise ConfigError(file, f"{key}.offsets", gait.offsets, f"needs {feet} numbers, one per foot")
        nodes = gait.period / self.dt
        if abs(nodes - round(nodes)) > 1e-6:
            expected = f"must be a whole number of nodes of {self.dt} s, so that every period is planned alike"
            raise ConfigError(file, f"{key}.period", gait.period, expected)
        least = SHORTEST * self.dt
        for name, seconds in (("stance", gait.stance), ("swing", gait.swing)):
            if 0.0 < seconds < least - 1e-9:
                expected = (
                    f"leaves {seconds:.3f} s for a {name}, and it needs {least} s, {SHORTEST} nodes of {self.dt} s"
                )
                raise ConfigError(file, f"{key}.period", gait.period, expected)
        farthest = np.sqrt((STRETCHED * self._legs.reach.min()) ** 2 - self._legs.rise**2)
        around = gait.most[2] * float(np.linalg.norm(self._legs.hips, axis=1).max())
        fastest = float(np.hypot(*gait.most[:2])) + around
        if gait.duty < 1.0 and (away := 0.5 * gait.stance * fastest) > farthest:
            expected = (
                f"at {fastest:.2f} m/s a stance of {gait.stance:.2f} s takes feet {away:.3f} m from their places and "
                f"the legs reach {farthest:.3f} m: lower the speeds or the period"
            )
            raise ConfigError(file, f"{key}.most", gait.most, expected)
        return gait
