"""The picture of a bench: what plans cost against how long they take, and how many periods the loop misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from dpvp.view.plots import BLUE, COLOURS, FAINT, GREEN, INK, ORANGE, RED, STYLE

Row = Mapping[str, Any]
_PLANNERS = {"ddp": ORANGE, "csqp": BLUE}
_LIGHTER = {"ddp": "#F5CF80", "csqp": "#80B9D9"}
_GUESSES = {"hold": ("s", (0, (2, 2))), "shift": ("o", "solid"), "policy": ("^", "solid")}
_GUESS_NAMES = {"hold": "guess hold alone", "shift": "guess shift or hold", "policy": "guess policy, shift or hold"}
_TIMES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_RATIOS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_COARSE_RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def draw_bench(content: Mapping[str, Any], file: Path) -> None:
    """Draw the results of a bench, `content` as it is in bench.json, as a PNG.

    Above, one panel for each terminal cost: cost relative to the optimum against the time of a plan, with horizons.
    Below, the share of missed periods at each rate.
    """
    rows = [row for row in content["rows"] if row["label"] != "reference"]
    terminals = list(dict.fromkeys(row["terminal"] for row in rows)) or ["zero"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 7.4))
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, len(terminals), height_ratios=(1.45, 1.0))
        figure.suptitle(_headline(content), x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        first: Axes | None = None
        for column, terminal in enumerate(terminals):
            axis = figure.add_subplot(grid[0, column], sharex=first, sharey=first)
            first = first or axis
            _draw_costs(axis, [row for row in rows if row["terminal"] == terminal], terminal)
            if column == 0:
                axis.set_ylabel("cost relative to the optimum")
            else:
                axis.tick_params(labelleft=False)
        _frame_costs(first, rows)
        _draw_legend(figure, rows)
        _draw_rates(figure.add_subplot(grid[1, :]), content["rates"])
        part = file.with_name(f".{file.name}.part")
        canvas.print_png(part)
        part.replace(file)


def _headline(content: Mapping[str, Any]) -> str:
    machine = content["machine"]
    return f"{content['scenario']} on {machine['processor']}, {machine['cores']} cores"


def _draw_costs(axis: Axes, rows: Sequence[Row], terminal: str) -> None:
    axis.set_title(f"Closed loop, {terminal} terminal cost")
    axis.set_xlabel("time of a plan, median [ms]")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.axhline(1.0, color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)))
    right: dict[str, Any] = {"xytext": (-3, -3), "textcoords": "offset points", "ha": "right", "va": "top"}
    axis.annotate("optimum", (1.0, 1.0), xycoords=("axes fraction", "data"), color=GREEN, fontsize=8.5, **right)
    for planner, colour in _PLANNERS.items():
        for guess, (marker, style) in _GUESSES.items():
            line = [row for row in rows if (row["planner"], row["guess"]) == (planner, guess) and _finite(row)]
            points = [(row["solve_ms"]["p50"], row["cost_ratio"]["mean"]) for row in line]
            if not points:
                continue
            axis.plot(*zip(*points, strict=True), color=colour, linestyle=style, linewidth=1.1, zorder=2)
            for row, point in zip(line, points, strict=True):
                face = colour if row["success_rate"] == 1.0 else "white"
                axis.plot(*point, marker, color=colour, markerfacecolor=face, markersize=6.5, zorder=3)
                _name_horizon(axis, row, point, colour)
    lost = [f"{row['planner']} {row['guess']} {row['horizon']}" for row in rows if not _finite(row)]
    if lost:
        corner: dict[str, Any] = {"transform": axis.transAxes, "ha": "right", "va": "top"}
        axis.text(0.99, 0.985, "\n".join(["no finite cost:", *lost]), color=RED, fontsize=7.5, **corner)


def _finite(row: Row) -> bool:
    values = (row["solve_ms"]["p50"], row["cost_ratio"]["mean"])
    return all(value is not None and np.isfinite(value) for value in values)


def _name_horizon(axis: Axes, row: Row, point: tuple[float, float], colour: str) -> None:
    below = row["guess"] == "hold"
    text = axis.annotate(
        f"{row['horizon']}",
        point,
        xytext=(0, -7 if below else 6),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        color=colour,
        fontsize=7.5,
        zorder=4,
    )
    text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])


def _frame_costs(axis: Axes | None, rows: Sequence[Row]) -> None:
    """Fit the axes, which all cost panels share, to the data and give them round ticks."""
    finite = [row for row in rows if _finite(row)]
    if axis is None or not finite:
        return
    times = [row["solve_ms"]["p50"] for row in finite]
    ratios = [row["cost_ratio"]["mean"] for row in finite]
    fine = max(ratios) / min(ratios) < 6.0
    for which, ticks in ((axis.xaxis, _TIMES), (axis.yaxis, _RATIOS if fine else _COARSE_RATIOS)):
        which.set_ticks(ticks)
        which.set_minor_locator(NullLocator())
        which.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ×"))
    axis.set_xlim(min(times) / 1.4, max(times) * 1.4)
    axis.set_ylim(min(0.85, min(ratios) / 1.12), max(1.5, max(ratios) * 1.18))


def _draw_legend(figure: Figure, rows: Sequence[Row]) -> None:
    handles = [Line2D([], [], color=colour, label=name) for name, colour in _PLANNERS.items()]
    for guess, (marker, style) in _GUESSES.items():
        if any(row["guess"] == guess for row in rows):
            label = _GUESS_NAMES[guess]
            handles.append(Line2D([], [], color=INK, marker=marker, linestyle=style, label=label, markersize=5.5))
    hollow: dict[str, Any] = {"marker": "o", "linestyle": "none", "markerfacecolor": "white", "markersize": 5.5}
    handles.append(Line2D([], [], color=INK, label="not every start reached the goal", **hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.9, columnspacing=1.4)


def _draw_rates(axis: Axes, rates: Sequence[Row]) -> None:
    axis.set_title("Periods missed by the loop through the real nodes, and median time of a plan")
    axis.set_ylabel("missed")
    axis.grid(visible=False, axis="x")
    hertz = sorted({row["hz"] for row in rates})
    if not hertz:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", color=FAINT)
        axis.set(xticks=[], yticks=[])
        return
    names = list(dict.fromkeys((row["planner"], row["horizon"]) for row in rates))
    width = min(0.36, 0.76 / len(names))
    for k, (planner, horizon) in enumerate(names):
        own = [row for row in rates if (row["planner"], row["horizon"]) == (planner, horizon)]
        places = [hertz.index(row["hz"]) + (k - 0.5 * (len(names) - 1)) * width for row in own]
        again = planner in [other for other, _ in names[:k]]
        colour = _LIGHTER.get(planner, COLOURS[k]) if again else _PLANNERS.get(planner, COLOURS[k])
        label = f"{planner}, {horizon} nodes"
        axis.bar(places, [_percent(row) for row in own], 0.94 * width, color=colour, label=label, zorder=2)
        for row, place in zip(own, places, strict=True):
            above: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 8.5}
            axis.annotate(_bar_text(row), (place, _percent(row)), color=INK, **above)
    peers = {row["hz"] for row in rates if row["label"]}
    for hz in peers:
        axis.axvspan(hertz.index(hz) - 0.48, hertz.index(hz) + 0.48, color=GREEN, alpha=0.09, linewidth=0.0, zorder=0)
    names_of_ticks = [f"{hz:g} Hz" + ("  (agimus_controller's rate)" if hz in peers else "") for hz in hertz]
    axis.set_xticks(range(len(hertz)), names_of_ticks)
    axis.set_xlim(-0.55, len(hertz) - 0.45)
    axis.set_ylim(0.0, max(1.0, 1.45 * max(_percent(row) for row in rates)))
    axis.set_yticks([tick for tick in axis.get_yticks() if tick <= 100.0])
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axis.legend(loc="upper left")


def _percent(row: Row) -> float:
    share = row["missed_share"]
    return 0.0 if share is None or not np.isfinite(share) else 100.0 * float(share)


def _bar_text(row: Row) -> str:
    middle, holding = row["solve_ms"]["p50"], row.get("holding_share", 0.0)
    known = row["missed_share"] is not None and np.isfinite(row["missed_share"])
    text = f"{_percent(row):.2g} %" if known else "never tracked"
    if middle is not None and np.isfinite(middle):
        text += f"\n{middle:.1f} ms"
    return text + (f"\narm held {100.0 * holding:.0f} %" if holding > 0.05 else "")
