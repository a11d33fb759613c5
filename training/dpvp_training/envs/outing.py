"""Outings: walks in MuJoCo on which much happens, as a source of states to learn from and to measure at.

The command changes on the way, somebody pushes, and the floor is uneven: whenever a foot is in the middle of its swing
it gets a ball of another size, so that it meets the floor early or late, as it would on a floor of that height. Plans
are those of the scenario, in force as soon as they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import mujoco
import numpy as np
import pinocchio
from pydantic import Field

from dpvp.config import Config
from dpvp.control.feedback import FeedbackLaw, FeedbackTiming
from dpvp.control.guard import check_command
from dpvp.control.onboard import left_to_joints
from dpvp.plan import Array, Plan
from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario
from dpvp.tasks.strides import heading
from dpvp.tasks.walk import WalkTask
from dpvp.worlds.mujoco import MujocoWorld

PUSH = 0.2  # s
SHORTLY = 0.2  # s after an event that states are still told to come from it
FALLEN = 0.5  # of its height, or of the cosine of its tilt, where a robot has fallen
STILL, STRAIGHT = 0.2, 0.3  # shares of the commands that are to stand, and to go forwards only

Since = Literal["start", "lost", "command", "push", "walk"]


class OutingConfig(Config):
    """What happens on an outing."""

    seconds: float = Field(2.0, gt=0, description="length; the command changes around the middle")
    push: float = Field(80.0, ge=0, description="largest force on the base, for 0.2 s in half of them, N")
    floor: float = Field(0.02, ge=0, description="the floor under a foot is higher or lower by up to this, m")
    first: int = Field(20, gt=0, description="iterations of a plan that has none before it to improve on")
    lost: int = Field(0, ge=0, description="times on the way at which the last plan is lost to the planner")


@dataclass(frozen=True, eq=False)
class Moment:
    """A plan is to be made.

    Attributes:
        t: s.
        x: (nx,) true state.
        goal: as it is at time 0.
        previous: the plan that was followed until now; none at the start.
        since: what has happened just now; nothing where it is `walk`.
    """

    t: float
    x: Array
    goal: Array
    previous: Plan | None
    since: Since


@dataclass(frozen=True, eq=False)
class _Events:
    """What is drawn for an outing."""

    commands: tuple[Array, Array]
    change: float
    push: Array
    push_at: float
    lost: frozenset[int]


class Outings:
    """A robot, its planner and its world."""

    def __init__(self, scenario: Scenario, config: OutingConfig) -> None:
        """Take the scenario, whose task is to walk."""
        assert isinstance(scenario.task, WalkTask)
        self.task, self._config, self._rates = scenario.task, config, scenario.config.rates
        planning = build_planning(scenario)
        self._first = replace(planning, budget=Budget(config.first))
        self._planning = replace(planning, budget=Budget(scenario.config.planner.iterations))
        self._timing = FeedbackTiming(0.0, scenario.config.feedback.velocity_filter)
        self._world = MujocoWorld(self.task.robot, 1.0 / self._rates.feedback)
        model = self._world.model
        self._base = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, self.task.robot.base)
        self._balls = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, foot) for foot in self.task.robot.feet]
        self._radius = float(model.geom_size[self._balls[0], 0])

    def moments(self, rng: np.random.Generator) -> Iterator[Moment]:
        """Go on an outing and stop at every plan; ends early where the robot falls."""
        robot, every = self.task.robot, round(self._rates.feedback / self._rates.plan)
        events, law, plan, followed = self._drawn(rng), FeedbackLaw(robot, self._timing), None, None
        start = self.task.sample_start(rng)
        self._resize(np.full(len(self._balls), self._radius))
        self._world.reset(start[: robot.nq], start[robot.nq :])
        goal = self.task.check_goal([rng.uniform(0.0, 2.0 * np.pi), *events.commands[0], heading(start)[0]])
        for number in range(round(self._config.seconds * self._rates.plan)):
            t, x = number / self._rates.plan, self._read()
            if self._fallen(x):
                return
            goal = self.task.towards(goal, events.commands[int(t >= events.change)], x, t, 1.0 / self._rates.plan)
            plan = None if number in events.lost else plan
            yield Moment(t, x, goal, plan, self._since(number, t, events))
            plan = (self._planning if plan else self._first).plan(x, goal, t, plan)
            self._uneven(x, self.task.later(goal, t), rng)
            followed = plan if plan.status.usable else followed
            self._follow(followed, law, t, every, events)

    def _follow(self, plan: Plan | None, law: FeedbackLaw, begin: float, steps: int, events: _Events) -> None:
        robot, every = self.task.robot, round(self._rates.feedback / (self._rates.command or self._rates.plan))
        for step in range(steps):
            now, t = self._world.read(), begin + step * self._world.dt  # the world's clock goes on between outings
            if plan is not None and step % every == 0:
                command = plan.command(t + 0.5 * every / self._rates.feedback, np.inf)
                law.receive(check_command(robot, left_to_joints(robot, command, self._read())), now.t - self._world.dt)
            self._world.apply(law.update(now.t, now.q, law.filtered(now.v), now.effort))
            pushed = events.push_at <= t < events.push_at + PUSH
            self._world.data.xfrc_applied[self._base, :3] = pushed * events.push
            self._world.step()

    def _drawn(self, rng: np.random.Generator) -> _Events:
        seconds, angle = self._config.seconds, rng.uniform(0.0, 2.0 * np.pi)
        force = rng.uniform(0.0, self._config.push) * float(rng.random() < 0.5)
        push = force * np.array([np.cos(angle), np.sin(angle), 0.0])
        commands = self.command(rng), self.command(rng)
        change, push_at = rng.uniform(0.4, 0.6) * seconds, rng.uniform(0.2, 0.8) * seconds
        plans = round(seconds * self._rates.plan)
        lost = rng.choice(np.arange(1, plans), self._config.lost, replace=False) if self._config.lost else ()
        return _Events(commands, change, push, push_at, frozenset(int(number) for number in lost))

    def command(self, rng: np.random.Generator) -> Array:
        """Draw a command: none, forwards only, or anything that the gait can do."""
        command, kind = self.task.sample_goal(rng)[1:4], rng.random()
        only = np.zeros(3) if kind < STILL else np.array([1.0, 0.0, 0.0])
        return command if kind > STILL + STRAIGHT else np.asarray(only * command)

    def _uneven(self, x: Array, goal: Array, rng: np.random.Generator) -> None:
        """Let the floor be another under feet that are high over it."""
        heights = self.task.legs.places(x[: self.task.robot.nq])[:, 2]
        stands = self.task.gait.stands(goal[:1])[0]
        high = heights > heights[stands].mean() + 0.5 * self.task.gait.clearance
        floor = rng.uniform(-1.0, 1.0, len(heights)) * self._config.floor
        sizes = self._world.model.geom_size[self._balls, 0]
        self._resize(np.where(high, np.maximum(self._radius + floor, 1e-3), sizes))

    def _resize(self, radii: Array) -> None:
        self._world.model.geom_size[self._balls, 0] = self._world.model.geom_rbound[self._balls] = radii

    def _read(self) -> Array:
        now = self._world.read()
        return np.concatenate([now.q, now.v])

    def _since(self, number: int, t: float, events: _Events) -> Since:
        if number == 0:
            return "start"
        if number in events.lost:
            return "lost"
        if events.push.any() and events.push_at < t < events.push_at + PUSH + SHORTLY:
            return "push"
        return "command" if events.change <= t < events.change + SHORTLY else "walk"

    def _fallen(self, x: Array) -> bool:
        upright = pinocchio.Quaternion(x[3:7]).toRotationMatrix()[2, 2]
        height = x[2] - self.task.legs.places(x[: self.task.robot.nq])[:, 2].min()
        return bool(height < FALLEN * self.task.robot.nominal[2] or upright < FALLEN)
