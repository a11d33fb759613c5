"""What the supervisor measures on the plant: how near it is to each of its limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio

from dpvp.control.states import Reason
from dpvp.plan import Array, Command
from dpvp.robot import Robot
from dpvp.scenario import SafetyConfig

STILL = 0.03  # s in which no position changes at all
MOVING = 0.05  # rad/s; although a joint says that it is so fast
DRIVEN = 0.25  # or has such a share of its torque to move it
MEMORY = 0.1  # s over which positions are compared with the integral of velocities
FASTEST_BASE = 5.0  # m/s; no legged robot of ours is that fast, and estimates that are have jumped
JUMP = 0.05  # rad or m that a state may be off what its velocity limits allow


@dataclass(frozen=True)
class Finding:
    """A limit and the share of it that is used; beyond 1 it is left. `detail` names the joint and the figure."""

    reason: Reason
    share: float
    detail: str


def jumped(robot: Robot, before: Array, after: Array, passed: float) -> bool:
    """True if no robot could have moved from one (nx,) state to another in `passed` seconds."""
    return passed < 0.0 or bool(np.any(_beyond_motion(robot, before, after, passed) > 0.0))


def _beyond_motion(robot: Robot, before: Array, after: Array, passed: float) -> Array:
    """Return how much further than they can move the base (3,), m, where it floats, and the joints (nu,), rad, are."""
    moved, joints = np.abs(after - before), slice(robot.nq - robot.nu, robot.nq)
    beyond = moved[joints] - JUMP - 2.0 * robot.limits.velocity * passed
    return np.concatenate([moved[:3] - JUMP - FASTEST_BASE * passed, beyond]) if robot.floating else np.asarray(beyond)


def begun_anew(passed: float, period: float) -> bool:
    """True if in lock-step, with plans every `period`, s, somebody began the simulation anew between two states.

    Nobody else lets so much time pass.
    """
    return passed > max(MEMORY, 2.0 * period)


class PlantMonitor:
    """Looks at measured states, one after the other."""

    def __init__(self, robot: Robot, safety: SafetyConfig) -> None:
        """Judge by the limits of `robot` and by `safety`."""
        self._robot, self._safety = robot, safety
        self._data = robot.model.createData()
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._before: tuple[float, Array] | None = None
        self._off = np.zeros(self._robot.nu)
        self._still = 0.0

    def look(self, t: float, x: Array, effort: Array | None, command: Command | None) -> list[Finding]:
        """Return how far each limit is used at time `t`, s.

        Args:
            t: s, on the plant's clock.
            x: (nx,) measured state, [rad, rad/s].
            effort: (nu,) measured torques, Nm; None where the plant measures none.
            command: what is in force, None if that is not known.
        """
        if (news := self._changed(t, x)) is not None:
            return [news]
        return list(self._limits(x, effort, command))

    def _limits(self, x: Array, effort: Array | None, command: Command | None) -> Iterator[Finding]:
        robot, safety, limits = self._robot, self._safety, self._robot.limits
        q, v = x[robot.nq - robot.nu : robot.nq], x[-robot.nu :]
        yield self._worst(Reason.VELOCITY, np.abs(v) / limits.velocity, safety.velocity, "of its velocity limit")
        beyond = np.maximum(limits.position_lower - q, q - limits.position_upper)
        yield self._worst(Reason.POSITION, beyond, safety.position, "rad beyond its range")
        if effort is not None:
            yield self._worst(Reason.EFFORT, np.abs(effort) / limits.effort, safety.effort, "of its torque limit")
        if command is not None:
            away = np.abs(command.x0[robot.nq - robot.nu : robot.nq] - q)
            yield self._worst(Reason.TRACKING, away, safety.tracking, "rad from where it should be")
        off = "rad between position and velocity"
        yield self._worst(Reason.STATE_CONTRADICTS, np.abs(self._off), safety.contradiction, off)
        if self._still >= STILL and (np.abs(v).max() > MOVING or self._driven(x, command)):
            yield Finding(Reason.STATE_CONTRADICTS, self._still / STILL, f"frozen for {self._still:.3f} s")
        if robot.floating:
            up = 1.0 - 2.0 * (x[3] ** 2 + x[4] ** 2)  # of the base's z axis along the world's
            tilt = math.acos(min(1.0, max(-1.0, float(up))))
            yield Finding(Reason.TILT, tilt / safety.tilt, f"{tilt:.2f} rad")
        else:
            speed = self._speed(x)
            yield Finding(Reason.SPEED, speed / safety.speed, f"{speed:.2f} m/s")

    def _driven(self, x: Array, command: Command | None) -> bool:
        """Return whether a joint of a robot with a fixed base is commanded to move: no friction holds it."""
        if command is None or self._robot.floating:
            return False
        torque = command.u0 + command.gain @ (command.x0 - x)
        away = np.abs(torque - self._robot.gravity(x[: self._robot.nq]))
        return bool((away > DRIVEN * self._robot.limits.effort).any())

    def _changed(self, t: float, x: Array) -> Finding | None:
        """Compare the state with the one before; return a jump if there is one."""
        before, self._before = self._before, (t, x)
        if before is None or t == before[0]:
            return None
        passed = t - before[0]
        if (jump := self._jump(before[1], x, passed)) is not None:
            self._off = np.zeros(self._robot.nu)
            return jump
        joints, nu = slice(self._robot.nq - self._robot.nu, self._robot.nq), self._robot.nu
        v0, v1 = before[1][-nu:], x[-nu:]
        self._still = self._still + passed if np.array_equal(x[joints], before[1][joints]) else 0.0
        moved = (x - before[1])[joints] - 0.5 * passed * (v0 + v1)
        unknown = 0.5 * passed * np.abs(v1 - v0)  # what happened between two states
        off = np.sign(moved) * np.maximum(np.abs(moved) - unknown, 0.0)
        self._off = math.exp(-passed / MEMORY) * self._off + off
        return None

    def _jump(self, before: Array, x: Array, passed: float) -> Finding | None:
        """Return what no motion explains: of an encoder, which does not jump unless it is broken, or of the base."""
        if passed < 0.0:
            return Finding(Reason.STATE_JUMPED, 1.0, f"{-passed:.4f} s back in time")
        beyond, nu = _beyond_motion(self._robot, before, x, passed), self._robot.nu
        if (far := beyond[-nu:]).max() > 0.0:
            name = self._robot.joint_names[int(far.argmax())]
            return Finding(Reason.STATE_CONTRADICTS, 1.0, f"{name} is {far.max():.3f} rad further than it can move")
        if beyond.max() > 0.0:
            return Finding(Reason.STATE_JUMPED, 1.0, f"the base is {beyond.max():.3f} m further than it can move")
        return None

    def _worst(self, reason: Reason, used: Array, limit: float, what: str) -> Finding:
        joint = int(np.argmax(used))
        return Finding(reason, float(used[joint]) / limit, f"{self._robot.joint_names[joint]} {used[joint]:.3f} {what}")

    def _speed(self, x: Array) -> float:
        model, data, frame = self._robot.model, self._data, self._robot.model.getFrameId(self._robot.end_effector)
        pinocchio.forwardKinematics(model, data, *np.split(x, [self._robot.nq]))
        return float(np.linalg.norm(pinocchio.getFrameVelocity(model, data, frame).linear))


def worst(findings: Sequence[Finding]) -> Finding | None:
    """Return the finding that is furthest beyond its limit, None if all are within."""
    beyond = [finding for finding in findings if finding.share >= 1.0]
    return max(beyond, key=lambda finding: finding.share, default=None)
