"""Between messages and values. Joint order, time and array layout are converted here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Pose, PoseStamped, Twist
from std_msgs.msg import Float64MultiArray, MultiArrayDimension
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dpvp.control.gate import Ruling
from dpvp.control.guard import check_state
from dpvp.control.onboard import joint_columns
from dpvp.control.states import LoopState, Reason
from dpvp.errors import GoalError, MessageError
from dpvp.plan import Array, Command, Plan, State
from dpvp.robot import Robot
from dpvp.ros.diagnostics import status_message
from dpvp.ros.messages import Contact, Control, Sensor
from dpvp.tasks.task import Task

NANOSECONDS = 1_000_000_000
POINT = (("x", "m"), ("y", "m"), ("z", "m"))  # layout of goals that are a place in the base frame


def seconds(stamp: Time) -> float:
    """Return a stamp in seconds."""
    return float(stamp.sec + stamp.nanosec / NANOSECONDS)


def stamp_of(t: float) -> Time:
    """Return the stamp of `t` seconds, to the nanosecond."""
    total = round(t * NANOSECONDS)
    return Time(sec=total // NANOSECONDS, nanosec=total % NANOSECONDS)


def state_of(robot: Robot, message: Sensor) -> State:
    """Return the state in a Sensor message, marked with its exact stamp.

    Raises:
        MessageError: joint names or their order differ from the robot's, arrays of the wrong length, NaN, also of
            a base that floats: the stock controller says so that it knows nothing of it. Another order of joints is
            refused although the names would let us sort: it is the controller's order, in which it will read the gains
            and efforts that we send back, and those carry no names.
    """
    joints = message.joint_state
    if tuple(joints.name) != robot.joint_names:
        known = "in another order" if sorted(joints.name) == sorted(robot.joint_names) else "not those of the robot"
        raise MessageError(
            f"joints of `sensor` are {known}: found {list(joints.name)}, expected {list(robot.joint_names)}; "
            "see moving_joint_names of linear_feedback_controller"
        )
    if len(joints.position) != robot.nu or len(joints.velocity) != robot.nu:
        raise MessageError(
            f"`sensor` has {len(joints.position)} positions and {len(joints.velocity)} velocities: "
            f"{robot.name} needs {robot.nu} of each"
        )
    if robot.floating and np.isnan(message.base_pose.position.x):
        raise MessageError(
            f"`sensor` knows nothing of {robot.base}, which floats: listen to estimator_node/sensor in its place"
        )
    x = check_state(robot, _full_state(robot, message))
    return State(seconds(message.header.stamp), x, message.header.stamp)


def _full_state(robot: Robot, message: Sensor) -> Array:
    """Return the (nx,) state in a Sensor message, unchecked; the base in front of the joints where it floats."""
    joints = message.joint_state
    if not robot.floating:
        return np.concatenate([joints.position, joints.velocity])
    place, turn, twist = message.base_pose.position, message.base_pose.orientation, message.base_twist
    pose = [place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w]
    rates = [twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z]
    return np.concatenate([pose, joints.position, rates, joints.velocity])


def fill_pose(pose: Pose, q: Array) -> None:
    """Write a place, m, and a quaternion xyzw, (7,), into `pose`."""
    place, turn = pose.position, pose.orientation
    place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = map(float, q)


def fill_twist(twist: Twist, v: Array) -> None:
    """Write a linear velocity, m/s, and an angular one, rad/s, (6,), into `twist`."""
    for part, values in ((twist.linear, v[:3]), (twist.angular, v[3:])):
        part.x, part.y, part.z = map(float, values)


def matrix_message(matrix: Array) -> Float64MultiArray:
    """Return a 2D array row-major, as linear_feedback_controller reads it."""
    rows, cols = matrix.shape
    message = Float64MultiArray()
    message.layout.dim = [
        MultiArrayDimension(label="rows", size=rows, stride=rows * cols),
        MultiArrayDimension(label="cols", size=cols, stride=cols),
    ]
    message.data = np.ascontiguousarray(matrix, dtype=np.float64).ravel()
    return message


def message_matrix(message: Float64MultiArray, name: str, shape: tuple[int, int]) -> Array:
    """Return the 2D array of a message.

    Raises:
        MessageError: it has not the `shape` that is needed.
    """
    found = tuple(dim.size for dim in message.layout.dim)
    if found != shape or len(message.data) != shape[0] * shape[1] or message.layout.data_offset:
        raise MessageError(f"control {name} has shape {found} with {len(message.data)} numbers: needs {shape}")
    return np.asarray(message.data, dtype=np.float64).reshape(shape)


def sensor_message(robot: Robot, t: float, q: Array, v: Array, effort: Array) -> Sensor:
    """Return the Sensor of the joints: (nu,) rad, rad/s, Nm; base fields are NaN, as the stock ones."""
    message = Sensor()
    message.header.stamp = stamp_of(t)
    fill_pose(message.base_pose, np.full(7, np.nan))
    fill_twist(message.base_twist, np.full(6, np.nan))
    joints = message.joint_state
    joints.header.stamp = message.header.stamp
    joints.name = list(robot.joint_names)
    joints.position, joints.velocity, joints.effort = q[-robot.nu :], v[-robot.nu :], effort
    return message


def control_message(robot: Robot, command: Command, now: Time, answered: Time) -> Control:
    """Return the Control of a checked command; of a floating base it has the place but no gains.

    Args:
        robot: gives the joint names.
        command: passed by `guard.check_command`, and by `left_to_joints`.
        now: time of sending.
        answered: stamp of the sensor message whose state the command is for.
    """
    message = Control()
    message.header.stamp = now
    message.feedback_gain = matrix_message(command.gain[:, joint_columns(robot)])
    message.feedforward = matrix_message(command.u0[:, None])
    initial = message.initial_state
    initial.header.stamp = answered
    initial.joint_state.header.stamp = answered
    initial.joint_state.name = list(robot.joint_names)
    q, v = np.split(command.x0, [robot.nq])
    initial.joint_state.position, initial.joint_state.velocity = q[-robot.nu :], v[-robot.nu :]
    initial.joint_state.effort = command.u0
    if robot.floating:
        fill_pose(initial.base_pose, q[:7])
        fill_twist(initial.base_twist, v[:6])
    initial.contacts = [
        Contact(name=foot, active=stands) for foot, stands in zip(robot.feet, command.stands, strict=False)
    ]
    return message


def command_of(robot: Robot, message: Control, valid_for: float) -> Command:
    """Return the command of a Control message.

    Raises:
        MessageError: joint names or their order differ from the robot's, or a shape is wrong. Gains and feed-forward
            carry no names, so that an order other than ours cannot be mended.
    """
    initial = message.initial_state.joint_state
    if tuple(initial.name) != robot.joint_names:
        raise MessageError(f"control is for joints {list(initial.name)}: expected {list(robot.joint_names)}")
    gain = np.zeros((robot.nu, robot.ndx))
    of_joints = message_matrix(message.feedback_gain, "feedback_gain", (robot.nu, 2 * robot.nu))
    gain[:, joint_columns(robot)] = of_joints
    u0 = message_matrix(message.feedforward, "feedforward", (robot.nu, 1))[:, 0]
    if len(initial.position) != robot.nu or len(initial.velocity) != robot.nu:
        raise MessageError(
            f"control initial_state has {len(initial.position)} positions and {len(initial.velocity)} velocities: "
            f"{robot.name} needs {robot.nu} of each"
        )
    t = seconds(message.initial_state.header.stamp)
    stands = tuple(bool(contact.active) for contact in message.initial_state.contacts)
    return Command(t, _full_state(robot, message.initial_state), u0, gain, t + valid_for, stands)


def ruling_message(ruling: Ruling, name: str, robot: str, values: Mapping[str, str]) -> DiagnosticStatus:
    """Return what the supervisor allows, as a status called `name` with more `values` for people."""
    levels = {LoopState.TRACK: DiagnosticStatus.OK, LoopState.FAULT: DiagnosticStatus.ERROR}
    said = {"state": ruling.state.name, "reason": ruling.reason.name, "detail": ruling.detail} | dict(values)
    level = levels.get(ruling.state, DiagnosticStatus.WARN)
    return status_message(name, robot, level, f"{ruling.state.name}: {ruling.text}", said)


def ruling_of(message: DiagnosticStatus) -> Ruling:
    """Return what the supervisor allows.

    Raises:
        MessageError: it names no state or reason that we know.
    """
    said = {item.key: item.value for item in message.values}
    try:
        return Ruling(LoopState[said["state"]], Reason[said["reason"]], said.get("detail", ""))
    except KeyError as error:
        raise MessageError(f"verdict of the supervisor: {error.args[0]} is no state, no reason or missing") from None


def trajectory_message(robot: Robot, plan: Plan, stamp: Time) -> JointTrajectory:
    """Return the planned trajectory; `effort` of a point is its feed-forward, that of the last node repeated."""
    message = JointTrajectory()
    message.header.stamp = stamp
    message.joint_names = list(robot.joint_names)
    for node, x in enumerate(plan.xs):
        after = round(node * plan.dt * NANOSECONDS)
        point = JointTrajectoryPoint(
            positions=x[robot.nq - robot.nu : robot.nq],
            velocities=x[-robot.nu :],
            effort=plan.us[min(node, plan.horizon - 1)],
            time_from_start=Duration(sec=after // NANOSECONDS, nanosec=after % NANOSECONDS),
        )
        message.points.append(point)
    return message


def goal_type(task: Task) -> type[Any]:
    """Return the type of message in which goals of `task` are sent: PoseStamped for points, else their numbers."""
    kind: type[Any] = PoseStamped if task.goal_layout == POINT else Float64MultiArray
    return kind


def goal_message(goal: Array, task: Task, frame: str, now: Time) -> PoseStamped | Float64MultiArray:
    """Return a goal of `task`: a point (3,), m, in `frame`, or numbers, labelled as the task calls them."""
    if goal_type(task) is Float64MultiArray:
        numbers = Float64MultiArray(data=goal)
        label = " ".join(f"{name}[{unit}]" for name, unit in task.goal_layout)
        numbers.layout.dim = [MultiArrayDimension(label=label, size=len(goal), stride=len(goal))]
        return numbers
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = now, frame
    message.pose.position.x, message.pose.position.y, message.pose.position.z = map(float, goal)
    message.pose.orientation.w = 1.0
    return message


def goal_of(message: PoseStamped | Float64MultiArray, frame: str) -> Array:
    """Return the goal in a message of `goal_type`, unchecked.

    Raises:
        GoalError: a point is given in another frame than `frame`; an empty frame means `frame`.
    """
    if isinstance(message, Float64MultiArray):
        return np.asarray(message.data, dtype=np.float64)
    given = message.header.frame_id
    if given not in ("", frame):
        raise GoalError(f"goal is given in frame '{given}': give it in '{frame}'")
    position = message.pose.position
    return np.array([position.x, position.y, position.z])
