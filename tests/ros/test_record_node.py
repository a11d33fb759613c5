"""record_node as a process of its own, fed over real DDS: ended in order and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from mcap.reader import make_reader
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dpvp.record.mcap import read_messages
from dpvp.record.report import write_report
from dpvp.ros.messages import Control
from dpvp.ros.node import COMMAND, LATCHED, STREAM
from dpvp.scenario import load_scenario

DOMAIN = 40 + os.getpid() % 30
RATE = 100.0  # Hz
ALL_TOPICS = {
    *("/control", "/joint_states", "/mpc_node/plan", "/mpc_node/plan_ms", "/mpc_node/active_goal"),
    *("/world_node/state_age_ms", "/diagnostics", "/robot_description"),
}


class Plant:
    """Publishes what a running system does; the arm rests at the goal, its joints are named in reverse order."""

    def __init__(self) -> None:
        scenario = load_scenario("kuka_reach")
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = Node("plant", context=self.context)
        self.robot = scenario.robot
        self.q = np.array(scenario.config.task.starts.centre)
        kinds = {
            "control": (Control, STREAM),
            "joint_states": (JointState, COMMAND),
            "mpc_node/plan": (JointTrajectory, STREAM),
            "mpc_node/plan_ms": (Float64, STREAM),
            "world_node/state_age_ms": (Float64, STREAM),
            "/diagnostics": (DiagnosticArray, COMMAND),
            "mpc_node/active_goal": (PoseStamped, LATCHED),
        }
        self.out = {topic: self.node.create_publisher(kind, topic, qos) for topic, (kind, qos) in kinds.items()}
        goal = PoseStamped()
        point = self.robot.frame_position(self.q)
        goal.pose.position.x, goal.pose.position.y, goal.pose.position.z = map(float, point)
        self.out["mpc_node/active_goal"].publish(goal)  # before anyone listens
        self.count = 0

    def wait_for_recorder(self) -> None:
        deadline = time.monotonic() + 20.0
        while any(publisher.get_subscription_count() == 0 for publisher in self.out.values()):
            assert time.monotonic() < deadline, "record_node did not subscribe"
            time.sleep(0.05)
        time.sleep(0.3)  # matching is done on this side; give the other side its time

    def publish(self, seconds: float) -> None:
        begin = time.monotonic()
        for k in range(round(seconds * RATE)):
            time.sleep(max(0.0, begin + k / RATE - time.monotonic()))
            self._publish_once()

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _publish_once(self) -> None:
        k, out = self.count, self.out
        self.count += 1
        joints = JointState(name=list(reversed(self.robot.joint_names)), position=self.q[::-1], velocity=np.zeros(7))
        joints.effort = 0.5 * self.robot.limits.effort[::-1]
        joints.header.stamp.sec, joints.header.stamp.nanosec = k // 100, k % 100 * 10_000_000
        out["joint_states"].publish(joints)
        control = Control()
        control.feedforward.data, control.feedback_gain.data = np.full(7, float(k)), np.ones(98)
        out["control"].publish(control)
        out["mpc_node/plan_ms"].publish(Float64(data=4.0))
        out["world_node/state_age_ms"].publish(Float64(data=6.0))
        if k % 10 == 0:
            point = JointTrajectoryPoint(positions=self.q, velocities=np.zeros(7))
            out["mpc_node/plan"].publish(JointTrajectory(joint_names=list(self.robot.joint_names), points=[point] * 30))
        if k % 20 == 0:
            values = [KeyValue(key="periods", value=str(k)), KeyValue(key="missed_share", value="0.25")]
            out["/diagnostics"].publish(
                DiagnosticArray(status=[DiagnosticStatus(name="mpc_node: loop", values=values)])
            )


@pytest.fixture
def plant() -> Iterator[Plant]:
    plant = Plant()
    yield plant
    plant.close()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    command = [sys.executable, "-m", "dpvp.ros.record_node", "--ros-args"]
    command += ["-p", "scenario:=kuka_reach", "-p", f"run_dir:={tmp_path / 'run'}"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait(timeout=10)


@pytest.fixture(autouse=True)
def local_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def read_all(file: Path) -> dict[str, list[tuple[float, object]]]:
    found: dict[str, list[tuple[float, object]]] = {}
    for topic, when, message in read_messages(file):
        found.setdefault(topic, []).append((when, message))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ended_run_is_complete(
    plant: Plant, recorder: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    plant.wait_for_recorder()
    plant.publish(2.0)
    time.sleep(0.3)
    recorder.send_signal(number)
    time.sleep(0.1)
    recorder.send_signal(number)  # an impatient user
    output, _ = recorder.communicate(timeout=30)
    assert recorder.returncode == 0, output.decode()
    assert b"Traceback" not in output
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {"scenario.yaml", "run.mcap", "metrics.json", "run.png"}
    found = read_all(run / "run.mcap")
    assert set(found) == ALL_TOPICS
    counts = {topic: len(messages) for topic, messages in found.items()}
    for topic in ("/control", "/joint_states", "/mpc_node/plan_ms", "/world_node/state_age_ms"):
        assert counts[topic] >= 190  # best effort: a few may be lost on a busy machine
    assert counts["/mpc_node/active_goal"] == 1
    assert counts["/mpc_node/plan"] >= 18
    fed_forward = [message.feedforward.data[0] for _, message in found["/control"]]
    assert fed_forward == sorted(fed_forward)
    assert '<robot name="iiwa14"' in found["/robot_description"][0][1].data
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["success"] is True
    assert metrics["reached_at_s"] == pytest.approx(0.0)
    assert metrics["peak_effort_share"] == pytest.approx(0.5)
    assert (metrics["plan_ms"]["p50"], metrics["state_age_ms"]["p99"]) == (4.0, 6.0)
    assert (metrics["periods"], metrics["missed_share"]) == (180, 0.25)
    assert metrics["duration_s"] == pytest.approx(1.99, abs=0.1)


def test_the_offers_of_the_publishers_are_kept(plant: Plant, recorder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    plant.wait_for_recorder()
    plant.publish(0.5)
    recorder.send_signal(signal.SIGTERM)
    recorder.communicate(timeout=30)
    with (tmp_path / "run" / "run.mcap").open("rb") as stream:
        channels = make_reader(stream).get_summary().channels.values()
    offers = {c.topic: yaml.safe_load(c.metadata["offered_qos_profiles"])[0] for c in channels}
    assert offers["/mpc_node/active_goal"]["durability"] == "transient_local"
    assert offers["/robot_description"]["durability"] == "transient_local"
    assert offers["/control"]["reliability"] == "best_effort"
    assert offers["/joint_states"]["reliability"] == "reliable"


def test_a_killed_recorder_loses_at_most_a_second(
    plant: Plant, recorder: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    plant.wait_for_recorder()
    plant.publish(2.7)
    killed_at = time.time()
    recorder.send_signal(signal.SIGKILL)
    recorder.wait(timeout=10)
    live = json.loads((run / "metrics.json").read_text())
    assert live["duration_s"] > 0.9  # rewritten once a second
    assert not (run / "run.png").exists()
    found = read_all(run / "run.mcap")
    assert set(found) == ALL_TOPICS
    for topic in ("/control", "/joint_states", "/mpc_node/plan_ms", "/world_node/state_age_ms"):
        assert killed_at - found[topic][-1][0] < 1.0
        assert len(found[topic]) >= 150
    summary = write_report(run)
    assert summary["success"] is True
    assert (run / "run.png").exists()
    with (run / "run.mcap").open("rb") as stream:
        assert make_reader(stream).get_summary().statistics.message_count == sum(map(len, found.values()))


def test_a_recorder_does_not_touch_an_older_recording(tmp_path: Path) -> None:
    (tmp_path / "run.mcap").write_bytes(b"precious")
    command = [sys.executable, "-m", "dpvp.ros.record_node", "--ros-args", "-p", f"run_dir:={tmp_path}"]
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "must be new and writable" in done.stderr
    assert (tmp_path / "run.mcap").read_bytes() == b"precious"
