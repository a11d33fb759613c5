"""The law at the plant: what ros2_control's linear_feedback_controller does each cycle, and what follows its silence.

Stock behaviour (linear_feedback_controller 4): PD around the posture and effort found at the first update until a
command arrives; then a blend of `transition` seconds to `u = u0 + K (x0 ⊖ x)` with filtered velocities; the cycle that
receives the first command still is PD. The stock controller follows its last command for ever. With timeouts set, ours
does not: it holds the posture it has, and later damps. Taken off the plant it damps too, whatever it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pinocchio

from dpvp.plan import Array, Command
from dpvp.robot import Robot


class FeedbackPhase(Enum):
    """What the law is doing; the text is for people."""

    PD = "PD around the starting posture, no command yet"
    BLEND = "blending from PD to linear feedback"
    FEEDBACK = "linear feedback"
    HOLD = "commands stopped: PD around the posture of that moment, with gravity"
    DAMPING = "taken off the plant, or commands stopped for long: damping, with gravity"


@dataclass(frozen=True)
class FeedbackTiming:
    """Times of the law.

    Attributes:
        transition: length of the blend from PD to linear feedback, s.
        velocity_filter: weight of the new sample in the velocity filter, 0..1.
        command_timeout: seconds without a command after which the law holds; None is never (stock). A command's own
            `valid_until` may end it sooner.
        damping_timeout: seconds without a command after which it damps; None is never (stock).
    """

    transition: float
    velocity_filter: float
    command_timeout: float | None = None
    damping_timeout: float | None = None


@dataclass(frozen=True)
class _Anchor:
    """Configuration (nq,) and effort (nu,) Nm around whose joints PD works."""

    q: Array
    effort: Array


class FeedbackLaw:
    """Efforts from measurements and the newest command; state is the phase, the filter and the anchor of the PD."""

    def __init__(self, robot: Robot, timing: FeedbackTiming) -> None:
        """Start in PD; its posture is captured at the first update."""
        self._robot, self._timing = robot, timing
        self.reset()

    def reset(self) -> None:
        """Forget commands and posture, as unloading and loading the stock controller does."""
        self.phase = FeedbackPhase.PD
        self._anchor: _Anchor | None = None
        self._velocity: Array | None = None
        self._command: Command | None = None
        self._heard = self._first = -np.inf
        self._taken = False

    def damp(self) -> None:
        """Be taken off the plant: from now on damp, whatever arrives, until `release` or `reset`."""
        self._taken = True

    def release(self) -> None:
        """Be put back without being made anew: go on with the command that came last, as the stock controller does."""
        self._taken = False

    def receive(self, command: Command, now: float) -> None:
        """Take the newest command at time `now`, s; `guard.check_command` must have passed it."""
        if self._command is None or self.phase in (FeedbackPhase.HOLD, FeedbackPhase.DAMPING):
            self._first = now
        self._command, self._heard = command, now
        if self._timing.command_timeout is not None:  # one that is old when it comes has a part of its time behind it
            self._heard = min(now, command.valid_until - self._timing.command_timeout)

    def filtered(self, v: Array) -> Array:
        """Return the filtered velocity (nv,) of the new sample `v`; call once a cycle, before `update`."""
        weight = self._timing.velocity_filter
        self._velocity = v.copy() if self._velocity is None else weight * v + (1 - weight) * self._velocity
        return self._velocity

    def update(self, now: float, q: Array, v: Array, effort: Array) -> Array:
        """Return the efforts (nu,), Nm, for this cycle.

        Args:
            now: time of the plant, s.
            q: (nq,) measured configuration, [rad], with the place of the base where that floats.
            v: (nv,) filtered velocities, [rad/s].
            effort: (nu,) measured efforts, Nm; become the bias of the PD at the first update.
        """
        if self._anchor is None and not self._taken:
            self._anchor = _Anchor(q.copy(), effort.copy())
        damped, self.phase = self.phase is FeedbackPhase.DAMPING, self._next_phase(now, q)
        if damped and self.phase is not FeedbackPhase.DAMPING:  # it may have been moved far from where it held
            self._anchor = _Anchor(q.copy(), self._robot.gravity(q))
        if self.phase is FeedbackPhase.DAMPING:
            return np.asarray(self._robot.gravity(q) - self._robot.hold.damping * v[-self._robot.nu :])
        if self.phase in (FeedbackPhase.PD, FeedbackPhase.HOLD) or self._command is None:
            return self._pd(q, v)
        linear = self._linear(self._command, q, v)
        if self.phase is FeedbackPhase.FEEDBACK:
            return linear
        share = (now - self._first) / self._timing.transition
        return np.asarray((1 - share) * self._pd(q, v) + share * linear)

    def _next_phase(self, now: float, q: Array) -> FeedbackPhase:
        timing = self._timing
        if self._taken:
            return FeedbackPhase.DAMPING
        if self._command is None:
            return FeedbackPhase.PD
        silent = now - self._heard
        if timing.damping_timeout is not None and silent > timing.damping_timeout:
            return FeedbackPhase.DAMPING
        if timing.command_timeout is not None and silent > timing.command_timeout:
            if self.phase not in (FeedbackPhase.HOLD, FeedbackPhase.DAMPING):
                self._anchor = _Anchor(q.copy(), self._robot.gravity(q))
            return FeedbackPhase.HOLD
        if now - self._first >= timing.transition and now > self._first:
            return FeedbackPhase.FEEDBACK
        return FeedbackPhase.PD if now <= self._first else FeedbackPhase.BLEND

    def _pd(self, q: Array, v: Array) -> Array:
        assert self._anchor is not None
        hold, joints = self._robot.hold, slice(-self._robot.nu, None)
        away = (self._anchor.q - q)[joints]
        return np.asarray(self._anchor.effort + hold.stiffness * away - hold.damping * v[joints])

    def _linear(self, command: Command, q: Array, v: Array) -> Array:
        q0, v0 = np.split(command.x0, [len(q)])
        # of revolute and prismatic joints the manifold difference is the plain one
        away = pinocchio.difference(self._robot.model, q, q0) if self._robot.floating else q0 - q
        return np.asarray(command.u0 + command.gain @ np.concatenate([away, v0 - v]))
