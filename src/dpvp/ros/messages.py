"""Messages that are not everywhere: those of linear_feedback_controller, without which nothing works, and of tf2.

And messages as the bytes that go over the wire.
"""

from __future__ import annotations

from typing import Any

from dpvp.environment import require_messages
from dpvp.errors import MessageError

require_messages()

from linear_feedback_controller_msgs.msg import Contact, Control, Sensor  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # ROS from pip has no tf2
    TFMessage = None

__all__ = ["Contact", "Control", "Sensor", "TFMessage", "decode", "encode"]


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
