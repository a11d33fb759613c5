"""What of a feedback law can be left to the joints: those who apply it on board know nothing of a floating base.

linear_feedback_controller without a free-flyer, and motor drivers, see positions and velocities of joints alone. What
the law makes of the base is worked out where the base is known and goes into the feed-forward; it is as fresh as the
last command.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio
from numpy.typing import NDArray

from dpvp.plan import Array, Command
from dpvp.robot import Robot


def left_to_joints(robot: Robot, command: Command, x: Array) -> Command:
    """Return `command` with the feedback of a floating base, in the (nx,) state `x`, moved from K into u0.

    The columns of the base in K are zero then. With a fixed base nothing changes.
    """
    if not robot.floating:
        return command
    base = ~joint_columns(robot)
    (q0, v0), (q, v) = (np.split(state, [robot.nq]) for state in (command.x0, x))
    away = np.concatenate([pinocchio.difference(robot.model, q, q0), v0 - v])
    gain = command.gain.copy()
    gain[:, base] = 0.0
    return replace(command, u0=command.u0 + command.gain[:, base] @ away[base], gain=gain)


def joint_columns(robot: Robot) -> NDArray[np.bool_]:
    """Return which columns (ndx,) of K are those of the joints."""
    of_joints = np.arange(robot.nv) >= robot.nv - robot.nu
    return np.concatenate([of_joints, of_joints])
