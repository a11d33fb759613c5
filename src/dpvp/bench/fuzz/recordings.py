"""What a run leaves: recordings, by themselves and in their folder, and metrics.json."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from dpvp.bench.fuzz.format import Format
from dpvp.bench.fuzz.mutation import INTEGERS, damaged, mutated_json, odd_number
from dpvp.record.mcap import McapRecorder
from dpvp.record.motion import read_motion
from dpvp.record.recording import read_messages, recover
from dpvp.record.report import METRICS, RECORDING, SCENARIO, load_run, read_run
from dpvp.scenario import load_scenario

SCENARIO_NAMES = ("kuka_reach", "leg_track", "quadruped_walk")
T0 = 1_790_000_000.0  # s since 1970
METRICS_TEXT = '{"scenario": "kuka_reach", "success": true, "goal": [0.5, 0.1, 0.6], "duration_s": 5.0}'
TOPICS = ("/joint_states", "/estimator_node/sensor", "/mpc_node/active_goal", "/mpc_node/plan_ms", "/diagnostics")
NEW_TYPES = ("string x", "float64[4000000000] x", "Nothing x", "float64[] x\n" * 2000, "uint8[0] x", "# \n")


def formats() -> dict[str, Callable[[], Format]]:
    """Return what makes each of these formats, by name."""
    return {"recording": _recording, "run": _run, "metrics": _metrics}


def record(file: Path, name: str, steps: int = 12) -> None:
    """Write a short recording of scenario `name` with each message that the reports read."""
    from dpvp.ros.samples import samples
    from dpvp.ros.wire import encode

    scenario = load_scenario(name)
    with McapRecorder(file) as recorder:
        for step in range(steps):
            for topic, message in samples(scenario, 0.05 * step):
                package = type(message).__module__.partition(".")[0]
                recorder.add_topic(topic, f"{package}/msg/{type(message).__name__}")
                recorder.write(topic, encode(message), T0 + 0.05 * step)
            if step == steps // 2:
                recorder.flush()


def _seed(where: Path, name: str) -> bytes:
    file = where / f"seed_{name}.mcap"
    if not file.exists():
        record(file, name)
    return file.read_bytes()


class _Spoiler:
    """Draws spoiled recordings; the seeds are written when they are first needed."""

    def __init__(self) -> None:
        self._seeds: list[bytes] = []

    def __call__(self, rng: np.random.Generator) -> bytes:
        if not self._seeds:
            with tempfile.TemporaryDirectory() as folder:
                self._seeds = [_seed(Path(folder), name) for name in SCENARIO_NAMES]
        chosen, other = rng.choice(len(self._seeds), 2)
        if rng.random() < 0.4:
            return damaged(rng, self._seeds[chosen], self._seeds[other])
        return _rebuilt(rng, self._seeds[chosen])


def _recording() -> Format:
    def read(content: bytes, where: Path) -> None:
        file = where / RECORDING
        file.write_bytes(content)
        before = [(topic, t) for topic, t, _ in read_messages(file)]
        recover(file)
        after = [(topic, t) for topic, t, _ in read_messages(file)]
        assert after == before, "mending lost messages"

    return Format(".mcap", _Spoiler(), read)


def _run() -> Format:
    def read(content: bytes, where: Path) -> None:
        name = SCENARIO_NAMES[len(content) % len(SCENARIO_NAMES)]
        load_scenario(name).save(where / SCENARIO)
        (where / RECORDING).write_bytes(content)
        read_run(where)[0].summary()
        read_motion(where)

    return Format(".mcap", _Spoiler(), read)


def _metrics() -> Format:
    def read(content: bytes, where: Path) -> None:
        if not (where / SCENARIO).exists():
            load_scenario("leg_track").save(where / SCENARIO)
            record(where / RECORDING, "leg_track", 1)
        (where / METRICS).write_bytes(content)
        load_run(where)

    return Format(".json", partial(mutated_json, text=METRICS_TEXT), read)


def _rebuilt(rng: np.random.Generator, source: bytes) -> bytes:
    """Write a recording anew, with right checksums, after records in it were spoiled."""
    records = [r for r in StreamReader(io.BytesIO(source)).records if isinstance(r, (Schema, Channel, Message))]
    for _ in range(int(rng.integers(1, 4))):
        _spoil(rng, records[rng.integers(len(records))])
    output = io.BytesIO()
    kinds = (CompressionType.ZSTD, CompressionType.LZ4, CompressionType.NONE)
    writer = Writer(output, compression=kinds[rng.integers(3)], chunk_size=int(rng.choice((64, 4096, 2**20))))
    writer.start("ros2", "fuzz")
    ids: dict[tuple[str, int], int] = {}
    for record in records:
        if isinstance(record, Schema):
            ids["schema", record.id] = writer.register_schema(record.name, record.encoding, record.data)
        elif isinstance(record, Channel):
            schema = ids.get(("schema", record.schema_id), record.schema_id)
            metadata = dict(record.metadata)
            new = writer.register_channel(record.topic, record.message_encoding, schema, metadata)
            ids["channel", record.id] = new
        else:
            channel = ids.get(("channel", record.channel_id), record.channel_id)
            writer.add_message(channel, record.log_time, record.data, record.publish_time, record.sequence)
    writer.finish()
    return output.getvalue()


def _spoil(rng: np.random.Generator, record: Any) -> None:
    if isinstance(record, Schema):
        if rng.random() < 0.5:
            record.data = damaged(rng, record.data)
        else:
            lines = record.data.decode(errors="replace").split("\n")
            lines[rng.integers(len(lines))] = NEW_TYPES[rng.integers(len(NEW_TYPES))]
            record.data = "\n".join(lines).encode()
        if rng.random() < 0.1:
            record.name = ("", "x", "std_msgs/msg/Float64", "sensor_msgs/msg/JointState")[rng.integers(4)]
    elif isinstance(record, Channel):
        match int(rng.integers(4)):
            case 0:
                record.schema_id = int(rng.integers(0, 9))
            case 1:
                record.message_encoding = ("", "json", "cdr")[rng.integers(3)]
            case _:
                record.topic = TOPICS[rng.integers(len(TOPICS))]
    else:
        match int(rng.integers(4)):
            case 0:
                record.channel_id = int(rng.integers(0, 2**16))
            case 1:
                record.log_time = INTEGERS[rng.integers(len(INTEGERS))]
            case 2:
                data = bytearray(record.data)
                at = 4 + 8 * int(rng.integers(max(1, (len(data) - 4) // 8)))
                data[at : at + 8] = np.float64(odd_number(rng)).tobytes()
                record.data = bytes(data)
            case _:
                record.data = damaged(rng, record.data)
