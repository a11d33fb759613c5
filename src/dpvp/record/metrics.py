"""RunMetrics: what a run achieved, as a handful of numbers, computed while it lasts."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dpvp.jsonfile import to_json
from dpvp.plan import Array
from dpvp.scenario import Scenario

RECENT = 3000  # states that are kept for goals that are late
STAMP_TRUSTED = 3600.0  # s; a stamp that is further off is of another clock


class RunMetrics:
    """Takes plain values as they come and sums them up at any time.

    Time is that of the plant, from the stamps of its states; when it goes back, the run starts anew. A goal counts from
    its own stamp; from the first state of all if it was set before its sender knew the time (stamp 0); and from the
    first state that follows if its stamp is of another clock. The goal is reached at the first moment from which on
    `task.reached` held without a break, up to now.
    """

    def __init__(self, scenario: Scenario, run_dir: Path) -> None:
        """Start with nothing; `run_dir` is only repeated in the summary."""
        self._scenario, self._run_dir = scenario, run_dir
        limits = scenario.robot.limits
        self._velocity_limit, self._effort_limit = limits.velocity, limits.effort
        self._plan_ms, self._age_ms = array("d"), array("d")
        self._goal: Array | None = None
        self._x: Array | None = None
        self._recent: deque[tuple[float, Array]] = deque(maxlen=RECENT)
        self._begin = self._t = self._goal_stamp = self._goal_since = self._reached_since = math.nan
        self._peak_velocity = self._peak_effort = math.nan
        self._loop: dict[str, str] = {}

    @property
    def goal_size(self) -> int:
        """Numbers in a goal of the task."""
        return self._scenario.task.goal_size

    @property
    def reached_since(self) -> float:
        """Plant time since when the goal has been reached without a break, s; NaN if it is not."""
        return self._reached_since

    def goal(self, p: ArrayLike, stamp: float = math.nan) -> None:
        """Take a goal; one that is set again is to be reached again.

        Args:
            p: the goal in the task's units.
            stamp: when it was set, plant time, s. It may be in the past, as news of a goal can be late.
        """
        self._goal, self._goal_stamp = np.array(p, dtype=np.float64), stamp
        self._goal_since = self._reached_since = math.nan
        for t, x in self._recent:
            if stamp == 0.0 or 0.0 <= t - stamp < STAMP_TRUSTED:
                self._compare(t, x)

    def state(self, t: float, q: ArrayLike, v: ArrayLike, effort: ArrayLike | None = None) -> None:
        """Take a state of the robot.

        Args:
            t: when it was measured, plant time, s.
            q: (nq,) positions, rad, in the robot's joint order, after the place of a floating base.
            v: (nv,) velocities, rad/s, likewise.
            effort: (nu,) measured joint torques, Nm; None where the plant measures none.
        """
        if not t >= self._t:  # the first state, or a plant that was set back
            self._begin, self._goal_since, self._reached_since = t, math.nan, math.nan
            self._recent.clear()
        self._t, self._x = t, np.concatenate([q, v]).astype(np.float64)
        self._recent.append((t, self._x))
        joints = slice(-len(self._velocity_limit), None)
        self._peak_velocity = _peak(self._peak_velocity, self._x[joints], self._velocity_limit)
        if effort is not None:
            self._peak_effort = _peak(self._peak_effort, effort, self._effort_limit)
        if self._goal is not None:
            self._compare(t, self._x)

    def plan_ms(self, value: float) -> None:
        """Take the time from the arrival of a state to the plan made from it, ms."""
        self._plan_ms.append(value)

    def state_age_ms(self, value: float) -> None:
        """Take the age that the state behind a control had when the plant applied it, ms."""
        self._age_ms.append(value)

    def loop(self, values: Mapping[str, str]) -> None:
        """Take the key-value pairs of the loop's diagnostics."""
        self._loop = dict(values)

    def summary(self) -> dict[str, Any]:
        """Return everything known by now; NaN where nothing is known.

        `success` is true if the goal is reached now, has been for `run.settle` seconds and was within `run.within`.
        """
        task, run, goal, x = self._scenario.task, self._scenario.config.run, self._goal, self._x
        reached_at = self._reached_since - self._goal_since
        settled = self._t - self._reached_since
        return {
            "scenario": self._scenario.name,
            "success": reached_at <= run.within and settled >= run.settle - 1e-9,
            "goal": None if goal is None else goal.tolist(),
            "final_error": math.nan if goal is None or x is None else task.error(x, task.later(goal, self._t)),
            "settled_rms_error": self._rms_error(run.settle),
            "error_unit": task.error_unit,
            "final_speed_rad_s": math.nan if x is None else float(np.linalg.norm(x[self._scenario.robot.nq :])),
            "reached_at_s": reached_at,
            "plan_ms": _percentiles(self._plan_ms),
            "state_age_ms": _percentiles(self._age_ms),
            "missed_share": _number(self._loop, "missed_share"),
            "periods": _number(self._loop, "periods"),
            "duration_s": self._t - self._begin,
            "peak_effort_share": self._peak_effort,
            "peak_velocity_share": self._peak_velocity,
            "run_dir": str(self._run_dir),
        }

    def _rms_error(self, seconds: float) -> float:
        """Return the root mean square of the error over the last so many seconds; NaN without a goal."""
        task, goal = self._scenario.task, self._goal
        if goal is None or not self._recent:
            return math.nan
        last = [task.error(x, task.later(goal, t)) for t, x in self._recent if t >= self._t - seconds]
        return float(np.sqrt(np.mean(np.square(last))))

    def _compare(self, t: float, x: Array) -> None:
        """Compare the state of time `t` with the goal."""
        assert self._goal is not None
        if math.isnan(self._goal_since):
            trusted = 0.0 <= t - self._goal_stamp < STAMP_TRUSTED
            self._goal_since = self._begin if self._goal_stamp == 0.0 else self._goal_stamp if trusted else t
        task = self._scenario.task
        if not task.reached(x, task.later(self._goal, t)):
            self._reached_since = math.nan
        elif math.isnan(self._reached_since):
            self._reached_since = t


def described(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the summary as (name, value with unit); what is not known is left out."""
    unit = summary["error_unit"]
    plan, age = summary["plan_ms"], summary["state_age_ms"]
    goal = "none" if summary["goal"] is None else " ".join(f"{number:.3f}" for number in summary["goal"])
    numbers = (
        ("reached after", "{:.2f} s", (summary["reached_at_s"],)),
        ("final error", f"{{:.2f}} m{unit}", (1e3 * summary["final_error"],)),
        ("rms error", f"{{:.2f}} m{unit} once settled", (1e3 * summary["settled_rms_error"],)),
        ("final speed", "{:.4f} rad/s", (summary["final_speed_rad_s"],)),
        ("plan time", "p50 {:.2f} ms, p99 {:.2f} ms", (plan["p50"], plan["p99"])),
        ("state age", "p50 {:.2f} ms, p99 {:.2f} ms", (age["p50"], age["p99"])),
        ("missed periods", "{:.2%} of {:.0f}", (summary["missed_share"], summary["periods"])),
        ("peak torque", "{:.0%} of the limit", (summary["peak_effort_share"],)),
        ("peak velocity", "{:.0%} of the limit", (summary["peak_velocity_share"],)),
        ("duration", "{:.1f} s", (summary["duration_s"],)),
    )
    known = [(name, text.format(*values)) for name, text, values in numbers if not any(map(math.isnan, values))]
    success = "reached" if summary["success"] else "not reached in time"
    return [("scenario", summary["scenario"]), ("goal", f"{goal}, {success}"), *known]


def write_metrics(file: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary` as JSON, NaN and infinity as null; a reader sees the old content or the new, never a half."""
    part = file.with_name(f".{file.name}.part")
    part.write_text(to_json(summary), encoding="utf-8")
    part.replace(file)


def _peak(peak: float, values: ArrayLike, limits: Array) -> float:
    """Return the larger of `peak` and the largest share of its limit among `values`; NaN counts for nothing."""
    return float(np.fmax(peak, np.fmax.reduce(np.abs(values) / limits)))


def _percentiles(values: array[float]) -> dict[str, float]:
    if not values:
        return {"p50": math.nan, "p99": math.nan}
    middle, high = np.nanpercentile(np.frombuffer(values), [50, 99])
    return {"p50": float(middle), "p99": float(high)}


def _number(values: Mapping[str, str], key: str) -> float:
    """Read the number written under `key`: an int where it is one, NaN where there is none."""
    try:
        number = float(values[key])
    except (KeyError, ValueError):
        return math.nan
    return int(number) if number.is_integer() and "." not in values[key] else number
