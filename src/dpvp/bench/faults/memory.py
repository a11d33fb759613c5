"""What processes keep in memory, read from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpvp.plan import Array

KIB_PER_MIB = 1024.0
WARM_UP = 0.2  # share of the samples, at most
EDGE = 0.1  # share of the samples at either end of which the median is taken


def resident(pid: int) -> float:
    """Return the resident memory of a process, MiB; NaN if there is none of this id."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return np.nan
    sizes = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return float(sizes[0]) / KIB_PER_MIB if sizes else np.nan


def alive(pid: int) -> bool:
    """Return whether a process of this id runs, a zombie not counting."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """Return the ids of the processes that `pid` started and that still are its children."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(folder.name))
    return found


@dataclass(frozen=True)
class Growth:
    """How the memory of a process grew, MiB.

    Attributes:
        first, last: medians after the warm-up and at the end.
        slope: of a line through what comes after the warm-up, MiB per hour.
    """

    first: float
    last: float
    slope: float

    @property
    def grown(self) -> float:
        """From one to the other."""
        return self.last - self.first


def growth(t: Array, mib: Array, warm_up: float) -> Growth:
    """Return how samples (n,) of memory, MiB, at times (n,), s, grew after `warm_up`, s, or a fifth of them."""
    kept = np.isfinite(mib) & (t >= min(t[0] + warm_up, t[0] + WARM_UP * (t[-1] - t[0])))
    t, mib = t[kept], mib[kept]
    if len(t) < 2:
        return Growth(np.nan, np.nan, np.nan)
    edge = max(1, round(EDGE * len(t)))
    slope = float(np.polyfit(t / 3600.0, mib, 1)[0])
    return Growth(float(np.median(mib[:edge])), float(np.median(mib[-edge:])), slope)
