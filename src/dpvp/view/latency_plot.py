"""Picture of where the time between a state and its control goes: one histogram a stage, as the diagnostics tell it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpvp.control.latency import EDGES, STAGES, Histogram
from dpvp.plan import Array
from dpvp.view.plots import COLOURS, FAINT, INK, STYLE, save_png

ROW = 0.85  # inches of a stage
MARGIN = 1.25  # room left and right of what there is, as a factor


def draw_latencies(runs: Mapping[str, Mapping[str, str]], file: Path, period_ms: float = math.nan) -> None:
    """Draw the histograms of one run or of several, one above the other, as a PNG.

    Args:
        runs: by its name, what each loop reported: the keys `latency_<stage>_...` of its diagnostics, `missed_share`.
        file: to be written.
        period_ms: period of planning, ms, drawn as a line; NaN: none.
    """
    stages = [stage for stage in STAGES if any(_key(stage) in report for report in runs.values())]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 1.1 + 0.22 * len(runs) + ROW * max(1, len(stages))))
        rows = figure.subplots(max(1, len(stages)), 1, sharex=True, squeeze=False)[:, 0]
        if not stages:
            rows[0].text(0.5, 0.5, "no latencies were reported", ha="center", color=FAINT, transform=rows[0].transAxes)
        for axes, stage in zip(rows, stages, strict=False):
            _draw_stage(axes, stage, runs, period_ms)
        if stages:
            rows[-1].set(xscale="log", xlim=_reach(runs, stages, period_ms), xlabel="ms")
            rows[-1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        handles = [mpl.lines.Line2D([], [], color=colour, linewidth=5) for colour in COLOURS[: len(runs)]]
        names = [f"{name}: {_missed(report)}" for name, report in runs.items()]
        figure.legend(handles, names, loc="outside upper left", ncols=1, alignment="left")
        save_png(figure, file)


def _key(stage: str) -> str:
    return f"latency_{stage}_histogram"


def _draw_stage(axes: Axes, stage: str, runs: Mapping[str, Mapping[str, str]], period_ms: float) -> None:
    axes.set_title(f"{stage}: {STAGES[stage]}", fontsize=8.5, fontweight="normal", pad=2.0)
    axes.set(yscale="log", yticks=[])
    axes.grid(axis="y", visible=False)
    most = 1.0
    for line, (colour, report) in enumerate(zip(COLOURS, runs.values(), strict=False)):
        if _key(stage) not in report:
            continue
        counts, edges = _bars(report[_key(stage)])
        axes.stairs(counts, edges, baseline=0.5, fill=True, alpha=0.35, color=colour)
        axes.stairs(counts, edges, baseline=0.5, color=colour, linewidth=0.9)
        most = max(most, float(counts.max()))
        p50, p99, longest = (_shown(report.get(f"latency_{stage}_ms_{key}", "nan")) for key in ("p50", "p99", "max"))
        text = f"p50 {p50}  p99 {p99}  max {longest} ms"
        axes.text(1.01, 0.97 - 0.25 * line, text, transform=axes.transAxes, va="top", fontsize=8.0, color=colour)
    axes.set_ylim(0.5, 2.0 * most)
    if math.isfinite(period_ms):
        axes.axvline(period_ms, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))


def _bars(text: str) -> tuple[Array, Array]:
    """Return counts and edges, ms, for `stairs`; what is beyond the scale stands at its ends."""
    edges = 1e3 * EDGES
    edges[0], edges[-1] = edges[1] / 1.12, edges[-2] * 1.12
    return Histogram.parse(text).counts.astype(np.float64), edges


def _reach(runs: Mapping[str, Mapping[str, str]], stages: list[str], period_ms: float) -> tuple[float, float]:
    """Return the limits of the axis of time, ms."""
    counts = sum(Histogram.parse(report.get(_key(stage), "")).counts for report in runs.values() for stage in stages)
    used, edges = np.flatnonzero(counts), _bars("")[1]
    ends = [float(edges[used[0]]), float(edges[used[-1] + 1])] if len(used) else [1.0, 10.0]
    ends += [period_ms] if math.isfinite(period_ms) else []
    return min(ends) / MARGIN, max(ends) * MARGIN


def _shown(milliseconds: str) -> str:
    return f"{float(milliseconds):.3g}"


def _missed(report: Mapping[str, str]) -> str:
    if not int(report.get("periods", "0")):
        return "no period was tracked"
    asleep = int(report.get("missed_asleep", "0")) / int(report["periods"])
    return f"{float(report['missed_share']):.1%} of the periods missed, {asleep:.1%} because the loop itself came late"
