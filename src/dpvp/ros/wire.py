"""Messages as the bytes that go over the wire."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

from dpvp.errors import MessageError


def encode(message: Any) -> bytes:
    """Return the CDR bytes of a message."""
    return bytes(serialize_message(message))


def decode(raw: bytes, kind: type) -> Any:
    """Return the message of type `kind` in CDR bytes.

    Raises:
        MessageError: they are those of something else.
    """
    try:
        return deserialize_message(raw, kind)
    except Exception as error:  # rmw has no common root for what it raises
        text = " ".join(str(error).split())[:200]
        raise MessageError(f"{len(raw)} bytes are no {kind.__name__}: {text}") from None
