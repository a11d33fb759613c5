"""LearnedWatch: does what was learned agree with the plans it takes part in? Where not, planning goes without it."""

from __future__ import annotations

import math
from collections import deque

from dpvp.plan import Plan, Verdict
from dpvp.scenario import LEARNED, SafetyConfig

WINDOW = 20  # plans that are looked at together


class LearnedWatch:
    """Looks at plans; half of the last ones in doubt are too many."""

    def __init__(self, safety: SafetyConfig) -> None:
        """Doubt nothing yet."""
        self._most, self._pause = safety.bellman, safety.plain_for
        self._doubtful: deque[bool] = deque(maxlen=WINDOW)
        self._plain_until = -math.inf

    def look(self, plan: Plan, now: float) -> None:
        """Take a plan; one that was made without anything learned says nothing of it."""
        learned = plan.advice.value in (Verdict.USED, Verdict.BLENDED) or plan.guess in LEARNED
        if not learned or self.doubts(now):
            return
        self._doubtful.append(not plan.status.usable or plan.advice.bellman > self._most)
        if len(self._doubtful) == WINDOW and 2 * sum(self._doubtful) >= WINDOW:
            self._plain_until = now + self._pause
            self._doubtful.clear()

    def doubts(self, now: float) -> bool:
        """Return whether plans at time `now`, s, are to be made without what was learned."""
        return now < self._plain_until
