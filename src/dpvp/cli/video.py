"""`dpvp video`: the robot of a recorded run in motion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tyro.conf import Positional

from dpvp.errors import ConfigError
from dpvp.plan import Array
from dpvp.record.motion import Motion, read_motion
from dpvp.tasks.task import Task
from dpvp.view.animation import saver_of
from dpvp.worlds.render import Picture, RobotRenderer

PAUSE = 1.5  # s for which a robot that has come to rest is shown before the video begins again
RESTING = 0.05  # rad/s
AHEAD = np.linspace(0.0, 1.0, 41)  # s from now on at which the places of the goal make its way
LARGEST = 4096  # pixels


@dataclass(frozen=True)
class VideoArgs:
    """Render the motion of a recorded run: the robot in its scene with its goal, from where it began to move.

    A goal that moves is shown with its way over the next second. Needs OpenGL without a screen: EGL or OSMesa.
    """

    run: Positional[Path]
    """Folder of the run: runs/<time>_<scenario>."""
    out: Path | None = None
    """File to write: .gif, or .mp4 where there is ffmpeg; run.gif in the folder of the run if absent."""
    fps: float = 25.0
    """Pictures per second."""
    seconds: float = 10.0
    """Longest time of the run that is shown, s."""
    size: str = "480x360"
    """Width and height of the pictures, in pixels."""


def video(args: VideoArgs) -> int:
    """Render and write the video; return 0.

    Raises:
        ConfigError: the folder does not hold a run, nothing moves in it, or an option does not fit.
        EnvironmentProblem: there is no OpenGL, or no ffmpeg for an MP4.
    """
    width, height = _size(args.size)
    for name in ("fps", "seconds"):
        if not 0.0 < (value := getattr(args, name)) < np.inf:
            raise ConfigError(f"--{name}", name, value, "must be above zero and finite")
    file = args.out or args.run / "run.gif"
    scenario, motion = read_motion(args.run)
    save, motion = saver_of(file, args.fps), motion.sampled(args.fps, args.seconds)
    renderer = RobotRenderer(scenario.robot, width, height)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        pause = round(PAUSE * args.fps) if motion.speed[-1] < RESTING else 0
        save(_pictures(renderer, scenario.task, motion, pause, progress), file, args.fps)
    renderer.close()
    print(f"{file}: {len(motion.t)} pictures of {width}x{height}, {file.stat().st_size / 1e6:.2f} MB")
    return 0


def _pictures(renderer: RobotRenderer, task: Task, motion: Motion, pause: int, progress: Progress) -> Iterator[Picture]:
    """Render every moment, and repeat the last `pause` times."""
    moments = progress.track(zip(motion.q, motion.goals, strict=True), total=len(motion.t), description="pictures")
    for q, goal in moments:
        picture = renderer.posture(q, task.place(goal), way=_way(task, goal))
        yield picture
    yield from repeat(picture, pause)


def _way(task: Task, goal: Array) -> Array:
    return np.array([task.place(task.later(goal, seconds)) for seconds in AHEAD])


def _size(text: str) -> tuple[int, int]:
    """Return width and height; ConfigError if `text` does not say them or no video has such."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(0 < pixels <= LARGEST and pixels % 2 == 0 for pixels in size):
        expected = f"must be WIDTHxHEIGHT in pixels, both even and at most {LARGEST}, as 480x360"
        raise ConfigError("--size", "size", text, expected)
    return size
