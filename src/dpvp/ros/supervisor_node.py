"""supervisor_node: watches plant and loop from a process of its own and takes the plant away when it has to.

Subscribes `sensor`, `control`, `estop` and the `/diagnostics` of mpc_node; publishes `~/verdict`, which mpc_node obeys,
`/diagnostics` and, where mpc_node has fallen silent, the `control` that holds the robot. In FAULT it has the controller
manager switch to the fallback, which damps. Services `~/stop` and `~/reset`.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import Field
from rclpy.executors import Executor
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from dpvp.config import Config
from dpvp.control.gate import Ruling
from dpvp.control.states import LoopState
from dpvp.control.supervisor import Supervisor
from dpvp.errors import MessageError, SafetyError
from dpvp.record.feed import LOOP_STATUS
from dpvp.ros.controller_manager import Charge, ControllerManager
from dpvp.ros.controllers import Succession
from dpvp.ros.convert import command_of, control_message, ruling_message, state_of
from dpvp.ros.diagnostics import diagnostics_message
from dpvp.ros.messages import Control, Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM, run_node
from dpvp.ros.parameters import declare
from dpvp.ros.wire import decode
from dpvp.scenario import load_scenario

RATE = 100.0  # judgements a second
WAITING = 8  # messages at most that wait when a judgement is due: streams keep the newest only
SAY_EVERY = 0.05  # s between two verdicts that say the same
REPORT_EVERY = 0.5  # s


class SupervisorParameters(Config):
    """Parameters of supervisor_node."""

    scenario: str = Field("kuka_reach", description="name of a scenario or path of a scenario file")
    lock_step: bool = Field(False, description="plant and planner wait for each other: silence means nothing")
    shadow: bool = Field(False, description="someone else moves the robot: say the verdict, leave the plant alone")
    chain: tuple[str, ...] = Field(Succession().chain, description="controllers that are taken out of use in a fault")
    fallbacks: tuple[str, ...] = Field(Succession().fallbacks, description="controllers that damp then")


class SupervisorNode(Node):
    """A `Supervisor` with its topics."""

    def __init__(self) -> None:
        """Load the scenario and connect.

        Raises:
            ConfigError: a parameter does not fit.
        """
        super().__init__("supervisor_node")
        self._settings = settings = declare(self, SupervisorParameters)
        scenario = load_scenario(settings.scenario)
        self._robot = scenario.robot
        self._supervisor = Supervisor(scenario, waits=settings.lock_step)
        self._valid_for = scenario.config.feedback.command_timeout or float("inf")
        self._manager = ControllerManager(self, Succession(settings.chain, settings.fallbacks))
        self._verdict = self.create_publisher(DiagnosticStatus, "~/verdict", STREAM)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", COMMAND)
        self._control = self.create_publisher(Control, "control", STREAM)
        self.create_subscription(Sensor, "sensor", self._on_sensor, STREAM, raw=True)
        self.create_subscription(Control, "control", self._on_control, STREAM, raw=True)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for qos in (STREAM, LATCHED):  # from whoever says it once or again and again
            self.create_subscription(Bool, "estop", self._on_estop, qos)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._sensor: bytes | None = None
        self._heard: bytes | None = None
        self._sensed: Sensor | None = None
        self._said = Ruling()
        self._next_judgement = self._next_word = self._next_report = time.monotonic()

    def spin_some(self, executor: Executor) -> None:
        """Serve events until a judgement is due, then judge."""
        now = time.monotonic()
        executor.spin_once(timeout_sec=max(0.0, self._next_judgement - now))
        if now < self._next_judgement:
            return
        for _ in range(WAITING):  # who was not given time to run must not take what waits for silence
            executor.spin_once(timeout_sec=0.0)
        self._next_judgement = max(self._next_judgement + 1.0 / RATE, now)
        self._judge()

    def _judge(self) -> None:
        """Look at what has come, judge, and do what follows."""
        self._look()
        ruling = self._supervisor.judge()
        if not self._settings.shadow:
            self._act(ruling)
            if ruling.state is not LoopState.FAULT and self._restoring:
                refusal = f": {self._manager.refusal}" if self._manager.refusal else ""
                ruling = Ruling(LoopState.FAULT, self._said.reason, f"over; the controllers start anew{refusal}")
        now = time.monotonic()
        if now >= self._next_word or ruling != self._said:
            self._said, self._next_word = ruling, now + SAY_EVERY
            self._verdict.publish(self._message(ruling))
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY
            self._report()

    @property
    def _restoring(self) -> bool:
        """Whether the plant is on its way back to the feedback law."""
        return self._manager.asked is Charge.FEEDBACK and not self._manager.confirmed

    def _look(self) -> None:
        """Take the newest of what the plant and the loop have sent; most of the streams need not be read."""
        (sensor, self._sensor), (heard, self._heard) = (self._sensor, None), (self._heard, None)
        if sensor is not None:
            self._sense(sensor)
        if heard is not None:
            self._hear(heard)

    def _sense(self, raw: bytes) -> None:
        try:
            message = decode(raw, Sensor)
            state = state_of(self._robot, message)
        except MessageError as error:
            self._supervisor.doubt(error)
            self.get_logger().error(f"state refused: {error}", throttle_duration_sec=1.0)
            return
        self._sensed = message
        effort = np.array(message.joint_state.effort)
        measured = len(effort) == self._robot.nu and bool(np.isfinite(effort).all())
        self._supervisor.sense(state, effort if measured else None)

    def _hear(self, raw: bytes) -> None:
        try:
            message = decode(raw, Control)
            if message.header.frame_id == self.get_name() or self._settings.shadow:
                return
            self._supervisor.hear(command_of(self._robot, message, self._valid_for))
        except MessageError as error:
            self._supervisor.refuse(error)

    def _act(self, ruling: Ruling) -> None:
        """Take the plant from the loop in a fault, and hold the robot in place of a loop that fell silent."""
        if ruling.state is LoopState.FAULT:
            self._manager.damp()
        self._manager.work()
        command = self._supervisor.hold()
        if command is not None and self._sensed is not None:
            now = self.get_clock().now().to_msg()
            message = control_message(self._robot, command, now, self._sensed.header.stamp)
            message.header.frame_id = self.get_name()
            self._control.publish(message)

    def _on_sensor(self, raw: bytes) -> None:
        self._sensor = raw

    def _on_control(self, raw: bytes) -> None:
        self._heard = raw

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == LOOP_STATUS:
                said = {item.key: str(item.value) for item in status.values}
                state = LoopState.__members__.get(said.get("state", ""), LoopState.IDLE)
                self._supervisor.expect(LoopState.IDLE if "shadow" in said else state)

    def _on_estop(self, message: Bool) -> None:
        self._supervisor.press(pressed=message.data)
        if message.data:
            self._judge()

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._supervisor.stop()
        self._judge()
        response.success, response.message = True, "FAULT"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._look()
        try:
            self._supervisor.reset()
        except SafetyError as error:
            response.success, response.message = False, str(error)
            return response
        if not self._settings.shadow:
            self._manager.restore()
        self._judge()
        response.success, response.message = True, "the controllers start anew; then the loop holds"
        return response

    def _message(self, ruling: Ruling) -> DiagnosticStatus:
        counted = {f"count_{r.name.lower()}": str(n) for r, n in self._supervisor.counters.items()}
        return ruling_message(ruling, "supervisor_node: verdict", self._robot.name, counted)

    def _report(self) -> None:
        status = self._message(self._said)
        status.name = "supervisor_node: plant"
        charge = self._manager.asked
        if charge is not None:
            done = "confirmed" if self._manager.confirmed else self._manager.refusal or "asked"
            status.values = [*status.values, KeyValue(key="in_charge", value=f"{charge.value}: {done}")]
        self._diagnostics.publish(diagnostics_message(status, self.get_clock().now().to_msg()))


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(SupervisorNode, args)


if __name__ == "__main__":
    sys.exit(main())
