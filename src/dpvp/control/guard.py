"""The guard: no command leaves the loop or reaches the plant that is not finite, well shaped and within limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dpvp.errors import MessageError
from dpvp.plan import Array, Command
from dpvp.robot import Robot


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


def hold_command(robot: Robot, x: Array, t: float, valid_until: float) -> Command:
    """Return the command that keeps the posture of the (nx,) state `x`: gravity, stiffness and damping."""
    q, base = x[: robot.nq], np.zeros((robot.nu, robot.nv - robot.nu))  # the joints hold, whatever a floating base does
    gain = np.hstack([base, np.diag(robot.hold.stiffness), base, np.diag(robot.hold.damping)])
    stands = (True,) * len(robot.feet)
    return Command(t, np.concatenate([q, np.zeros(robot.nv)]), robot.gravity(q), gain, valid_until, stands)
