"""Faults on the way from the plant to the loop: states that are lost, late, out of order or wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from dpvp.bench.faults.fault import Fault, Late
from dpvp.plan import Array, State


class Lost(Fault):
    """No state arrives."""

    def sensor(self, state: State) -> Late[State]:
        """Return nothing."""
        return []


class Thinned(Fault):
    """Most states are lost."""

    def sensor(self, state: State) -> Late[State]:
        """Return it once in five times."""
        return [(0.0, state)] if self.rng.random() < 0.2 else []


class Delayed(Fault):
    """States arrive a little late, in order."""

    LATE = (0.005, 0.03)  # s, less than any loop's patience

    @cached_property
    def late(self) -> float:
        """How late, s."""
        return float(self.rng.uniform(*self.LATE))

    def sensor(self, state: State) -> Late[State]:
        """Return it later."""
        return [(self.late, state)]


class Overdue(Delayed):
    """States arrive regularly, but so late that nobody may act on them."""

    LATE = (0.07, 0.3)


class Reordered(Fault):
    """Every state takes a time of its own, so that some overtake others."""

    def sensor(self, state: State) -> Late[State]:
        """Return it later."""
        return [(float(self.rng.uniform(0.0, 0.02)), state)]


class Repeated(Fault):
    """Every state arrives two or three times."""

    def sensor(self, state: State) -> Late[State]:
        """Return it again and again."""
        return [(float(late), state) for late in (0.0, *self.rng.uniform(0.0, 0.004, self.rng.integers(1, 3)))]


class Wrong(Fault):
    """A number of the state is wrong; what of it is drawn once."""

    def sensor(self, state: State) -> Late[State]:
        """Return it with a wrong number in it."""
        return [(0.0, replace(state, x=self.spoil(state.x.copy())))]

    def spoil(self, x: Array) -> Array:
        """Return what is made of a copy of the state (nx,)."""
        x[self.where] = self.value
        return x

    value = np.nan

    @cached_property
    def where(self) -> int:
        """Which number."""
        return int(self.rng.integers(self.robot.nx))


class NotFinite(Wrong):
    """A number of the state is infinite."""

    value = np.inf


class Misshapen(Wrong):
    """A number of the state is missing."""

    def spoil(self, x: Array) -> Array:
        """Return it shorter."""
        return np.delete(x, self.where)


class Frozen(Wrong):
    """The first state of the fault comes again and again with new stamps, as from a driver that hangs."""

    seen: Array | None = None

    def spoil(self, x: Array) -> Array:
        """Return the first one."""
        self.seen = x if self.seen is None else self.seen
        return self.seen.copy()


class Jumping(Wrong):
    """A joint's position is off by a constant, as after an encoder lost count."""

    @cached_property
    def offset(self) -> float:
        """Of the joint, rad."""
        return float(self.rng.choice([-1.0, 1.0]) * self.rng.uniform(0.2, 1.0))

    @cached_property
    def where(self) -> int:
        """Which joint."""
        return int(self.robot.nq - self.rng.integers(1, self.robot.nu + 1))

    def spoil(self, x: Array) -> Array:
        """Return it with the joint elsewhere."""
        x[self.where] += self.offset
        return x


class Flickering(Jumping):
    """A joint's position jumps to and fro: half of the states are off."""

    def spoil(self, x: Array) -> Array:
        """Return it with the joint elsewhere, or as it is."""
        return super().spoil(x) if self.rng.random() < 0.5 else x


class Spiking(Wrong):
    """A joint's velocity is some times what the joint can do."""

    @cached_property
    def where(self) -> int:
        """Which joint's velocity."""
        return int(self.robot.nx - self.rng.integers(1, self.robot.nu + 1))

    @cached_property
    def speed(self) -> float:
        """The velocity that is shown, rad/s."""
        limit = self.robot.limits.velocity[self.where - self.robot.nx]
        return float(self.rng.choice([-1.0, 1.0]) * self.rng.uniform(1.5, 10.0) * limit)

    def spoil(self, x: Array) -> Array:
        """Return it with the velocity."""
        x[self.where] = self.speed
        return x


class ClockAhead(Fault):
    """The plant's clock is set forwards and, at the end, back again."""

    RANGE = (0.1, 100.0)  # s

    @cached_property
    def shift(self) -> float:
        """By which the stamps are wrong, s."""
        return float(np.exp(self.rng.uniform(*np.log(self.RANGE))))

    def sensor(self, state: State) -> Late[State]:
        """Return it with a wrong stamp."""
        return [(0.0, replace(state, t=state.t + self.shift))]


class ClockBehind(ClockAhead):
    """The plant's clock is set back and, at the end, forwards again."""

    @cached_property
    def shift(self) -> float:
        """By which the stamps are wrong, s."""
        return -float(np.exp(self.rng.uniform(*np.log(self.RANGE))))
