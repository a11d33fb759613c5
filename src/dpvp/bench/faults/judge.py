"""The judge: was a fault seen, how soon was the robot safe, and who crossed a limit, by what was true of the plant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from dpvp.bench.faults.fault import Case, Kind, Mode, Safe
from dpvp.bench.faults.rig import Trace

QUANTITIES = ("position", "velocity", "torque")
MOST_PERIODS = 2.0  # of the planner, from detection to the safe state
ROUNDING = 1e-9


@dataclass(frozen=True)
class Finding:
    """What became of a case; times in s, NaN where something did not happen.

    Attributes:
        scenario, case: of what.
        detected: from the onset to the first word of it.
        by: that word.
        safe_after: from the detection to the safe state.
        periods: the same in periods of the planner.
        peaks: largest shares of the limits from the onset on; `asked` is what the law asked of the motors.
        crossed: quantities that left the data sheet.
        crossed_by_fault: those of them that leave it further than they ever do without faults.
        spoilt: time under a command that the fault had changed, s.
        fell: a robot on feet fell.
        back: plans were followed again in the end.
        wrong: what should not have been; empty if all is well.
        load: of the machine (os.getloadavg), where nodes ran in real time; NaN in simulated time.
    """

    scenario: str
    case: Case
    detected: float
    by: str
    safe_after: float
    periods: float
    peaks: Mapping[str, float]
    crossed: tuple[str, ...]
    crossed_by_fault: tuple[str, ...]
    spoilt: float
    fell: bool
    back: bool
    wrong: tuple[str, ...] = field(default=())
    load: float = math.nan

    def record(self) -> dict[str, object]:
        """Return it as JSON can hold it."""
        return {"scenario": self.scenario, **asdict(self.case)} | {
            key: value for key, value in asdict(self).items() if key not in ("scenario", "case")
        }


def peaks(trace: Trace, since: float = 0.0) -> dict[str, float]:
    """Return the largest share of each limit from `since`, s, on."""
    truth = trace.truth
    later = np.array(truth.t) > since - ROUNDING
    return {name: float(np.array(getattr(truth, name))[later].max(initial=0.0)) for name in (*QUANTITIES, "asked")}


def judge(scenario: str, period: float, kind: Kind, case: Case, trace: Trace, usual: Mapping[str, float]) -> Finding:
    """Judge a case.

    Args:
        scenario: its name.
        period: of the planner, s.
        kind: of the fault.
        case: the fault.
        trace: what happened.
        usual: `peaks` of motions without faults, the largest of all.
    """
    detected, by = _detection(kind, case, trace)
    safe_after = _safe_after(kind, trace, case.onset + detected) if by else math.nan
    highest = peaks(trace, case.onset)
    crossed = tuple(name for name in QUANTITIES if highest[name] > 1.0 + ROUNDING)
    by_fault = tuple(name for name in crossed if highest[name] > usual[name] + ROUNDING)
    finding = Finding(
        scenario=scenario,
        case=case,
        detected=detected,
        by=by,
        safe_after=safe_after,
        periods=safe_after / period,
        peaks=highest,
        crossed=crossed,
        crossed_by_fault=by_fault if kind.ours else (),
        spoilt=float(np.array(trace.truth.spoilt[:-1]) @ np.diff(trace.truth.t)),
        fell=trace.fell,
        back=trace.back,
    )
    return Finding(**{**vars(finding), "wrong": tuple(_complaints(kind, finding))})


def _detection(kind: Kind, case: Case, trace: Trace) -> tuple[float, str]:
    """Return when the fault was named first, s after its onset, and how; NaN and nothing if it was not."""
    for event in trace.events:
        if event.t >= case.onset - ROUNDING and any(event.what.startswith(name) for name in kind.named):
            return event.t - case.onset, event.what
    return math.nan, ""


def _safe_after(kind: Kind, trace: Trace, detected: float) -> float:
    """Return how long after its detection, s, the robot is in the state that is safe; NaN if it never is."""
    truth, modes = trace.truth, list(Mode)
    for t, mode, spoilt in zip(truth.t, truth.mode, truth.spoilt, strict=True):
        if t >= detected and modes[mode] in kind.safe.modes and not spoilt:
            return t - detected
    return math.nan


def _complaints(kind: Kind, finding: Finding) -> list[str]:
    wrong = [f"{name} beyond the limit" for name in finding.crossed_by_fault]
    if kind.named and not finding.by:
        wrong.append("not detected")
    if finding.by and not finding.periods <= MOST_PERIODS:
        wrong.append("not safe in time")
    if kind.safe is Safe.FOLLOW and not kind.named and finding.spoilt:
        wrong.append("the plant followed what was spoilt")
    if not finding.back:
        wrong.append("did not come back")
    return wrong
