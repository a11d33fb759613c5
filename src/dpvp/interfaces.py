"""The message packages that dpvp speaks and that not every ROS installation has: which they are, field for field.

What goes over the wire is a sequence of fields without names: a package with others would be misread, not refused.
"""

from __future__ import annotations

import importlib
from operator import attrgetter
from typing import Any

# for a Python of its own: ends well, or with the problem as its last words
CHECK = "import sys; from dpvp.interfaces import interface_problem; sys.exit(interface_problem({!r}) or 0)"

_LFC = "linear_feedback_controller_msgs"
_CM = "controller_manager_msgs"
_NAME = {"name": "string"}
_OK = {"ok": "boolean"}

# package -> name as Python has it (a service is its two halves) -> field -> type, in the order of the wire
INTERFACES: dict[str, dict[str, dict[str, str]]] = {
    _LFC: {
        "msg.Contact": {
            "active": "boolean",
            "name": "string",
            "wrench": "geometry_msgs/Wrench",
            "pose": "geometry_msgs/Pose",
        },
        "msg.Sensor": {
            "header": "std_msgs/Header",
            "base_pose": "geometry_msgs/Pose",
            "base_twist": "geometry_msgs/Twist",
            "joint_state": "sensor_msgs/JointState",
            "contacts": f"sequence<{_LFC}/Contact>",
        },
        "msg.Control": {
            "header": "std_msgs/Header",
            "feedback_gain": "std_msgs/Float64MultiArray",
            "feedforward": "std_msgs/Float64MultiArray",
            "initial_state": f"{_LFC}/Sensor",
        },
    },
    _CM: {
        "msg.ChainConnection": {"name": "string", "reference_interfaces": "sequence<string>"},
        "msg.ControllerState": {
            "name": "string",
            "state": "string",
            "type": "string",
            "is_async": "boolean",
            "update_rate": "uint16",
            "claimed_interfaces": "sequence<string>",
            "required_command_interfaces": "sequence<string>",
            "required_state_interfaces": "sequence<string>",
            "is_chainable": "boolean",
            "is_chained": "boolean",
            "exported_state_interfaces": "sequence<string>",
            "reference_interfaces": "sequence<string>",
            "chain_connections": f"sequence<{_CM}/ChainConnection>",
        },
        "srv.SwitchController.Request": {
            "activate_controllers": "sequence<string>",
            "deactivate_controllers": "sequence<string>",
            "strictness": "int32",
            "activate_asap": "boolean",
            "timeout": "builtin_interfaces/Duration",
        },
        "srv.SwitchController.Response": {"ok": "boolean", "message": "string"},
        "srv.LoadController.Request": _NAME,
        "srv.LoadController.Response": _OK,
        "srv.UnloadController.Request": _NAME,
        "srv.UnloadController.Response": _OK,
        "srv.ConfigureController.Request": _NAME,
        "srv.ConfigureController.Response": _OK,
        "srv.ListControllers.Request": {},
        "srv.ListControllers.Response": {"controller": f"sequence<{_CM}/ControllerState>"},
    },
}


def interface_problem(package: str) -> str:
    """What is wrong with one of `INTERFACES`, as this Python imports it; empty if nothing is."""
    for name, expected in INTERFACES[package].items():
        kind, _, rest = name.partition(".")
        try:
            module = importlib.import_module(f"{package}.{kind}")
        except ImportError as error:
            return f"{package} cannot be imported: {error}"
        found = _fields(module, rest)
        if found != expected:
            return f"{package}/{rest} in {module.__file__} has fields {found}, dpvp needs {expected}"
    return ""


def how_to_get(package: str) -> str:
    """The commands that install one of `INTERFACES`."""
    return (
        "build it with `make msgs` (python -m dpvp.ros.interfaces.build), or on a ROS machine "
        f"`apt install ros-jazzy-{package.replace('_', '-')}` and source /opt/ros/jazzy/setup.bash"
    )


def _fields(module: Any, name: str) -> dict[str, str] | None:
    try:
        return dict(attrgetter(name)(module).get_fields_and_field_types())
    except AttributeError:
        return None
