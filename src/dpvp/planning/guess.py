"""Guess: where a plan starts from. Every guess is simulated, so that it is consistent and its cost can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dpvp.plan import SAME_TIME, Array, Plan
from dpvp.tasks.ocp import Ocp


@dataclass(frozen=True)
class Guess:
    """A simulated trajectory: `xs` (T+1, nx) follows from `us` (T, nu), Nm, and costs `cost`.

    Attributes:
        silent: names of the sources that were asked too and had nothing to say.
    """

    name: str
    xs: Array
    us: Array
    cost: float
    silent: tuple[str, ...] = ()


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
        return simulated(self.name, ocp, x, ocp.gravity)


class ShiftGuess:
    """Follow the previous plan from the true time on, with its own gains closing the distance to the measured state."""

    name = "shift"

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose the previous plan, read on the new grid; None before the first plan or after its end."""
        if previous is None or not goes_on(previous, ocp, t):
            return None
        xs, us, gains = previous.shifted(t, ocp.first_dt)
        over = max(0, math.ceil((t + ocp.span - previous.end - SAME_TIME) / ocp.dt))
        if over:  # past the old end there is no plan: carry the posture and damp it with the last gains
            us = us.copy()
            us[-over:] = [ocp.gravity(xs[-1], node) for node in range(ocp.horizon - over, ocp.horizon)]
        return simulated(
            self.name, ocp, x, lambda state, node: us[node] + gains[node] @ ocp.state.diff(state, xs[node])
        )


def goes_on(previous: Plan | None, ocp: Ocp, t: float) -> bool:
    """Return whether there is a plan that a new one at time `t`, s, can go on from."""
    return previous is not None and previous.t0 <= t < previous.end and previous.horizon == ocp.horizon


def best_guess(
    sources: Sequence[GuessSource], ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None
) -> Guess:
    """Ask every source and return the cheapest finite guess.

    `HoldGuess` speaks where none of `sources` has one.
    """
    ocp.aim(x, goal)
    proposals = [source.propose(ocp, x, goal, t, previous) for source in sources]
    finite = [guess for guess in proposals if guess is not None and math.isfinite(guess.cost)]
    best = min(finite, key=lambda guess: guess.cost) if finite else HoldGuess().propose(ocp, x, goal, t, previous)
    assert best is not None
    silent = tuple(source.name for source, guess in zip(sources, proposals, strict=True) if guess is None)
    return replace(best, silent=silent) if silent else best


def simulated(name: str, ocp: Ocp, x: Array, control: Callable[[Array, int], Array | None]) -> Guess | None:
    """Simulate a feedback law from the (nx,) state `x`, to which `ocp` is aimed.

    Args:
        name: of the guess.
        ocp: the problem.
        x: the measured state.
        control: returns the torques (nu,), Nm, in a state (nx,) at a node, or None where it has nothing to say: nor
            then has the guess.
    """
    xs, us, cost = [np.array(x, dtype=np.float64)], list[Array](), 0.0
    for node in range(ocp.horizon):
        u = control(xs[-1], node)
        if u is None:
            return None
        us.append(u)
        after, spent = ocp.step(xs[-1], u, node)
        xs.append(after)
        cost += spent
    ending, data = ocp.problem.terminalModel, ocp.problem.terminalData
    ending.calc(data, xs[-1])
    return Guess(name, np.array(xs), np.array(us), cost + float(data.cost))
