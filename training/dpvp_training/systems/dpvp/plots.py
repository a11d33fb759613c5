"""The picture that a training run leaves: how it learned, what the value looks like and what the policy is good for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from dpvp.plan import Array
from dpvp.view.plots import BLUE, COLOURS, FAINT, GREEN, INK, ORANGE, STYLE, save_png

Curves = Mapping[str, tuple[Array, Array]]  # name -> steps (n,) and figures (n,)

BARS = 24  # most of a histogram
LEVELS = 13  # of the value
VALUES = "YlGnBu"


@dataclass(frozen=True, eq=False)
class ValueSlice:
    """The value over two coordinates of the state, the others as in an equilibrium.

    Attributes:
        names: of both coordinates, with their units.
        first, second: (n,) and (m,) their values.
        learned: (m, n) the value that was learned.
        labels: (m, n) costs of solved problems, NaN where there is none; some rows and columns are enough for a map.
        equilibrium: place of the equilibrium.
    """

    names: tuple[str, str]
    first: Array
    second: Array
    learned: Array
    labels: Array
    equilibrium: tuple[float, float]


@dataclass(frozen=True, eq=False)
class RunPicture:
    """What `draw_run` shows; a panel without data says so.

    Attributes:
        title: the headline.
        curves: what metrics.jsonl holds, see `read_curves`: losses/<stage>/<name> and charts/iterations.
        value: a slice of the value; None leaves its panels out.
        cold, warm: (n,) iterations of solves without and with a learned initial guess.
        t: (T+1,) times of the trajectories, s.
        learned: (S, T+1) task errors of the policy, simulated from S starts.
        optimal: (S, T+1) those of the optimum from the same starts.
        error: what the task error is, with its unit.
        tolerance: task error at which the goal counts as reached.
    """

    title: str
    curves: Curves
    value: ValueSlice | None
    cold: Array
    warm: Array
    t: Array
    learned: Array
    optimal: Array
    error: str
    tolerance: float


def read_curves(file: Path) -> Curves:
    """Read the figures of a run from its metrics.jsonl; null is NaN."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for name, figure in record.items():
            if name not in ("step", "time"):
                points.setdefault(name, []).append((record["step"], math.nan if figure is None else figure))
    columns = {name: np.array(pairs, dtype=np.float64).T for name, pairs in points.items()}
    return {name: (steps, figures) for name, (steps, figures) in columns.items()}


def draw_run(picture: RunPicture, file: Path) -> None:
    """Draw `picture` as a PNG: learning curves above, the value in the middle, iterations and trajectories below."""
    with mpl.rc_context(STYLE):
        heights = [3.0, 3.45] if picture.value is None else [3.0, 3.9, 3.45]
        figure = Figure(figsize=(10.6, sum(heights)))
        figure.suptitle(picture.title, x=0.012, ha="left", fontsize=13, fontweight="bold")
        grid = figure.add_gridspec(len(heights), 6, height_ratios=heights)
        value, policy, solves = (figure.add_subplot(grid[0, k : k + 2]) for k in (0, 2, 4))
        _draw_losses(value, picture.curves, "Losses of the value", valued=True)
        _draw_losses(policy, picture.curves, "Losses of the policy", valued=False)
        _draw_solves(solves, picture.curves)
        if picture.value is not None:
            _draw_slice(figure, [figure.add_subplot(grid[1, k : k + 3]) for k in (0, 3)], picture.value)
        _draw_iterations(figure.add_subplot(grid[-1, :3]), picture)
        _draw_errors(figure.add_subplot(grid[-1, 3:]), picture)
        save_png(figure, file)


def _draw_losses(axis: Axes, curves: Curves, title: str, *, valued: bool) -> None:
    """Draw the losses of all stages that fit a value, or of all others; their total is no more than their sum."""
    axis.set_title(title)
    found = {key: curve for key, curve in _losses(curves).items() if key[0].startswith("value") == valued}
    names = list(dict.fromkeys(name for _, name in found if name != "total")) or ["total"]
    shown = {(stage, name): curve for (stage, name), curve in found.items() if name in names}
    if not shown:
        _say_empty(axis, "no losses were recorded")
        return
    axis.set(yscale="log", xlabel="step")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.yaxis.set_minor_formatter(NullFormatter())
    stages = list(dict.fromkeys(stage for stage, _ in shown))
    firsts = {name: stage for stage, name in reversed(shown)}
    for (stage, name), (steps, losses) in shown.items():
        label = name if stage == firsts[name] else None
        colour, marker = COLOURS[names.index(name) % len(COLOURS)], "o" if len(steps) == 1 else ""
        axis.plot(steps, losses, color=colour, marker=marker, markersize=4.0, label=label)
    for stage in stages[1:]:
        start = min(float(steps[0]) for (other, _), (steps, _) in shown.items() if other == stage)
        axis.axvline(start, color=FAINT, linewidth=0.9, linestyle=":")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * (high / low) ** 0.15)  # room for the legend
    axis.legend(loc="upper right", handlelength=1.0, ncols=len(names), columnspacing=1.0)


def _losses(curves: Curves) -> dict[tuple[str, str], tuple[Array, Array]]:
    """Return the losses by stage and name, in the order of their steps."""
    matches = [(re.fullmatch(r"losses/([^/]+)/([^/]+)", key), curve) for key, curve in curves.items()]
    found = [((match[1], match[2]), curve) for match, curve in matches if match and len(curve[0])]
    return dict(sorted(found, key=lambda entry: float(entry[1][0][0])))


def _draw_solves(axis: Axes, curves: Curves) -> None:
    axis.set_title("Solver iterations of labels")
    steps, iterations = curves.get("charts/iterations", (np.zeros(0), np.zeros(0)))
    if not len(steps):
        _say_empty(axis, "no iterations were recorded")
        return
    axis.bar(np.arange(1, len(steps) + 1), iterations, 0.8, color=BLUE, zorder=2)
    axis.set(xlabel="batch of problems", ylabel="mean of a solve", ylim=(0.0, 1.15 * max(1.0, np.nanmax(iterations))))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.grid(visible=False, axis="x")


def _draw_slice(figure: Figure, axes: list[Axes], value: ValueSlice) -> None:
    """Draw what was learned beside the labels, whose levels are lines in both."""
    learned, labels = (value.first, value.second, value.learned), _solved(value)
    most = float(np.nanmax(value.learned if labels is None else labels[2]))
    levels = most * np.linspace(0.0, 1.0, LEVELS) ** 2  # equidistant where a value is quadratic
    style: dict[str, Any] = {"cmap": VALUES, "norm": PowerNorm(0.5, 0.0, most), "extend": "max"}
    for axis, title, values in ((axes[0], "Value learned", learned), (axes[1], "Labels: solved problems", labels)):
        axis.set_title(title)
        if values is None:
            _say_empty(axis, "no problems were solved here")
            continue
        area = axis.contourf(*values, levels, **style)
        axis.contour(*(learned if labels is None else labels), levels[1:], colors=INK, linewidths=0.6)
        axis.plot(*value.equilibrium, "o", color=GREEN, markeredgecolor="white", markersize=7.5, clip_on=False)
        axis.set(xlabel=value.names[0], ylabel=value.names[1], facecolor="#F2F4F5")
        axis.set(xlim=(value.first[0], value.first[-1]), ylim=(value.second[0], value.second[-1]))
        axis.grid(visible=False)
    bar = figure.colorbar(area, ax=axes, fraction=0.03, pad=0.01, ticks=levels[::3])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda level, _: f"{level:.2g}"))
    bar.outline.set_visible(False)
    bar.set_label("V" if labels is None else "V; lines: levels of the labels")


def _solved(value: ValueSlice) -> tuple[Array, Array, Any] | None:
    """Return the labels with the rows and columns that have some; None where a map cannot be made of them."""
    known = np.isfinite(value.labels)
    rows, columns = known.any(axis=1), known.any(axis=0)
    if rows.sum() < 2 or columns.sum() < 2:
        return None
    labels = value.labels[np.ix_(rows, columns)]
    return value.first[columns], value.second[rows], np.ma.masked_invalid(labels)


def _draw_iterations(axis: Axes, picture: RunPicture) -> None:
    axis.set_title("Iterations to convergence, by initial guess")
    counts = [("without learning", picture.cold, ORANGE), ("learned", picture.warm, BLUE)]
    counts = [(name, iterations, colour) for name, iterations, colour in counts if len(iterations)]
    if not counts:
        _say_empty(axis, "no solves were counted")
        return
    everything = np.concatenate([iterations for _, iterations, _ in counts])
    low, high = int(everything.min()), int(np.ceil(np.percentile(everything, 99)))
    step = max(1, math.ceil((high - low + 1) / BARS))
    edges = np.arange(low, high + step + 1, step, dtype=np.float64)
    width = 0.8 * step / len(counts)
    for k, (name, iterations, colour) in enumerate(counts):
        # those beyond the last edge are few, and far away: they count for the last bar
        within = np.minimum(iterations, edges[-1] - 0.5)
        shares = 100.0 * np.histogram(within, edges)[0] / len(iterations)
        middle = edges[:-1] + 0.5 * (step - 1) + (k - 0.5 * (len(counts) - 1)) * width
        axis.bar(middle, shares, width, color=colour, label=f"{name}: mean {np.mean(iterations):.1f}", zorder=2)
    axis.set(xlabel="iterations", ylabel="share of the solves")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axis.grid(visible=False, axis="x")
    axis.legend(loc="upper right", handlelength=1.2)


def _draw_errors(axis: Axes, picture: RunPicture) -> None:
    axis.set_title("Task error: policy alone, and the optimum")
    if not np.any(picture.learned > 0.0):
        _say_empty(axis, "no trajectories")
        return
    axis.set(yscale="log", xlabel="time [s]", ylabel=picture.error, xlim=(picture.t[0], picture.t[-1]))
    axis.yaxis.set_minor_formatter(NullFormatter())
    thick: dict[str, Any] = {"color": ORANGE, "linewidth": 3.2, "alpha": 0.45}
    for error in picture.optimal:
        axis.plot(picture.t, error, **thick)
    for error in picture.learned:
        axis.plot(picture.t, error, color=BLUE, linewidth=1.0)
    axis.axhline(picture.tolerance, color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)))
    lines = [Line2D([], [], **thick), Line2D([], [], color=BLUE, linewidth=1.0)]
    reached = Line2D([], [], color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)))
    axis.legend([*lines, reached], ["optimum", "policy", "reached"], loc="upper right", handlelength=1.6)
    errors = np.concatenate([picture.learned.ravel(), picture.optimal.ravel()])
    errors = errors[np.isfinite(errors) & (errors > 0.0)]
    axis.set_ylim(max(0.02 * picture.tolerance, 0.7 * errors.min()), 3.0 * max(errors.max(), picture.tolerance))


def _say_empty(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=FAINT)
    axis.set(xticks=[], yticks=[])
