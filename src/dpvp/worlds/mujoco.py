"""MujocoWorld: a robot's MJCF scene as a plant, one physics step at a time.

At a floating base MuJoCo and pinocchio differ. Everything here speaks as pinocchio does: quaternions are xyzw (MuJoCo:
wxyz), the linear velocity is in the frame of the base (MuJoCo: in the world), as is the angular one in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import mujoco
import numpy as np

from dpvp.errors import ConfigError, ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot, load_robot_from

REST = 0.3  # s
XYZ_XYZW = np.array([0, 1, 2, 4, 5, 6, 3])  # where a free joint of MuJoCo has what pinocchio wants, in its order


@dataclass(frozen=True)
class Measurement:
    """What is known of the plant: time (s), configuration (nq,), velocity (nv,), efforts of the joints (nu,) Nm.

    Of joints rad and rad/s; how those of a floating base come before them is written in `dpvp.robot.Robot`.
    """

    t: float
    q: Array
    v: Array
    effort: Array


@dataclass(frozen=True)
class ImuReading:
    """What an IMU says, in its frame: rad/s and specific force, m/s^2 (9.81 upwards at rest).

    Attributes:
        orientation: (4,) in the world, quaternion xyzw.
        gyro, accelerometer: (3,).
    """

    orientation: Array
    gyro: Array
    accelerometer: Array


class World(Protocol):
    """A plant: read it, push it, let time pass."""

    def read(self) -> Measurement:
        """Measure."""
        ...

    def apply(self, effort: Array) -> None:
        """Command joint efforts (nu,), Nm, for the following steps."""
        ...

    def step(self) -> None:
        """Let one time step pass."""
        ...

    def reset(self, q: Array, v: Array) -> None:
        """Put the plant into a state at rest of forces; time goes on."""
        ...


def load_scene(file: Path) -> mujoco.MjModel:
    """Read a scene; ConfigError, with what MuJoCo says, if that cannot be done."""
    try:
        return mujoco.MjModel.from_xml_path(str(file))
    except Exception as error:  # ValueError, and what pybind makes of others
        raise ConfigError(file, "(mujoco)", file.name, f"must be MJCF: {' '.join(str(error).split())}") from None


class MujocoWorld:
    """The scene of `robot`, stepped by `dt` seconds; efforts are total joint torques, clamped to the limits.

    Attributes:
        model, data: MuJoCo's own, for rendering.
        dt: physics step, s.
    """

    def __init__(self, robot: Robot, dt: float = 0.001) -> None:
        """Load the scene.

        Raises:
            ConfigError: MuJoCo cannot read it.
            ModelMismatchError: the scene lacks the joint or the motor of a joint, or the free joint of a floating base.
        """
        self.model = load_scene(robot.scene)
        self.model.opt.timestep = self.dt = dt
        self.data = mujoco.MjData(self.model)
        # the scene carries the default names, whatever prefix this robot goes by
        names = load_robot_from(robot.folder).joint_names
        joints = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in names]
        motors = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_ACTUATOR, name) for name in names]
        for kind, ids in (("joint", joints), ("motor", motors)):
            if -1 in ids:
                raise ModelMismatchError(f"{robot.scene}: {kind}s", list(names), f"no {names[ids.index(-1)]}")
        self._positions, self._velocities = self.model.jnt_qposadr[joints], self.model.jnt_dofadr[joints]
        if robot.floating:
            base = self._free_joint(robot)
            pose, twist = self.model.jnt_qposadr[base] + XYZ_XYZW, self.model.jnt_dofadr[base] + np.arange(6)
            self._positions = np.concatenate([pose, self._positions])
            self._velocities = np.concatenate([twist, self._velocities])
        self._motors = np.array(motors)
        self._robot = robot
        self._time = 0.0
        self.reset(robot.nominal, np.zeros(robot.nv))

    def _free_joint(self, robot: Robot) -> int:
        free = np.flatnonzero(self.model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
        if free.size != 1:
            raise ModelMismatchError(f"{robot.scene}: free joints", f"one, of {robot.base}", free.size)
        return int(free[0])

    def _base_rotation(self) -> Array:
        """Return the orientation (3, 3) of the floating base."""
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, self.data.qpos[self._positions[[6, 3, 4, 5]]])
        return rotation.reshape(3, 3)

    def read(self) -> Measurement:
        """Measure, without noise; the effort is that of the last step, as a driver reports it."""
        data = self.data
        q, v = data.qpos[self._positions].copy(), data.qvel[self._velocities].copy()
        if self._robot.floating:
            v[:3] = self._base_rotation().T @ v[:3]
        return Measurement(self._time, q, v, data.ctrl[self._motors].copy())

    def read_imu(self, rng: np.random.Generator | None = None) -> ImuReading:
        """Return what the sensors `imu_quat`, `imu_gyro` and `imu_accel` of the scene said when the last step began.

        Noise comes from `rng`, with the deviations that the scene gives to these sensors; without it there is none.

        Raises:
            ModelMismatchError: the scene has no such sensors.
        """
        names = ("imu_quat", "imu_gyro", "imu_accel")
        if missing := [name for name in names if mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SENSOR, name) < 0]:
            raise ModelMismatchError(f"{self._robot.scene}: sensors", ", ".join(names), f"no {missing[0]}")
        readings = [self.data.sensor(name).data.copy() for name in names]
        if rng is not None:
            deviations = [self.model.sensor(name).noise[0] for name in names]
            readings = [rng.normal(clean, deviation) for clean, deviation in zip(readings, deviations, strict=True)]
        quaternion, gyro, accelerometer = readings
        return ImuReading(quaternion[[1, 2, 3, 0]] / np.linalg.norm(quaternion), gyro, accelerometer)

    def apply(self, effort: Array) -> None:
        """Command joint efforts (nu,), Nm."""
        limit = self._robot.limits.effort
        self.data.ctrl[self._motors] = np.clip(effort, -limit, limit)

    def step(self) -> None:
        """Advance physics by `dt`."""
        mujoco.mj_step(self.model, self.data)
        self._time += self.dt

    def reset(self, q: Array, v: Array) -> None:
        """Put the robot into configuration `q` (nq,) with velocity `v` (nv,), carried against gravity."""
        marker = self.data.mocap_pos.copy()
        mujoco.mj_resetData(self.model, self.data)
        self.data.mocap_pos[:] = marker
        self.data.qpos[self._positions], self.data.qvel[self._velocities] = q, v
        if self._robot.floating:
            linear = self._velocities[:3]
            self.data.qvel[linear] = self._base_rotation() @ self.data.qvel[linear]
        self.apply(self._robot.gravity(q))
        mujoco.mj_forward(self.model, self.data)

    def pause(self) -> None:
        """Let time pass in which nothing moves, as while somebody puts the robot elsewhere.

        What is there afterwards has not become of what was there before, and nobody is to take it for that.
        """
        self._time += REST

    def come_to_rest(self) -> None:
        """Hold the posture until feet have sunk into their contacts, as a robot does that is switched on.

        An estimator that starts meanwhile would take the jolt for gravity.
        """
        start, hold, joints = self.read(), self._robot.hold, slice(-self._robot.nu, None)
        for _ in range(round(REST / self.dt)):
            now = self.read()
            away = (start.q - now.q)[joints]
            self.apply(start.effort + hold.stiffness * away - hold.damping * now.v[joints])
            self.step()

    def show_goal(self, goal: Array) -> None:
        """Move the scene's marker to `goal` (3,), m, if it has one; for pictures only."""
        body = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, "goal")
        if body >= 0 and (mocap := self.model.body_mocapid[body]) >= 0:
            self.data.mocap_pos[mocap] = goal
