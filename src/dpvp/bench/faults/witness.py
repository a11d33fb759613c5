"""Witness: remembers what plant, loop and supervisor say, and when; of running nodes the judge believes it."""

from __future__ import annotations

import time
from array import array

import numpy as np

from dpvp.bench.faults.fault import Mode
from dpvp.bench.faults.plant import Truth
from dpvp.bench.faults.rig import Event, Trace
from dpvp.plan import Array
from dpvp.robot import load_robot_from
from dpvp.scenario import Scenario

PHASES = {"PD": Mode.HOLD, "HOLD": Mode.HOLD, "DAMPING": Mode.DAMP}


class Witness:
    """Takes times on this machine's monotonic clock, as messages arrive.

    Attributes:
        state, reason: of the loop, as it said last.
        allowed: what the supervisor allows, and why, as it said last.
        law: phase of the law at the plant.
        trace: what was heard since `begin`.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Judge by the data sheet of the robot of `scenario`; a `Bystander` tells what is heard."""
        robot = scenario.robot
        self._limits = load_robot_from(robot.folder).limits
        self._middle = 0.5 * (self._limits.position_upper + self._limits.position_lower)
        self._half = 0.5 * (self._limits.position_upper - self._limits.position_lower)
        self._stiff = np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)])
        self.state = self.reason = self.allowed = self.law = ""
        self._holds = False
        self.begin()

    def begin(self) -> None:
        """Forget what was heard before; times count from now on."""
        self._began = time.monotonic()
        truth = Truth(array("d"), array("d"), array("d"), array("d"), array("d"), array("b"), array("b"))
        self.trace = Trace(truth)

    @property
    def now(self) -> float:
        """Time since `begin`, s."""
        return time.monotonic() - self._began

    @property
    def mode(self) -> Mode:
        """What the law at the plant does."""
        return PHASES.get(self.law, Mode.HOLD if self._holds else Mode.TRACK)

    @property
    def tracking(self) -> bool:
        """Whether plans are followed."""
        return self.state == "TRACK" and self.mode is Mode.TRACK

    def note(self, what: str) -> None:
        """Write down what was said."""
        self.trace.events.append(Event(self.now, what))
        self._sample()

    def _sample(self) -> None:
        truth = self.trace.truth
        for values in (truth.position, truth.velocity, truth.torque, truth.asked):
            values.append(values[-1] if values else 0.0)
        truth.t.append(self.now)
        truth.mode.append(list(Mode).index(self.mode))
        truth.spoilt.append(0)

    def joints(self, q: Array, v: Array, effort: Array) -> None:
        """Take positions, velocities and torques of the joints, (nu,) each: rad, rad/s, Nm."""
        self._sample()
        truth = self.trace.truth
        truth.position[-1] = float((np.abs(q - self._middle) / self._half).max())
        truth.velocity[-1] = float((np.abs(v) / self._limits.velocity).max())
        truth.torque[-1] = truth.asked[-1] = float((np.abs(effort) / self._limits.effort).max())

    def gains(self, gain: Array) -> None:
        """Take the gains (nu, 2 nu) of a command."""
        if (held := bool(np.array_equal(gain, self._stiff))) is not self._holds:
            self._holds = held
            self._sample()

    def phase(self, name: str) -> None:
        """Take what the law at the plant does."""
        if name != self.law:
            self.law = name
            self.note(f"law:{name}")

    def ruling(self, state: str, reason: str) -> None:
        """Take what the supervisor allows."""
        if (allowed := f"{state} {reason}") != self.allowed:
            self.allowed = allowed
            self.note(f"ruling:{allowed}")

    def loop(self, state: str, reason: str) -> None:
        """Take what the loop does."""
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self.note(f"loop:{state} {reason}")
