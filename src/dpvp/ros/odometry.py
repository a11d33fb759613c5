"""Between the messages of a legged robot and the values of its base estimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState

from dpvp.control.base_state import BaseEstimate, BaseMeasurement
from dpvp.errors import MessageError
from dpvp.plan import Array
from dpvp.robot import JointMap
from dpvp.ros.convert import fill_pose, fill_twist, seconds
from dpvp.ros.messages import Contact, Sensor, TFMessage

NO_ORIENTATION = -1.0  # in the first place of its covariance: the IMU gives none (sensor_msgs/Imu)


def measurement_of(
    joint_names: Sequence[str], imu: Imu, joints: JointState, contacts: Array, apart: float
) -> BaseMeasurement:
    """Return what `imu` and `joints` say together, at the time of the former.

    Raises:
        MessageError: joint names, or the lengths of their arrays, are not those of the robot; the IMU gives no
            orientation; or the stamps of the two are more than `apart` seconds apart.
    """
    t = seconds(imu.header.stamp)
    off = abs(seconds(joints.header.stamp) - t)
    if off > apart:
        raise MessageError(f"`imu` and `joint_states` are {off:.4f} s apart: at most {apart} s will do")
    if imu.orientation_covariance[0] == NO_ORIENTATION:
        raise MessageError("`imu` gives no orientation (its covariance begins with -1): an attitude filter is needed")
    order = JointMap(joint_names, joints.name)
    turn, spin, force = imu.orientation, imu.angular_velocity, imu.linear_acceleration
    return BaseMeasurement(
        t=t,
        orientation=np.array([turn.x, turn.y, turn.z, turn.w]),
        gyro=np.array([spin.x, spin.y, spin.z]),
        accelerometer=np.array([force.x, force.y, force.z]),
        q=order.reorder(joints.position),
        v=order.reorder(joints.velocity),
        contacts=contacts,
    )


def contacts_of(feet: Sequence[str], contacts: Sequence[Contact]) -> Array:
    """Return 1 for each of the `feet` that stands, else 0: (n_feet,).

    Raises:
        MessageError: `contacts` are not those of the feet, each just once.
    """
    names = [contact.name for contact in contacts]
    if sorted(names) != sorted(feet):
        raise MessageError(f"contacts are of {names}: need each of {list(feet)} once")
    stands = {contact.name: float(contact.active) for contact in contacts}
    return np.array([stands[foot] for foot in feet])


def estimated_sensor(
    estimate: BaseEstimate, joint_names: Sequence[str], feet: Sequence[str], imu: Imu, joints: JointState
) -> Sensor:
    """Return the state with the estimated base, the joints in the order of `joint_names`, and the feet believed."""
    message, order = Sensor(), JointMap(joint_names, joints.name)
    message.header.stamp = message.joint_state.header.stamp = imu.header.stamp
    fill_pose(message.base_pose, estimate.q)
    fill_twist(message.base_twist, estimate.v)
    mine = message.joint_state
    mine.name = list(joint_names)
    mine.position, mine.velocity = order.reorder(joints.position), order.reorder(joints.velocity)
    if joints.effort:
        mine.effort = order.reorder(joints.effort)
    message.contacts = [
        Contact(active=bool(stands), name=foot) for foot, stands in zip(feet, estimate.standing, strict=True)
    ]
    return message


def odometry_message(estimate: BaseEstimate, imu: Imu, world: str, base: str) -> Odometry:
    """Return the pose of frame `base` in `world` and its twist in `base`; angles are as uncertain as `imu` says."""
    message = Odometry()
    message.header.stamp, message.header.frame_id, message.child_frame_id = imu.header.stamp, world, base
    fill_pose(message.pose.pose, estimate.q)
    fill_twist(message.twist.twist, estimate.v)
    pose, twist = np.zeros((6, 6)), np.zeros((6, 6))
    pose[:3, :3], twist[:3, :3] = estimate.covariance[:3, :3], estimate.covariance[3:, 3:]
    pose[3:, 3:] = np.reshape(imu.orientation_covariance, (3, 3))
    twist[3:, 3:] = np.reshape(imu.angular_velocity_covariance, (3, 3))
    message.pose.covariance, message.twist.covariance = pose.ravel(), twist.ravel()
    return message


def transform_message(odometry: Odometry) -> TFMessage:
    """Return the pose of `odometry` for /tf; only where there is `TFMessage`."""
    message = TransformStamped(header=odometry.header, child_frame_id=odometry.child_frame_id)
    place = odometry.pose.pose.position
    message.transform.translation.x, message.transform.translation.y = place.x, place.y
    message.transform.translation.z = place.z
    message.transform.rotation = odometry.pose.pose.orientation
    return TFMessage(transforms=[message])
