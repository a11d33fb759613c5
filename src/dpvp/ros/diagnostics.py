"""`/diagnostics`: how a part of a node is, as monitors read it."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


def status_message(name: str, robot: str, level: bytes, text: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """Return how the part called `name` (`mpc_node: loop`) is; `level` as in `DiagnosticStatus`, `text` for people."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, hardware_id=robot, message=text, values=pairs)


def diagnostics_message(status: DiagnosticStatus, stamp: Time) -> DiagnosticArray:
    """Return what goes out on `/diagnostics` at `stamp`."""
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message
