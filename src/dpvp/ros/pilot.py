"""Pilot: a node that does what an operator does - set a goal, start, watch, hold - and measures how it went."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from rcl_interfaces.srv import SetParameters
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dpvp.errors import EnvironmentProblem, GoalError, MessageError
from dpvp.plan import Array, State
from dpvp.record.feed import LOOP_STATUS
from dpvp.robot import JointMap
from dpvp.ros.convert import goal_message, goal_of, goal_type, seconds, state_of
from dpvp.ros.messages import Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM
from dpvp.scenario import Scenario
from dpvp.tasks.task import Steered

SERVICE_PATIENCE = 30.0  # s
COMMAND_PERIOD = 0.05  # s between two messages on cmd_vel: who falls silent is taken to have let go


@dataclass(frozen=True)
class Episode:
    """How one attempt at a goal went, in the plant's time.

    Attributes:
        success: reached within the scenario's time and stayed reached for its settling time.
        reached_at: seconds from the start to the moment since which the goal is reached; NaN if it is not.
        error: distance at the end, in the unit of the task.
        speed: ‖q̇‖ at the end, rad/s.
    """

    success: bool
    reached_at: float
    error: float
    speed: float


class Pilot:
    """Talks to the nodes of one scenario; `watch` is called between waits and may raise to end them."""

    def __init__(self, scenario: Scenario, watch: Callable[[], None]) -> None:
        """Join the graph; rclpy is initialised already."""
        self._scenario, self._watch = scenario, watch
        self.node = Node("dpvp_pilot")
        self._executor = EventsExecutor()
        self._executor.add_node(self.node)
        self._state: State | None = None
        self._active_goal: Any = None
        self.loop: dict[str, str] = {}
        self._map: JointMap | None = None
        kind = goal_type(scenario.task)
        self._goal = self.node.create_publisher(kind, "goal", COMMAND)
        if scenario.robot.floating:
            self.node.create_subscription(Sensor, "estimator_node/sensor", self._on_sensor, STREAM)
        else:
            self.node.create_subscription(JointState, "joint_states", self._on_joints, COMMAND)
        self._velocity = self.node.create_publisher(Twist, "cmd_vel", COMMAND)
        self._commanded: Twist | None = None
        self._next_command = 0.0
        self.node.create_subscription(kind, "mpc_node/active_goal", self._on_goal, LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def require_alone(self) -> None:
        """Raise `EnvironmentProblem` if another dpvp runs in this ROS domain: the two would drive each other."""
        self.wait(0.5)  # discovery
        others = [name for name in self.node.get_node_names() if name in ("mpc_node", "world_node")]
        if others:
            raise EnvironmentProblem(
                f"{' and '.join(others)} already run in ROS domain {os.environ.get('ROS_DOMAIN_ID', '0')}: stop them, "
                "or choose another domain with ROS_DOMAIN_ID"
            )

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until states arrive and the loop holds, and would track if it were asked.

        Raises:
            EnvironmentProblem: it did not happen in `timeout` seconds.
        """
        ready = ("HOLD", "ASKED"), ("TRACK", "ASKED")
        self._wait_for(
            lambda: self._state is not None and (self.loop.get("state"), self.loop.get("reason")) in ready, timeout
        )

    def wait_recorder(self, metrics: Path) -> None:
        """Wait until the recorder, by what it writes into the file `metrics`, hears the plant and the loop.

        Raises:
            EnvironmentProblem: it does not.
        """

        def hears() -> bool:
            heard = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
            return heard.get("duration_s") is not None and heard.get("goal") is not None

        self._wait_for(hears, SERVICE_PATIENCE)

    def aim(self, goal: Array) -> None:
        """Send a goal, also one that is in force already, and wait until the loop has it.

        Raises:
            GoalError: the task refuses the goal, for the reason in the message.
        """
        task, base = self._scenario.task, self._scenario.robot.base
        goal = task.check_goal(goal)
        self._active_goal = None

        def accepted() -> bool:
            message = self._active_goal
            if message is not None and np.allclose(goal_of(message, base), goal, atol=1e-9):
                return True
            self._goal.publish(goal_message(goal, task, base, self.node.get_clock().now().to_msg()))
            self._spin(0.05)
            return False

        try:
            self._wait_for(accepted, SERVICE_PATIENCE)
        except EnvironmentProblem as error:
            raise GoalError(f"mpc_node did not take the goal {goal.tolist()}: {error}") from None

    def steer(self, forwards: float, leftwards: float, turn: float) -> Array:
        """Command a velocity from now on, m/s and rad/s, and return the goal that the loop makes of it.

        Raises:
            GoalError: the task takes no velocities, or not these.
        """
        task, state = self._scenario.task, self._state
        if not isinstance(task, Steered):
            raise GoalError(f"task {task.kind} takes no velocities: give a goal")
        velocity = np.array([forwards, leftwards, turn])
        assert state is not None, "wait until it is ready"
        task.commanded(np.array(self._scenario.goal), velocity, state.x, state.t)  # says why it is refused
        message = self._commanded = Twist()
        message.linear.x, message.linear.y, message.angular.z = map(float, velocity)

        def accepted() -> bool:
            goal = self._active_goal
            return goal is not None and np.array_equal(goal_of(goal, self._scenario.robot.base)[1:4], velocity)

        self._wait_for(accepted, SERVICE_PATIENCE)
        return goal_of(self._active_goal, self._scenario.robot.base)

    def ask(self, name: str) -> str:
        """Call a Trigger service such as `mpc_node/start` and return its message.

        Raises:
            EnvironmentProblem: the service is not there, does not answer or says no.
        """
        response = self._call(Trigger, name, Trigger.Request())
        if not response.success:
            raise EnvironmentProblem(f"{name}: {response.message}")
        return str(response.message)

    def reset(self, start: Array) -> float:
        """Put the simulated arm into the (nx,) state `start` and return the plant's time of that, s."""
        parameter = Parameter("start", value=[float(value) for value in start]).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        result = self._call(SetParameters, "world_node/set_parameters", request).results[0]
        if not result.successful:
            raise EnvironmentProblem(f"world_node refused the start state: {result.reason}")
        return float(self.ask("world_node/reset").split()[3])

    @property
    def now(self) -> float:
        """The plant's time, s, as of the newest state."""
        return -np.inf if self._state is None else self._state.t

    def follow(self, goal: Array, since: float) -> Episode:
        """Watch the arm until it has settled at `goal` or its time is over; the clock runs since plant time `since`."""
        run, task = self._scenario.config.run, self._scenario.task
        reached_at, last = np.nan, self._state
        while True:
            self._spin(0.1)
            state = self._state
            if state is None or state is last or state.t <= since:
                continue
            last, elapsed = state, state.t - since
            now = task.later(goal, state.t)
            if not task.reached(state.x, now):
                reached_at = np.nan
            elif np.isnan(reached_at):
                reached_at = elapsed
            settled = elapsed - reached_at >= run.settle
            if settled or elapsed > run.within + run.settle:
                speed = float(np.linalg.norm(state.x[self._scenario.robot.nq :]))
                success = bool(settled and reached_at <= run.within)
                return Episode(success, float(reached_at), task.error(state.x, now), speed)

    def wait(self, duration: float) -> None:
        """Keep watching for `duration` seconds."""
        end = time.monotonic() + duration
        while (rest := end - time.monotonic()) > 0:
            self._spin(min(0.1, rest))

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()

    def _on_sensor(self, message: Sensor) -> None:
        with contextlib.suppress(MessageError):  # the loop complains of it
            self._state = state_of(self._scenario.robot, message)

    def _on_joints(self, message: JointState) -> None:
        if self._map is None:
            self._map = JointMap(self._scenario.robot.joint_names, list(message.name))
        q, v = self._map.reorder(message.position), self._map.reorder(message.velocity)
        self._state = State(seconds(message.header.stamp), np.concatenate([q, v]))

    def _on_goal(self, message: object) -> None:
        self._active_goal = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == LOOP_STATUS:
                self.loop = {item.key: item.value for item in status.values}

    def _spin(self, timeout: float) -> None:
        if self._commanded is not None and time.monotonic() >= self._next_command:
            self._next_command = time.monotonic() + COMMAND_PERIOD
            self._velocity.publish(self._commanded)
        self._executor.spin_once(timeout_sec=timeout)
        self._watch()

    def _wait_for(self, condition: Callable[[], bool], timeout: float) -> None:
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                said = f"{self.loop['state']}: {self.loop['reason_text']}" if self.loop else "nothing"
                raise EnvironmentProblem(f"nothing for {timeout:.0f} s; the loop says {said}")
            self._spin(0.1)

    def _call(self, kind: type, name: str, request: object) -> Any:
        client = self.node.create_client(kind, name)
        try:
            self._wait_for(client.service_is_ready, SERVICE_PATIENCE)
            future = client.call_async(request)
            self._wait_for(future.done, SERVICE_PATIENCE)
            return future.result()
        finally:
            self.node.destroy_client(client)
