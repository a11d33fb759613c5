"""Pictures one after another, as an animated GIF or, where there is ffmpeg, as an MP4."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from PIL import Image

from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.worlds.render import Picture

Saver = Callable[[Iterable[Picture], Path, float], None]  # pictures of one size, file, pictures per second

COLOURS = 64  # of a GIF; twice as many make that of a robot that walks half as large again, and look the same
SAMPLES = 5  # pictures from which these colours are taken
FASTEST = 50.0  # pictures per second of a GIF; browsers slow down what is faster


def saver_of(file: Path, fps: float) -> Saver:
    """Return what writes `file`, by its suffix, or say at once why it cannot be written.

    Raises:
        ConfigError: another suffix, no such folder, or more pictures per second than a GIF may have.
        EnvironmentProblem: an MP4 where there is no ffmpeg.
    """
    if file.suffix not in (".gif", ".mp4"):
        raise ConfigError("--out", "suffix", file.suffix, "must be .gif or .mp4")
    if not file.absolute().parent.is_dir():
        raise ConfigError("--out", "folder", str(file.parent), "must be there")
    if file.suffix == ".mp4":
        _ffmpeg()
        return save_mp4
    if fps > FASTEST:
        raise ConfigError("--fps", "fps", fps, f"must be at most {FASTEST:g} in a GIF, which browsers show no faster")
    return save_gif


def save_gif(pictures: Iterable[Picture], file: Path, fps: float) -> None:
    """Write `pictures`, all of which are kept in memory, as a GIF that repeats.

    A GIF counts time in 1/100 s: what a picture lasts is rounded so that the whole lasts as long as it should.
    """
    shown = list(pictures)
    palette = _palette(shown[:: -(-len(shown) // SAMPLES)])
    frames = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in shown]
    lasts = 10 * np.diff(np.round(100.0 / fps * np.arange(len(frames) + 1))).astype(int)  # ms
    part = _part(file)
    frames[0].save(
        part, format="GIF", save_all=True, append_images=frames[1:], duration=lasts.tolist(), loop=0, optimize=True
    )
    part.replace(file)


def save_mp4(pictures: Iterable[Picture], file: Path, fps: float) -> None:
    """Write `pictures`, whose width and height are even, as an MP4 that every browser plays.

    Raises:
        EnvironmentProblem: there is no ffmpeg, or it fails.
    """
    queue = iter(pictures)
    first = next(queue)
    height, width = first.shape[:2]
    part, size = _part(file), f"{width}x{height}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:g}", "-i", "-"]
    command = [_ffmpeg(), "-y", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", "-f", "mp4", str(part)]
    with TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said)
        assert process.stdin is not None
        try:
            with process.stdin as stream:
                for picture in chain([first], queue):
                    stream.write(np.ascontiguousarray(picture).tobytes())
        except BrokenPipeError:
            pass  # it has said why
        finally:
            status = process.wait()
        if status:
            said.seek(0)
            raise EnvironmentProblem(f"{command[0]} cannot write {file}: {said.read().decode().strip()}; use .gif")
    part.replace(file)


def _palette(pictures: list[Picture]) -> Image.Image:
    """Return the colours of `pictures`; those that are rare, as of a small ball, are among them."""
    joined = Image.fromarray(np.concatenate(pictures))
    return joined.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)


def _part(file: Path) -> Path:
    """Return where `file` is written before it is whole."""
    return file.with_name(f".{file.name}.part")


def _ffmpeg() -> str:
    """Return the path of ffmpeg: that on PATH or that of the package imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise EnvironmentProblem("an .mp4 needs ffmpeg: use .gif, apt install ffmpeg or pip install imageio-ffmpeg")
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())
