"""Picture of a replay: where the plans of now differ from those of then, in cost, torque and time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpvp.plan import Array
from dpvp.view.plots import BLUE, GREEN, ORANGE, RED, STYLE, save_png

_FORMERLY, _NOW = (ORANGE, "recorded"), (BLUE, "replayed")


@dataclass(frozen=True, eq=False)
class ReplaySeries:
    """N plans, asked for twice.

    Attributes:
        title: what was replayed.
        t: (N,) s after the first ask of the run.
        cost, ms: (2, N) objective, and time from state to plan, ms; first as recorded, then as replayed.
        usable: (2, N) whether a robot might follow.
        apart: (N,) largest difference of the first controls, as share of the joint's effort limit.
    """

    title: str
    t: Array
    cost: Array
    ms: Array
    usable: Array
    apart: Array


def draw_replay(series: ReplaySeries, file: Path) -> None:
    """Draw `series` as a PNG: difference of torques, cost and time below one another."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 7.2))
        axes = figure.subplots(3, 1, sharex=True)
        figure.suptitle(series.title, x=0.012, ha="left", fontsize=13, fontweight="bold")
        _draw_apart(axes[0], series)
        _draw_both(axes[1], series, series.cost, "Objective of each plan", "cost")
        if np.any(series.cost > 0.0):
            axes[1].set_yscale("log")
        _draw_both(axes[2], series, series.ms, "Time from state to plan", "ms")
        axes[2].set_ylim(0.0, 1.15 * float(np.nanpercentile(series.ms, 99.5)) + 1e-3)
        axes[2].set_xlabel("time since the first plan [s]")
        figure.align_ylabels(axes)
        save_png(figure, file)


def _draw_apart(axis: Axes, series: ReplaySeries) -> None:
    axis.set_title("Difference of the first torques, share of the joint's limit")
    axis.set_ylabel("% of limit")
    if not np.any(series.apart > 0.0):
        axis.text(0.5, 0.5, "none, in any plan", transform=axis.transAxes, ha="center", va="center", color=GREEN)
        axis.set_yticks([])
        return
    axis.plot(series.t, 100.0 * series.apart, color=RED, linewidth=1.1)
    axis.set_ylim(bottom=0.0)


def _draw_both(axis: Axes, series: ReplaySeries, values: Array, title: str, unit: str) -> None:
    axis.set_title(title)
    axis.set_ylabel(unit)
    for row, (colour, name), width in zip(range(2), (_FORMERLY, _NOW), (2.6, 1.1), strict=True):
        middle, high = np.nanpercentile(values[row], [50, 99])
        label = f"{name}\np50 {middle:.4g}\np99 {high:.4g}"
        axis.plot(series.t, values[row], color=colour, linewidth=width, label=label)
        bad = ~series.usable[row].astype(bool)
        axis.plot(series.t[bad], values[row][bad], "x", color=colour, markersize=5)
    axis.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), handlelength=1.1, labelspacing=0.9)
