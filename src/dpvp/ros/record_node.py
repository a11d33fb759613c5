"""record_node: writes a run into its folder while it lasts: `run.mcap`, `metrics.json`, and at the end `run.png`.

Subscribes `control`, `joint_states`, `mpc_node/plan`, `mpc_node/plan_ms`, `mpc_node/active_goal`, `mpc_node/solved`,
`mpc_node/shadow_control`, `supervisor_node/verdict`, `world_node/phase`, `world_node/state_age_ms`, `estop`,
`/diagnostics` and what tells of a floating base, each with whatever its publishers offer. The robot's URDF is put into
the recording too, so that it can be shown without anything else.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from pydantic import Field
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from dpvp.config import Config
from dpvp.errors import DpvpError, EnvironmentProblem, MessageError
from dpvp.record.feed import RunFeed
from dpvp.record.mcap import FLUSH_EVERY, McapRecorder, OfferedQos
from dpvp.record.metrics import RunMetrics, write_metrics
from dpvp.record.report import METRICS, PICTURE, RECORDING, open_run, read_run
from dpvp.robot import Robot
from dpvp.ros.convert import goal_type
from dpvp.ros.messages import Control, Sensor
from dpvp.ros.node import COMPLETE, LATCHED, run_node
from dpvp.ros.parameters import declare
from dpvp.ros.processes import IMU
from dpvp.ros.wire import decode, encode
from dpvp.tasks.task import Task
from dpvp.view.plots import draw_run

TOPICS: dict[str, type] = {
    "control": Control,
    "joint_states": JointState,
    "mpc_node/plan": JointTrajectory,
    "mpc_node/plan_ms": Float64,
    "mpc_node/solved": Float64MultiArray,
    "mpc_node/shadow_control": Control,
    "supervisor_node/verdict": DiagnosticStatus,
    "world_node/phase": String,
    "world_node/state_age_ms": Float64,
    "estop": Bool,
    "/diagnostics": DiagnosticArray,
}
OF_A_BASE: dict[str, type] = {"estimator_node/sensor": Sensor, "world_node/odom": Odometry, IMU: Imu}  # that floats
# a subscriber that asks for nothing matches every publisher; the depth bridges pauses of the operating system
ANY_OFFER = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
ASKED: dict[str, QoSProfile] = {  # where it matters that the first message, or every one, is heard
    **dict.fromkeys(("mpc_node/active_goal", "world_node/phase", "estop"), LATCHED),
    "mpc_node/solved": COMPLETE,
}
METRICS_PERIOD = 1.0  # s between two versions of metrics.json
METRICS_SHARE = 0.02  # of the time at most is spent on them, however long the run
IDLE_SPIN = 0.1  # s


class RecordParameters(Config):
    """Parameters of record_node."""

    scenario: str = Field("kuka_reach", description="name of a scenario or path of a scenario file")
    run_dir: str = Field("", description="folder of the run, made if missing; empty: runs/<time>_<scenario>")


class RecordNode(Node):
    """Subscriptions that end in an MCAP file and in `RunMetrics`."""

    def __init__(self) -> None:
        """Open the recording and subscribe.

        Raises:
            ConfigError: a parameter does not fit or the folder holds a recording already.
            EnvironmentProblem: the folder cannot be made.
        """
        super().__init__("record_node")
        parameters = declare(self, RecordParameters)
        scenario, self._folder = open_run(parameters.scenario, parameters.run_dir)
        self._metrics = RunMetrics(scenario, self._folder)
        self._feed = RunFeed(scenario.robot, self._metrics)
        self._recorder = McapRecorder(self._folder / RECORDING)
        self._next_flush = self._next_metrics = time.monotonic()
        topics = topics_of(scenario.robot, scenario.task)
        self._records = [self._subscribe(topic, kind) for topic, kind in topics.items()]
        self._write_description(scenario.robot.urdf_xml)
        self.get_logger().info(f"recording into {self._folder}")

    def spin_some(self, executor: Executor) -> None:
        """Serve one event, then write out what is due."""
        executor.spin_once(timeout_sec=IDLE_SPIN)
        now = time.monotonic()
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_EVERY
            self._recorder.flush()
        if now >= self._next_metrics:
            self._write_metrics()
            spent = time.monotonic() - now
            self._next_metrics = now + max(METRICS_PERIOD, spent / METRICS_SHARE)

    def destroy_node(self) -> None:
        """Close the recording, write the final metrics and draw the picture, what matters most first."""
        try:
            self._recorder.close()
            self._write_metrics()
            draw_run(read_run(self._folder)[1], self._folder / PICTURE)
        except (DpvpError, OSError) as error:
            self.get_logger().error(f"{self._folder}: the run could not be finished: {error}")
        super().destroy_node()

    def _subscribe(self, topic: str, kind: type) -> Any:
        full_name = self.resolve_topic_name(topic)
        save = partial(self._save, full_name, kind, self._feed.topic_of(full_name))
        return self.create_subscription(kind, topic, save, ASKED.get(topic, ANY_OFFER), raw=True)

    def _save(self, full_name: str, kind: type, fed: str | None, raw: bytes) -> None:
        # EventsExecutor fails on callbacks that ask for the times of a message, so that the time of sending is unknown
        received = time.time()
        try:
            if full_name not in self._recorder.topics:
                self._announce(full_name, kind)
            self._recorder.write(full_name, raw, received)
        except OSError as error:
            raise EnvironmentProblem(f"{self._folder}: cannot go on recording: {error.strerror}") from None
        if fed is not None:
            try:
                self._feed.take(fed, decode(raw, kind))
            except MessageError as error:  # it is recorded as it came all the same
                self.get_logger().warning(f"{full_name}: {error}", throttle_duration_sec=1.0)

    def _announce(self, full_name: str, kind: type) -> None:
        publishers = self.get_publishers_info_by_topic(full_name)
        offers = [_offer(publisher.qos_profile) for publisher in publishers]
        type_hash = str(publishers[0].topic_type_hash) if publishers else ""
        self._recorder.add_topic(full_name, _type_name(kind), offers, type_hash)
        self._next_metrics = 0.0  # who waits for us before they start sees there what we hear

    def _write_description(self, urdf_xml: str) -> None:
        topic = self.resolve_topic_name("robot_description")
        self._recorder.add_topic(topic, _type_name(String), [_offer(LATCHED)])
        self._recorder.write(topic, encode(String(data=urdf_xml)), time.time())

    def _write_metrics(self) -> None:
        write_metrics(self._folder / METRICS, self._metrics.summary())


def topics_of(robot: Robot, task: Task) -> dict[str, type]:
    """Return what is recorded of a run, by name."""
    base = OF_A_BASE if robot.floating else {}
    return TOPICS | base | {"mpc_node/active_goal": goal_type(task)}


def _offer(qos: QoSProfile) -> OfferedQos:
    return OfferedQos(qos.reliability.short_key, qos.durability.short_key, qos.history.short_key, depth=qos.depth)


def _type_name(kind: type) -> str:
    package, _, _ = kind.__module__.partition(".")
    return f"{package}/msg/{kind.__name__}"


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(RecordNode, args)


if __name__ == "__main__":
    sys.exit(main())
