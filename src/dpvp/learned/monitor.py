"""Trust: how far a learned value is believed at a state, between 0 and 1, continuously with its derivative.

    w = Π S(t_i) · S(ρ - 1),   S(t) = 1 - t² (3 - 2t)   falls from 1 at t = 0 to 0 at t = 1, flat at both ends

t_i is how far number i of the state or the goal lies outside the training data, in tenths of the data's width, and
ρ = s / (spread (V + floor)) is the standard deviation of the members over the one that the contract allows. So w is 1
where the value knows its way and its members agree, and 0 beyond a margin of one tenth or twice the allowed spread.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from dpvp.learned.contract import EnsembleSpec, TrainingRange
from dpvp.learned.value import Derivatives, Estimate
from dpvp.plan import Array, Verdict

MARGIN = 0.1  # of the width of the training data, over which trust is lost
LEAST_MARGIN = 1e-12  # for numbers that never varied in the training data: outside is outside

Number = TypeVar("Number", float, Array)


class Trust:
    """Judges states and what the members say of them, for one goal at a time."""

    def __init__(self, ranges: TrainingRange, ensemble: EnsembleSpec) -> None:
        """Judge by the training data of `ranges`; before the first `aim` nothing is believed."""
        self._ensemble = ensemble
        self._states, self._goals = _Box(ranges.x), _Box(ranges.goal)
        self._goal = 0.0

    def aim(self, goal: Array) -> None:
        """Judge for `goal`, in the task's units."""
        self._goal = self._goals.weight(goal)

    def in_range(self, x: Array) -> float:
        """Return the weight of the (nx,) state `x` and the goal, whatever the members say."""
        return self._goal * self._states.weight(x) if self._goal > 0.0 else 0.0

    def in_agreement(self, found: Estimate) -> float:
        """Return the weight of the members' agreement."""
        allowed = self._allowed(found)
        if found.spread <= allowed:
            return 1.0
        return _fall(found.spread / allowed - 1.0) if found.spread < 2.0 * allowed else 0.0

    def gradient(self, x: Array, found: Derivatives, tangent: Array) -> Array:
        """Return the gradient (ndx,) of `in_range(x) * in_agreement(found)`.

        Args:
            x: (nx,) state.
            found: what the members say there.
            tangent: (nx, ndx) what a step in the tangent of the state does to its numbers.
        """
        members, allowed = self.in_agreement(found), self._allowed(found)
        slope = self._goal * members * self._states.gradient(x) @ tangent
        if 0.0 < members < 1.0:
            ratio = found.spread / allowed
            change = (found.spread_gradient - ratio * self._ensemble.spread * found.gradient) / allowed
            slope += self.in_range(x) * _slope(ratio - 1.0) * change
        return slope

    def verdict(self, in_range: float, in_agreement: float) -> Verdict:
        """Put the two weights of a state into a word."""
        if in_range * in_agreement > 0.0:
            return Verdict.USED if in_range * in_agreement == 1.0 else Verdict.BLENDED
        if self._goal <= 0.0:
            return Verdict.GOAL_OUT_OF_RANGE
        return Verdict.DISAGREEMENT if in_range > 0.0 else Verdict.OUT_OF_RANGE

    def _allowed(self, found: Estimate) -> float:
        return self._ensemble.spread * (found.value + self._ensemble.floor)


class _Box:
    """A box with its margin."""

    def __init__(self, bounds: Array) -> None:
        """Take the lower and the upper row of `bounds` (2, n)."""
        self._lower, self._upper = bounds
        self._margin = np.maximum(MARGIN * (self._upper - self._lower), LEAST_MARGIN)

    def weight(self, x: Array) -> float:
        """Return Π S(t_i) for the (n,) numbers `x`; 0 for NaN."""
        outside = self._outside(x)
        if not np.count_nonzero(outside):  # NaN counts
            return 1.0
        t = np.abs(outside) / self._margin
        return float(np.prod(_fall(t))) if t.max() < 1.0 else 0.0

    def gradient(self, x: Array) -> Array:
        """Return the gradient (n,) of `weight`."""
        outside = self._outside(x)
        t = np.abs(outside) / self._margin
        if not t.max() < 1.0:
            return np.zeros(len(x))
        falls = _fall(t)
        return np.asarray(np.prod(falls) / falls * _slope(t) * np.sign(outside) / self._margin)

    def _outside(self, x: Array) -> Array:
        """Return how far each number is outside: negative below, positive above, 0 inside."""
        return np.asarray(x - np.minimum(np.maximum(x, self._lower), self._upper))


def _fall(t: Number) -> Number:
    return 1.0 - t * t * (3.0 - 2.0 * t)


def _slope(t: Number) -> Number:
    return -6.0 * t * (1.0 - t)
