"""`dpvp report`: picture and metrics of a recorded run, made anew from its recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from dpvp.record.motion import read_motion
from dpvp.record.report import METRICS, PICTURE, write_report


@dataclass(frozen=True)
class ReportArgs:
    """Draw the picture of a recorded run and compute its metrics from the recording.

    A recording that was cut off, by a kill or a power cut, is made complete first. Writes run.png and metrics.json
    into the folder of the run.
    """

    run: Positional[Path]
    """Folder of the run: runs/<time>_<scenario>."""
    still: Path | None = None
    """Also render the arm on its way to the goal as one picture (PNG)."""


def report(args: ReportArgs) -> int:
    """Write the report and print what it says; return 0 if the goal was reached in time, else 1.

    Raises:
        ConfigError: the folder does not hold a run.
    """
    summary = write_report(args.run)
    for name, value in _lines(summary):
        print(f"{name:>16}  {value}")
    print(f"{'written':>16}  {args.run / PICTURE}, {args.run / METRICS}")
    if args.still:
        _render(args.run, args.still)
        print(f"{'written':>16}  {args.still}")
    return 0 if summary["success"] else 1


def _render(run: Path, still: Path) -> None:
    from dpvp.worlds.render import RobotRenderer, save_still  # OpenGL is not everywhere

    scenario, motion = read_motion(run)
    renderer = RobotRenderer(scenario.robot)
    save_still(renderer.still(motion.q, scenario.task.place(motion.goals[-1])), still)
    renderer.close()


def _lines(summary: dict[str, Any]) -> list[tuple[str, str]]:
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
