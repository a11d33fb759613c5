"""MujocoWorld: a robot's MJCF scene as a plant, one physics step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array
from dpvp.robot import Robot, load_robot_from


@dataclass(frozen=True)
class Measurement:
    """What the plant's sensors say: time (s), positions (n,) rad, velocities (n,) rad/s, efforts (n,) Nm."""

    t: float
    q: Array
    v: Array
    effort: Array


class World(Protocol):
    """A plant: read it, push it, let time pass."""

    def read(self) -> Measurement:
        """Measure."""
        ...

    def apply(self, effort: Array) -> None:
        """Command joint efforts (n,), Nm, for the following steps."""
        ...

    def step(self) -> None:
        """Let one time step pass."""
        ...

    def reset(self, q: Array, v: Array) -> None:
        """Put the plant into a state at rest of forces; time goes on."""
        ...


class MujocoWorld:
    """The scene of `robot`, stepped by `dt` seconds; efforts are total joint torques, clamped to the limits.

    Attributes:
        model, data: MuJoCo's own, for rendering.
        dt: physics step, s.
    """

    def __init__(self, robot: Robot, dt: float = 0.001) -> None:
        """Load the scene.

        Raises:
            ModelMismatchError: the scene has not exactly one joint and one motor per joint of the robot.
        """
        self.model = mujoco.MjModel.from_xml_path(str(robot.scene))
        self.model.opt.timestep = self.dt = dt
        self.data = mujoco.MjData(self.model)
        # the scene carries the default names, whatever prefix this robot goes by
        names = load_robot_from(robot.folder).joint_names
        joints = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in names]
        motors = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_ACTUATOR, name) for name in names]
        for kind, ids in (("joint", joints), ("motor", motors)):
            if -1 in ids:
                raise ModelMismatchError(f"{robot.scene}: {kind}s", list(names), f"no {names[ids.index(-1)]}")
        self._positions = self.model.jnt_qposadr[joints]
        self._velocities = self.model.jnt_dofadr[joints]
        self._motors = np.array(motors)
        self._robot = robot
        self._time = 0.0
        self.reset(robot.nominal, np.zeros(robot.nv))

    def read(self) -> Measurement:
        """Measure; the effort is that of the last step, as a driver reports it."""
        data = self.data
        q, v = data.qpos[self._positions].copy(), data.qvel[self._velocities].copy()
        return Measurement(self._time, q, v, data.ctrl[self._motors].copy())

    def apply(self, effort: Array) -> None:
        """Command joint efforts (n,), Nm."""
        limit = self._robot.limits.effort
        self.data.ctrl[self._motors] = np.clip(effort, -limit, limit)

    def step(self) -> None:
        """Advance physics by `dt`."""
        mujoco.mj_step(self.model, self.data)
        self._time += self.dt

    def reset(self, q: Array, v: Array) -> None:
        """Put the arm into positions `q` (n,) rad and velocities `v` (n,) rad/s, carried against gravity."""
        marker = self.data.mocap_pos.copy()
        mujoco.mj_resetData(self.model, self.data)
        self.data.mocap_pos[:] = marker
        self.data.qpos[self._positions], self.data.qvel[self._velocities] = q, v
        self.apply(self._robot.gravity(q))
        mujoco.mj_forward(self.model, self.data)

    def show_goal(self, goal: Array) -> None:
        """Move the scene's marker to `goal` (3,), m, if it has one; for pictures only."""
        body = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, "goal")
        if body >= 0 and (mocap := self.model.body_mocapid[body]) >= 0:
            self.data.mocap_pos[mocap] = goal
