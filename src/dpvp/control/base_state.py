"""The values round the base estimator: what it is told, how it is tuned, what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dpvp.config import Config
from dpvp.errors import MessageError
from dpvp.plan import Array

UNIT = 1e-2  # by which the length of a quaternion may differ from 1
STILL = (7.0, 13.0)  # m/s², what an accelerometer may read where the filter starts: a robot that stands, about 9.81


class EstimatorConfig(Config):
    """Noise and times of the base estimator.

    Noise is that of the linear filters of quadrupeds (Bledt et al., IROS 2018): larger than a data sheet says, because
    it stands for vibration, flexing legs and impacts too. Densities are of continuous time, so that they hold at any
    rate; those of the legs are of one sample.
    """

    accelerometer: float = Field(0.1, gt=0, le=10, description="noise of the accelerometer, m/s²/√Hz")
    bias_walk: float = Field(0.005, ge=0, le=1, description="drift of the accelerometer's bias, m/s²/√s; 0: constant")
    bias: float = Field(0.2, ge=0, le=2, description="bias of the accelerometer at start, m/s²; with bias_walk 0: none")
    stance: float = Field(0.02, gt=0, le=1, description="creep of a standing foot, m/√s")
    swing: float = Field(10.0, gt=0, le=100, description="what a foot in the air may do, m/√s")
    leg_position: float = Field(0.005, gt=0, le=1, description="error of a foot's place relative to the base, m")
    leg_velocity: float = Field(0.1, gt=0, le=10, description="error of a foot's velocity relative to the base, m/s")
    height: float = Field(0.01, gt=0, le=1, description="unevenness of the ground, m")
    flat_ground: bool = Field(True, description="standing feet are on the plane z = 0; false: height drifts")
    slip_gate: float = Field(4.0, gt=0, le=100, description="a foot this many deviations off does not stand")
    imu_timeout: float = Field(0.05, gt=0, le=1, description="a silence of the sensors after which the base is lost, s")
    support_timeout: float = Field(0.5, gt=0, le=10, description="time without a standing foot that may be bridged, s")


@dataclass(frozen=True)
class BaseMeasurement:
    """What the sensors of a legged robot say at one time.

    Attributes:
        t: when, s.
        orientation: (4,) quaternion x, y, z, w of the IMU in its world, whose z is up.
        gyro: (3,) angular velocity in the IMU's frame, rad/s.
        accelerometer: (3,) specific force in the IMU's frame, m/s²; at rest it is 9.81 upwards (REP 145).
        q: (n,) joint positions, rad.
        v: (n,) joint velocities, rad/s.
        contacts: (n_feet,) probability that each foot stands, 0..1, from a schedule or from sensors.
    """

    t: float
    orientation: Array
    gyro: Array
    accelerometer: Array
    q: Array
    v: Array
    contacts: Array


@dataclass(frozen=True)
class Place:
    """Where the base is when the filter starts: `x`, `y` m and `yaw` rad in the world; the feet tell the height."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0


class EstimateStatus(Enum):
    """Whether an estimate may be used; the text says why not."""

    OK = "the base is known"
    NOT_STARTED = "no measurement has arrived since the last reset"
    LOST = "the IMU or the joint states went silent; the base may be anywhere by now"
    UNSUPPORTED = "no foot has stood for too long: the velocity is that of the accelerometer alone"


@dataclass(frozen=True)
class BaseEstimate:
    """The base in pinocchio's free-flyer convention.

    Attributes:
        t: of the measurement that it is for, s.
        q: (7,) position in the world, m, and quaternion x, y, z, w.
        v: (6,) linear velocity, m/s, then angular velocity, rad/s, of the base in the base's own frame.
        covariance: (6, 6) of the position in the world and of the linear velocity in the base's frame, m and m/s.
        standing: (n_feet,) which feet were believed to stand.
        bias: (3,) of the accelerometer in the IMU's frame, m/s²; holds what the IMU's attitude is wrong by, too.
        status: whether it may be used.
    """

    t: float
    q: Array
    v: Array
    covariance: Array
    standing: NDArray[np.bool_]
    bias: Array
    status: EstimateStatus

    @property
    def valid(self) -> bool:
        """True if a controller may use it."""
        return self.status is EstimateStatus.OK


def check_measurement(m: BaseMeasurement, joints: int, feet: int, after: float) -> None:
    """Refuse a measurement that is not one of a robot of so many `joints` and `feet`, or not later than `after`, s.

    Raises:
        MessageError: naming the field, what it holds and what would be right.
    """
    if not (math.isfinite(m.t) and m.t > after):
        raise MessageError(f"measurement of time {m.t:.6f} s: has to come after {after:.6f} s, the one before")
    lengths = {"orientation": 4, "gyro": 3, "accelerometer": 3, "q": joints, "v": joints, "contacts": feet}
    for name, length in lengths.items():
        values = getattr(m, name)
        if values.shape != (length,):
            raise MessageError(f"{name} has shape {values.shape}: needs ({length},)")
    if not np.all(np.isfinite(np.concatenate([getattr(m, name) for name in lengths]))):
        wrong = {name: getattr(m, name).tolist() for name in lengths if not np.all(np.isfinite(getattr(m, name)))}
        raise MessageError(f"not finite: {wrong}")
    norm = math.sqrt(m.orientation @ m.orientation)
    if abs(norm - 1.0) > UNIT:
        raise MessageError(f"orientation has length {norm:.3f}: needs 1; does the IMU give an orientation?")
    if np.any((m.contacts < 0) | (m.contacts > 1)):
        raise MessageError(f"contacts are {m.contacts.tolist()}: need probabilities, 0 to 1")


def check_still(m: BaseMeasurement) -> None:
    """Refuse to start on a measurement that is not one of a robot that stands.

    Raises:
        MessageError: the accelerometer is far from reading gravity.
    """
    force = float(np.linalg.norm(m.accelerometer))
    if not STILL[0] < force < STILL[1]:
        raise MessageError(
            f"accelerometer reads {force:.2f} m/s²: a robot that stands still to start reads about 9.81; was gravity "
            "taken off (REP 145 leaves it in)?"
        )
