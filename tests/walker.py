"""A small quadruped and how it trots, exactly: what its sensors would say is known to the last digit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio

from dpvp.control.base_state import BaseMeasurement
from dpvp.plan import Array

FEET = ("FL_foot", "FR_foot", "RL_foot", "RR_foot")
THIGH = SHANK = 0.21  # m
HIP, WIDTH = np.array([0.19, 0.05, 0.0]), 0.095  # m, hip in the base and the offset of the leg from it
GRAVITY = np.array([0.0, 0.0, -9.81])
NOMINAL = np.tile([0.0, 0.75, -1.5], 4)  # rad
RAMP = 0.4  # s from standing to full speed
CLEARANCE = 0.06  # m, of a foot that swings
SLIP_TIME, SLIP_SPEED = 0.2, 0.6  # s, m/s
STEP = 1e-4  # s of the differences that differentiate the path
ALIGNED = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED

_LINK = '<link name="{name}"><inertial><mass value="{mass}"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial></link>'  # noqa: E501
_JOINT = '<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="{axis}"/><limit effort="30" lower="-3" upper="3" velocity="30"/></joint>'  # noqa: E501


def urdf(imu_xyz: Array, imu_rpy: Array) -> str:
    """The quadruped as XML, its IMU placed in the base as told."""
    parts = [_LINK.format(name="base", mass=8.0), _LINK.format(name="imu", mass=0.01)]
    place = {"xyz": " ".join(map(str, imu_xyz)), "rpy": " ".join(map(str, imu_rpy))}
    parts.append(_JOINT.format(name="imu_joint", kind="fixed", parent="base", child="imu", axis="1 0 0", **place))
    for foot in FEET:
        leg = foot[:2]
        ahead, left = 1 if leg[0] == "F" else -1, 1 if leg[1] == "L" else -1
        chain = [
            ("hip", "revolute", "base", HIP * (ahead, left, 1), "1 0 0"),
            ("thigh", "revolute", f"{leg}_hip", np.array([0.0, left * WIDTH, 0.0]), "0 1 0"),
            ("calf", "revolute", f"{leg}_thigh", np.array([0.0, 0.0, -THIGH]), "0 1 0"),
            ("foot", "fixed", f"{leg}_calf", np.array([0.0, 0.0, -SHANK]), "0 1 0"),
        ]
        for name, kind, parent, xyz, axis in chain:
            parts.append(_LINK.format(name=f"{leg}_{name}", mass=0.5))
            words = {"name": f"{leg}_{name}_joint", "kind": kind, "parent": parent, "child": f"{leg}_{name}"}
            parts.append(_JOINT.format(xyz=" ".join(map(str, xyz)), rpy="0 0 0", axis=axis, **words))
    return f'<robot name="walker">{"".join(parts)}</robot>'


def walker(imu_xyz: tuple = (-0.03, 0.01, 0.04), imu_rpy: tuple = (0.0, 0.0, 0.0)) -> pinocchio.Model:
    """Return its model, with a free-flyer as root."""
    return pinocchio.buildModelFromXML(urdf(np.array(imu_xyz), np.array(imu_rpy)), pinocchio.JointModelFreeFlyer())


@dataclass(frozen=True)
class Trot:
    """A trot after standing for `stand` s: diagonal pairs of feet swing in turn while the base goes its way.

    Attributes:
        speed: (2,) of the base along its own x and y once it walks, m/s.
        turn: yaw rate once it walks, rad/s.
        sway: amplitudes of roll, pitch (rad) and height (m) of the base.
        period: of one step, s.
        stand: s.
        radius: of the round feet, which roll without slipping, m; the foot frame is the middle.
        slip: s from which on for 0.2 s foot FL is pushed sideways on the ground, at 0.6 m/s; infinite: never.
    """

    speed: tuple[float, float] = (0.4, 0.1)
    turn: float = 0.3
    sway: tuple[float, float, float] = (0.04, 0.03, 0.01)
    period: float = 0.25
    stand: float = 0.5
    radius: float = 0.0
    slip: float = np.inf


@dataclass(frozen=True)
class Truth:
    """Measurement and the configuration (19,) and velocity (18,) that it is of."""

    measurement: BaseMeasurement
    q: Array
    v: Array


class _Walk:
    """The kinematics behind `trot`; all feet follow velocities that are given, so that every number is exact."""

    def __init__(self, model: pinocchio.Model, gait: Trot) -> None:
        self.model, self.gait, self.data = model, gait, model.createData()
        self.frames = [model.getFrameId(name) for name in FEET]
        self.imu = model.frames[model.getFrameId("imu")].placement
        self.joints = NOMINAL.copy()
        pinocchio.framesForwardKinematics(model, self.data, np.concatenate([pinocchio.neutral(model)[:7], NOMINAL]))
        self.nominal = np.array([self.data.oMf[frame].translation for frame in self.frames])
        self.height = gait.radius - self.nominal[:, 2].mean()
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
        gait, twist = self.gait, self.twist(t)
        pinocchio.computeJointJacobians(self.model, self.data, self.configuration(t, joints))
        roll, speeds = -pinocchio.skew(np.array([0.0, 0.0, gait.radius])), np.zeros(12)
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

    def configuration(self, t: float, joints: Array) -> Array:
        return np.concatenate([pinocchio.SE3ToXYZQUAT(self.pose(t)), joints])

    def advance(self, t: float, dt: float, flags: Array) -> None:
        """Runge-Kutta's fourth-order step of the joints."""
        k1 = self.rates(t, self.joints, flags)
        k2 = self.rates(t + dt / 2, self.joints + dt / 2 * k1, flags)
        k3 = self.rates(t + dt / 2, self.joints + dt / 2 * k2, flags)
        k4 = self.rates(t + (1 - 1e-9) * dt, self.joints + dt * k3, flags)
        self.joints = self.joints + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def truth(self, t: float, flags: Array) -> Truth:
        q, speeds, twist = self.configuration(t, self.joints), self.rates(t, self.joints, flags), self.twist(t)
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


def trot(model: pinocchio.Model, gait: Trot, duration: float = 2.0, dt: float = 0.002) -> list[Truth]:
    """Return what there is to know every `dt` s; the periods of `gait` are multiples of it."""
    walk, before, truths = _Walk(model, gait), np.ones(4), []
    for k in range(round(duration / dt)):
        t = k * dt
        flags = walk.flags(t)
        if np.any(left := (before > 0) & (flags == 0)):
            pinocchio.framesForwardKinematics(model, walk.data, walk.configuration(t, walk.joints))
            feet = np.array([walk.data.oMf[frame].translation for frame in walk.frames])
            walk.lifted[left] = feet[left]
        truths.append(walk.truth(t, flags))
        walk.advance(t, dt, flags)
        before = flags
    return truths
