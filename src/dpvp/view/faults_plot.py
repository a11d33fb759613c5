"""Picture of a fault campaign: how soon each kind was detected and the robot safe, how near limits it came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpvp.view.plots import BLUE, FAINT, GREEN, ORANGE, RED, STYLE, save_png

ROW = 0.19  # inches a kind takes


def draw_faults(content: Mapping[str, Any], file: Path) -> None:
    """Draw the rows of a campaign, `content` as in its JSON, as a PNG: one line for each kind of fault."""
    found = [*content["rows"], *content["real"]]
    total = content["totals"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.6, 1.4 + ROW * max(4, len(found))))
        figure.suptitle(
            f"{total['faults']} faults, {total['crossings']} beyond a limit of the data sheet",
            x=0.012, ha="left", fontsize=12.5, fontweight="bold",
        )  # fmt: skip
        detected, safe, peaks = figure.subplots(1, 3, sharey=True)
        _draw_spread(detected, found, "detected_s", "Detected after [s]", None)
        _draw_spread(safe, found, "safe_periods", "Safe after its detection [periods]", 2.0)
        _draw_peaks(peaks, found)
        detected.set_yticks(range(len(found)), [row["kind"] for row in found], fontsize=7)
        detected.set_ylim(len(found) - 0.5, -0.5)
        save_png(figure, file)


def _draw_spread(axis: Axes, found: Sequence[Mapping[str, Any]], key: str, title: str, limit: float | None) -> None:
    axis.set_title(title)
    for place, row in enumerate(found):
        middle, most = row[key]["p50"], row[key]["most"]
        if middle is None or not math.isfinite(middle):
            axis.text(
                0.0,
                place,
                "need not be" if not row["must_be_named"] else "never",
                fontsize=6.5,
                color=FAINT,
                va="center",
            )
            continue
        axis.plot([middle, most], [place, place], color=BLUE, linewidth=1.2)
        axis.plot(middle, place, "o", color=BLUE, markersize=3.5)
        axis.plot(most, place, "|", color=BLUE, markersize=6)
    if limit is not None:
        axis.axvline(limit, color=RED, linewidth=1.2, linestyle=(0, (5, 3)))
    axis.set_xlim(left=0.0)


def _draw_peaks(axis: Axes, found: Sequence[Mapping[str, Any]]) -> None:
    axis.set_title("Largest share of a limit")
    styles = (("position", GREEN, "s"), ("velocity", ORANGE, "o"), ("torque", BLUE, "^"))
    for name, colour, marker in styles:
        shares = [row["peaks"][name] for row in found]
        axis.plot(shares, range(len(found)), marker, color=colour, markersize=3.5, label=name)
    axis.axvline(1.0, color=RED, linewidth=1.2, linestyle=(0, (5, 3)))
    axis.set_xlim(left=0.0)
    axis.legend(loc="upper left", fontsize=7)
