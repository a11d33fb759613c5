"""TorqueObserver: the torque on the joints of which the model knows nothing, from wrong masses, friction or a hand.

With the momentum p = M(q) q̇ and dp/dt = τ + C(q, q̇)ᵀ q̇ - g(q) + d, the residual of the momentum observer follows d as a
low-pass does (A. De Luca and R. Mattone, "Actuator failure detection and isolation using generalized momenta", ICRA
2003). Taken off the feed-forward, it makes the plant behave as the model: plans then end where they say, as with
integral action, and the planner needs to know nothing of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pinocchio

from dpvp.plan import Array, Command
from dpvp.robot import Robot

LONGEST = 0.1  # s; over a longer gap nobody knows what torques were applied


@dataclass(frozen=True)
class _Moment:
    """State, momentum and what changes it without torques, at a time."""

    t: float
    x: Array
    momentum: Array
    drift: Array


class TorqueObserver:
    """Watches states and commands of a robot with a fixed base.

    Attributes:
        torque: (nv,) estimate of d, Nm; at most a share of each joint's limit.
    """

    def __init__(self, robot: Robot, bandwidth: float, share: float) -> None:
        """Follow disturbances slower than `bandwidth`, rad/s, up to `share` of the effort limits; 0 follows none."""
        self._robot, self._bandwidth, self._most = robot, bandwidth, share * robot.limits.effort
        self._data = robot.model.createData()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.torque = np.zeros(self._robot.nv)
        self._last: _Moment | None = None
        self._command: Command | None = None

    def sense(self, t: float, x: Array) -> None:
        """Take the (nx,) state of time `t`, s, [rad, rad/s]; the last command was in force since the one before."""
        if self._bandwidth == 0.0:
            return
        before, now = self._last, self._moment(t, x)
        self._last = now
        if before is None or self._command is None or not 0.0 < t - before.t <= LONGEST:
            return
        applied = 0.5 * (self._applied(before.x) + self._applied(x))
        found = (now.momentum - before.momentum) / (t - before.t) - applied - 0.5 * (before.drift + now.drift)
        if not np.all(np.isfinite(found)):  # a command that nobody applied
            self._command = None
            return
        share = 1.0 - math.exp(-self._bandwidth * (t - before.t))
        self.torque = np.clip(self.torque + share * (found - self.torque), -self._most, self._most)

    def corrected(self, command: Command) -> Command:
        """Return `command` with the estimate taken off its feed-forward; it counts as in force from now on."""
        self._command = replace(command, u0=command.u0 - self.torque) if self._bandwidth else command
        return self._command

    def note(self, command: Command) -> Command:
        """Return `command` as it is; it counts as in force from now on."""
        self._command = command
        return command

    def _applied(self, x: Array) -> Array:
        assert self._command is not None
        command, limit = self._command, self._robot.limits.effort
        return np.asarray(np.clip(command.u0 + command.gain @ (command.x0 - x), -limit, limit))

    def _moment(self, t: float, x: Array) -> _Moment:
        model, data, (q, v) = self._robot.model, self._data, np.split(x, 2)
        mass = np.triu(pinocchio.crba(model, data, q))
        mass = mass + np.triu(mass, 1).T
        coriolis = pinocchio.computeCoriolisMatrix(model, data, q, v)
        drift = coriolis.T @ v - pinocchio.computeGeneralizedGravity(model, data, q)
        return _Moment(t, x.copy(), mass @ v, drift)
