"""BaseEstimator: where the base of a legged robot is and how it moves, from its IMU, its joints and its contacts.

What is handled: a constant or slowly changing bias of the accelerometer; feet that slip or do not stand when the
schedule says that they do (judged one by one, see `BaseFilter.judge`); silence. What is not: the yaw of the IMU is
believed, so that where it drifts, heading and path turn with it; so are roll, pitch and the gyro, except that the bias
takes up what a tilt does to gravity. Feet observe neither place nor heading: these drift, slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pinocchio

from dpvp.control.base_filter import B, BaseFilter, Belief, FeetInWorld, P, Trust, V
from dpvp.control.base_state import (
    BaseEstimate,
    BaseMeasurement,
    EstimateStatus,
    EstimatorConfig,
    Place,
    check_measurement,
    check_still,
)
from dpvp.control.leg_kinematics import LegKinematics
from dpvp.plan import Array

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class _Moment:
    """What one measurement left behind for the next one."""

    t: float
    rotation: Array  # (3, 3) of the IMU in the world
    force: Array  # (3,) specific force along the axes of the world, m/s²
    belief: Belief
    supported: float  # when a foot stood last, s


class BaseEstimator:
    """Give it every measurement in the order of time; it answers each with an estimate.

    Start it while the robot stands. The world of the estimate has z = 0 on the ground below the feet that stand then.

    Attributes:
        started: times that the filter started; more than once after silence.
    """

    def __init__(self, legs: LegKinematics, config: EstimatorConfig | None = None, start: Place | None = None) -> None:
        """Estimate the base above `legs`, which is at `start` (default: origin, facing along x) at the beginning."""
        self._legs, self._config = legs, config or EstimatorConfig()
        self._filter = BaseFilter(legs.feet, legs.radius, self._config)
        self._rolling = pinocchio.skew(legs.radius * UP)  # rows of spins times it: velocities
        self.started = 0
        self.reset(start or Place())

    def reset(self, place: Place) -> None:
        """Forget everything: the next measurement, of whatever time, is one at `place`."""
        self._place = place
        self._turn: float | None = None  # rad, from the IMU's own world to ours
        self._last: _Moment | None = None
        self._estimate: BaseEstimate | None = None

    def resume(self) -> None:
        """Forget all but where the base was and which way the IMU faces: the next measurement may be of any time."""
        if self._estimate is not None:
            x, y = self._estimate.q[:2]
            self._place = Place(float(x), float(y), self._place.yaw)
        self._last = None

    def status(self, now: float) -> EstimateStatus:
        """Return whether the newest estimate may be used at time `now`, s."""
        if self._estimate is None:
            return EstimateStatus.NOT_STARTED
        silent = self._last is None or now - self._last.t > self._config.imu_timeout
        return EstimateStatus.LOST if silent else self._estimate.status

    def update(self, m: BaseMeasurement) -> BaseEstimate:
        """Take a measurement and return the estimate for its time.

        After a silence longer than `imu_timeout` the filter starts anew, where the base was last; so it does where feet
        stand again, or are said to stand and not believed, after more than `support_timeout` without any.

        Raises:
            MessageError: `m` cannot be used; it is as if it had never come.
        """
        after = -math.inf if self._last is None else self._last.t
        check_measurement(m, self._legs.joints, self._legs.feet, after)
        if self._turn is None:
            check_still(m)
            self._turn = self._place.yaw - _yaw(self._base_rotation(_rotation(m.orientation)))
        if m.t - after > self._config.imu_timeout or self._contradicted(m):
            self.resume()
        rotation = pinocchio.utils.rotate("z", self._turn) @ _rotation(m.orientation)
        moment, trust = self._step(m, rotation, self._feet(m, rotation))
        self._last, self._estimate = moment, self._answer(m, moment, trust)
        return self._estimate

    def _contradicted(self, m: BaseMeasurement) -> bool:
        """Return whether feet stand of which none was believed for so long that it is the filter that is wrong."""
        return self._last is not None and self._unsupported(m.t, self._last) and bool(np.any(m.contacts > 0.5))

    def _unsupported(self, t: float, moment: _Moment) -> bool:
        return t - moment.supported > self._config.support_timeout

    def _step(self, m: BaseMeasurement, rotation: Array, feet: FeetInWorld) -> tuple[_Moment, Trust]:
        """Return what follows from the moment before and what is measured now."""
        last, force = self._last, rotation @ m.accelerometer
        if last is None:
            self.started += 1
            dt, supported, belief = 0.0, -math.inf, self._filter.start(self._origin(m, rotation, feet), feet)
        else:
            dt, supported = m.t - last.t, last.supported
            means = 0.5 * (last.force + force), 0.5 * (last.rotation + rotation)
            belief = self._filter.predict(last.belief, dt, *means, feet)
        trust = self._filter.judge(belief, feet, m.contacts)
        belief = self._filter.correct(belief, dt, feet, trust)
        return _Moment(m.t, rotation, force, belief, m.t if np.any(trust.standing > 0) else supported), trust

    def _feet(self, m: BaseMeasurement, rotation: Array) -> FeetInWorld:
        """Return what the legs say, along the axes of the world."""
        seen = self._legs.measure(m.q, m.v)
        moving = seen.velocity - seen.position @ pinocchio.skew(m.gyro)  # ω × s, row by row
        roll = (seen.spin + m.gyro) @ rotation.T @ self._rolling
        return FeetInWorld(seen.position @ rotation.T, roll - moving @ rotation.T, roll)

    def _origin(self, m: BaseMeasurement, rotation: Array, feet: FeetInWorld) -> Array:
        """Return the position (3,), m, of the IMU where the filter starts; standing feet tell its height."""
        arm = self._base_rotation(rotation) @ self._legs.imu.translation
        heights = feet.position[:, 2]
        ground = heights[m.contacts > 0.5].mean() if np.any(m.contacts > 0.5) else heights.min()
        return np.array([self._place.x + arm[0], self._place.y + arm[1], self._legs.radius - ground])

    def _base_rotation(self, imu: Array) -> Array:
        return np.asarray(imu @ self._legs.imu.rotation.T)

    def _answer(self, m: BaseMeasurement, moment: _Moment, trust: Trust) -> BaseEstimate:
        """Return the estimate of the base from that of the IMU, which is fixed to it."""
        mean, covariance, arm = moment.belief.mean, moment.belief.covariance, self._legs.imu.translation
        base = self._base_rotation(moment.rotation)
        spin = self._legs.imu.rotation @ m.gyro
        linear = base.T @ mean[V] - pinocchio.skew(spin) @ arm
        view = np.eye(6)
        view[V, V] = base.T
        return BaseEstimate(
            t=m.t,
            q=np.concatenate([mean[P] - base @ arm, pinocchio.Quaternion(base).coeffs()]),
            v=np.concatenate([linear, spin]),
            covariance=view @ covariance[:6, :6] @ view.T,
            standing=trust.standing > 0,
            bias=mean[B].copy(),
            status=EstimateStatus.UNSUPPORTED if self._unsupported(m.t, moment) else EstimateStatus.OK,
        )


def _rotation(quaternion: Array) -> Array:
    return np.asarray(pinocchio.Quaternion(quaternion / np.linalg.norm(quaternion)).toRotationMatrix())


def _yaw(rotation: Array) -> float:
    return math.atan2(rotation[1, 0], rotation[0, 0])
