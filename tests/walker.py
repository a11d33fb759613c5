"""A quadruped that trots exactly as it is told: what its sensors would say is known to the last digit."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pinocchio

from dpvp.control.base_estimator import BaseEstimator
from dpvp.control.base_state import BaseEstimate, BaseMeasurement
from dpvp.plan import Array
from dpvp.robot import Robot

GRAVITY = np.array([0.0, 0.0, -9.81])
RAMP = 0.4  # s from standing to full speed
CLEARANCE = 0.06  # m, of a foot that swings
SLIP_TIME, SLIP_SPEED = 0.2, 0.6  # s, m/s
STEP = 1e-4  # s of the differences that differentiate the path
ALIGNED = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED


@dataclass(frozen=True)
class Trot:
    """A trot after standing for `stand` s: diagonal pairs of feet swing in turn while the base goes its way.

    Attributes:
        speed: (2,) of the base along its own x and y once it walks, m/s.
        turn: yaw rate once it walks, rad/s.
        sway: amplitudes of roll, pitch (rad) and height (m) of the base.
        period: of one step, s.
        stand: s.
        slip: s from which on for 0.2 s the first foot slips sideways on the ground, at 0.6 m/s; infinite: never.
    """

    speed: tuple[float, float] = (0.4, 0.1)
    turn: float = 0.3
    sway: tuple[float, float, float] = (0.04, 0.03, 0.01)
    period: float = 0.24
    stand: float = 0.48
    slip: float = np.inf


@dataclass(frozen=True)
class Truth:
    """Measurement and the configuration (19,) and velocity (18,) that it is of."""

    measurement: BaseMeasurement
    q: Array
    v: Array


class _Walk:
    """The kinematics behind `trot`; all feet follow velocities that are given, so that every number is exact."""

    def __init__(self, robot: Robot, gait: Trot) -> None:
        self.model, self.gait, self.data = robot.model, gait, robot.model.createData()
        self.frames = [self.model.getFrameId(foot) for foot in robot.feet]
        self.imu = self.model.frames[self.model.getFrameId(robot.imu)].placement
        self.height, self.joints = robot.nominal[2], robot.nominal[7:].copy()
        feet = self.places(0.0)
        self.nominal, self.radius = feet - [0.0, 0.0, self.height], feet[:, 2].mean()
        self.lifted = np.zeros((4, 3))  # where each foot left the ground

    def progress(self, t: float) -> tuple[float, float]:
        """Distance (in time at full speed, s) and share of full speed at time `t`; starts gently."""
        tau = max(0.0, t - self.gait.stand)
        if tau >= RAMP:
            return tau - 0.5 * RAMP, 1.0
        share = tau / RAMP
        return RAMP * (share**3 - 0.5 * share**4), share**2 * (3 - 2 * share)

    def pose(self, t: float) -> pinocchio.SE3:
        (run, share), gait = self.progress(t), self.gait
        yaw, (vx, vy) = gait.turn * run, gait.speed
        along = run * np.sinc(yaw / np.pi), run * 0.5 * yaw * np.sinc(0.5 * yaw / np.pi) ** 2  # ∫ cos, ∫ sin
        beat = 2 * np.pi * t / (2 * gait.period)
        roll, pitch, lift = share * np.array(gait.sway) * np.sin([beat, 2 * beat + 1.0, 2 * beat])
        place = [vx * along[0] - vy * along[1], vx * along[1] + vy * along[0], self.height + lift]
        return pinocchio.SE3(pinocchio.rpy.rpyToMatrix(roll, pitch, yaw), np.array(place))

    def twist(self, t: float) -> Array:
        """Velocity of the base in its own frame: linear, angular."""
        before, after = self.pose(t - STEP), self.pose(t + STEP)
        linear = self.pose(t).rotation.T @ (after.translation - before.translation)
        return np.concatenate([linear, pinocchio.log3(before.rotation.T @ after.rotation)]) / (2 * STEP)

    def force(self, t: float) -> Array:
        """Specific force at the IMU in its own frame, m/s²."""
        places = [(self.pose(t + k * STEP) * self.imu).translation for k in (-1, 0, 1)]
        acceleration = (places[0] - 2 * places[1] + places[2]) / STEP**2
        return (self.pose(t) * self.imu).rotation.T @ (acceleration - GRAVITY)

    def flags(self, t: float) -> Array:
        """Which feet stand."""
        if t < self.gait.stand:
            return np.ones(4)
        first = int((t - self.gait.stand) / self.gait.period + 1e-6) % 2 == 0
        return np.array([0.0, 1.0, 1.0, 0.0] if first else [1.0, 0.0, 0.0, 1.0])

    def swing(self, foot: int, t: float) -> Array:
        """Velocity of a foot in the air, m/s."""
        gait = self.gait
        step = int((t - gait.stand) / gait.period + 1e-6)
        begin = gait.stand + step * gait.period
        share = (t - begin) / gait.period
        aim = self.pose(begin + 1.5 * gait.period).act(self.nominal[foot]) - self.lifted[foot]
        way = np.array([*(aim[:2] * 30 * share**2 * (1 - share) ** 2), 0.0])
        up = 64 * CLEARANCE * 3 * share**2 * (1 - share) ** 2 * (1 - 2 * share)
        return (way + [0.0, 0.0, up]) / gait.period

    def rates(self, t: float, joints: Array, flags: Array) -> Array:
        """Joint velocities with which standing feet roll on the ground, or slip, and the others swing."""
        twist = self.twist(t)
        pinocchio.computeJointJacobians(self.model, self.data, self.configuration(t, joints))
        roll, speeds = -pinocchio.skew(np.array([0.0, 0.0, self.radius])), np.zeros(12)
        for i, frame in enumerate(self.frames):
            jacobian = pinocchio.getFrameJacobian(self.model, self.data, frame, ALIGNED)
            own, carried = jacobian[:, 6 + 3 * i : 9 + 3 * i], jacobian[:, :6] @ twist
            turns = roll * flags[i]
            wanted = self.slip(i, t) if flags[i] else self.swing(i, t)
            speeds[3 * i : 3 * i + 3] = np.linalg.solve(
                own[:3] - turns @ own[3:], wanted + turns @ carried[3:] - carried[:3]
            )
        return speeds

    def slip(self, foot: int, t: float) -> Array:
        slips = foot == 0 and self.gait.slip <= t < self.gait.slip + SLIP_TIME
        return np.array([0.0, SLIP_SPEED * slips, 0.0])

    def places(self, t: float) -> Array:
        """Where the feet are in the world, (4, 3), m."""
        pinocchio.framesForwardKinematics(self.model, self.data, self.configuration(t, self.joints))
        return np.array([self.data.oMf[frame].translation for frame in self.frames])

    def configuration(self, t: float, joints: Array) -> Array:
        return np.concatenate([pinocchio.SE3ToXYZQUAT(self.pose(t)), joints])

    def advance(self, t: float, dt: float, flags: Array, k1: Array) -> None:
        """Runge-Kutta's fourth-order step of the joints, whose velocities are `k1` now."""
        k2 = self.rates(t + dt / 2, self.joints + dt / 2 * k1, flags)
        k3 = self.rates(t + dt / 2, self.joints + dt / 2 * k2, flags)
        k4 = self.rates(t + (1 - 1e-9) * dt, self.joints + dt * k3, flags)
        self.joints = self.joints + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def truth(self, t: float, flags: Array, speeds: Array) -> Truth:
        q, twist = self.configuration(t, self.joints), self.twist(t)
        seen = (self.pose(t) * self.imu).rotation
        measurement = BaseMeasurement(
            t=t,
            orientation=pinocchio.Quaternion(seen).coeffs(),
            gyro=self.imu.rotation.T @ twist[3:],
            accelerometer=self.force(t),
            q=self.joints.copy(),
            v=speeds,
            contacts=flags,
        )
        return Truth(measurement, q, np.concatenate([twist, speeds]))


@functools.lru_cache(maxsize=16)
def trot(robot: Robot, gait: Trot, duration: float = 2.0, dt: float = 0.004) -> list[Truth]:
    """Return what there is to know every `dt` s; the periods of `gait` are multiples of it."""
    walk, before, truths = _Walk(robot, gait), np.ones(4), []
    for k in range(round(duration / dt)):
        t = k * dt
        flags = walk.flags(t)
        if np.any(left := (before > 0) & (flags == 0)):
            walk.lifted[left] = walk.places(t)[left]
        speeds = walk.rates(t, walk.joints, flags)
        truths.append(walk.truth(t, flags, speeds))
        walk.advance(t, dt, flags, speeds)
        before = flags
    return truths


@dataclass(frozen=True)
class Noise:
    """Standard deviations of what sensors say, and the bias (3,) of the accelerometer, m/s².

    The defaults are those of the Go2's scene.xml and, for the joints, of what differentiated encoders give.
    """

    attitude: float = 0.002  # rad
    gyro: float = 0.02  # rad/s
    accelerometer: float = 0.1  # m/s²
    position: float = 0.0005  # rad
    velocity: float = 0.05  # rad/s
    bias: tuple[float, float, float] = (0.1, -0.1, 0.15)

    def on(self, m: BaseMeasurement, rng: np.random.Generator) -> BaseMeasurement:
        """Return `m` as these sensors see it."""
        turn = pinocchio.Quaternion(pinocchio.exp3(rng.normal(0.0, self.attitude, 3)))
        return replace(
            m,
            orientation=(pinocchio.Quaternion(m.orientation) * turn).coeffs(),
            gyro=m.gyro + rng.normal(0.0, self.gyro, 3),
            accelerometer=m.accelerometer + self.bias + rng.normal(0.0, self.accelerometer, 3),
            q=m.q + rng.normal(0.0, self.position, m.q.shape),
            v=m.v + rng.normal(0.0, self.velocity, m.v.shape),
        )


def follow(estimator: BaseEstimator, measurements: Iterable[BaseMeasurement]) -> list[BaseEstimate]:
    """Return the estimates that answer `measurements`."""
    return [estimator.update(measurement) for measurement in measurements]


def errors(estimates: Sequence[BaseEstimate], truths: Sequence[Truth]) -> tuple[Array, Array]:
    """Return the errors of position (m, 3), m, and linear velocity in the frame of the base (m, 3), m/s."""
    q = np.array([estimate.q[:3] - truth.q[:3] for estimate, truth in zip(estimates, truths, strict=True)])
    v = np.array([estimate.v[:3] - truth.v[:3] for estimate, truth in zip(estimates, truths, strict=True)])
    return q, v


def rms(values: Array) -> float:
    """Return the root of the mean squared length of `values` (m, 3)."""
    return float(np.sqrt(np.mean(np.sum(values**2, axis=1))))
