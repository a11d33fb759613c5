"""`dpvp report`: page, picture and metrics of a recorded run, made anew from its recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from dpvp.record.metrics import described
from dpvp.record.motion import read_motion
from dpvp.record.page import PAGE, write_page
from dpvp.record.report import METRICS, PICTURE, rebuild


@dataclass(frozen=True)
class ReportArgs:
    """Tell what happened in a recorded run: one page, report.html, that needs no network and can be sent to people.

    A recording that was cut off, by a kill or a power cut, is made complete first. Writes report.html, run.png and
    metrics.json into the folder of the run.
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
    summary, series = rebuild(args.run)
    write_page(args.run, summary, series)
    for name, value in described(summary):
        print(f"{name:>16}  {value}")
    print(f"{'written':>16}  {args.run / PAGE}, {args.run / PICTURE}, {args.run / METRICS}")
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
