"""The recording on disk: what was written comes back, for us and for stock readers, whole or cut off."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader

from dpvp.errors import ConfigError, EnvironmentProblem, MessageError
from dpvp.record.mcap import McapRecorder, OfferedQos, schema_text
from dpvp.record.recording import read_messages, recover

pytest.importorskip("rclpy", reason="serialises messages with ROS")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from mcap_ros2.reader import read_ros2_messages

T0 = 1_790_000_000.0  # s since 1970, when these recordings begin

WRITER = """
import sys, time
from pathlib import Path
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64
from dpvp.record.mcap import McapRecorder

recorder = McapRecorder(Path(sys.argv[1]))
recorder.add_topic("/x", "std_msgs/msg/Float64")
print("writing", flush=True)
count = 0
while True:
    recorder.write("/x", serialize_message(Float64(data=float(count))), time.time())
    count += 1
    time.sleep(0.002)
"""


def joint_state(k: int) -> JointState:
    message = JointState(name=["b", "a"], position=[0.1 * k, -0.1 * k], velocity=[1.0, float(k)], effort=[])
    message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id = k, 500_000_000, "base"
    return message


def every_type() -> dict[str, object]:
    """One message of each type that a run holds, with no field left at its default."""
    pose = PoseStamped()
    pose.header.frame_id, pose.pose.position.x, pose.pose.orientation.w = "base", -0.3, 1.0
    point = JointTrajectoryPoint(positions=[1.0, 2.0], velocities=[3.0, 4.0], effort=[5.0, 6.0])
    point.time_from_start.nanosec = 30_000_000
    status = DiagnosticStatus(level=b"\x01", name="mpc_node: loop", values=[KeyValue(key="periods", value="12")])
    messages = {
        "/joint_states": joint_state(3),
        "/mpc_node/plan": JointTrajectory(joint_names=["a", "b"], points=[point, point]),
        "/mpc_node/plan_ms": Float64(data=4.25),
        "/mpc_node/active_goal": pose,
        "/diagnostics": DiagnosticArray(status=[status]),
    }
    try:
        from linear_feedback_controller_msgs.msg import Contact, Control
    except ImportError:
        return messages
    control = Control()
    control.initial_state.joint_state = joint_state(4)
    control.initial_state.contacts = [Contact(active=True, name="foot")]
    control.feedforward.data, control.feedback_gain.data = [1.0, 2.0], list(np.arange(8.0))
    return messages | {"/control": control}


def type_name(message: object) -> str:
    return f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"


def plain(message: object) -> object:
    """Turn a message, decoded by whomever, into nested dicts, lists and numbers."""
    if hasattr(message, "get_fields_and_field_types"):
        return {name: plain(getattr(message, name)) for name in message.get_fields_and_field_types()}
    if hasattr(message, "__slots__"):
        return {name: plain(getattr(message, name)) for name in message.__slots__}
    if isinstance(message, (bytes, bytearray)) and len(message) == 1:
        return message[0]
    if isinstance(message, (list, tuple)) or hasattr(message, "tolist"):
        return [plain(item) for item in message]
    return message


def write_numbers(file: Path, count: int, per_second: float = 100.0) -> None:
    with McapRecorder(file, flush_every=0.0) as recorder:  # a chunk per message: as many places to cut as there are
        recorder.add_topic("/x", "std_msgs/msg/Float64")
        for k in range(count):
            recorder.write("/x", serialize_message(Float64(data=float(k))), T0 + k / per_second)


def numbers(file: Path) -> list[float]:
    return [message.data for _, _, message in read_messages(file)]


def test_every_message_comes_back_here_and_in_the_stock_reader(tmp_path: Path) -> None:
    file, written = tmp_path / "run.mcap", every_type()
    with McapRecorder(file) as recorder:
        for k, (topic, message) in enumerate(written.items()):
            recorder.add_topic(topic, type_name(message))
            recorder.write(topic, serialize_message(message), T0 + 0.25 * k)
    ours = {topic: (when, plain(message)) for topic, when, message in read_messages(file)}
    stock = {read.channel.topic: (read.log_time_ns, plain(read.ros_msg)) for read in read_ros2_messages(str(file))}
    for k, (topic, message) in enumerate(written.items()):
        assert ours[topic][1] == stock[topic][1] == plain(message)
        assert ours[topic][0] == pytest.approx(T0 + 0.25 * k, abs=1e-6)
        assert stock[topic][0] == round((T0 + 0.25 * k) * 1e9)
    assert len(ours) == len(stock) == len(written)


def test_only_the_topics_asked_for_are_read(tmp_path: Path) -> None:
    with McapRecorder(tmp_path / "run.mcap") as recorder:
        for topic in ("/a", "/b"):
            recorder.add_topic(topic, "std_msgs/msg/Float64")
            recorder.write(topic, serialize_message(Float64(data=1.0)), T0)
    assert [topic for topic, _, _ in read_messages(tmp_path / "run.mcap", wanted={"/b"}.__contains__)] == ["/b"]


def test_channels_carry_what_ros2_bag_needs(tmp_path: Path) -> None:
    with McapRecorder(tmp_path / "run.mcap") as recorder:
        qos = OfferedQos("best_effort", "transient_local", "keep_last", depth=7)
        recorder.add_topic("/x", "std_msgs/msg/Float64", [qos], "RIHS01_ab")
        recorder.write("/x", serialize_message(Float64()), T0)
    with (tmp_path / "run.mcap").open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
    (channel,), (schema,) = summary.channels.values(), summary.schemas.values()
    assert (channel.message_encoding, schema.encoding, schema.name) == ("cdr", "ros2msg", "std_msgs/msg/Float64")
    (offer,) = yaml.safe_load(channel.metadata["offered_qos_profiles"])
    assert "&" not in channel.metadata["offered_qos_profiles"]  # anchors are beyond some readers
    assert (offer["reliability"], offer["durability"], offer["depth"]) == ("best_effort", "transient_local", 7)
    assert set(offer) == {
        *("history", "depth", "reliability", "durability", "deadline", "lifespan"),
        *("liveliness", "liveliness_lease_duration", "avoid_ros_namespace_conventions"),
    }
    assert channel.metadata["topic_type_hash"] == "RIHS01_ab"
    assert summary.statistics.message_count == 1


def test_the_schema_holds_each_dependency_once() -> None:
    text = schema_text("trajectory_msgs/msg/JointTrajectory")
    named = [line.removeprefix("MSG: ") for line in text.splitlines() if line.startswith("MSG: ")]
    assert sorted(named) == [
        *("builtin_interfaces/Duration", "builtin_interfaces/Time"),
        *("std_msgs/Header", "trajectory_msgs/JointTrajectoryPoint"),
    ]
    assert text.count("=" * 80 + "\nMSG: ") == 4


def test_a_type_that_is_not_installed_is_named() -> None:
    with pytest.raises(EnvironmentProblem, match=r"no_such_msgs/msg/Thing.*install no_such_msgs"):
        schema_text("no_such_msgs/msg/Thing")


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    write_numbers(tmp_path / "run.mcap", 3)
    with pytest.raises(ConfigError, match="must be new and writable"):
        McapRecorder(tmp_path / "run.mcap")
    assert numbers(tmp_path / "run.mcap") == [0.0, 1.0, 2.0]


def test_a_topic_must_be_announced(tmp_path: Path) -> None:
    with McapRecorder(tmp_path / "run.mcap") as recorder, pytest.raises(MessageError, match="/y was not announced"):
        recorder.write("/y", b"", T0)


def test_what_is_older_than_half_a_second_is_on_disk(tmp_path: Path) -> None:
    now = 0.0
    recorder = McapRecorder(tmp_path / "run.mcap", clock=lambda: now)
    recorder.add_topic("/x", "std_msgs/msg/Float64")
    for k in range(101):  # one message per 10 ms of the clock
        now = 0.01 * k
        recorder.write("/x", serialize_message(Float64(data=float(k))), T0 + now)
        on_disk = len(numbers(tmp_path / "run.mcap"))
        assert k - on_disk < 50
    recorder.close()
    assert len(numbers(tmp_path / "run.mcap")) == 101


def test_cut_anywhere_the_whole_messages_before_the_cut_are_read_and_recovered(tmp_path: Path) -> None:
    write_numbers(tmp_path / "whole.mcap", 12)
    content = (tmp_path / "whole.mcap").read_bytes()
    cut_file, before = tmp_path / "cut.mcap", -1
    for cut in range(8, len(content), 7):
        cut_file.write_bytes(content[:cut])
        found = numbers(cut_file)
        assert found == [float(k) for k in range(len(found))]
        assert len(found) >= before  # a later cut never reads less
        before = len(found)
        assert recover(cut_file)
        assert [read.ros_msg.data for read in read_ros2_messages(str(cut_file))] == found
    assert before == 12


def test_noise_after_the_cut_does_no_harm(tmp_path: Path) -> None:
    write_numbers(tmp_path / "run.mcap", 5)
    content = (tmp_path / "run.mcap").read_bytes()
    half = content[: len(content) // 2]
    (tmp_path / "run.mcap").write_bytes(half)
    before = numbers(tmp_path / "run.mcap")
    for tail in (bytes(4096), np.random.default_rng(0).bytes(4096)):
        (tmp_path / "run.mcap").write_bytes(half + tail)
        assert numbers(tmp_path / "run.mcap")[: len(before)] == before


def test_recover_keeps_topics_types_and_metadata(tmp_path: Path) -> None:
    file = tmp_path / "run.mcap"
    recorder = McapRecorder(file)
    for k, (topic, message) in enumerate(every_type().items()):
        recorder.add_topic(topic, type_name(message), [OfferedQos(depth=k + 1)])
        recorder.write(topic, serialize_message(message), T0 + k)
    recorder.flush()
    cut = file.read_bytes()  # as a kill leaves it
    recorder.close()
    file.write_bytes(cut)
    expected = [(topic, when, plain(message)) for topic, when, message in read_messages(file)]
    assert recover(file)
    assert [(topic, when, plain(message)) for topic, when, message in read_messages(file)] == expected
    with file.open("rb") as stream:
        channels = make_reader(stream).get_summary().channels.values()
    depths = [yaml.safe_load(channel.metadata["offered_qos_profiles"])[0]["depth"] for channel in channels]
    assert depths == list(range(1, len(expected) + 1))


def test_recover_leaves_complete_and_growing_files_alone(tmp_path: Path) -> None:
    write_numbers(tmp_path / "complete.mcap", 3)
    content = (tmp_path / "complete.mcap").read_bytes()
    assert not recover(tmp_path / "complete.mcap")
    assert (tmp_path / "complete.mcap").read_bytes() == content
    recorder = McapRecorder(tmp_path / "growing.mcap")
    recorder.add_topic("/x", "std_msgs/msg/Float64")
    recorder.write("/x", serialize_message(Float64()), T0)
    assert not recover(tmp_path / "growing.mcap")
    recorder.write("/x", serialize_message(Float64()), T0 + 1.0)
    recorder.close()
    assert len(numbers(tmp_path / "growing.mcap")) == 2


@pytest.mark.parametrize("content", [b"", b"not MCAP at all, but text"])
def test_what_is_not_mcap_is_refused_or_empty(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "run.mcap"
    file.write_bytes(content)
    if content:
        with pytest.raises(ConfigError, match="must be an MCAP file"):
            numbers(file)
    else:  # killed between creating the file and the first byte
        assert numbers(file) == []
    with pytest.raises(ConfigError, match="must be readable"):
        numbers(tmp_path / "missing.mcap")


def test_a_killed_process_loses_at_most_a_second(tmp_path: Path) -> None:
    file = tmp_path / "run.mcap"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "writing\n"
        time.sleep(1.8)
        killed_at = time.time()
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=10)
    finally:
        writer.kill()
    times = [when for _, when, _ in read_messages(file)]
    assert len(times) > 100
    assert killed_at - times[-1] < 1.0
    found = numbers(file)
    assert found == [float(k) for k in range(len(found))]
    assert recover(file)
    assert [read.ros_msg.data for read in read_ros2_messages(str(file))] == found
