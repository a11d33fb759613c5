"""What time it is at the plant, for a node that knows only the stamps of the states it gets."""

from __future__ import annotations

import math

FORGETS = 1.0  # s; a plant that fell behind for good is believed after at most twice as long


class PlantClock:
    """Follows the clock of the plant's stamps: they are never early, and the quickest of them is hardly late.

    Ages by this clock lack what the quickest message of the last second or two was under way, some tenths of a
    millisecond. A simulator's `/clock` comes ten times too seldom to measure latencies by, and the clocks of two
    computers may differ.
    """

    def __init__(self) -> None:
        """Start without an idea."""
        self._offset = self._before = math.inf  # own time less the plant's, of the quickest message; now, and before
        self._since = -math.inf

    def hear(self, stamp: float, now: float) -> None:
        """Take the stamp (s, plant's clock) of a state that arrived at `now` (s, own monotonic clock)."""
        offset = now - stamp
        if now - self._since > FORGETS:
            self._before, self._offset, self._since = self._offset, offset, now
        elif offset < self._offset:
            self._offset = offset

    def at(self, now: float) -> float:
        """Return the plant's time, s, at `now` (s, own monotonic clock); -inf before the first state."""
        return now - min(self._offset, self._before)
