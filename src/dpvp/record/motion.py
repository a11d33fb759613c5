"""The motion in a recorded run: where the robot was, and where it was to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpvp.errors import ConfigError, MessageError
from dpvp.plan import Array
from dpvp.record.feed import Goal, StateReader, goal_of
from dpvp.record.recording import read_messages
from dpvp.record.report import RECORDING, load_run
from dpvp.robot import Robot
from dpvp.scenario import Scenario
from dpvp.tasks.task import Task

_MOVING = 0.02  # rad/s; slower is standing still


@dataclass(frozen=True, eq=False)
class Motion:
    """N moments of a run, as close together as they were recorded.

    Attributes:
        t: (N,) time of the plant, s, never falling.
        q: (N, nq) configurations, see `Robot`.
        speed: (N,) of the fastest joint, rad/s.
        goals: (N, goal_size) the goal as it was at these times, in the task's units.
    """

    t: Array
    q: Array
    speed: Array
    goals: Array

    def sampled(self, fps: float, seconds: float = np.inf) -> Motion:
        """Return the moments nearest to those of `fps` pictures per second, of the first `seconds` at most."""
        span = min(self.t[-1] - self.t[0], seconds)
        wanted = self.t[0] + np.arange(max(1, np.ceil(span * fps - 1e-6))) / fps
        after = np.searchsorted(self.t, wanted).clip(max=len(self.t) - 1)
        before = (after - 1).clip(min=0)
        nearest = np.where(wanted - self.t[before] < self.t[after] - wanted, before, after)
        return Motion(self.t[nearest], self.q[nearest], self.speed[nearest], self.goals[nearest])


def read_motion(folder: Path) -> tuple[Scenario, Motion]:
    """Return the scenario of the run in `folder` and its motion, from where the robot began to move.

    Raises:
        ConfigError: the folder does not hold a run, or nothing moved in it.
    """
    scenario = load_run(folder)
    return scenario, motion_of(folder / RECORDING, scenario.robot, scenario.task, np.array(scenario.goal))


def motion_of(file: Path, robot: Robot, task: Task, goal: Array) -> Motion:
    """Return the motion of `robot` in a recording; see `read_motion`.

    States are those that the loop had: of a base that floats, those of its estimator.

    Args:
        file: an MCAP file with the messages of a run.
        robot: that moves.
        task: says what becomes of goals with time.
        goal: until the recording has one.

    Raises:
        ConfigError: nothing moves in it, or the base is nowhere to be found.
    """
    states = StateReader(robot)
    source = f"/{states.topic}"
    moments = list[tuple[float, Array, float, Array]]()
    for topic, _, message in read_messages(file, lambda name: name.endswith(("/active_goal", source))):
        try:
            read = goal_of(message, task.goal_size) if topic.endswith("/active_goal") else states.read(message)
        except (MessageError, AttributeError, TypeError, ValueError):  # told of when the recording was reported
            continue
        if isinstance(read, Goal):
            goal = read.numbers
        else:
            sample = read
            if moments and sample.t < moments[-1][0]:  # a plant that was set back: the run starts anew
                moments.clear()
            speed = float(np.abs(sample.v[-robot.nu :]).max())
            if (moments or speed > _MOVING) and np.isfinite(sample.q).all():
                moments.append((sample.t, sample.q, speed, task.later(goal, sample.t)))
    if not moments:
        raise ConfigError(file.parent, "run", file.name, f"{robot.name} does not move in {source}: nothing to show")
    return Motion(*(np.array(values) for values in zip(*moments, strict=True)))
