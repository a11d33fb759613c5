"""MCAP: a run on disk, written so that Foxglove and `ros2 bag` read it and a kill loses half a second at most.

Messages are kept as the CDR bytes that came over the wire. Chunks are closed and handed to the operating system at
least every `FLUSH_EVERY` seconds; what is in the file is then safe from a kill -9, though not from a power cut.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import time
from collections.abc import Callable, KeysView, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from mcap.well_known import MessageEncoding, Profile, SchemaEncoding
from mcap.writer import Writer

from dpvp import __version__
from dpvp.errors import ConfigError, EnvironmentProblem, MessageError

log = logging.getLogger(__name__)

FLUSH_EVERY = 0.5  # s, longest time that a message stays in memory while others arrive
_FOREVER = (("sec", 9223372036), ("nsec", 854775807))  # how ROS writes an infinite duration
_PRIMITIVE = re.compile(r"(bool|byte|char|w?string|float32|float64|u?int(8|16|32|64))")
_FIELD = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]", re.MULTILINE)


@dataclass(frozen=True)
class OfferedQos:
    """What one publisher of a topic offers, in ROS's own words, so that `ros2 bag play` can offer the same."""

    reliability: str = "reliable"
    durability: str = "volatile"
    history: str = "keep_last"
    depth: int = 10

    def as_rosbag2(self) -> dict[str, Any]:
        """Return the mapping that rosbag2 (Jazzy and later) keeps in a channel's metadata."""
        return {
            "history": self.history,
            "depth": self.depth,
            "reliability": self.reliability,
            "durability": self.durability,
            "deadline": dict(_FOREVER),
            "lifespan": dict(_FOREVER),
            "liveliness": "automatic",
            "liveliness_lease_duration": dict(_FOREVER),
            "avoid_ros_namespace_conventions": False,
        }


@lru_cache
def schema_text(type_name: str) -> str:
    """Return the definition of `type_name` (`sensor_msgs/msg/JointState`) followed by all it depends on.

    The text is that of the .msg files of the installed message packages.

    Raises:
        EnvironmentProblem: a package that the type needs is not installed.
    """
    texts = {type_name: _definition(type_name)}
    waiting = [type_name]
    while waiting:
        outer = waiting.pop()
        for found in _FIELD.findall(texts[outer]):
            if _PRIMITIVE.fullmatch(found):
                continue
            package, name = found.split("/")[0] if "/" in found else outer.split("/")[0], found.split("/")[-1]
            inner = f"{package}/msg/{name}"
            if inner not in texts:
                texts[inner] = _definition(inner)
                waiting.append(inner)
    rest = [f"{'=' * 80}\nMSG: {name.replace('/msg/', '/')}\n{text}" for name, text in list(texts.items())[1:]]
    return "\n".join([texts[type_name], *rest])


def _definition(type_name: str) -> str:
    package, _, name = type_name.partition("/msg/")
    prefixes = [*(p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p), sys.prefix]
    files = [Path(prefix) / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes]
    for file in files:
        if file.is_file():
            return file.read_text(encoding="utf-8").replace("\r\n", "\n")
    looked = ", ".join(str(file) for file in files)
    raise EnvironmentProblem(f"message type {type_name} is not installed (looked for {looked}); install {package}")


class McapRecorder:
    """Writes one MCAP file; holds a lock on it, so that nobody takes a file that is still growing for a broken one."""

    def __init__(
        self, file: Path, flush_every: float = FLUSH_EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create `file`.

        Args:
            file: must not exist: a recording is never overwritten.
            flush_every: longest time between two chunks while messages arrive, s.
            clock: gives seconds that never go back.

        Raises:
            ConfigError: the file exists or cannot be created.
        """
        try:
            self._stream = file.open("xb")
        except OSError as error:
            raise ConfigError(file, "(file)", file.name, f"must be new and writable ({error.strerror})") from None
        fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._flush_every, self._clock = flush_every, clock
        self._writer = Writer(self._stream)
        self._writer.start(Profile.ROS2, f"dpvp {__version__}")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self.flush()

    def __enter__(self) -> McapRecorder:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @property
    def topics(self) -> KeysView[str]:
        """Topics announced so far."""
        return self._channels.keys()

    def add_topic(self, topic: str, type_name: str, qos: Sequence[OfferedQos] = (), type_hash: str = "") -> None:
        """Announce `topic`; nothing happens if that was done before.

        Args:
            topic: full name, `/joint_states`.
            type_name: `sensor_msgs/msg/JointState`.
            qos: what its publishers offer.
            type_hash: ROS's hash of the type (`RIHS01_...`), if known.
        """
        if topic in self._channels:
            return
        if type_name not in self._schemas:
            text = schema_text(type_name).encode()
            self._schemas[type_name] = self._writer.register_schema(type_name, SchemaEncoding.ROS2, text)
        offers = yaml.safe_dump([one.as_rosbag2() for one in qos], sort_keys=False) if qos else ""
        metadata = {"offered_qos_profiles": offers, "topic_type_hash": type_hash}
        schema = self._schemas[type_name]
        self._channels[topic] = self._writer.register_channel(topic, MessageEncoding.CDR, schema, metadata)
        self._counts[topic] = 0

    def write(self, topic: str, cdr: bytes, log_time: float, publish_time: float | None = None) -> None:
        """Append one message.

        Args:
            topic: announced by `add_topic`.
            cdr: the serialised message.
            log_time: when it was received, s since 1970.
            publish_time: when it was sent, s since 1970; `log_time` if unknown.
        """
        if topic not in self._channels:
            raise MessageError(f"topic {topic} was not announced with add_topic; known: {', '.join(self._channels)}")
        logged = round(log_time * 1e9)
        published = logged if publish_time is None else round(publish_time * 1e9)
        self._writer.add_message(self._channels[topic], logged, cdr, published, self._counts[topic])
        self._counts[topic] += 1
        if self._clock() - self._flushed >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """End the chunk in progress and hand everything to the operating system; call it when messages pause."""
        self._writer.flush()
        self._flushed = self._clock()

    def close(self) -> None:
        """Write the index and close; harmless when called again."""
        if not self._stream.closed:
            self._writer.finish()
            self._stream.close()
