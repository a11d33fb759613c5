"""controllers.yaml as it follows from robot.yaml: which joints, in which order, with which gains, who adds gravity."""

from __future__ import annotations

from typing import Any

import yaml

from dpvp.description import Mode
from dpvp.robot import Robot
from dpvp.ros.controllers import DAMPING, ESTIMATOR, FEEDBACK

_HEAD = """\
# Controllers of {robot}; every list of joints is in pinocchio's order, because linear_feedback_controller sorts its
# joints that way but keeps gains and interfaces as they are written. Until the first control arrives it holds the
# posture with p [Nm/rad] and d [Nm s/rad]; damping_controller takes over when the chain above fails: tau = -d v.
"""
_HARDWARE = """\
# What the real {robot} needs on top of controllers.yaml. Load it after that file. linear_feedback_controller clamps no
# torque, and few drivers do: ros2_control does, with the limits of the URDF.
"""
TYPES = {
    "joint_state_broadcaster": "joint_state_broadcaster/JointStateBroadcaster",
    ESTIMATOR: f"{FEEDBACK}/JointStateEstimator",
    FEEDBACK: f"{FEEDBACK}/LinearFeedbackController",
    DAMPING: "joint_trajectory_controller/JointTrajectoryController",
}


def controllers_yaml(robot: Robot) -> str:
    """Return the controllers for mode mujoco, and for all others in which effort means the same."""
    names = list(robot.joint_names)
    states = [f"{name}/{kind}" for kind in ("position", "velocity", "effort") for name in names]
    gains = list(zip(names, robot.hold.stiffness.tolist(), robot.hold.damping.tolist(), strict=True))
    manager: dict[str, Any] = {"update_rate": 1000} | {name: {"type": kind} for name, kind in TYPES.items()}
    for name in (ESTIMATOR, FEEDBACK):
        manager[name]["fallback_controllers"] = [DAMPING]
    feedback = {
        "moving_joint_names": names,
        **{name: {"p": stiffness, "d": damping} for name, stiffness, damping in gains},
        "chainable_controller": {"command_interfaces": [f"{name}/effort" for name in names]},
        "robot_has_free_flyer": robot.floating,
        "remove_gravity_compensation_effort": _driver_adds_gravity(robot, "mujoco"),
        "joint_velocity_filter_coefficient": 0.9,
        "pd_to_lf_transition_duration": 0.2,
    }
    estimator = {"state_interfaces": states, "command_interfaces": [f"{FEEDBACK}/{state}" for state in states]}
    damping = {
        "joints": names,
        "command_interfaces": ["effort"],
        "state_interfaces": ["position", "velocity"],
        # without a trajectory and with p = 0 only the damping is left
        "gains": {name: {"p": 0.0, "i": 0.0, "d": damping} for name, _, damping in gains},
    }
    nodes = {
        "controller_manager": manager,
        "joint_state_broadcaster": {"joints": names, "interfaces": ["position", "velocity", "effort"]},
        ESTIMATOR: estimator,
        FEEDBACK: feedback,
        DAMPING: damping,
    }
    return _HEAD.format(robot=robot.name) + _dump(nodes)


def hardware_yaml(robot: Robot) -> str:
    """Return what mode hardware changes: torques are clamped, and the driver may add gravity."""
    nodes = {
        "controller_manager": {"enforce_command_limits": True},
        FEEDBACK: {"remove_gravity_compensation_effort": _driver_adds_gravity(robot, "hardware")},
    }
    return _HARDWARE.format(robot=robot.name) + _dump(nodes)


def _driver_adds_gravity(robot: Robot, mode: Mode) -> bool:
    return robot.effort[mode] == "over_gravity"


def _dump(nodes: dict[str, dict[str, Any]]) -> str:
    content = {f"/**/{name}": {"ros__parameters": parameters} for name, parameters in nodes.items()}
    return yaml.dump(content, sort_keys=False, width=110, Dumper=_Plain)


class _Plain(yaml.SafeDumper):
    """Lists on one line, no anchors: the parser of ROS knows none."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)
