"""view_node: dpvp's page in the browser: arm, goal and plan in 3D; goals to drag; start, hold and stop.

Subscribes the states, `mpc_node/active_goal`, `mpc_node/plan` and `/diagnostics`; publishes `goal`; calls the
services `mpc_node/start`, `mpc_node/hold` and `mpc_node/stop`.
"""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from pydantic import Field
from rclpy.executors import Executor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dpvp.config import Config
from dpvp.errors import EnvironmentProblem, GoalError, MessageError
from dpvp.plan import Array
from dpvp.record.feed import LOOP_STATUS, StateReader
from dpvp.robot import JointMap
from dpvp.ros.convert import goal_message, goal_of, goal_type
from dpvp.ros.messages import Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM, run_node
from dpvp.ros.parameters import declare
from dpvp.scenario import load_scenario
from dpvp.view.viser import BUTTONS, ArmView, ViewActions

SHOW_PERIOD = 1.0 / 30.0  # s between two pictures
SPIN = 0.01  # s
SILENT = 2.0  # s without diagnostics after which the loop counts as gone
NOTICE = 6.0  # s for which the answer to what someone did stays


class ViewParameters(Config):
    """Parameters of view_node."""

    scenario: str = Field("kuka_reach", description="name of a scenario or path of a scenario file")
    host: str = Field("localhost", description="address to listen on; 0.0.0.0 lets others see the page and use it")
    port: int = Field(8080, ge=1, le=65535, description="port of the page; the next free one if it is taken")


class ViewNode(Node):
    """Takes the newest of each message to the page, and what people do there to the robot."""

    def __init__(self) -> None:
        """Open the page and connect.

        Raises:
            ConfigError: a parameter does not fit.
            EnvironmentProblem: the page cannot be served there.
        """
        super().__init__("view_node")
        parameters = declare(self, ViewParameters)
        scenario = load_scenario(parameters.scenario)
        self._robot, self._task, self._reader = scenario.robot, scenario.task, StateReader(scenario.robot)
        # the page's threads only put here what they want; it is done where rclpy is at home
        self._wanted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        actions = ViewActions(
            aim=lambda point: self._wanted.put(partial(self._aim, point)),
            ask=lambda name: self._wanted.put(partial(self._ask, name)),
        )
        try:
            draggable = goal_type(self._task) is PoseStamped
            page = parameters.host, parameters.port
            self._view = ArmView(self._robot, scenario.name, actions, *page, draggable=draggable)
        except OSError as error:
            where = f"{parameters.host}:{parameters.port}"
            raise EnvironmentProblem(f"view_node cannot serve {where} ({error.strerror}); give another port") from None
        self._view.show_state(self._robot.nominal)
        self._joints: JointState | None = None
        self._plan: JointTrajectory | None = None
        self._goal: Array | None = None
        self._shown_goal = np.full(3, np.nan)
        self._loop: dict[str, str] = {}
        self._heard = self._noticed = -np.inf
        self._notice, self._next_show = "", time.monotonic()
        kind = goal_type(self._task)
        self._goal_topic = self.create_publisher(kind, "goal", COMMAND)
        self._triggers = {name: self.create_client(Trigger, f"mpc_node/{name}") for name, *_ in BUTTONS}
        state = Sensor if self._robot.floating else JointState
        self.create_subscription(state, self._reader.topic, self._on_state, STREAM)
        self.create_subscription(JointTrajectory, "mpc_node/plan", self._on_plan, STREAM)
        self.create_subscription(kind, "mpc_node/active_goal", self._on_goal, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, COMMAND)
        self.get_logger().info(f"open {self._view.url}")

    def spin_some(self, executor: Executor) -> None:
        """Serve one event, do what people want, show what is new."""
        executor.spin_once(timeout_sec=SPIN)
        while not self._wanted.empty():
            self._wanted.get()()
        now = time.monotonic()
        if now >= self._next_show:
            self._next_show = now + SHOW_PERIOD
            self._show(now)

    def destroy_node(self) -> None:
        """Take the page down."""
        self._view.close()
        super().destroy_node()

    def _show(self, now: float) -> None:
        joints, self._joints = self._joints, None
        plan, self._plan = self._plan, None
        try:
            if joints is not None:
                sample = self._reader.read(joints)
                self._view.show_state(sample.q)
                self._show_goal(sample.t)
            if plan is not None and plan.points and not self._robot.floating:  # plans do not say where the base goes
                order = JointMap(self._robot.joint_names, plan.joint_names)
                self._view.show_plan(order.reorder([point.positions for point in plan.points]))
        except MessageError as error:
            self._say(f"not shown: {error}")
        self._view.show_text(self._text(now))

    def _show_goal(self, t: float) -> None:
        """Put the goal where it is at plant time `t`, s, if it has moved."""
        if self._goal is None:
            return
        place = self._task.place(self._task.later(self._goal, t))
        if not np.array_equal(place, self._shown_goal):
            self._shown_goal = place
            self._view.show_goal(place)

    def _text(self, now: float) -> str:
        lines = ["**mpc_node is silent**"]
        if now - self._heard < SILENT:
            loop = self._loop
            lines = [f"**{loop.get('state', '?')}** {loop.get('reason_text', '')}"]
            if "goal_error" in loop:
                lines.append(f"{1e3 * _number(loop, 'goal_error'):.1f} m{self._task.error_unit} from the goal")
            if not np.isnan(typical := _number(loop, "plan_ms_p50")):
                lines.append(f"plan {typical:.1f} ms, p99 {_number(loop, 'plan_ms_p99'):.1f} ms")
            if "missed_share" in loop:
                periods = loop.get("periods", "?")
                lines.append(f"missed {100.0 * _number(loop, 'missed_share'):.1f} % of {periods} periods")
        if now - self._noticed < NOTICE:
            lines.append(f"*{self._notice}*")
        return "\n\n".join(lines)

    def _say(self, text: str) -> None:
        self._notice, self._noticed = text, time.monotonic()

    def _aim(self, point: Array) -> None:
        try:
            goal = self._task.check_goal(point)
        except GoalError as error:
            self._say(str(error))
            if self._goal is not None:
                self._view.show_goal(self._task.place(self._goal))  # the handle goes back to where the goal is
            return
        now = self.get_clock().now().to_msg()
        self._goal_topic.publish(goal_message(goal, self._task, self._robot.base, now))

    def _ask(self, name: str) -> None:
        service = self._triggers[name]
        if not service.service_is_ready():
            self._say(f"{name}: mpc_node is not there")
            return
        service.call_async(Trigger.Request()).add_done_callback(partial(self._on_answer, name))

    def _on_answer(self, name: str, future: Any) -> None:
        answer = future.result()
        self._say(f"{name}: {answer.message or ('done' if answer.success else 'refused')}")

    def _on_state(self, message: JointState) -> None:
        self._joints = message  # converted when it is shown: most are not

    def _on_plan(self, message: JointTrajectory) -> None:
        self._plan = message

    def _on_goal(self, message: object) -> None:
        try:
            goal = goal_of(message, self._robot.base)
        except GoalError as error:
            self._say(f"goal not shown: {error}")
            return
        if goal.shape == (self._task.goal_size,):
            self._goal = goal
            self._view.show_goal(self._task.place(goal))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(LOOP_STATUS):
                self._loop, self._heard = {item.key: item.value for item in status.values}, time.monotonic()


def _number(values: Mapping[str, str], key: str) -> float:
    """Return the number that diagnostics have under `key`; NaN where they have none."""
    try:
        return float(values[key])
    except (KeyError, ValueError):
        return float("nan")


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(ViewNode, args)


if __name__ == "__main__":
    sys.exit(main())
