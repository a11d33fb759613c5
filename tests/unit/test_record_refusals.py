"""Recordings that were spoiled, by chance or on purpose: what is good in them is read, and nothing else happens."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import Chunk
from mcap.writer import CompressionType, Writer

pytest.importorskip("rclpy", reason="serialises messages with ROS")

from rclpy.serialization import serialize_message
from std_msgs.msg import Float64, Float64MultiArray, String

from dpvp.errors import ConfigError
from dpvp.record.mcap import schema_text
from dpvp.record.motion import read_motion
from dpvp.record.recording import read_messages, recover
from dpvp.record.report import METRICS, load_run, read_run
from dpvp.scenario import Scenario, load_scenario
from recordings import Recording

FLOAT = "std_msgs/msg/Float64"
LARGE = 1 << 27  # bytes; twice of what is believed


@pytest.fixture(scope="module")
def leg() -> Scenario:
    return load_scenario("leg_track", ("artifact=null", "planner.terminal.kind=quadratic", "planner.guesses=[hold]"))


def written(file: Path, fill: Callable[[Writer], None], compression: CompressionType = CompressionType.ZSTD) -> Path:
    with file.open("wb") as stream:
        writer = Writer(stream, compression=compression)
        writer.start("ros2", "test")
        fill(writer)
        writer.finish()
    return file


def add(writer: Writer, topic: str, message: object, text: str = "", name: str = FLOAT) -> None:
    schema = writer.register_schema(name, "ros2msg", (text or schema_text(name)).encode())
    channel = writer.register_channel(topic, "cdr", schema)
    writer.add_message(channel, 1, serialize_message(message), 1)


def found(file: Path) -> list[str]:
    return [topic for topic, _, _ in read_messages(file)]


@pytest.mark.parametrize("compression", list(CompressionType))
def test_every_compression_is_read(tmp_path: Path, compression: CompressionType) -> None:
    file = written(tmp_path / "run.mcap", lambda writer: add(writer, "/x", Float64(data=2.0)), compression)
    assert [message.data for _, _, message in read_messages(file)] == [2.0]


@pytest.mark.parametrize("claimed", [LARGE, 1000, 2**63])
@pytest.mark.parametrize("sized", [True, False])
def test_a_few_bytes_that_unpack_to_many_are_not_unpacked(tmp_path: Path, claimed: int, sized: bool) -> None:
    block, packed = bytes(1 << 20), io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(packed, size=LARGE if sized else -1, closefd=False) as writer:
        for _ in range(LARGE >> 20):
            writer.write(block)
    chunk = Chunk("zstd", packed.getvalue(), 0, 0, 0, claimed)
    builder = RecordBuilder()
    chunk.write(builder)
    whole = written(tmp_path / "run.mcap", lambda writer: add(writer, "/x", Float64()))
    content = whole.read_bytes()
    start = content.index(b"\x06")  # opcode of the first chunk
    whole.write_bytes(content[:start] + builder.end() + content[start:])
    assert found(whole) == []


@pytest.mark.parametrize(
    "text", ["float64[4000000000] data", "uint8[0] data", "uint8[99999] data", "Nobody data", "float64 data\n" * 20_000]
)
def test_definitions_that_ask_for_endless_memory_are_not_used(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(writer: Writer) -> None:
        add(writer, "/bad", Float64(), text, "x/msg/Bad")
        add(writer, "/bad", Float64(), text, "x/msg/Bad")
        add(writer, "/good", Float64())

    file = written(tmp_path / "run.mcap", fill)
    with caplog.at_level(logging.WARNING):
        assert found(file) == ["/good"]
    assert sum("/bad that cannot be read" in line for line in caplog.messages) == 1


def test_messages_of_nobody_are_left_out_and_recovery_does_without_them(tmp_path: Path) -> None:
    def fill(writer: Writer) -> None:
        add(writer, "/x", Float64())
        writer.add_message(77, 1, b"", 1)
        add(writer, "/x", Float64())

    file = written(tmp_path / "run.mcap", fill)
    assert found(file) == ["/x", "/x"]
    file.write_bytes(file.read_bytes()[:-1])
    assert recover(file)
    assert found(file) == ["/x", "/x"]


def test_a_record_that_claims_to_be_endless_ends_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "run.mcap", lambda writer: add(writer, "/x", Float64()), CompressionType.NONE)
    content = file.read_bytes()
    start = content.index(b"\x06")
    file.write_bytes(content[: start + 1] + (2**62).to_bytes(8, "little") + content[start + 9 :])
    assert found(file) == []


def spoiled_run(folder: Path, leg: Scenario) -> Path:
    """A run with a good state and a good goal among those of other robots and tasks and of no kind at all."""
    with Recording(folder, leg) as recording:
        recording.goal(leg.goal)
        recording.joints(0.0, [0.1, 0.2], [1.0, 1.0])
        recording.joints(0.1, [0.1, 0.2, 0.3], [1.0, 1.0, 1.0], ["a", "b", "c"])
        recording.joints(0.1, [0.1], [1.0], ["hip", "knee"])
        recording.goal([1.0, 2.0])
        recording.goal([float("nan"), 0.1, 0.1])
        recording.write("/left/joint_states", String(data="hello"))
        recording.write("/left/mpc_node/active_goal", String(data="hello"))
        recording.write("/left/mpc_node/plan_ms", Float64MultiArray(data=[1.0, 2.0]))
        recording.write("/left/diagnostics", Float64(data=1.0))
        recording.joints(0.2, [0.2, 0.3], [1.0, 1.0])
    return folder


def test_a_run_is_what_is_good_in_it(tmp_path: Path, leg: Scenario) -> None:
    folder = spoiled_run(tmp_path / "run", leg)
    metrics, series = read_run(folder)
    assert len(series.t) == 2
    assert metrics.summary()["goal"] == list(leg.goal)
    _, motion = read_motion(folder)
    assert motion.t.tolist() == [0.0, 0.2]


@pytest.mark.parametrize(
    "name", ["../../elsewhere", "a/b", "$\\frac{$", "x" * 1000, ["a"], {"a": 1}, "\x1b[2J", "", 5, None]
)
def test_names_in_metrics_are_names_or_are_not_used(tmp_path: Path, leg: Scenario, name: object) -> None:
    with Recording(tmp_path / "20261122-010203_walk", leg):
        pass
    folder = tmp_path / "20261122-010203_walk"
    (folder / METRICS).write_text(json.dumps({"scenario": name}), encoding="utf-8")
    assert load_run(folder).name == "walk"
    (folder / METRICS).write_text(100_000 * "[", encoding="utf-8")
    assert load_run(folder).name == "walk"


@pytest.mark.parametrize("robot", ["{name: ../../../no/robot}", "{name: ~nobody_here/x}", "1", "{name: /dev/null/}"])
def test_a_run_folder_whose_scenario_leads_elsewhere(tmp_path: Path, leg: Scenario, robot: str) -> None:
    with Recording(tmp_path / "run", leg):
        pass
    file = tmp_path / "run" / "scenario.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["robot"]
    file.write_text(f"{yaml.safe_dump(content)}robot: {robot}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="robot"):
        load_run(tmp_path / "run")
