"""What the messages of a run hold, live or read back: states, goals and numbers, as its metrics take them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dpvp.errors import MessageError
from dpvp.plan import Array
from dpvp.record.metrics import RunMetrics
from dpvp.robot import JointMap, Robot

log = logging.getLogger(__name__)

LOOP_STATUS = "mpc_node: loop"  # name of the status in /diagnostics that the metrics are taken from


@dataclass(frozen=True, eq=False)
class Goal:
    """A goal: `numbers` in the task's units; `stamp` when it was set by the clock of who set it, s, 0 if not known."""

    numbers: Array
    stamp: float


@dataclass(frozen=True, eq=False)
class Sample:
    """A state: `t` plant time, s; `q` (nq,) and `v` (nv,), rad and rad/s, see `Robot`; `effort` (nu,), Nm."""

    t: float
    q: Array
    v: Array
    effort: Array | None


class StateReader:
    """Reads the states of one robot; the joint map is made once per order of names seen.

    They are JointState messages or, where the base floats, Sensor messages of the estimator, which know the base.

    Attributes:
        topic: what has them.
    """

    def __init__(self, robot: Robot) -> None:
        """Read states of `robot`."""
        self._floating, self._expected = robot.floating, robot.joint_names
        self.topic = "estimator_node/sensor" if robot.floating else "joint_states"
        self._map = JointMap(robot.joint_names, robot.joint_names)
        self._names: list[str] = list(robot.joint_names)

    def read(self, message: Any) -> Sample:
        """Return the state in a message, decoded by rclpy or from MCAP; without efforts if it carries none.

        Raises:
            MessageError: joint names that are not the robot's or arrays of the wrong length.
        """
        joints, t = message.joint_state if self._floating else message, _seconds(message.header.stamp)
        if joints.name != self._names:
            self._map, self._names = JointMap(self._expected, joints.name), list(joints.name)
        reorder = self._map.reorder
        effort = reorder(joints.effort) if len(joints.effort) else None
        q, v = reorder(joints.position), reorder(joints.velocity)
        if self._floating:
            place, turn = message.base_pose.position, message.base_pose.orientation
            linear, angular = message.base_twist.linear, message.base_twist.angular
            q = np.concatenate([[place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w], q])
            v = np.concatenate([[linear.x, linear.y, linear.z, angular.x, angular.y, angular.z], v])
        return Sample(t, q, v, effort)


class RunFeed:
    """Hands the content of a run's messages to `RunMetrics`; who decoded them makes no difference."""

    def __init__(self, robot: Robot, metrics: RunMetrics) -> None:
        """Feed `metrics` with what happens to `robot`."""
        self._metrics, self._states, self._complained = metrics, StateReader(robot), set[str]()
        self._goal_size = metrics.goal_size
        self._takers: dict[str, Callable[[Any], Any]] = {
            self._states.topic: self._take_state,
            "mpc_node/plan_ms": partial(_take_number, metrics.plan_ms),
            "mpc_node/active_goal": self._take_goal,
            "world_node/state_age_ms": partial(_take_number, metrics.state_age_ms),
            "diagnostics": self._take_diagnostics,
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """Names, below the namespace, of the topics that matter to the metrics."""
        return tuple(self._takers)

    def topic_of(self, full_name: str) -> str | None:
        """Return which of `topics` a full name with any namespace stands for; None for the others."""
        return next((t for t in self._takers if full_name == f"/{t}" or full_name.endswith(f"/{t}")), None)

    def take(self, topic: str, message: Any) -> Sample | Goal | float | None:
        """Take one message of one of `topics`; return the state, the goal or the number that it holds.

        None where it holds nothing of these, or what cannot be used, which is logged once for a topic.
        """
        try:
            taken: Sample | Goal | float | None = self._takers[topic](message)
        # whoever recorded it may have had another type in mind: then fields are missing, or are of another kind
        except (MessageError, AttributeError, TypeError, ValueError, OverflowError) as error:
            if topic not in self._complained:
                log.warning("messages on %s that are not used: %s", topic, error)
            self._complained.add(topic)
            return None
        return taken

    def _take_state(self, message: Any) -> Sample:
        sample = self._states.read(message)
        self._metrics.state(sample.t, sample.q, sample.v, sample.effort)
        return sample

    def _take_goal(self, message: Any) -> Goal:
        goal = goal_of(message, self._goal_size)
        self._metrics.goal(goal.numbers, goal.stamp)
        return goal

    def _take_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.endswith(LOOP_STATUS):
                self._metrics.loop({value.key: value.value for value in status.values})


def _take_number(use: Callable[[float], None], message: Any) -> float:
    number = float(message.data)
    use(number)
    return number


def goal_of(message: Any, size: int) -> Goal:
    """Return the goal, of `size` numbers, in a message of `mpc_node/active_goal`, decoded by rclpy or from MCAP.

    Raises:
        MessageError: it is of another task, or not finite.
    """
    if hasattr(message, "data"):  # numbers, which carry no stamp
        goal = Goal(np.array(message.data, dtype=np.float64), math.nan)
    else:
        position = message.pose.position
        point = np.array([position.x, position.y, position.z], dtype=np.float64)
        goal = Goal(point, _seconds(message.header.stamp))
    if goal.numbers.shape != (size,) or not np.isfinite(goal.numbers).all():
        raise MessageError(f"a goal of shape {goal.numbers.shape}: {size} finite numbers are needed")
    return goal


def _seconds(stamp: Any) -> float:
    return float(stamp.sec + 1e-9 * stamp.nanosec)
