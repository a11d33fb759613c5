"""Pictures of benches: what plans cost against how long they take and which periods are missed; disturbances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from dpvp.view.plots import BLUE, FAINT, GREEN, INK, ORANGE, RED, STYLE, save_png

Row = Mapping[str, Any]
_PLANNERS = {"ddp": ORANGE, "csqp": BLUE}
_GUESSES = {"hold": ("s", (0, (2, 2))), "shift": ("o", "solid"), "policy": ("^", "solid")}
_GUESS_NAMES = {"hold": "guess hold alone", "shift": "guess shift or hold", "policy": "guess policy, shift or hold"}
_TIMES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_RATIOS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_COARSE_RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_ENDS = {"zero": "no terminal cost", "quadratic": "quadratic terminal cost", "value": "learned value"}
_MISSED = LinearSegmentedColormap.from_list("missed", ["#E3F3EE", "#FBF6EA", "#F7D9C4", "#E59A6D"])


def draw_bench(content: Mapping[str, Any], file: Path) -> None:
    """Draw the results of a bench, `content` as it is in bench.json, as a PNG.

    Above, one panel for each terminal cost: cost relative to the optimum against the time of a plan, with horizons.
    Below, a table of the share of missed periods and the time of a plan, way to plan by rate.
    """
    rows = [row for row in content["rows"] if row["label"] != "reference"]
    terminals = list(dict.fromkeys(row["terminal"] for row in rows)) or ["zero"]
    with mpl.rc_context(STYLE):
        cells = 0.46 * max(3, len(_ways(content["rates"])))  # inches
        figure = Figure(figsize=(10.6, 5.6 + cells))
        grid = figure.add_gridspec(2, len(terminals), height_ratios=(4.0, cells))
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
        save_png(figure, file)


def draw_disturbance(content: Mapping[str, Any], file: Path) -> None:
    """Draw the study of disturbances, `content` as it is in its JSON, as a PNG.

    Above, the distance from the goal under pushes, way to plan by way. Below, one panel for each kind of error: the
    share of the runs that end closer to the goal than the distance on the axis, and how many of them are successes.
    """
    ways = list(dict.fromkeys(row["way"] for row in content["rows"]))
    colours = dict(zip(ways, (BLUE, ORANGE, FAINT), strict=False))
    cases = list(dict.fromkeys(row["case"] for row in content["summary"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 7.2))
        grid = figure.add_gridspec(2, max(1, len(cases)), height_ratios=(1.15, 1.0))
        conditions = content["conditions"]
        late = f"plans followed {1e3 * conditions['plan_delay']:g} ms after they were asked for"
        text = f"{conditions['task']}: {conditions['plan_hz']:g} Hz, {late}"
        figure.suptitle(text, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        _draw_pushes(figure.add_subplot(grid[0, :]), [row for row in content["rows"] if "pushes" in row], colours)
        for column, case in enumerate(cases):
            axis = figure.add_subplot(grid[1, column])
            axis.set_title(f"{conditions['count']} random starts, {case}")
            rows = [row for row in content["rows"] if row.get("case") == case]
            _draw_final_errors(axis, rows, [row for row in content["summary"] if row["case"] == case], colours)
        save_png(figure, file)


def _draw_pushes(axis: Axes, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    axis.set_title("Distance of the end effector from the goal; pushes shaded")
    axis.set(xlabel="time [s]", ylabel="distance [m]")
    for row in rows:
        axis.plot(row["t"], row["error"], color=colours[row["way"]], label=row["way"], linewidth=1.6)
    for push in rows[0]["pushes"] if rows else ():
        axis.axvspan(push["at"], push["at"] + push["duration"], color=RED, alpha=0.25, linewidth=0.0)
    axis.axhline(0.01, color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)), label="1 cm")
    axis.set_ylim(bottom=0.0)
    axis.margins(x=0.0)
    axis.legend(loc="upper left")


def _draw_final_errors(axis: Axes, rows: Sequence[Row], summary: Sequence[Row], colours: Mapping[str, str]) -> None:
    axis.set(xlabel="distance from the goal at the end [mm]", ylabel="share of the runs", xscale="log")
    for entry in summary:
        final = np.sort([row["final_error"] for row in rows if row["way"] == entry["way"]])
        shares = np.arange(1, len(final) + 1) / len(final)
        final = final[np.isfinite(final)]  # the rest crashed, and sorts last
        label = f"{_percent(entry['success_rate'])} at the goal in time"
        axis.step(
            1e3 * final, shares[: len(final)], where="post", color=colours[entry["way"]], label=label, linewidth=1.6
        )
    axis.axvline(10.0, color=GREEN, linewidth=1.2, linestyle=(0, (5, 3)))
    axis.set_ylim(0.0, 1.02)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axis.legend(loc="upper left")


def _headline(content: Mapping[str, Any]) -> str:
    machine = content["machine"]
    return f"{content['scenario']} in closed loop on {machine['processor']}, {machine['cores']} cores"


def _draw_costs(axis: Axes, rows: Sequence[Row], terminal: str) -> None:
    axis.set_title(_ENDS[terminal].capitalize())
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
    below = row["guess"] != "shift"
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


def _way(row: Row) -> tuple[str, int, str, bool]:
    return row["planner"], row["horizon"], row["terminal"], "policy" in row.get("guesses", ())


def _ways(rates: Sequence[Row]) -> list[tuple[str, int, str, bool]]:
    return list(dict.fromkeys(map(_way, rates)))


def _draw_rates(axis: Axes, rates: Sequence[Row]) -> None:
    axis.set_title("Periods missed by the loop through the real nodes; time of a plan, median and 99th percentile")
    axis.grid(visible=False)
    ways, hertz = _ways(rates), sorted({row["hz"] for row in rates})
    if not ways:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", color=FAINT)
        axis.set(xticks=[], yticks=[])
        return
    shares = np.full((len(ways), len(hertz)), np.nan)
    for row in rates:
        cell = ways.index(_way(row)), hertz.index(row["hz"])
        known = row["missed_share"] is not None
        shares[cell] = row["missed_share"] if known else 1.0
        axis.text(*cell[::-1], _cell_text(row), ha="center", va="center", fontsize=8.5, linespacing=1.35)
    axis.imshow(shares, cmap=_MISSED, norm=PowerNorm(0.45, 0.0, 1.0), aspect="auto")
    names = [f"{kind}, {nodes} nodes,\n{_ENDS[end]}{', policy' if policy else ''}" for kind, nodes, end, policy in ways]
    axis.set_yticks(range(len(ways)), names)
    peers = {row["hz"] for row in rates if row["label"]}
    names = [f"{hz:g} Hz" + (" (agimus_controller's rate)" if hz in peers else "") for hz in hertz]
    axis.set_xticks(range(len(hertz)), names)
    axis.spines[["left", "bottom"]].set_visible(False)
    for edges, draw in ((range(1, len(hertz)), axis.axvline), (range(1, len(ways)), axis.axhline)):
        for edge in edges:
            draw(edge - 0.5, color="white", linewidth=2.5)


def _cell_text(row: Row) -> str:
    share, holding, times = row["missed_share"], row["holding_share"], row["solve_ms"]
    text = "never tracked" if share is None or not np.isfinite(share) else f"{_percent(share)} missed"
    if holding > 0.05:
        text += f", arm held {_percent(holding)}"
    if all(ms is not None and np.isfinite(ms) for ms in times.values()):
        text += f"\n{times['p50']:.1f} / {times['p99']:.1f} ms"
    return text


def _percent(share: float) -> str:
    return f"{100.0 * share:.2g} %" if share < 0.995 else "100 %"
