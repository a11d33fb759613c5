"""Recordings of runs that never were, written as the recorder does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from linear_feedback_controller_msgs.msg import Sensor
from numpy.typing import ArrayLike
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from dpvp.planning.solved import Solved, to_sections
from dpvp.record.mcap import McapRecorder
from dpvp.ros.convert import goal_message, stamp_of
from dpvp.ros.solved_topic import sections_message
from dpvp.scenario import Scenario

T0 = 1_790_000_000.0  # s since 1970, when they begin


class Recording:
    """run.mcap in `folder`, and scenario.yaml if there is a scenario, which also knows the joints."""

    def __init__(self, folder: Path, scenario: Scenario | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self._recorder, self._scenario, self._count = McapRecorder(folder / "run.mcap"), scenario, 0
        if scenario is not None:
            scenario.save(folder / "scenario.yaml")

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._recorder.close()

    def goal(self, numbers: ArrayLike) -> None:
        goal = np.array(numbers, dtype=np.float64)
        if self._scenario is None:
            self.write("/mpc_node/active_goal", Float64MultiArray(data=goal))
        else:
            message = goal_message(goal, self._scenario.task, self._scenario.robot.base, stamp_of(0.0))
            self.write("/mpc_node/active_goal", message)

    def joints(self, t: float, q: ArrayLike, v: ArrayLike, names: Sequence[str] = ()) -> None:
        self.write("/joint_states", self._joints(t, q, v, names))

    def sensor(self, t: float, q: ArrayLike, v: ArrayLike, names: Sequence[str]) -> None:
        """`q` with the pose of the base; joints are sent in the opposite order."""
        numbers = np.array(q, dtype=np.float64)
        message = Sensor(joint_state=self._joints(t, numbers[:6:-1], np.array(v)[::-1], tuple(names)[::-1]))
        message.header.stamp = message.joint_state.header.stamp
        position, turn = message.base_pose.position, message.base_pose.orientation
        position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w = map(float, numbers[:7])
        self.write("/estimator_node/sensor", message)

    def solved(self, solved: Solved) -> None:
        self.write("/mpc_node/solved", sections_message(to_sections(solved)))

    def _joints(self, t: float, q: ArrayLike, v: ArrayLike, names: Sequence[str]) -> JointState:
        known = self._scenario.robot.joint_names if self._scenario else ()
        message = JointState(name=list(names or known), position=np.array(q), velocity=np.array(v))
        message.header.stamp = stamp_of(t)
        return message

    def write(self, topic: str, message: object) -> None:
        package = type(message).__module__.partition(".")[0]
        self._recorder.add_topic(topic, f"{package}/msg/{type(message).__name__}")
        self._recorder.write(topic, serialize_message(message), T0 + 0.01 * self._count)
        self._count += 1
