"""mpc_node: the MPC as a ROS 2 lifecycle node that serves ros2_control's linear_feedback_controller.

Subscribes `sensor`, `goal`, `supervisor_node/verdict` and, where the task takes velocities, `cmd_vel`; publishes
`control` (in shadow `~/shadow_control`), `~/plan`, `~/plan_ms`, `~/active_goal`, `~/solved`, `/diagnostics`; services
`~/start`, `~/hold`, `~/stop`. Time inside is the plant's: that of the states' stamps.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pydantic import Field
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dpvp.control.gate import Decision
from dpvp.control.loop import Answer, MpcLoop
from dpvp.control.plant_clock import PlantClock
from dpvp.control.states import LoopState, Reason
from dpvp.environment import require_pins
from dpvp.errors import DpvpError, EnvironmentProblem, GoalError, MessageError
from dpvp.plan import Array, State
from dpvp.planning.process import SolverProcess
from dpvp.record.feed import LOOP_STATUS
from dpvp.ros.convert import (
    control_message,
    goal_message,
    goal_of,
    goal_type,
    ruling_of,
    seconds,
    state_of,
    trajectory_message,
)
from dpvp.ros.diagnostics import diagnostics_message, status_message
from dpvp.ros.lifecycle import IDLE_SPIN, InterfaceNode, NodeParameters
from dpvp.ros.messages import Control, Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM, run_node
from dpvp.ros.solved_topic import SolvedTopic
from dpvp.ros.velocity_topic import VelocityTopic
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Steered

SOLVER_PATIENCE = 60.0  # s that building the problem may take
POLL = 0.001  # s between looks at the solver's mailbox; the 1 kHz sensor stream usually wakes us sooner
REPORT_PERIOD = 0.2  # s


class MpcParameters(NodeParameters):
    """Parameters of mpc_node."""

    scenario: str = Field("kuka_reach", description="name of a scenario or path of a scenario file")
    goal: tuple[float, ...] = Field((), description="goal at start, in the task's units; empty: that of the scenario")
    start: bool = Field(False, description="follow plans as soon as the node is active, without waiting for ~/start")
    lock_step: bool = Field(False, description="answer every state and let the plant wait for it")
    supervised: bool = Field(False, description="hold until supervisor_node allows more, and when it falls silent")
    shadow: bool = Field(False, description="plan beside whoever moves the robot: commands go to ~/shadow_control only")
    cmd_vel_timeout: float = Field(
        0.5, ge=0.0, description="a velocity commanded on cmd_vel ends after so much silence, s; 0: never"
    )
    plan_topic_rate: float = Field(10.0, ge=0.0, le=1000.0, description="messages on ~/plan, Hz; 0: none")


class MpcInterface:
    """The loop with its topics; exists while the node is configured."""

    def __init__(self, node: LifecycleNode, parameters: MpcParameters, scenario: Scenario) -> None:
        """Connect `node` to a new loop on `scenario`; returns when the solver is ready.

        Raises:
            EnvironmentProblem: the solver process ended instead of becoming ready; its own message is on stderr.
        """
        self._node, self._parameters, self._scenario = node, parameters, scenario
        self._robot = scenario.robot
        self._solved = SolvedTopic(node)
        solver = partial(SolverProcess, Path(scenario.file), scenario, self._solved.note)
        self.loop = MpcLoop(scenario, solver, supervised=parameters.supervised)
        with (
            ExitStack() as undo
        ):  # Ctrl-C may come while we wait, and the solver would not hear of it before it is ready
            undo.callback(node.destroy_publisher, self._solved.publisher)
            undo.callback(self.loop.close)
            if not self.loop.solver.wait_ready(SOLVER_PATIENCE):
                raise EnvironmentProblem(f"the solver process for {scenario.file} did not start; see its message above")
            undo.pop_all()
        self._control = node.create_publisher(Control, "~/shadow_control" if parameters.shadow else "control", STREAM)
        self._plan = node.create_publisher(JointTrajectory, "~/plan", STREAM)
        self._plan_ms = node.create_publisher(Float64, "~/plan_ms", STREAM)
        kind = goal_type(scenario.task)
        self._goal = node.create_publisher(kind, "~/active_goal", LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", COMMAND)
        self._subscriptions = [
            node.create_subscription(Sensor, "sensor", self._on_sensor, STREAM),
            node.create_subscription(kind, "goal", self._on_goal, COMMAND),
            node.create_subscription(DiagnosticStatus, "supervisor_node/verdict", self._on_verdict, STREAM),
        ]
        self._velocity: VelocityTopic | None = None
        if isinstance(scenario.task, Steered):
            self._velocity = VelocityTopic(node, self.loop.steer, parameters.cmd_vel_timeout)
            self._subscriptions.append(self._velocity.subscription)
        self._services = [
            node.create_service(Trigger, f"~/{name}", lambda request, response, s=state: self._on_ask(s, response))
            for name, state in (("start", LoopState.TRACK), ("hold", LoopState.HOLD), ("stop", LoopState.IDLE))
        ]
        self._period = 1.0 / scenario.config.rates.plan
        self._command_period = 1.0 / (scenario.config.rates.command or scenario.config.rates.plan)
        self._next_tick = self._next_command = self._next_plan_message = self._next_report = time.monotonic()
        self._sensor: Sensor | None = None
        self._reported: Decision | None = None
        self._said_goal: Array | None = None
        self._plant_clock = PlantClock()
        self.active = False

    def activate(self) -> None:
        """Begin to answer; hold, or follow plans if the parameters say so."""
        self.active = True
        self._next_tick = self._next_command = time.monotonic()
        self.loop.ask(LoopState.TRACK if self._parameters.start else LoopState.HOLD)

    def deactivate(self) -> None:
        """Leave the robot holding its posture and fall silent."""
        self.loop.ask(LoopState.HOLD)
        self._publish(self.loop.tick())
        self.loop.ask(LoopState.IDLE)
        self.loop.tick()
        self.active = False

    def close(self) -> None:
        """Disconnect and end the solver."""
        self.loop.close()
        self._solved.tell()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for service in self._services:
            self._node.destroy_service(service)
        solved = self._solved.publisher
        for publisher in (self._control, self._plan, self._plan_ms, solved, self._goal, self._diagnostics):
            self._node.destroy_publisher(publisher)

    def aim(self, goal: tuple[float, ...]) -> None:
        """Set the goal; raises `GoalError` if the task refuses it."""
        self.loop.course.aim(goal)
        self._say_goal()

    def work(self) -> float:
        """Do what is due and return the seconds until something is due again."""
        now = time.monotonic()
        if now >= self._next_report or self.loop.decision != self._reported:
            self._next_report = now + REPORT_PERIOD
            self._report()
        if self._parameters.lock_step or not self.active:
            return IDLE_SPIN
        if now >= self._next_tick:
            self.loop.latencies.add("wake", now - self._next_tick)
            skipped = int((now - self._next_tick) / self._period)
            self._next_tick += (skipped + 1) * self._period
            if self._velocity is not None:
                self._velocity.look()
            self._sense()
            self._publish(self.loop.tick(skipped))
        self._publish(self.loop.poll())
        if self._scenario.config.rates.command is not None and now >= self._next_command:
            self._next_command += (int((now - self._next_command) / self._command_period) + 1) * self._command_period
            self._sense()
            self._publish(self.loop.go_on())
        self._solved.tell()
        # without commands between plans none is ever due: to wait for one would be not to wait at all
        due = self._next_tick if self._scenario.config.rates.command is None else self._next_command
        return max(0.0, min(POLL, min(self._next_tick, due) - time.monotonic()))

    def _on_sensor(self, message: Sensor) -> None:
        if not self.active:
            return
        self._sensor = message  # converted when it is needed: most of the stream is not
        self._plant_clock.hear(seconds(message.header.stamp), time.monotonic())
        if self._parameters.lock_step:
            self._answer_in_lock_step(message)

    def _sense(self) -> None:
        message, self._sensor = self._sensor, None
        if message is not None:
            try:
                state = self._fresh(state_of(self._robot, message))
                self.loop.latencies.add("state", self._plant_now() - state.t)
                self.loop.sense(state)
            except MessageError as error:
                self.loop.refuse_state(error)

    def _fresh(self, state: State) -> State:
        """Return `state`; raises `MessageError` if it was long under way, however regularly such states arrive."""
        age = seconds(self._now()) - state.t
        if age > self._scenario.config.loop.sensor_timeout:
            raise MessageError(
                f"state is {age:.3f} s old by this node's clock, at most {self._scenario.config.loop.sensor_timeout} s "
                "will do; do plant and node share a clock (use_sim_time, NTP)?"
            )
        return state

    def _answer_in_lock_step(self, message: Sensor) -> None:
        try:
            self._publish(self.loop.step(state_of(self._robot, message)))
            self._solved.tell()
        except MessageError as error:
            self.loop.refuse_state(error)

    def _on_verdict(self, message: DiagnosticStatus) -> None:
        try:
            ruling = ruling_of(message)
        except MessageError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        stricter = ruling.state is not LoopState.TRACK and ruling.state is not self.loop.decision.state
        self.loop.obey(ruling)
        if stricter and self.active and not self._parameters.lock_step:  # at once, not when the next period begins
            self._publish(self.loop.tick())

    def _say_goal(self) -> None:
        """Publish the goal in force if it has changed."""
        if (goal := self.loop.course.goal) is not None and goal is not self._said_goal:
            self._said_goal = goal
            self._goal.publish(goal_message(goal, self._scenario.task, self._robot.base, self._now()))

    def _on_goal(self, message: object) -> None:
        try:
            self.aim(tuple(goal_of(message, self._robot.base)))
        except GoalError as error:
            self._node.get_logger().error(f"goal refused, the old one stays: {error}")

    def _on_ask(self, state: LoopState, response: Trigger.Response) -> Trigger.Response:
        refusal = self._why_not(state)
        response.success, response.message = refusal is None, refusal or state.name
        if refusal is None:
            self.loop.ask(state)
        return response

    def _why_not(self, state: LoopState) -> str | None:
        """Return why the loop cannot be asked for `state`, None if it can."""
        if not self.active:
            return "the node is not active"
        decision = self.loop.decision
        if decision.state is LoopState.FAULT:
            return f"fault ({decision.reason.text}): when its cause is over, call supervisor_node/reset"
        if state is LoopState.TRACK and self.loop.course.goal is None:
            return "no goal is set: publish one on `goal`"
        return None

    def _publish(self, answer: Answer | None) -> None:
        self._say_goal()
        if answer is None:
            return
        stamp = answer.state.mark
        assert isinstance(stamp, Time)
        self._control.publish(control_message(self._robot, answer.command, self._now(), stamp))
        self._note_latencies(answer)
        if (plan := answer.plan) is None:
            return
        self._plan_ms.publish(Float64(data=1e3 * plan.timings.total))
        now, rate = time.monotonic(), self._parameters.plan_topic_rate
        if rate and now >= self._next_plan_message and self._plan.get_subscription_count():
            self._next_plan_message = now + 1.0 / rate
            self._plan.publish(trajectory_message(self._robot, plan, stamp))

    def _note_latencies(self, answer: Answer) -> None:
        """Count how old the state and the plan behind a command were when it went out; in lock-step no time passes."""
        if self._parameters.lock_step or self.loop.plan is None or self.loop.decision.state is not LoopState.TRACK:
            return
        now = self._plant_now()
        self.loop.latencies.add("command", now - self.loop.plan.t0)
        self.loop.latencies.add("whole", now - answer.state.t)

    def _plant_now(self) -> float:
        """Return the plant's time, s, finer than `/clock` tells it."""
        if self._node.get_parameter("use_sim_time").value:
            return self._plant_clock.at(time.monotonic())
        return seconds(self._now())

    def _report(self) -> None:
        report, self._reported = self.loop.report(), self.loop.decision
        if self._parameters.shadow:
            report["shadow"] = "commands go to ~/shadow_control only"
        healthy = self.loop.decision.reason is Reason.ASKED
        faulty = self.loop.decision.state is LoopState.FAULT
        level = DiagnosticStatus.ERROR if faulty else DiagnosticStatus.OK if healthy else DiagnosticStatus.WARN
        text = f"{report['state']}: {report['reason_text']}"
        status = status_message(LOOP_STATUS, self._robot.name, level, text, report)
        self._diagnostics.publish(diagnostics_message(status, self._now()))

    def _now(self) -> Time:
        return self._node.get_clock().now().to_msg()


class MpcNode(InterfaceNode[MpcParameters]):
    """The lifecycle of `MpcInterface`: configured it has a solver, active it commands."""

    def __init__(self) -> None:
        """Declare the parameters and start; see `InterfaceNode`."""
        super().__init__("mpc_node", MpcParameters)

    def make(self) -> MpcInterface:
        """Load the scenario and start the solver."""
        require_pins()
        scenario = load_scenario(self.settings.scenario)
        interface = MpcInterface(self, self.settings, scenario)
        try:
            interface.aim(self.settings.goal or scenario.goal)
        except DpvpError:
            interface.close()
            raise
        return interface


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(MpcNode, args)


if __name__ == "__main__":
    sys.exit(main())
