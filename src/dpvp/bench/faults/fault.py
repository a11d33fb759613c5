"""Fault: what goes wrong with one thing between plant, loop and solver; Kind and Case say which and when."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np

from dpvp.plan import Array, Command, Plan, State
from dpvp.robot import Robot

T = TypeVar("T")
Late = list[tuple[float, T]]  # what arrives in place of one message, each so many seconds after it would have


class Mode(Enum):
    """What the law at the plant does."""

    TRACK = "follows a plan"
    HOLD = "keeps a posture"
    DAMP = "damps"


class Safe(Enum):
    """The state in which a fault has to leave the robot."""

    FOLLOW = "plans are followed on, nothing that is wrong among them"
    HOLD = "the posture is held"
    DAMP = "motion is damped, and tracking comes back only when somebody says so"

    @property
    def modes(self) -> frozenset[Mode]:
        """Modes of the plant that are as safe, or safer."""
        order = (Mode.TRACK, Mode.HOLD, Mode.DAMP)
        return frozenset(order[("FOLLOW", "HOLD", "DAMP").index(self.name) :])


class Fault:
    """Nothing goes wrong. A fault overrides what it spoils, and is asked while it lasts.

    Attributes:
        loop_runs, supervisor_runs: whether these get any time.
        solver_lives: whether the solver process does.
        stop: whether the operator presses the stop.
    """

    loop_runs = supervisor_runs = solver_lives = True
    stop = False

    def __init__(self, robot: Robot, rng: np.random.Generator) -> None:
        """Spoil things of `robot`; what is random comes from `rng`."""
        self.robot, self.rng = robot, rng

    def sensor(self, state: State) -> Late[State]:
        """Return what the loop gets of the state (nx,) that the plant sent."""
        return [(0.0, state)]

    def control(self, command: Command) -> Late[Command]:
        """Return what the plant gets of the command that the loop sent."""
        return [(0.0, command)]

    def plan(self, plan: Plan) -> Plan:
        """Return what the solver answers in place of `plan`."""
        return plan

    def latency(self, seconds: float) -> float:
        """Return how long the solver takes for a plan that should take `seconds`; infinite: for ever."""
        return seconds

    def learned(self, outputs: Array) -> Array:
        """Return what a graph of the artifact says in place of `outputs`."""
        return outputs

    def force(self) -> Array:
        """Return the force (3,), N, on the end effector or, where that floats, the base."""
        return np.zeros(3)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: as tables and records have it.
        text: what goes wrong, for people.
        make: makes the fault.
        lasts: shortest and longest duration, s.
        safe: the state that it has to lead to.
        named: names of events, one of which is its detection; none: it may pass unnoticed.
        ours: whether what the plant does meanwhile is caused by dpvp.
        learned: it needs an artifact.
    """

    name: str
    text: str
    make: Callable[[Robot, np.random.Generator], Fault]
    lasts: tuple[float, float]
    safe: Safe
    named: tuple[str, ...] = ()
    ours: bool = True
    learned: bool = False


@dataclass(frozen=True)
class Case:
    """One fault: its kind, the motion that it meets, and when.

    Attributes:
        kind: name of it.
        motion: seed of start and goals.
        seed: of the fault.
        onset, duration: s since the loop was asked to track.
    """

    kind: str
    motion: int
    seed: int
    onset: float = math.inf
    duration: float = 0.0

    @property
    def end(self) -> float:
        """When it is over, s."""
        return self.onset + self.duration

    def lasts(self, t: float) -> bool:
        """True while it does."""
        return self.onset <= t < self.end
