"""world_node: a MuJoCo plant that behaves on its topics as ros2_control with linear_feedback_controller does.

Publishes `sensor` (filtered velocities, as the stock controller), `joint_states`, `/clock`, `~/state_age_ms`, `~/phase`
(latched: the `FeedbackPhase`) and `/diagnostics`, for a floating base its IMU and `~/odom`; subscribes `control`.
Services: those of `controller_manager`, and `~/reset`: all is as at the beginning, the robot at the parameter `start`;
in real time a supervisor takes that for a fault and wants a reset, too.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from pydantic import Field
from rclpy.executors import Executor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, String
from std_srvs.srv import Trigger

from dpvp.config import Config
from dpvp.control.feedback import FeedbackLaw, FeedbackPhase, FeedbackTiming
from dpvp.control.guard import CommandGuard
from dpvp.errors import ConfigError, GoalError, MessageError
from dpvp.plan import Array, Command
from dpvp.ros.base_topics import BaseTopics
from dpvp.ros.convert import command_of, goal_of, goal_type, sensor_message, stamp_of
from dpvp.ros.diagnostics import diagnostics_message, status_message
from dpvp.ros.messages import Control, Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM, run_node
from dpvp.ros.parameters import declare
from dpvp.ros.plant_controllers import PlantControllers
from dpvp.scenario import load_scenario
from dpvp.worlds.mujoco import MujocoWorld

CATCH_UP = 0.05  # s of physics that may be made up for at once; beyond it the world's time is late for good
RESEND = 0.2  # s without an answer after which a lock-step state is sent again
IDLE_SPIN = 0.1


class WorldParameters(Config):
    """Parameters of world_node."""

    scenario: str = Field("kuka_reach", description="name of a scenario or path of a scenario file")
    start: tuple[float, ...] = Field(
        (),
        description="positions (rad), then velocities (rad/s), at start and ~/reset, those of a floating base before "
        "those of the joints; empty: the nominal posture",
        json_schema_extra={"dynamic": True},
    )
    lock_step: bool = Field(False, description="wait at every plan period for the control that answers the state")
    seed: int = Field(0, ge=0, description="of the noise of the sensors that have any in the scene")
    clock_rate: float = Field(100.0, gt=0.0, le=1000.0, description="messages on /clock, Hz")


class WorldNode(Node):
    """The plant: physics, feedback law and the topics around them."""

    def __init__(self) -> None:
        """Load the scene and connect.

        Raises:
            ConfigError: a parameter does not fit.
        """
        super().__init__("world_node")
        self._settings = declare(self, WorldParameters)
        scenario = load_scenario(self._settings.scenario)
        config = scenario.config
        self._robot = scenario.robot
        self._world = MujocoWorld(self._robot, 1.0 / config.rates.feedback)
        timeout = None if self._settings.lock_step else config.feedback.command_timeout
        self._valid_for = np.inf if timeout is None else timeout
        damping = None if self._settings.lock_step else config.feedback.damping_timeout
        timing = FeedbackTiming(config.feedback.transition, config.feedback.velocity_filter, timeout, damping)
        self._law = FeedbackLaw(self._robot, timing)
        self._guard = CommandGuard(self._robot, config.safety, config.rates.command_period)
        self._controllers = PlantControllers(self, self._robot, self._law)
        self._answer_steps = max(1, round(config.rates.feedback / (config.rates.command or config.rates.plan)))
        self._sensor_every = max(1, round(config.rates.feedback / config.rates.sensor))
        self._joints_every = max(1, round(config.rates.feedback / config.rates.joint_states))
        self._clock_every = max(1, round(config.rates.feedback / self._settings.clock_rate))
        self._sensor = self.create_publisher(Sensor, "sensor", STREAM)
        self._joints = self.create_publisher(JointState, "joint_states", COMMAND)
        self._clock_topic = self.create_publisher(Clock, "/clock", STREAM)
        self._base: BaseTopics | None = None
        if self._robot.imu is not None:
            rng = np.random.default_rng(self._settings.seed)
            self._base = BaseTopics(self, self._robot.base, self._robot.imu, rng)
        self._phase_topic = self.create_publisher(String, "~/phase", LATCHED)
        self._phase: FeedbackPhase | None = None
        self._age = self.create_publisher(Float64, "~/state_age_ms", STREAM)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", COMMAND)
        self.create_subscription(Control, "control", self._on_control, STREAM)
        if goal_type(scenario.task) is PoseStamped:
            self.create_subscription(PoseStamped, "mpc_node/active_goal", self._on_goal, LATCHED)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._steps = self._late_steps = self._refused = 0
        self._reset_at = 0.0
        self._answered = False
        self._sent = -np.inf
        self._reset(self._start_state())
        self._began = time.monotonic()
        self._next_report = self._began

    def spin_some(self, executor: Executor) -> None:
        """Let the time pass that is due, then serve one event or wait."""
        self._report_if_due()
        self._publish_phase()
        if self._in_lock_step:
            self._advance_in_lock_step()
            executor.spin_once(timeout_sec=IDLE_SPIN)
            self._began = time.monotonic() - self._steps * self._world.dt
            return
        ahead = self._began + self._steps * self._world.dt - time.monotonic()
        if ahead > 0:
            executor.spin_once(timeout_sec=ahead)
            return
        if -ahead > CATCH_UP:
            late = int(-ahead / self._world.dt)
            self._late_steps += late
            self._began += late * self._world.dt
        self._step()
        executor.spin_once(timeout_sec=0.0)

    @property
    def _in_lock_step(self) -> bool:
        """Whether time waits for controls: that of a robot that damps goes on without any."""
        return self._settings.lock_step and self._controllers.running

    def _advance_in_lock_step(self) -> None:
        """Run until the next command is due if the state was answered; (re)send the state otherwise."""
        if self._answered:
            self._answered = False
            for _ in range(self._answer_steps):
                self._step(quiet=True)
            self._sent = -np.inf
        if time.monotonic() - self._sent > RESEND:
            self._sent = time.monotonic()
            self._publish_sensor()
            self._publish_joints()
            self._clock_topic.publish(Clock(clock=stamp_of(self._world.read().t)))

    def _step(self, *, quiet: bool = False) -> None:
        """One cycle of the plant: feedback law, physics, messages."""
        measured = self._world.read()
        self._velocity = self._law.filtered(measured.v)
        self._world.apply(self._law.update(measured.t, measured.q, self._velocity, measured.effort))
        self._publish_phase()
        if not quiet:
            if self._steps % self._sensor_every == 0:
                self._publish_sensor()
            if self._steps % self._joints_every == 0:
                self._publish_joints()
            if self._steps % self._clock_every == 0:
                self._clock_topic.publish(Clock(clock=stamp_of(measured.t)))
        self._world.step()
        self._steps += 1

    def _publish_sensor(self) -> None:
        measured = self._world.read()
        self._sensor.publish(sensor_message(self._robot, measured.t, measured.q, self._velocity, measured.effort))

    def _publish_phase(self) -> None:
        if self._law.phase is not self._phase:
            self._phase = self._law.phase
            self._phase_topic.publish(String(data=self._phase.name))

    def _publish_joints(self) -> None:
        measured = self._world.read()
        message = JointState(name=list(self._robot.joint_names))
        message.header.stamp = stamp_of(measured.t)
        joints = slice(-self._robot.nu, None)
        message.position, message.velocity, message.effort = measured.q[joints], measured.v[joints], measured.effort
        self._joints.publish(message)
        if self._base is not None:
            self._base.publish(self._world)

    def _on_control(self, message: Control) -> None:
        measured = self._world.read()
        now, tick = measured.t, 0.5 * self._world.dt  # stamps are rounded to nanoseconds
        try:
            command = command_of(self._robot, message, self._valid_for)
            answers = abs(command.t - now) < tick if self._in_lock_step else command.t > self._reset_at - tick
            if answers:  # not a state from before the reset, nor one that was answered
                self._accept(self._guard(command, np.concatenate([measured.q, self._velocity]), now), now)
        except MessageError as error:
            self._refused += 1
            self.get_logger().error(f"control refused ({self._refused} so far): {error}", throttle_duration_sec=1.0)

    def _accept(self, command: Command, now: float) -> None:
        self._law.receive(command, now)
        self._answered = self._in_lock_step
        self._age.publish(Float64(data=1e3 * (now - command.t)))

    def _on_goal(self, message: PoseStamped) -> None:
        try:
            self._world.show_goal(goal_of(message, self._robot.base))
        except GoalError as error:
            self.get_logger().warning(f"goal not shown: {error}", throttle_duration_sec=1.0)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._reset(self._start_state())
        except ConfigError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = True, f"at t = {self._reset_at:.3f} s"
        return response

    def _reset(self, state: Array) -> None:
        self._world.reset(state[: self._robot.nq], state[self._robot.nq :])
        self._controllers.reset()
        self._guard.forget()
        if self._robot.floating:
            self._world.come_to_rest()
        else:
            self._world.pause()
        self._velocity = self._law.filtered(self._world.read().v)
        self._reset_at = self._world.read().t
        self._answered, self._sent = False, -np.inf

    def _start_state(self) -> Array:
        """Return the (nx,) state of the parameter `start`.

        Raises:
            ConfigError: it is neither empty nor one position (and one velocity) per joint.
        """
        robot, values = self._robot, np.array(self.get_parameter("start").value or [], dtype=np.float64)
        if values.size == 0:
            return robot.at_rest()
        if values.size == robot.nq:
            values = np.concatenate([values, np.zeros(robot.nv)])
        if values.size != robot.nx:
            needed = f"needs {robot.nq} positions, optionally followed by {robot.nv} velocities, or nothing"
            raise ConfigError("parameters of world_node", "start", values.tolist(), needed)
        return values

    def _report_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + 1.0
        values = {
            "phase": self._law.phase.name,
            "time": f"{self._world.read().t:.3f}",
            "steps": str(self._steps),
            "late_steps": str(self._late_steps),
            "controls_refused": str(self._refused),
        }
        level = DiagnosticStatus.WARN if self._refused or self._late_steps else DiagnosticStatus.OK
        status = status_message("world_node: world", self._robot.name, level, self._law.phase.value, values)
        self._diagnostics.publish(diagnostics_message(status, stamp_of(self._world.read().t)))


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(WorldNode, args)


if __name__ == "__main__":
    sys.exit(main())
