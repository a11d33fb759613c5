"""Where the time between a state and its control goes: one histogram of fixed size for every stage."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from dpvp.plan import Timings

LOWEST, DECADES, PER_DECADE = 1e-5, 6, 20  # s; the scale ends at 10 s, and a bin is 12 % wide
BINS = DECADES * PER_DECADE
# s, (BINS + 3,): bin i lies between edges i and i + 1; the first is what is below the scale, the last what is beyond
EDGES = np.concatenate([[0.0], LOWEST * 10.0 ** (np.arange(BINS + 1) / PER_DECADE), [math.inf]])
_HIGHEST = float(EDGES[-2])
_SCALE, _SHIFT = PER_DECADE / math.log(10.0), 1.0 - PER_DECADE * math.log10(LOWEST)

STAGES = {  # in the order of the way through the loop
    "wake": "from when the loop was due to when it ran",
    "state": "age of a state when the loop takes it",
    "wait": "way to the solver and back, the solver's own work taken off",
    "guess": "guesses of a plan",
    "solve": "iterations of a plan",
    "check": "our check of a plan",
    "command": "age of the plan behind a command when it is sent",
    "whole": "from a state's stamp to the sending of the command that answers it",
}


class Histogram:
    """Counts of durations in bins whose widths grow with them; its size never changes.

    Attributes:
        counts: (BINS + 2,) how many there were; the first are below `LOWEST`, the last beyond the scale or NaN.
        longest: s; 0 before the first.
    """

    def __init__(self, counts: ArrayLike = 0) -> None:
        """Start empty, or with `counts`; the shortest and the longest of those are known to a bin's width."""
        self.counts = np.zeros(BINS + 2, np.int64)
        self.counts += np.asarray(counts, np.int64)
        used = np.flatnonzero(self.counts)
        self.longest = float(EDGES[used[-1] + 1]) if len(used) else 0.0
        self._shortest = float(EDGES[used[0]]) if len(used) else math.inf

    def add(self, seconds: float) -> None:
        """Count one duration; half a microsecond of work."""
        if LOWEST < seconds < _HIGHEST:
            place = int(math.log(seconds) * _SCALE + _SHIFT)
        else:
            place = 0 if seconds <= LOWEST else BINS + 1
        self.counts[place] += 1
        if seconds > self.longest:
            self.longest = seconds
        if seconds < self._shortest:
            self._shortest = seconds

    @property
    def count(self) -> int:
        """How many durations there were."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Return the duration, s, that `share` of all stay below, to the width of a bin; NaN if there are none."""
        reached = np.cumsum(self.counts)
        if not reached[-1]:
            return math.nan
        wanted = share * float(reached[-1])
        place = int(np.searchsorted(reached, wanted))
        if place > BINS:
            return self.longest
        part = 1.0 - (float(reached[place]) - wanted) / float(self.counts[place])
        low, high = map(float, EDGES[place : place + 2])
        middle = low * (high / low) ** part if low else high * part
        return min(max(middle, self._shortest), self.longest)

    def since(self, earlier: Histogram) -> Histogram:
        """Return what was added after `earlier`, an older copy of this one."""
        return Histogram(self.counts - earlier.counts)

    def __str__(self) -> str:
        """`bin:count` for each bin that is not empty: what diagnostics carry."""
        return " ".join(f"{place}:{self.counts[place]}" for place in np.flatnonzero(self.counts))

    @classmethod
    def parse(cls, text: str) -> Histogram:
        """Return the histogram that `str` wrote."""
        counts = np.zeros(BINS + 2, np.int64)
        for word in text.split():
            place, _, count = word.partition(":")
            counts[int(place)] = int(count)
        return cls(counts)


class Latencies:
    """A histogram for each of `STAGES`."""

    def __init__(self) -> None:
        """Start empty."""
        self.stages: Mapping[str, Histogram] = {stage: Histogram() for stage in STAGES}
        self._plans = Histogram()

    def add(self, stage: str, seconds: float) -> None:
        """Count one duration of a stage."""
        self.stages[stage].add(seconds)

    def add_plan(self, timings: Timings, answered_after: float) -> None:
        """Count the stages of a plan that was there `answered_after` s after it was asked for."""
        for stage in ("guess", "solve", "check"):
            self.stages[stage].add(getattr(timings, stage))
        self.stages["wait"].add(answered_after - timings.total)
        self._plans.add(timings.total)

    def report(self) -> dict[str, str]:
        """Return what diagnostics say: plan_ms_p50, plan_ms_p99 and, of every stage that there was, latency_<stage>_...

        ms_p50, ms_p90, ms_p99 and ms_max are in ms; histogram is what `Histogram.parse` reads.
        """
        report = {f"plan_ms_p{share}": _milliseconds(self._plans.quantile(share / 100)) for share in (50, 99)}
        for stage, histogram in self.stages.items():
            report |= reported(stage, histogram)
        return report


def reported(stage: str, histogram: Histogram) -> dict[str, str]:
    """Return what diagnostics say about a stage, as `Latencies.report` has it; nothing if it never happened."""
    if not histogram.count:
        return {}
    values = {f"p{share}": histogram.quantile(share / 100) for share in (50, 90, 99)} | {"max": histogram.longest}
    report = {f"latency_{stage}_ms_{key}": _milliseconds(value) for key, value in values.items()}
    return report | {f"latency_{stage}_histogram": str(histogram)}


def report_since(report: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    """Return the stages of `report` with only what came after the `earlier` report of the same loop."""
    found: dict[str, str] = {}
    for stage in STAGES:
        now, before = (Histogram.parse(said.get(f"latency_{stage}_histogram", "")) for said in (report, earlier))
        found |= reported(stage, now.since(before))
    return found


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}"
