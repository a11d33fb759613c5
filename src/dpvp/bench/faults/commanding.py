"""Faults on the way from the loop to the plant: commands that are lost, late, out of order or wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from dpvp.bench.faults.fault import Fault, Late
from dpvp.plan import Command


class Lost(Fault):
    """No command arrives."""

    def control(self, command: Command) -> Late[Command]:
        """Return nothing."""
        return []


class Thinned(Fault):
    """Half of the commands are lost."""

    def control(self, command: Command) -> Late[Command]:
        """Return it, or not."""
        return [(0.0, command)] if self.rng.random() < 0.5 else []


class Delayed(Fault):
    """Commands arrive late, in order, and still are valid."""

    LATE = (0.005, 0.03)  # s

    @cached_property
    def late(self) -> float:
        """How late, s."""
        return float(self.rng.uniform(*self.LATE))

    def control(self, command: Command) -> Late[Command]:
        """Return it later."""
        return [(self.late, command)]


class Expired(Delayed):
    """Commands arrive when their time is over."""

    LATE = (0.25, 0.6)


class Reordered(Fault):
    """Every command takes a time of its own, so that some overtake others."""

    def control(self, command: Command) -> Late[Command]:
        """Return it later."""
        return [(float(self.rng.uniform(0.0, 0.03)), command)]


class Repeated(Fault):
    """Every command arrives two or three times."""

    def control(self, command: Command) -> Late[Command]:
        """Return it again and again."""
        return [(float(late), command) for late in (0.0, *self.rng.uniform(0.0, 0.02, self.rng.integers(1, 3)))]


class Wrong(Fault):
    """A number of the gain or of the feed-forward is not finite."""

    @cached_property
    def value(self) -> float:
        """What stands in its place."""
        return float(self.rng.choice([np.nan, np.inf, -np.inf]))

    def control(self, command: Command) -> Late[Command]:
        """Return it with the wrong number."""
        part = str(self.rng.choice(["u0", "gain", "x0"]))
        array = getattr(command, part).copy()
        array.flat[self.rng.integers(array.size)] = self.value
        return [(0.0, replace(command, **{part: array}))]


class Misshapen(Fault):
    """A joint is missing in the command."""

    def control(self, command: Command) -> Late[Command]:
        """Return it without its last row."""
        return [(0.0, replace(command, u0=command.u0[:-1], gain=command.gain[:-1]))]


class HugeTorque(Fault):
    """The feed-forward of every joint is many times what the joint can do."""

    def control(self, command: Command) -> Late[Command]:
        """Return it so."""
        sign = self.rng.choice([-1.0, 1.0], self.robot.nu)
        return [(0.0, replace(command, u0=sign * self.rng.uniform(2.0, 100.0) * self.robot.limits.effort))]


class HugeGain(Fault):
    """The gains are a hundred times what they were."""

    def control(self, command: Command) -> Late[Command]:
        """Return it so."""
        return [(0.0, replace(command, gain=100.0 * command.gain))]
