"""Planner: one question, one answer, within a budget."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dpvp.plan import Array, Plan
from dpvp.planning.guess import Guess
from dpvp.tasks.ocp import Ocp


@dataclass(frozen=True)
class Budget:
    """How much one plan may cost.

    Attributes:
        iterations: most solver iterations; the first is always done.
        seconds: no further iteration starts that would, at the pace of the slowest so far, end later than this.
    """

    iterations: int
    seconds: float = np.inf


class Planner(Protocol):
    """Turns a state and a goal into a plan."""

    ocp: Ocp

    def plan(self, x: Array, goal: Array, t: float, guess: Guess, budget: Budget) -> Plan:
        """Plan from the (nx,) state `x`, measured at time `t` (s), to `goal`, starting at `guess`.

        Never raises for a hard problem: the plan's `status` says what is wrong with it.
        """
        ...


class Stopwatch:
    """Splits of a monotonic clock, s."""

    def __init__(self) -> None:
        """Start."""
        self._last = time.perf_counter()

    def split(self) -> float:
        """Return the seconds since the start or the last split."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed
