"""The guard: no command leaves the loop or reaches the plant that is not finite, well shaped, timely and within limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio

from dpvp.control.onboard import joint_columns
from dpvp.errors import MessageError
from dpvp.plan import Array, Command
from dpvp.robot import Robot
from dpvp.scenario import SafetyConfig

LONGEST = 0.1  # s between two commands; over a longer gap torque may change as over this one


def check_state(robot: Robot, x: Array) -> Array:
    """Return the (nx,) state `x`, [rad, rad/s], or raise `MessageError` if it is not finite or misshapen."""
    if x.shape != (robot.nx,):
        raise MessageError(f"state has shape {x.shape}: {robot.name} needs ({robot.nx},)")
    if not np.all(np.isfinite(x)):
        base, joints = [robot.base], list(robot.joint_names)
        names = (robot.nq - robot.nu) * base + joints + (robot.nv - robot.nu) * base + joints
        which = [names[i] for i in np.flatnonzero(~np.isfinite(x))]
        raise MessageError(f"state is not finite at {', '.join(dict.fromkeys(which))}")
    return x


def check_command(robot: Robot, command: Command) -> Command:
    """Return `command` with its feed-forward clamped to the effort limits.

    Raises:
        MessageError: a shape is wrong or a number is not finite; the stock controller would abort or run away on it.
    """
    shapes = {"x0": (robot.nx,), "u0": (robot.nu,), "gain": (robot.nu, robot.ndx)}
    for name, shape in shapes.items():
        array = getattr(command, name)
        if array.shape != shape:
            raise MessageError(f"command {name} has shape {array.shape}: {robot.name} needs {shape}")
        if not np.all(np.isfinite(array)):
            raise MessageError(f"command {name} holds NaN or infinity")
    effort = robot.limits.effort
    return replace(command, u0=np.clip(command.u0, -effort, effort))


class CommandGuard:
    """What passes has bounded gains, is still valid, and asks in the newest state for torques within limits and rate.

    What asks for too much torque keeps its gains and its `x0`; its feed-forward is shifted.
    """

    def __init__(self, robot: Robot, safety: SafetyConfig, period: float) -> None:
        """Guard `robot`, which gets a command every `period`, s, and has none yet."""
        self._robot, self._period = robot, period
        self._limit, self._reach = robot.limits.effort, safety.torque_scale * robot.limits.effort
        self._scaled = safety.torque_scale < 1.0
        self._rate = safety.torque_rate * robot.limits.effort
        self._joints = joint_columns(robot)
        largest = [np.full(robot.nv, gains.max()) for gains in (robot.hold.stiffness, robot.hold.damping)]
        self._gain = safety.gain * np.concatenate(largest)
        self._last: Command | None = None
        self._last_at = 0.0

    def forget(self) -> None:
        """Take the next command as the first."""
        self._last = None

    def __call__(self, command: Command, x: Array, now: float) -> Command:
        """Return `command` as it may be applied in the (nx,) state `x` at time `now`, s.

        Raises:
            MessageError: it is misshapen, not finite, expired, or has gains beyond all bounds.
        """
        command = check_command(self._robot, command)
        if command.valid_until < now:
            raise MessageError(f"command expired {now - command.valid_until:.3f} s ago")
        if (share := float(np.max(np.abs(command.gain) / self._gain))) > 1.0:
            raise MessageError(f"command gain is {share:.3g} times what safety.gain allows")
        asked = torque = self._torque(command, x)
        if self._last is not None:
            before = self._torque(self._last, x)
            step = self._rate * min(max(now - self._last_at, self._period), LONGEST)
            torque = np.clip(torque, before - step, before + step)
        torque = np.clip(torque, -self._limit, self._limit)
        if self._scaled:
            weight = self._robot.gravity(x[: self._robot.nq])
            torque = np.clip(torque, weight - self._reach, weight + self._reach)
        self._last, self._last_at = replace(command, u0=command.u0 + (torque - asked)), now
        return self._last

    def _torque(self, command: Command, x: Array) -> Array:
        """Return what the joints apply by `command` in the (nx,) state `x`: (nu,) Nm."""
        (q0, v0), (q, v) = (np.split(state, [self._robot.nq]) for state in (command.x0, x))
        away = pinocchio.difference(self._robot.model, q, q0) if self._robot.floating else q0 - q
        joints = self._joints
        return np.asarray(command.u0 + command.gain[:, joints] @ np.concatenate([away, v0 - v])[joints])


def hold_command(robot: Robot, x: Array, t: float, valid_until: float) -> Command:
    """Return the command that keeps the posture of the (nx,) state `x`: gravity, stiffness and damping."""
    q, base = x[: robot.nq], np.zeros((robot.nu, robot.nv - robot.nu))  # the joints hold, whatever a floating base does
    gain = np.hstack([base, np.diag(robot.hold.stiffness), base, np.diag(robot.hold.damping)])
    stands = (True,) * len(robot.feet)
    return Command(t, np.concatenate([q, np.zeros(robot.nv)]), robot.gravity(q), gain, valid_until, stands)
