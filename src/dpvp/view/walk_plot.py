"""Pictures of studies of walks: the ways that the base took, seen from above."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dpvp.plan import Array
from dpvp.view.plots import BLUE, FAINT, RED, STYLE, save_png

COLUMNS = 2


def draw_walks(content: Mapping[str, Any], file: Path) -> None:
    """Draw the traces of every walk of a study as a PNG, each from where it began and in the direction of its start.

    Args:
        content: of the study's JSON; traces are (m, 2), m.
        file: to be written.
    """
    rows = [row for row in content["rows"] if any(row["walk"]["command"])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 2.2 * -(-len(rows) // COLUMNS) + 0.6))
        axes = figure.subplots(-(-len(rows) // COLUMNS), COLUMNS, squeeze=False).ravel()
        for axis in axes[len(rows) :]:
            axis.set_visible(False)
        for axis, row in zip(axes, rows, strict=False):
            for course in row["courses"]:
                trace = straightened(np.array(course["trace"]))
                axis.plot(*trace.T, color=RED if course["fell"] else BLUE, linewidth=1.0, alpha=0.7)
            axis.plot(0.0, 0.0, "o", color=FAINT, markersize=5)
            axis.set_aspect("equal", adjustable="datalim")
            axis.set_title(f"{row['walk']['name']}: {row['survived']} of {row['walk']['seeds']} upright")
            axis.set(xlabel="m", ylabel="m")
        save_png(figure, file)


def straightened(trace: Array) -> Array:
    """Return a trace (m, 2) from the origin whose first second goes along x."""
    trace = trace - trace[0]
    away = trace[min(10, len(trace) - 1)]
    angle = float(np.arctan2(away[1], away[0]))
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(trace @ np.array([[cos, -sin], [sin, cos]]))
