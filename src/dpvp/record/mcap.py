"""MCAP: a run on disk, written so that Foxglove and `ros2 bag` read it and a kill loses half a second at most.

Messages are kept as the CDR bytes that came over the wire. Chunks are closed and handed to the operating system at
least every `FLUSH_EVERY` seconds; what is in the file is then safe from a kill -9, though not from a power cut. A file
that was cut off has no index: `read_messages` reads it all the same and `recover` gives it one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, KeysView, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import lz4.frame
import yaml
import zstandard
from mcap.exceptions import InvalidMagic
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.well_known import MessageEncoding, Profile, SchemaEncoding
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory

from dpvp import __version__
from dpvp.errors import ConfigError, EnvironmentProblem, MessageError

log = logging.getLogger(__name__)

FLUSH_EVERY = 0.5  # s, longest time that a message stays in memory while others arrive
_MAGIC = b"\x89MCAP0\r\n"
_FOREVER = (("sec", 9223372036), ("nsec", 854775807))  # how ROS writes an infinite duration
_PRIMITIVE = re.compile(r"(bool|byte|char|w?string|float32|float64|u?int(8|16|32|64))")
_FIELD = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]", re.MULTILINE)
_LARGEST_RECORD = 1 << 26  # bytes, also of what a chunk holds when it is unpacked: a few kB can be gigabytes of zeros
_LARGEST_SCHEMA = 1 << 17  # bytes
_ARRAY = re.compile(rb"^\s*\S*\[([^\[\]\s]*)\](?=\s)", re.MULTILINE)  # the size of an array in a definition
_SENSIBLE = re.compile(rb"(?:<=)?(?:[1-9]\d{0,3})?")  # four billion elements of no bytes each would be in any message


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


def read_messages(file: Path, wanted: Callable[[str], bool] = bool) -> Iterator[tuple[str, float, Any]]:
    """Yield (topic, log time in s, decoded message) in the order of the file, up to where it was cut off.

    Messages that are not what their channel says are left out, which is logged once for a topic.

    Args:
        file: an MCAP file with ROS 2 messages; it may still be growing.
        wanted: tells by the full name of a topic whether its messages are; decoding them is what takes long.

    Raises:
        ConfigError: there is no such file or it is not MCAP.
    """
    decoder, channels, spoiled = _Decoder(), dict[int, Channel](), set[str]()
    with _open(file) as stream:
        for record in _whole_records(stream, file):
            if isinstance(record, Schema):
                decoder.learn(record)
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels.get(record.channel_id)
                if channel is None or not wanted(channel.topic):
                    continue
                try:
                    message = decoder.decode(channel, record.data)
                except MessageError as error:
                    if channel.topic not in spoiled:
                        log.warning("%s: messages on %s that cannot be read: %s", file, channel.topic, error)
                    spoiled.add(channel.topic)
                    continue
                if message is not None:
                    yield channel.topic, record.log_time * 1e-9, message


class _Decoder:
    """Decodes by the definitions in the file, of which it believes only those that cannot ask for endless memory."""

    def __init__(self) -> None:
        self._factory, self._schemas = DecoderFactory(), dict[int, Schema]()

    def learn(self, schema: Schema) -> None:
        self._schemas.setdefault(schema.id, schema)

    def decode(self, channel: Channel, data: bytes) -> Any:
        """Return the message, None if it is of no kind that we read; MessageError if it is not what it should be."""
        schema = self._schemas.get(channel.schema_id)
        if schema is None:
            return None
        sizes = _ARRAY.findall(schema.data) if len(schema.data) <= _LARGEST_SCHEMA else [b"?"]
        if not all(map(_SENSIBLE.fullmatch, sizes)):
            raise MessageError(f"definition of {schema.name!r} is too long or has arrays of no sensible size")
        try:
            decode = self._factory.decoder_for(channel.message_encoding, schema)
            return None if decode is None else decode(data)
        except Exception as error:  # the decoder has no common root for what it raises
            raise MessageError(f"{schema.name!r}: {type(error).__name__}: {error}") from None


def recover(file: Path) -> bool:
    """Rewrite a file that was cut off as a complete one that holds every whole message.

    Returns:
        True if the file was rewritten, False if it was complete or is still being recorded.

    Raises:
        ConfigError: there is no such file or it is not MCAP.
    """
    with _open(file) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _is_complete(stream):
            return False
        part = file.with_name(file.name + ".part")
        with part.open("wb") as output:
            _copy(_whole_records(stream, file), Writer(output))
            output.flush()
            os.fsync(output.fileno())
        part.replace(file)
    log.info("%s had been cut off and is complete again", file)
    return True


def _copy(records: Iterator[McapRecord], writer: Writer) -> None:
    """Write schemas, channels, messages and metadata anew, with an index; ids may change."""
    schemas, channels = {0: 0}, dict[int, int]()
    writer.start(Profile.ROS2, f"dpvp {__version__}")
    for record in records:
        if isinstance(record, Schema) and record.id not in schemas:
            schemas[record.id] = writer.register_schema(record.name, record.encoding, record.data)
        elif isinstance(record, Channel) and record.id not in channels:
            schema = schemas.get(record.schema_id, 0)
            encoding = record.message_encoding
            channels[record.id] = writer.register_channel(record.topic, encoding, schema, dict(record.metadata))
        elif isinstance(record, Message):
            if (channel := channels.get(record.channel_id)) is not None:
                writer.add_message(channel, record.log_time, record.data, record.publish_time, record.sequence)
        elif isinstance(record, Metadata):
            writer.add_metadata(record.name, dict(record.metadata))
    writer.finish()


def _open(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise ConfigError(file, "(file)", file.name, f"must be readable: {error.strerror}") from None


def _is_complete(stream: IO[bytes]) -> bool:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - len(_MAGIC)))
    complete = size > len(_MAGIC) and stream.read() == _MAGIC
    stream.seek(0)
    return complete


def _whole_records(stream: IO[bytes], file: Path) -> Iterator[McapRecord]:
    """Yield records up to the end or to the first that is not whole; those of a chunk in place of it."""
    source = _Bounded(stream)
    records = iter(
        StreamReader(source, validate_crcs=True, emit_chunks=True, record_size_limit=_LARGEST_RECORD).records
    )
    begun = False
    while True:
        try:
            record = next(records)
            inside = breakup_chunk(_unpacked(record), validate_crc=True) if isinstance(record, Chunk) else [record]
        except StopIteration:
            return
        except Exception as error:  # a torn record raises whatever its numbers lead to
            if isinstance(error, InvalidMagic) and not begun:
                raise ConfigError(file, "(content)", file.name, "must be an MCAP file") from None
            log.warning("%s ends early (%s); everything before is used", file, error or type(error).__name__)
            return
        begun = True
        yield from inside
        if isinstance(record, Footer):
            return


class _Bounded:
    """A file from which nobody can ask for more than there is: lengths are part of what may be torn."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, length: int) -> bytes:
        size = os.fstat(self._stream.fileno()).st_size  # as of now: the file may be growing
        return self._stream.read(min(length, max(size - self._stream.tell(), 0)))


def _unpacked(chunk: Chunk) -> Chunk:
    """Return a chunk with its records as they are, of at most `_LARGEST_RECORD` bytes."""
    if chunk.uncompressed_size > _LARGEST_RECORD:
        raise ValueError(f"a chunk holds more than {_LARGEST_RECORD} bytes")
    most = chunk.uncompressed_size + 1  # whatever the frame says of itself
    if chunk.compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(chunk.data) as packed:
            data = packed.read(most)
    elif chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, most)
    else:
        data = chunk.data
    if len(data) != chunk.uncompressed_size:
        raise ValueError(f"a chunk of {chunk.uncompressed_size} bytes does not hold as many")
    return replace(chunk, compression="", data=data)
