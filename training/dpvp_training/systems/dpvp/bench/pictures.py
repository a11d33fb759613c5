"""Pictures of the studies, in the style of `dpvp.view`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dpvp.view.plots import BLUE, COLOURS, FAINT, GREEN, ORANGE, RED, STYLE, save_png

_ENDS = {
    ("value", True): (BLUE, "o", "learned value, guesses of the policy too"),
    ("value", False): (COLOURS[4], "^", "learned value"),
    ("zero", False): (ORANGE, "s", "nothing learned"),
}
_RATIOS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


def draw_closed_loop(content: Mapping[str, Any], file: Path) -> None:
    """Draw cost relative to the optimum against the time of a plan, one panel for each set of starts."""
    wheres = list(dict.fromkeys(row["where"] for row in content["rows"]))
    times = {(t["horizon"], t["terminal"], t["policy"]): t["plan_ms"]["median"] for t in content["times"]}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2))
        title = f"{content['conditions']['task']}: one iteration a step, {content['conditions']['count']} starts"
        figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        axes = figure.subplots(1, len(wheres), sharey=True, squeeze=False)[0]
        for axis, where in zip(axes, wheres, strict=True):
            axis.set_title(
                {"default goal": "Published start box, default goal"}.get(where, "Starts and goals all over")
            )
            for key, (colour, marker, label) in _ENDS.items():
                rows = [
                    row for row in content["rows"] if (row["terminal"], row["policy"]) == key and row["where"] == where
                ]
                _draw_ways(axis, rows, [times[(row["horizon"], *key)] for row in rows], colour, marker, label)
            _frame_costs(axis)
        axes[0].set_ylabel("cost beside the optimum, mean (bar: 99th percentile)")
        axes[0].legend(loc="upper right")
        save_png(figure, file)


def _draw_ways(axis: Axes, rows: list[Any], times: list[float], colour: str, marker: str, label: str) -> None:
    mean = np.maximum([row["cost_ratio"]["mean"] for row in rows], 1.0)
    high = np.maximum([row["cost_ratio"]["p99"] for row in rows], mean)
    axis.vlines(times, mean - 0.99, high - 0.99, color=colour, alpha=0.35, linewidth=3.0)
    axis.plot(times, mean - 0.99, marker, color=colour, linestyle="-", label=label, markersize=6.0)
    for row, time, value in zip(rows, times, mean, strict=True):
        where: dict[str, Any] = {"xytext": (6, 3), "textcoords": "offset points", "fontsize": 8.0, "color": colour}
        axis.annotate(f"{row['horizon']}", (time, value - 0.99), **where)


def _frame_costs(axis: Axes) -> None:
    """Scale: logarithmic in the cost above 0.99 of the optimum, so that 1.00 has a place and 1.01 is seen."""
    axis.set(xscale="log", yscale="log", xlabel="time of a plan, median [ms]")
    axis.axhline(0.01, color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)))
    axis.yaxis.set_ticks([ratio - 0.99 for ratio in _RATIOS])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value + 0.99:g} ×"))
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def draw_iterations(content: Mapping[str, Any], file: Path) -> None:
    """Draw histograms of iterations for every initial guess, a panel for each criterion to stop."""
    panels = {
        "iterations": ("all", "until crocoddyl 3 stops"),
        "iterations_published": ("all_published", "until crocoddyl 1 stopped, as published"),
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.9))
        conditions = content["conditions"]
        text = f"{conditions['task']}: iterations, T={conditions['horizon']}, {conditions['count']} starts"
        figure.suptitle(text, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        for axis, (key, (counts, title)) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
            axis.set_title(title)
            _draw_histograms(axis, content["rows"], key, counts)
        save_png(figure, file)


def _draw_histograms(axis: Axes, rows: list[Any], key: str, counts: str) -> None:
    edges, width = np.arange(int(max(row[key]["p99"] for row in rows)) + 2), 0.8 / len(rows)
    for k, (row, colour) in enumerate(zip(rows, (FAINT, GREEN, ORANGE, RED, BLUE), strict=True)):
        solved = np.array([n for n in row[counts] if n >= 0])
        heights = [100.0 * np.mean(solved == n) for n in edges]
        label = f"{row['guess']}: mean {row[key]['mean']:.1f}"
        axis.bar(edges + (k - 0.5 * (len(rows) - 1)) * width, heights, width, color=colour, label=label)
    axis.set(xlabel="iterations", ylabel="share of the starts")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axis.grid(visible=False, axis="x")
    axis.legend(loc="upper right")


def draw_starts(content: Mapping[str, Any], file: Path) -> None:
    """Draw how many plans of a walk are done after how many iterations, a panel for each criterion."""
    colours = {"hold": ORANGE, "reference": GREEN, "trajectory": BLUE, "shift": FAINT}
    rows = [row for row in content["rows"] if row["since"] == "anything"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.9))
        title = f"{content['conditions']['task']}: iterations of a plan, T={content['conditions']['horizon']}"
        figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        panels = {"all_enough": "until within 1 % of the optimum", "all": "until the solver stops"}
        for axis, (key, text) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
            for row in rows:
                counts = np.sort(row[key])
                shares = 100.0 * np.arange(len(counts) + 1) / row["count"]
                label = f"{row['guess']}: mean {np.mean(counts):.1f}"
                axis.step([0.5, *counts], shares, where="post", color=colours[row["guess"]], label=label)
            axis.set(title=text, xscale="log", xlabel="iterations", xlim=(0.5, 150.0))
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.legend(loc="lower right")
        axes = figure.axes
        axes[0].set_ylabel("share of the plans [%]")
        save_png(figure, file)
