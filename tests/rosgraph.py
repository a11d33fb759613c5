"""A ROS graph of a test's own: unique domain, real nodes as processes, and a node of the test inside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState

from dpvp.plan import Array, Command
from dpvp.ros.convert import control_message, sensor_message, stamp_of
from dpvp.ros.local import LocalProcesses
from dpvp.ros.messages import Control, Sensor
from dpvp.ros.node import COMMAND, LATCHED, STREAM
from dpvp.ros.processes import ProcessSpec
from dpvp.scenario import Scenario

PATIENCE = 60.0  # s that anything may take on a busy machine before a test fails
# a slow machine must not look like a fault: what is tested is not speed
PATIENT = (
    "planner.budget=1.0",
    "loop={sensor_timeout: 0.5, plan_timeout: 2.0, solver_timeout: 5.0, supervisor_timeout: 1.0}",
    "feedback={command_timeout: 1.0, damping_timeout: 4.0}",
)


class Peer:
    """A node of the test in the graph."""

    def __init__(self) -> None:
        self.node = Node("test")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def until(self, condition: Callable[[], bool], each: Callable[[], None] = lambda: None) -> bool:
        """Spin, calling `each` about every millisecond, until `condition` holds; False if it never does."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                return False
            each()
            self._executor.spin_once(timeout_sec=0.001)
        return True

    def spin(self, duration: float, each: Callable[[], None] = lambda: None) -> None:
        """Spin for `duration` seconds."""
        end = time.monotonic() + duration
        self.until(lambda: time.monotonic() > end, each)

    def call(self, kind: type, name: str, request: object) -> object:
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        assert self.until(client.service_is_ready), f"no service {name}"
        future = client.call_async(request)
        assert self.until(future.done), f"{name} does not answer"
        return future.result()


class Bench(Peer):
    """What a test sees and does in the graph of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self.scenario = scenario
        self.controls: list[Control] = []
        self.joints: list[JointState] = []
        self.goals: list[PoseStamped] = []
        self.loop: dict[str, str] = {}
        self.world: dict[str, str] = {}
        self.sensor = self.node.create_publisher(Sensor, "sensor", STREAM)
        self.control = self.node.create_publisher(Control, "control", STREAM)
        self.goal = self.node.create_publisher(PoseStamped, "goal", COMMAND)
        self.node.create_subscription(Control, "control", self.controls.append, STREAM)
        self.node.create_subscription(JointState, "joint_states", self.joints.append, COMMAND)
        self.node.create_subscription(PoseStamped, "mpc_node/active_goal", self.goals.append, LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if status.name == "mpc_node: loop":
                self.loop = values
            elif status.name == "world_node: world":
                self.world = values


class FakePlant:
    """Sends `sensor` messages of a resting arm, with whatever wrong a test wants in them."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._robot = bench, bench.scenario.robot
        self._last = -np.inf
        self.change: Callable[[Sensor], None] = lambda message: None

    @property
    def t(self) -> float:
        """Time of this plant, s: that of the wall, as on hardware."""
        return time.time()

    def send(self) -> None:
        """Send one message if 2 ms have passed since the last."""
        if self.t - self._last < 0.002:
            return
        self._last = self.t
        robot = self._robot
        message = sensor_message(robot, self.t, robot.nominal, np.zeros(robot.nv), robot.gravity(robot.nominal))
        self.change(message)
        self._bench.sensor.publish(message)


def control_for(scenario: Scenario, t: float, u0: Array | None = None, gain: Array | None = None) -> Control:
    """Return a Control that answers the state of time `t` with a hold around the nominal posture."""
    robot = scenario.robot
    x0 = np.concatenate([robot.nominal, np.zeros(robot.nv)])
    stiff = np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)])
    command = Command(
        t, x0, robot.gravity(robot.nominal) if u0 is None else u0, stiff if gain is None else gain, t + 1.0
    )
    return control_message(robot, command, stamp_of(t), stamp_of(t))


@contextmanager
def processes(specs: Sequence[ProcessSpec], folder: Path) -> Iterator[LocalProcesses]:
    """Run `specs` in a ROS domain of their own, which this process joins too."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.environ["ROS_DOMAIN_ID"] = str(80 + worker)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with LocalProcesses(specs, folder) as running:
            yield running
    finally:
        rclpy.try_shutdown()


@contextmanager
def graph(
    scenario: Scenario, folder: Path, executables: tuple[str, ...], **parameters: object
) -> Iterator[tuple[Bench, LocalProcesses]]:
    """Run dpvp's nodes `executables` on `scenario` in a ROS domain of their own."""
    scenario.save(folder / "scenario.yaml")
    common = {"scenario": str(folder / "scenario.yaml")}
    specs = [ProcessSpec(name, "dpvp", name, common | parameters) for name in executables]
    with processes(specs, folder) as running:
        bench = Bench(scenario)
        yield bench, running
        bench.node.destroy_node()
