"""The guard: no command gets out or reaches the plant that is not finite, well shaped, timely and within limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio

from dpvp.control.onboard import joint_columns
from dpvp.errors import MessageError
from dpvp.plan import Array, Command, Plan
from dpvp.robot import Robot
from dpvp.scenario import SafetyConfig

FEED_FORWARD = 1.25  # times a joint's torque limit, that a plan may ask for; nodes far ahead may exceed it a little
HERE = 0.1  # rad that a joint may be away from where it is held to count as being there
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


def check_speed(robot: Robot, x: Array, safety: SafetyConfig) -> None:
    """Raise `MessageError` if in the (nx,) state `x` a joint is so fast that its sensor is to be doubted."""
    share = np.abs(x[-robot.nu :]) / robot.limits.velocity
    if (most := float(share.max())) > safety.velocity * safety.hard:
        name = robot.joint_names[int(share.argmax())]
        raise MessageError(f"state has {name} at {most:.3g} times its velocity limit")


def is_sound(robot: Robot, plan: Plan) -> bool:
    """Return whether a plan is finite and within the torques of the joints and what making up for disturbances adds.

    The solver checks more; this is for what went wrong in or after its check.
    """
    if not all(np.isfinite(part).all() for part in (plan.xs, plan.us, plan.gains)):
        return False
    return bool((np.abs(plan.us) <= FEED_FORWARD * robot.limits.effort).all())


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
        self._drive = safety.drive
        self._velocity, self._data = safety.velocity * robot.limits.velocity, robot.model.createData()
        self._last: Command | None = None
        self._last_at = 0.0

    def forget(self) -> None:
        """Take the next command as the first."""
        self._last = None

    def __call__(self, command: Command, x: Array, now: float) -> Command:
        """Return `command` as it may be applied in the (nx,) state `x` at time `now`, s.

        Raises:
            MessageError: it is misshapen, not finite, expired, or beyond all bounds in its gains or its torques, or a
                joint of a robot with a fixed base would be too fast before the next one comes.
        """
        raw, command = command, self.check(command)
        if command.valid_until < now and not holds(self._robot, command):  # holding is right however old the state is
            raise MessageError(f"command expired {now - command.valid_until:.3f} s ago")
        if (share := self._driven(self._torque(raw, x), x)) > self._drive:
            raise MessageError(f"command asks for {share:.3g} times a joint's torque")
        asked = torque = self._torque(command, x)
        if self._last is not None:
            before = self._torque(self._last, x)
            step = self._rate * min(max(now - self._last_at, self._period), LONGEST)
            torque = np.clip(torque, before - step, before + step)
        torque = np.clip(torque, -self._limit, self._limit)
        if self._scaled:
            weight = self._robot.gravity(x[: self._robot.nq])
            torque = np.clip(torque, weight - self._reach, weight + self._reach)
        if not self._holds_here(command, x):
            self._check_speed(torque, x)
        self._last, self._last_at = replace(command, u0=command.u0 + (torque - asked)), now
        return self._last

    def check(self, command: Command) -> Command:
        """Return `command`, clamped; raises `MessageError` for what can be told of it whatever the state is."""
        checked = check_command(self._robot, command)
        if (share := float(np.max(np.abs(command.gain) / self._gain))) > 1.0:
            raise MessageError(f"command gain is {share:.3g} times what safety.gain allows")
        return checked

    def _holds_here(self, command: Command, x: Array) -> bool:
        """Return whether a command holds about where the robot is: that may always be done, however fast it is."""
        joints = slice(self._robot.nq - self._robot.nu, self._robot.nq)
        return holds(self._robot, command) and bool(np.all(np.abs(command.x0 - x)[joints] < HERE))

    def _driven(self, torque: Array, x: Array) -> float:
        """Return the largest share of a joint's limit among (nu,) torques, Nm, that do not brake their joint."""
        shares = np.where(torque * x[-self._robot.nu :] >= 0.0, np.abs(torque) / self._limit, 0.0)
        return float(shares.max())

    def _check_speed(self, torque: Array, x: Array) -> None:
        """Refuse (nu,) torques, Nm, that drive a joint beyond its velocity within a period; what brakes may pass.

        Of a base that floats nobody knows here what the feet will meet.
        """
        if self._robot.floating:
            return
        q, v = np.split(x, [self._robot.nq])
        after = v + self._period * pinocchio.aba(self._robot.model, self._data, q, v, torque)
        beyond = (np.abs(after) > self._velocity) & (np.abs(after) > np.abs(v))
        if beyond.any():
            joint = int(np.argmax(beyond * np.abs(after) / self._velocity))
            name = self._robot.joint_names[joint]
            raise MessageError(f"command would bring {name} to {after[joint]:.3g} rad/s within a period")

    def _torque(self, command: Command, x: Array) -> Array:
        """Return what the joints apply by `command` in the (nx,) state `x`: (nu,) Nm."""
        (q0, v0), (q, v) = (np.split(state, [self._robot.nq]) for state in (command.x0, x))
        away = pinocchio.difference(self._robot.model, q, q0) if self._robot.floating else q0 - q
        joints = self._joints
        return np.asarray(command.u0 + command.gain[:, joints] @ np.concatenate([away, v0 - v])[joints])


def posture_to_hold(robot: Robot, x: Array, *, tracking: bool) -> Array:
    """Return the (nx,) state to hold in state `x`: itself, but all feet down if a robot on feet was on its way.

    Who stops in the middle of a step with a leg in the air tips over; the nominal posture is never far from a step.
    """
    if not (robot.floating and tracking):
        return x.copy()
    base, joints = x[: robot.nq - robot.nu], robot.nominal[-robot.nu :]
    return np.concatenate([base, joints, x[robot.nq :]])


def hold_command(robot: Robot, x: Array, t: float, valid_until: float) -> Command:
    """Return the command that keeps the posture of the (nx,) state `x`: gravity, stiffness and damping."""
    q, base = x[: robot.nq], np.zeros((robot.nu, robot.nv - robot.nu))  # the joints hold, whatever a floating base does
    gain = np.hstack([base, np.diag(robot.hold.stiffness), base, np.diag(robot.hold.damping)])
    stands = (True,) * len(robot.feet)
    return Command(t, np.concatenate([q, np.zeros(robot.nv)]), robot.gravity(q), gain, valid_until, stands)


def holds(robot: Robot, command: Command) -> bool:
    """Return whether `command` keeps a posture with the gains for that."""
    of_joints = command.gain[:, joint_columns(robot)]
    return np.array_equal(of_joints, np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)]))
