"""Worlds for any learner: tasks as environments of gymnasium. Importing this registers those of the scenarios.

    env = gymnasium.make("dpvp.worlds.env:dpvp/KukaReach-v0")      # or: import dpvp.worlds.env, and the name alone

One step is one node of the task's optimal control problem, `task.dt` seconds:

    observation   [x; f], the state and what learned values see besides it (`Task.observe`, which knows the goal)
    action        a in [-1, 1], one per control: u = u_rest(x) + span a within the limits, held for the node;
                  u_rest carries the posture of x at rest (for an arm: gravity), so that zero is to let it stand
    reward        minus what the node costs in the task's own problem
    terminated    only where an entry of the state has passed 1000: it has diverged, and stays what it was before.
                  Nothing else ends a task: where all rewards are costs, to be let off would be a gain
    info          `error`, in the unit of the task, and `is_success`

So the sum of rewards of an episode, not discounted, is minus the cost that planners minimise and values tell, and an
observation is all that a value is asked with, also where the goal moves on with time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpvp.errors import ConfigError, MessageError
from dpvp.plan import Array
from dpvp.scenario import load_scenario
from dpvp.tasks.task import Task, TerminalWeights
from dpvp.worlds.mujoco import MujocoWorld

if TYPE_CHECKING:
    from dpvp.worlds.render import Picture, RobotRenderer

Numbers = NDArray[np.float32]
Info = dict[str, Any]

WIDTH, HEIGHT = 480, 360  # of pictures
FAR = 1e3  # a state beyond has diverged


class TaskEnv(gymnasium.Env[Numbers, Numbers]):
    """A task whose machine moves exactly as the problem says.

    Attributes:
        task: costs, sampling and success.
        x: (nx,) the state.
        goal: as it is now, in the task's units.
    """

    def __init__(self, task: Task, span: ArrayLike, limit: ArrayLike = np.inf) -> None:
        """Stand at a start of the task's.

        Args:
            task: what is wanted.
            span: (nu,) what actions add at most to the control at rest, in the unit of the control.
            limit: (nu,) largest control.
        """
        self.task = task
        self._span, self._limit = np.array(span, dtype=np.float64), np.array(limit, dtype=np.float64)
        self._ocp = task.ocp(1, TerminalWeights())
        rng = np.random.default_rng(0)
        self._be(task.sample_start(rng), task.sample_goal(rng))
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, self._span.shape)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, self._observe().shape)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Numbers, Info]:
        """Begin an episode at a start and a goal that the task draws, or at those of `options`.

        Args:
            seed: of what is drawn from now on.
            options: `start` (nx,) and `goal` in the task's units; drawn where they are not given.

        Raises:
            GoalError: the task refuses the goal.
            MessageError: an option is unknown or no state.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        start, goal = given.pop("start", None), given.pop("goal", None)
        if given:
            raise MessageError(f"reset: unknown options {sorted(given)}; known are start and goal")
        x = self.task.sample_start(self.np_random) if start is None else self._finite("start", start, self.x.shape)
        self._be(x, self.task.sample_goal(self.np_random) if goal is None else self.task.check_goal(goal))
        return self._observe(), self._info()

    def step(self, action: ArrayLike) -> tuple[Numbers, float, bool, bool, Info]:
        """Let one node pass; see the module.

        Raises:
            MessageError: the action is not finite or has another size.
        """
        u = self.control(action)
        planned, cost = self._ocp.step(self.x, u)
        after = self._moved(u, planned)
        diverged = not np.all(np.abs(after) < FAR)  # so that NaN has, too
        self._be(self.x if diverged else after, self.task.later(self.goal, self.task.dt))
        return self._observe(), -cost, diverged, False, self._info()

    def control(self, action: ArrayLike) -> Array:
        """Return the control (nu,) that `action` (nu,) means in the state at hand; beyond ±1 it is clipped."""
        share = np.clip(self._finite("action", action, self._span.shape), -1.0, 1.0)
        return np.clip(self._ocp.gravity(self.x) + self._span * share, -self._limit, self._limit)

    def action(self, control: ArrayLike) -> Numbers:
        """Return the action (nu,) that comes nearest to `control` (nu,), such as that of a policy of dpvp's."""
        added = self._finite("control", control, self._span.shape) - self._ocp.gravity(self.x)
        return np.clip(added / self._span, -1.0, 1.0).astype(np.float32)

    def _be(self, x: Array, goal: Array) -> None:
        """Be in the (nx,) state `x`, with the goal as it is then."""
        self.x, self.goal = x, goal
        self._ocp.aim(x, goal)

    def _moved(self, u: Array, planned: Array) -> Array:
        """Return the state (nx,) after a node of control `u` (nu,), which the problem expects to be `planned`."""
        return planned

    def _observe(self) -> Numbers:
        return np.concatenate([self.x, self.task.observe(self.x, self.goal)]).astype(np.float32)

    def _info(self) -> Info:
        reached = bool(self.task.reached(self.x, self.goal))
        return {"error": float(self.task.error(self.x, self.goal)), "is_success": reached}

    @staticmethod
    def _finite(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
        array = np.array(values, dtype=np.float64)
        if array.shape != shape or not np.isfinite(array).all():
            raise MessageError(f"{name} = {array.tolist()}: needs {shape[0]} finite numbers")
        return array


class Env(TaskEnv):
    """World and task: the robot of a scenario in MuJoCo, stepped at the rate of its feedback law."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self, scenario: str, effort_share: float = 1.0, overrides: tuple[str, ...] = (), render_mode: str | None = None
    ) -> None:
        """Load the scenario.

        Args:
            scenario: name or file of a scenario, see `load_scenario`.
            effort_share: of the effort limits, what actions span.
            overrides: `dotted.key=value` each, of the scenario.
            render_mode: `rgb_array` or none.

        Raises:
            ConfigError: the scenario cannot work, its node is no whole number of steps of the world, or `render_mode`
                is another.
        """
        loaded = load_scenario(scenario, overrides)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(loaded.file, "render_mode", render_mode, "must be rgb_array or None")
        self._robot, limit = loaded.robot, loaded.robot.limits.effort
        super().__init__(loaded.task, effort_share * limit, limit)
        steps = self.task.dt * loaded.config.rates.feedback
        if abs(steps - round(steps)) > 1e-6:
            expected = f"times task.dt = {self.task.dt} s must be a whole number"
            raise ConfigError(loaded.file, "rates.feedback", loaded.config.rates.feedback, expected)
        self._steps, self._world = round(steps), MujocoWorld(loaded.robot, 1.0 / loaded.config.rates.feedback)
        self._renderer: RobotRenderer | None = None  # opens with the first picture: many ask for a mode and take none
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.task.dt)}
        self._stand()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Numbers, Info]:
        """Put the robot into the start; see `TaskEnv.reset`."""
        answer = super().reset(seed=seed, options=options)
        self._stand()
        return answer

    def render(self) -> Picture | None:
        """Return a picture of the robot and its goal, or None where none were asked for.

        Raises:
            EnvironmentProblem: there is no OpenGL.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            from dpvp.worlds.render import RobotRenderer  # OpenGL and what it needs is not everywhere

            self._renderer = RobotRenderer(self._robot, WIDTH, HEIGHT)
        return self._renderer.posture(self.x[: self._robot.nq], self.task.place(self.goal))

    def close(self) -> None:
        """Close what renders."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _stand(self) -> None:
        """Put the robot into the state at hand."""
        self._world.reset(*np.split(self.x, [self._robot.nq]))

    def _moved(self, u: Array, planned: Array) -> Array:
        """Let the world go on under torques `u` (nu,), Nm, and read its state; see `TaskEnv`."""
        self._world.apply(u)
        for _ in range(self._steps):
            self._world.step()
        measured = self._world.read()
        return np.concatenate([measured.q, measured.v])


def register(name: str, maker: str, steps: int, **arguments: Any) -> None:
    """Make `dpvp/<name>-v0` known to gymnasium: what `maker` (module:class) makes of `arguments`, cut after `steps`."""
    gymnasium.register(f"dpvp/{name}-v0", maker, max_episode_steps=steps, kwargs=arguments)


register("KukaReach", f"{__name__}:Env", 300, scenario="kuka_reach", effort_share=0.1)
register("LegTrack", f"{__name__}:Env", 300, scenario="leg_track")
register("QuadrupedWalk", f"{__name__}:Env", 500, scenario="quadruped_walk")
