"""Pictures of runs: one figure that tells whether the goal was reached, at what cost to the machine and in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dpvp.plan import Array

# Okabe and Ito's colours, which people with any colour vision tell apart
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#56B4E9", "#CC79A7", "#7A6A00", "#000000")
INK, FAINT = "#2B3036", "#8A929A"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#C3C9CF",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EBEE",
    "grid.linewidth": 0.8,
    "xtick.color": "#565E66",
    "ytick.color": "#565E66",
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, eq=False)
class RunSeries:
    """What happened in a run, on one time axis (s); m samples of the state, n joints.

    Attributes:
        title: name of the scenario.
        joint_names: n names.
        t: (m,) times of the states.
        error: (m,) distance from the goal then set; NaN without a goal.
        velocity, effort: (m, n) joint velocities, rad/s, and torques, Nm; NaN where not measured.
        velocity_limit, effort_limit: (n,) their limits.
        plan_t, plan_ms: (k,) when plans were sent, and the time from state to plan of each, ms.
        age_t, age_ms: (l,) when controls were applied, and the age of the state behind each, ms.
        period_ms: period of planning, ms.
        goal_t: times at which a goal was set.
        reached_t: time since when the goal has been reached until the end; NaN if it is not.
        reached_after: the same from the goal on, on the plant's clock, s; NaN if it is not reached.
        success_error: distance at which the goal counts as reached.
        final_error: distance at the end, in `error_unit`, as is every distance.
        error_unit: m, or m/s where the goal is a velocity.
        begin: when all these times were zero, s since 1970.
    """

    title: str
    joint_names: tuple[str, ...]
    t: Array
    error: Array
    velocity: Array
    effort: Array
    velocity_limit: Array
    effort_limit: Array
    plan_t: Array
    plan_ms: Array
    age_t: Array
    age_ms: Array
    period_ms: float
    goal_t: Array
    reached_t: float
    reached_after: float
    success_error: float
    final_error: float
    error_unit: str = "m"
    begin: float = 0.0


def draw_run(run: RunSeries, file: Path) -> None:
    """Draw `run` as a PNG: error, torques, velocities and timing below one another; a panel without data says so."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 9.6))
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(1.25, 1.0, 1.0, 1.0))
        figure.suptitle(_headline(run), x=0.012, ha="left", fontsize=13, fontweight="bold")
        _draw_error(axes[0], run)
        _draw_shares(axes[1], run, run.effort, run.effort_limit, "Joint torque", "Nm")
        _draw_shares(axes[2], run, run.velocity, run.velocity_limit, "Joint velocity", "rad/s")
        _draw_timing(axes[3], run)
        for axis in axes:
            _mark_moments(axis, run)
        axes[3].set_xlabel(f"time since {'the goal was set' if len(run.goal_t) else 'the start'}, {_clock(run)} [s]")
        ends = [float(t[-1]) for t in (run.t, run.plan_t, run.age_t) if len(t)]
        starts = [float(t[0]) for t in (run.t, run.plan_t, run.age_t) if len(t)]
        if ends and max(ends) > min(starts):
            axes[3].set_xlim(min(starts), max(ends))
        figure.align_ylabels(axes)
        save_png(figure, file)


def save_png(figure: Figure, file: Path) -> None:
    """Write `figure` as a PNG; whoever looks at `file` sees the old picture or the new, never a half."""
    part = file.with_name(f".{file.name}.part")
    FigureCanvasAgg(figure).print_png(part)
    part.replace(file)


def _clock(run: RunSeries) -> str:
    """Return whose clock the axis shows, and how fast the plant's own goes on it where that waits for plans."""
    if not run.reached_after > 0.0 or run.reached_t < 1.1 * run.reached_after:
        return "recorder's clock"
    return f"recorder's clock (the plant's, in lock-step, is {run.reached_t / run.reached_after:.1f} times slower)"


def _headline(run: RunSeries) -> str:
    if math.isnan(run.final_error):
        return f"{run.title}: no goal"
    reached = "not reached" if math.isnan(run.reached_after) else f"reached after {run.reached_after:.2f} s"
    return f"{run.title}: {reached}, {1e3 * run.final_error:.1f} m{run.error_unit} from the goal at the end"


def _draw_error(axis: Axes, run: RunSeries) -> None:
    axis.set_title("Distance from the goal")
    axis.set_ylabel("distance")
    if not np.any(run.error > 0):
        _say_empty(axis, "no states with a goal were recorded")
        return
    axis.set_yscale("log")
    axis.plot(run.t, run.error, color=BLUE, linewidth=1.8)
    axis.axhline(run.success_error, color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)))
    _note(axis, run.success_error, _distance(run.error_unit)(run.success_error), GREEN)
    lowest = float(np.nanmin(run.error[run.error > 0]))
    axis.set_ylim(min(lowest, run.success_error) / 2.0, 1.8 * max(float(np.nanmax(run.error)), run.success_error))
    axis.yaxis.set_major_formatter(FuncFormatter(_distance(run.error_unit)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if not math.isnan(run.reached_t):
        error = float(np.interp(run.reached_t, run.t, run.error))
        axis.plot([run.reached_t], [error], "o", color=GREEN, markersize=7, markeredgecolor="white")
        late = run.reached_t > 0.6 * run.t[-1] + 0.4 * run.t[0]  # then there is more room below and before it
        axis.annotate(
            f"reached after {run.reached_after:.2f} s",
            (run.reached_t, error),
            xytext=(-9, -15) if late else (9, 9),
            textcoords="offset points",
            ha="right" if late else "left",
            color=GREEN,
            fontweight="bold",
            fontsize=9.5,
        )


def _draw_shares(axis: Axes, run: RunSeries, values: Array, limits: Array, what: str, unit: str) -> None:
    """Draw every joint as a share of its own limit, which the legend states."""
    axis.set_title(f"{what}, share of each joint's limit")
    axis.set_ylabel("% of limit")
    if not np.any(np.isfinite(values)):
        _say_empty(axis, f"no {what.lower()} was recorded")
        return
    shares = 100.0 * values / limits
    for j, name in enumerate(run.joint_names):
        colour = COLOURS[j % len(COLOURS)]
        axis.plot(run.t, shares[:, j], color=colour, label=f"{name}  {limits[j]:.4g} {unit}")
    axis.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), handlelength=1.1, labelspacing=0.35)
    high = max(40.0, 1.1 * float(np.nanmax(np.abs(shares))))
    for sign in (-1.0, 1.0):
        if high > 80.0:
            axis.axhline(sign * 100.0, color=RED, linewidth=1.2, linestyle=(0, (5, 3)))
    if high > 80.0:
        high = max(high, 118.0)
        _note(axis, 100.0, "limit", RED)
    axis.set_ylim(-high, high)


def _draw_timing(axis: Axes, run: RunSeries) -> None:
    axis.set_title("Age of the state behind each control, and time from state to plan")
    axis.set_ylabel("ms")
    if not len(run.age_ms) and not len(run.plan_ms):
        _say_empty(axis, "no timing was recorded")
        return
    for t, ms, colour, name in (
        (run.age_t, run.age_ms, ORANGE, "state age"),
        (run.plan_t, run.plan_ms, BLUE, "plan time"),
    ):
        if len(ms):
            middle, high = np.nanpercentile(ms, [50, 99])
            label = f"{name}\np50 {middle:.1f} ms\np99 {high:.1f} ms\nmax {np.nanmax(ms):.1f} ms"
            axis.plot(*_with_gaps(t, ms, 5e-3 * run.period_ms), color=colour, linewidth=0.9, label=label)
    axis.axhline(run.period_ms, color=RED, linewidth=1.2, linestyle=(0, (5, 3)))
    _note(axis, run.period_ms, f"period {run.period_ms:g} ms", RED)
    axis.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), handlelength=1.1, labelspacing=0.9)
    usual = [float(np.nanpercentile(ms, 99.5)) for ms in (run.age_ms, run.plan_ms) if len(ms)]
    axis.set_ylim(0.0, 1.25 * max(*usual, 1.2 * run.period_ms))


def _with_gaps(t: Array, values: Array, longest: float) -> tuple[Array, Array]:
    """Break a curve where nothing came for more than `longest` seconds."""
    gaps = np.flatnonzero(np.diff(t) > longest) + 1
    return np.insert(t, gaps, t[gaps]), np.insert(values, gaps, np.nan)


def _distance(unit: str) -> Callable[..., str]:
    """Return what writes a distance with a prefix that suits it; also formats ticks, which come with their position."""

    def written(value: float, _: object = None) -> str:
        prefix, scale = ("", 1.0) if value >= 1.0 else ("c", 1e2) if value >= 0.01 else ("m", 1e3)
        return f"{scale * value:.4g} {prefix}{unit}"

    return written


def _mark_moments(axis: Axes, run: RunSeries) -> None:
    for when in run.goal_t:
        axis.axvline(when, color=FAINT, linewidth=0.9, linestyle=":")
    if not math.isnan(run.reached_t):
        axis.axvline(run.reached_t, color=GREEN, linewidth=0.9, alpha=0.55)


def _note(axis: Axes, y: float, text: str, colour: str) -> None:
    """Write `text` at the right end of the horizontal line at `y`."""
    axis.annotate(
        text,
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 3),
        textcoords="offset points",
        ha="right",
        color=colour,
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
    )


def _say_empty(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=FAINT)
    axis.set_yticks([])
