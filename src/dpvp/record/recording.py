"""A recording as it is read back, whatever became of it: one that was cut off has no index, and bytes may be torn.

`read_messages` reads it all the same and `recover` gives it an index.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import lz4.frame
import zstandard
from mcap.exceptions import InvalidMagic
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.well_known import Profile
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory

from dpvp import __version__
from dpvp.errors import ConfigError, MessageError

log = logging.getLogger(__name__)

_MAGIC = b"\x89MCAP0\r\n"
_LARGEST_RECORD = 1 << 26  # bytes, also of what a chunk holds when it is unpacked: a few kB can be gigabytes of zeros
_LARGEST_SCHEMA = 1 << 17  # bytes
_ARRAY = re.compile(rb"^\s*\S*\[([^\[\]\s]*)\](?=\s)", re.MULTILINE)  # the size of an array in a definition
_SENSIBLE = re.compile(rb"(?:<=)?(?:[1-9]\d{0,3})?")  # four billion elements of no bytes each would be in any message


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
