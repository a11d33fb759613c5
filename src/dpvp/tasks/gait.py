"""Gait: when each foot stands and when it swings, as a function of one phase.

Foot i is at the place c_i = (φ / 2π + offset_i) mod 1 of its own cycle: it stands while c_i < duty, then it swings. The
phase φ goes round once a period, for ever: which feet stand at the nodes of a problem follows from the phase at its
first node, and nothing has to be remembered from one plan to the next.

What the clock cannot know is whether a foot really is in the air: it is not where walking begins in the middle of a
swing, and no longer where the floor came early. Such a swing is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dpvp.config import Config
from dpvp.plan import Array

Flags = NDArray[np.bool_]
Speed = Annotated[float, Field(ge=0)]

LEAST = 2  # feet that have to stand at any time: on fewer nobody balances for longer than a moment
AT_ONCE = 0.1  # share of a node
LATE = 0.3  # share of a swing after which its foot must be in the air


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which of n feet stand at the nodes of a problem, T + 1 with the last; every array is (T+1, n).

    Attributes:
        stands: the foot stands while the node lasts.
        arrives: the foot comes down where the node begins.
        progress: share of the swing that is behind where the node begins; 1 at arrivals, 0 where a foot stands.
        touchdown: when that swing ends, s after the first node; 0 where a foot stands.
        swing: number of that swing, counted from 0; -1 where a foot stands.
    """

    stands: Flags
    arrives: Flags
    progress: Array
    touchdown: Array
    swing: NDArray[np.int_]

    @property
    def guided(self) -> Flags:
        """Where a foot is to be at a certain place: in its swing, and where it comes down."""
        return np.asarray(~self.stands | self.arrives)


class Gait(Config):
    """How the feet take turns, in the order of the robot's feet."""

    period: float = Field(gt=0, description="of the phase, s")
    duty: float = Field(gt=0, le=1, description="share of the period in which a foot stands")
    offsets: Annotated[tuple[float, ...], Field(min_length=1)] = Field(
        description="of the feet's cycles, shares of them"
    )
    clearance: float = Field(0.08, gt=0, description="height of the middle of a swing, m")
    most: tuple[Speed, Speed, Speed] = Field(
        (0.0, 0.0, 0.0), description="largest commands: forwards and to the left, m/s; turn, rad/s"
    )

    @model_validator(mode="after")
    def _stands(self) -> Gait:
        """Refuse a gait that leaves the robot on one foot or in the air."""
        lifted = 2.0 * np.pi * (self.duty - np.array(self.offsets) + 1e-9)  # the fewest stand just after one has lifted
        fewest = int(self.stands(lifted).sum(axis=1).min())
        if fewest < LEAST:
            raise ValueError(
                f"duty {self.duty} with offsets {list(self.offsets)} leaves {fewest} of {len(self.offsets)} feet on "
                f"the floor at times, and at least {LEAST} have to stand: raise the duty or spread the offsets"
            )
        return self

    @property
    def stance(self) -> float:
        """How long a foot stands, s."""
        return self.period * self.duty

    @property
    def swing(self) -> float:
        """How long a foot swings, s."""
        return self.period - self.stance

    def stands(self, phases: Array) -> Flags:
        """Return which feet stand at `phases` (m,), rad: (m, n)."""
        return self._cycles(phases) % 1.0 < self.duty

    def before_lift(self, seconds: float) -> float:
        """Return the phase, rad, `seconds` before the first foot lifts."""
        return 2.0 * np.pi * (self.duty - self.offsets[0] - seconds / self.period)

    def until_tick(self, phase: float, dt: float) -> float:
        """Return how long it is until the clock of nodes of `dt` seconds, which begins at phase 0, ticks next, s.

        With nodes that begin where it ticks, and a first one that is shorter, who stands in a node does not depend on
        when the plan was made. A tick that comes at once is left out: in a node of no length torques cost nothing.
        """
        ticks = phase / (2.0 * np.pi) * self.period / dt
        rest = math.ceil(ticks) - ticks
        return dt * (rest if rest > AT_ONCE else rest + 1.0)

    def schedule(self, phase: float, times: Array, dt: float, airborne: Flags, *, still: bool = False) -> Schedule:
        """Return the schedule of nodes that begin at `times`, from `phase`, rad, on.

        Whether a foot stands while a node lasts is asked in the middle of it.

        Args:
            phase: at time 0, rad.
            times: (T+1,) s; the last node is `dt` seconds long.
            dt: s.
            airborne: (n,) feet that are off the floor now.
            still: all feet are to stand; those in the air end the swing that is under way.
        """
        turn = 2.0 * np.pi / self.period
        middle = self._cycles(phase + turn * (times + 0.5 * np.diff(times, append=times[-1] + dt)))
        stands = middle % 1.0 < self.duty
        number = np.floor(middle).astype(int)
        number -= np.floor(self._cycles(np.array([phase]))).astype(int)
        begins = (self._cycles(phase + turn * times) - np.floor(middle) - self.duty) / max(1.0 - self.duty, 1e-9)
        under_way = ~stands[0] & (number == number[0])
        stands |= under_way & ~airborne & (begins[0] > LATE)
        if still:
            stands |= ~(under_way & airborne)
        number = np.where(stands, -1, number)
        arrives = np.zeros_like(stands)
        arrives[1:] = stands[1:] & ~stands[:-1]
        progress = np.where(stands, 1.0 * arrives, begins.clip(0.0, 1.0))
        touchdown = np.where(stands, 0.0, times[:, None] + (1.0 - begins) * self.swing)
        touchdown[1:][arrives[1:]] = touchdown[:-1][arrives[1:]]
        number[1:][arrives[1:]] = number[:-1][arrives[1:]]
        return Schedule(stands, arrives, progress, touchdown, number)

    def _cycles(self, phases: Array) -> Array:
        """Return the feet's cycles at `phases` (m,), rad, without the modulo: (m, n)."""
        return np.asarray(phases[:, None] / (2.0 * np.pi) + np.array(self.offsets))
