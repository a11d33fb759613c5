"""Guess: where a plan starts from. Every guess is simulated, so that it is consistent and its cost can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dpvp.plan import SAME_TIME, Array, Plan
from dpvp.tasks.ocp import Ocp


@dataclass(frozen=True)
class Guess:
    """A simulated trajectory: `xs` (T+1, nx) follows from `us` (T, nu), Nm, and costs `cost`."""

    name: str
    xs: Array
    us: Array
    cost: float


class GuessSource(Protocol):
    """Something that proposes a guess; `ocp` is already aimed at the state and the goal."""

    name: str

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose a guess from the (nx,) state `x` at time `t`, or None where this source has nothing to say."""
        ...


class HoldGuess:
    """Stay where the robot is: the torques that carry its posture ("gravity initialisation")."""

    name = "hold"

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose the gravity torques of every posture on the way; those of the first alone let a moving arm fall."""
        xs, us = [np.array(x, dtype=np.float64)], []
        for _ in range(ocp.horizon):
            us.append(ocp.gravity(xs[-1]))
            xs.append(ocp.step(xs[-1], us[-1])[0])
        return _simulated(self.name, ocp, np.stack(xs), np.stack(us))


class ShiftGuess:
    """Follow the previous plan from the true time on, with its own gains closing the distance to the measured state."""

    name = "shift"

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose the previous plan, read on the new grid; None before the first plan or after its end."""
        if previous is None or not previous.t0 <= t < previous.end or previous.horizon != ocp.horizon:
            return None
        xs, us, gains = previous.shifted(t)
        over = int(np.ceil((t - previous.t0 - SAME_TIME) / previous.dt))
        if over:  # past the old end there is no plan: carry the posture and damp it with the last gains
            us = us.copy()
            us[-over:] = ocp.gravity(xs[-1])
        return _simulated(self.name, ocp, *ocp.rollout_feedback(xs, us, gains))


def best_guess(
    sources: Sequence[GuessSource], ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None
) -> Guess:
    """Ask every source and return the cheapest finite guess.

    `HoldGuess` speaks where none of `sources` has one.
    """
    ocp.aim(x, goal)
    proposals = [source.propose(ocp, x, goal, t, previous) for source in sources]
    finite = [guess for guess in proposals if guess is not None and np.isfinite(guess.cost)]
    if not finite:
        hold = HoldGuess().propose(ocp, x, goal, t, previous)
        assert hold is not None
        return hold
    return min(finite, key=lambda guess: guess.cost)


def _simulated(name: str, ocp: Ocp, xs: Array, us: Array) -> Guess:
    return Guess(name, xs, us, ocp.cost(xs, us))
