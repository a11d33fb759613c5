"""The nodes that watch a run, over real DDS: record_node ended in order and killed in the middle; view_node."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from mcap.reader import make_reader
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dpvp.config import share_directory
from dpvp.record.recording import read_messages
from dpvp.record.report import write_report
from dpvp.ros.messages import Control
from dpvp.ros.node import COMMAND, COMPLETE, LATCHED, STREAM
from dpvp.ros.view_node import ViewNode
from dpvp.scenario import load_scenario

pytestmark = pytest.mark.alone

DOMAIN = 40 + os.getpid() % 30
RATE = 100.0  # Hz
LATCHED_TOPICS = {"/mpc_node/active_goal", "/robot_description", "/world_node/phase", "/estop"}
ALL_TOPICS = LATCHED_TOPICS | {
    *("/control", "/joint_states", "/mpc_node/plan", "/mpc_node/plan_ms", "/world_node/state_age_ms", "/diagnostics"),
    *("/mpc_node/solved", "/mpc_node/shadow_control", "/supervisor_node/verdict"),
}
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def loop_status(**values: str) -> DiagnosticArray:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(status=[DiagnosticStatus(name="mpc_node: loop", values=pairs)])


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
            "mpc_node/solved": (Float64MultiArray, COMPLETE),
            "mpc_node/shadow_control": (Control, STREAM),
            "supervisor_node/verdict": (DiagnosticStatus, STREAM),
            "world_node/phase": (String, LATCHED),
            "estop": (Bool, LATCHED),
        }
        self.out = {topic: self.node.create_publisher(kind, topic, qos) for topic, (kind, qos) in kinds.items()}
        goal = PoseStamped()
        point = self.robot.frame_position(self.q)
        goal.pose.position.x, goal.pose.position.y, goal.pose.position.z = map(float, point)
        self.out["mpc_node/active_goal"].publish(goal)  # before anyone listens
        self.out["world_node/phase"].publish(String(data="FEEDBACK"))
        self.out["estop"].publish(Bool())
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
        out["mpc_node/shadow_control"].publish(control)
        out["mpc_node/solved"].publish(Float64MultiArray(data=[float(k)]))
        out["supervisor_node/verdict"].publish(DiagnosticStatus(message="all is well"))
        out["mpc_node/plan_ms"].publish(Float64(data=4.0))
        out["world_node/state_age_ms"].publish(Float64(data=6.0))
        if k % 10 == 0:
            point = JointTrajectoryPoint(positions=self.q, velocities=np.zeros(7))
            out["mpc_node/plan"].publish(JointTrajectory(joint_names=list(self.robot.joint_names), points=[point] * 30))
        if k % 20 == 0:
            out["/diagnostics"].publish(loop_status(periods=str(k), missed_share="0.25"))


@pytest.fixture
def plant() -> Iterator[Plant]:
    plant = Plant()
    yield plant
    plant.close()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN)}
    command = [sys.executable, "-m", "dpvp.ros.record_node", "--ros-args"]
    command += ["-p", "scenario:=kuka_reach", "-p", f"run_dir:={tmp_path / 'run'}"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    yield process
    process.kill()


def read_all(file: Path) -> dict[str, list[tuple[float, object]]]:
    messages = list(read_messages(file))
    return {name: [(when, m) for topic, when, m in messages if topic == name] for name, *_ in messages}


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
    assert {counts[topic] for topic in LATCHED_TOPICS} == {1}
    assert [message.data[0] for _, message in found["/mpc_node/solved"]] == list(range(200))  # every one, in order
    assert counts["/mpc_node/plan"] >= 18
    assert '<robot name="iiwa14"' in found["/robot_description"][0][1].data
    with (run / "run.mcap").open("rb") as stream:
        channels = make_reader(stream).get_summary().channels.values()
    offers = {c.topic: yaml.safe_load(c.metadata["offered_qos_profiles"])[0] for c in channels}
    assert {topic for topic in offers if offers[topic]["durability"] == "transient_local"} == LATCHED_TOPICS
    assert (offers["/control"]["reliability"], offers["/joint_states"]["reliability"]) == ("best_effort", "reliable")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["success"] is True
    assert metrics["reached_at_s"] == pytest.approx(0.0)
    assert metrics["peak_effort_share"] == pytest.approx(0.5)
    assert (metrics["plan_ms"]["p50"], metrics["state_age_ms"]["p99"]) == (4.0, 6.0)
    assert (metrics["periods"], metrics["missed_share"]) == (180, 0.25)
    assert metrics["duration_s"] == pytest.approx(1.99, abs=0.1)


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
    assert {topic: len(found[topic]) for topic in found} == {t: len(m) for t, m in read_all(run / "run.mcap").items()}


class Operator:
    """view_node in this process, beside a node that stands for the rest of the system."""

    def __init__(self) -> None:
        rclpy.init(args=[], domain_id=DOMAIN)
        self.view, self.node = ViewNode(), Node("rest")
        self.executor = EventsExecutor()
        self.executor.add_node(self.view)
        self.executor.add_node(self.node)
        self.goals: list[PoseStamped] = []
        self.calls = 0
        self.node.create_subscription(PoseStamped, "goal", self.goals.append, COMMAND)
        self.node.create_service(Trigger, "mpc_node/hold", self._on_hold)

    def until(self, condition: Callable[[], bool], patience: float = 20.0) -> bool:
        end = time.monotonic() + patience
        while not condition() and time.monotonic() < end:
            self.view.spin_some(self.executor)
        return condition()

    @property
    def text(self) -> str:
        return self.view._view._text.content

    def close(self) -> None:
        self.view.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown()

    def _on_hold(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.calls += 1
        response.success, response.message = True, "HOLD"
        return response


def from_a_thread(action: Callable[..., None], argument: object) -> None:
    """Call as the web server does."""
    thread = threading.Thread(target=action, args=(argument,))
    thread.start()
    thread.join()


@pytest.fixture
def operator() -> Iterator[Operator]:
    operator = Operator()
    yield operator
    operator.close()


def test_a_goal_goes_from_the_page_to_the_topic_if_the_task_accepts_it(operator: Operator) -> None:
    page = operator.view._view
    assert operator.until(lambda: operator.view._goal_topic.get_subscription_count() == 1)
    from_a_thread(page._actions.aim, np.array([-0.3, -0.4, 0.6]))
    assert operator.until(lambda: len(operator.goals) == 1)
    position = operator.goals[0].pose.position
    assert (position.x, position.y, position.z) == (-0.3, -0.4, 0.6)
    assert operator.goals[0].header.frame_id == load_scenario("kuka_reach").robot.base
    from_a_thread(page._actions.aim, np.array([0.0, 0.0, 9.0]))
    assert operator.until(lambda: "outside the workspace" in operator.text)
    assert len(operator.goals) == 1


def test_buttons_call_services(operator: Operator) -> None:
    page = operator.view._view
    from_a_thread(page._actions.ask, "start")  # nobody offers that
    assert operator.until(lambda: "start: mpc_node is not there" in operator.text)
    assert operator.until(operator.view._triggers["hold"].service_is_ready)
    from_a_thread(page._actions.ask, "hold")
    assert operator.until(lambda: "hold: HOLD" in operator.text)
    assert operator.calls == 1


def test_the_page_follows_the_topics(operator: Operator) -> None:
    page, robot, publish = operator.view._view, load_scenario("kuka_reach").robot, operator.node.create_publisher
    names, home = list(reversed(robot.joint_names)), robot.postures["home"]
    joints, plan = publish(JointState, "joint_states", STREAM), publish(JointTrajectory, "mpc_node/plan", STREAM)
    goals, status = publish(PoseStamped, "mpc_node/active_goal", LATCHED), publish(DiagnosticArray, "/diagnostics", 1)
    assert operator.until(lambda: all(p.get_subscription_count() for p in (joints, plan, goals, status)))
    assert operator.until(lambda: "mpc_node is silent" in operator.text)
    goal = PoseStamped()
    goal.pose.position.x, goal.pose.position.y, goal.pose.position.z = -0.2, -0.5, 0.7
    points = [JointTrajectoryPoint(positions=home[::-1]), JointTrajectoryPoint(positions=robot.nominal[::-1])]
    begin = time.monotonic()
    while "12.3 mm" not in operator.text or len(page._path.points) == 0 or not page._goal.visible:
        assert time.monotonic() < begin + 20.0
        joints.publish(JointState(name=names, position=home[::-1], velocity=np.zeros(7)))
        plan.publish(JointTrajectory(joint_names=names, points=points))
        goals.publish(goal)
        status.publish(loop_status(state="TRACK", goal_error="0.0123"))
        operator.until(lambda: False, patience=0.1)
    assert "**TRACK**" in operator.text
    assert page._goal.position == pytest.approx((-0.2, -0.5, 0.7))
    assert page._path.points[0, 0] == pytest.approx(robot.frame_position(home), abs=1e-6)
    assert page._path.points[0, 1] == pytest.approx(robot.frame_position(robot.nominal), abs=1e-6)
    assert page._joints[7].position == pytest.approx(robot.frame_position(home), abs=0.0401)


def test_the_foxglove_layout_shows_topics_that_are_recorded() -> None:
    layout = json.loads((share_directory() / "config" / "foxglove" / "kuka_reach.json").read_text())
    named = set(re.findall(r'"(/[a-z_]+(?:/[a-z_]+)*)', json.dumps(layout["configById"])))
    assert named >= {"/joint_states", "/mpc_node/plan_ms", "/world_node/state_age_ms", "/diagnostics"}
    assert named <= ALL_TOPICS
    placed = set(re.findall(r'"(?:first|second)": "([^"]+)"', json.dumps(layout["layout"])))
    assert placed == set(layout["configById"])
