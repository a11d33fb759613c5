"""view/animation.py: pictures as GIF and MP4, and what is said where there can be none."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.view.animation import save_gif, save_mp4, saver_of

Picture = NDArray[np.uint8]


def ball(count: int) -> list[Picture]:
    """A small blue square that crosses a grey gradient."""
    grey = np.linspace(60, 200, 64).astype(np.uint8)
    pictures = []
    for k in range(count):
        picture = np.repeat(np.tile(grey, (48, 1))[:, :, None], 3, axis=2)
        picture[20:26, 2 * k : 2 * k + 6] = 20, 60, 200
        pictures.append(picture)
    return pictures


def durations(file: Path) -> list[int]:
    with Image.open(file) as image:
        return [frame.info["duration"] for frame in ImageSequence.Iterator(image)]


def fake_ffmpeg(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program into PATH that does `body` with the file that is named last."""
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$@" > {folder}/said\n{body}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


class TestGif:
    """What is in the file."""

    def test_pictures_come_back_in_their_colours(self, tmp_path: Path) -> None:
        pictures = ball(12)
        save_gif(iter(pictures), tmp_path / "a.gif", 25.0)
        with Image.open(tmp_path / "a.gif") as image:
            frames = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
            assert image.info["loop"] == 0  # for ever
        assert len(frames) == 12
        for frame, picture in zip(frames, pictures, strict=True):
            assert np.abs(frame.astype(int) - picture).max() < 12

    @pytest.mark.parametrize("fps", [8.0, 20.0, 25.0, 30.0, 48.0, 50.0])
    def test_they_last_as_long_as_they_should(self, fps: float, tmp_path: Path) -> None:
        save_gif(ball(20), tmp_path / "a.gif", fps)
        each = durations(tmp_path / "a.gif")
        assert sum(each) == pytest.approx(20e3 / fps, abs=5.1)
        assert max(each) - min(each) <= 10
        assert min(each) >= 20

    def test_what_stands_still_is_kept_once(self, tmp_path: Path) -> None:
        first, second = ball(2)
        save_gif([first, second, second, second], tmp_path / "a.gif", 10.0)
        assert durations(tmp_path / "a.gif") == [100, 300]

    def test_a_single_picture_will_do(self, tmp_path: Path) -> None:
        save_gif(ball(1), tmp_path / "a.gif", 25.0)
        with Image.open(tmp_path / "a.gif") as image:
            assert (image.n_frames, image.size) == (1, (64, 48))

    def test_nothing_is_left_of_one_that_was_not_finished(self, tmp_path: Path) -> None:
        def pictures() -> object:
            yield ball(1)[0]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            save_gif(pictures(), tmp_path / "a.gif", 25.0)
        assert list(tmp_path.iterdir()) == []


class TestMp4:
    """What is handed to ffmpeg, here a program that only writes down what it gets."""

    def test_every_picture_arrives(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_ffmpeg(tmp_path, '/bin/cat > "$last"', monkeypatch)
        pictures = ball(7)
        saver_of(tmp_path / "a.mp4", 30.0)(iter(pictures), tmp_path / "a.mp4", 30.0)
        assert (tmp_path / "a.mp4").read_bytes() == np.array(pictures).tobytes()
        assert re.search(r"-f rawvideo -pix_fmt rgb24 -s 64x48 -r 30 -i - ", (tmp_path / "said").read_text())

    def test_what_ffmpeg_complains_of_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_ffmpeg(tmp_path, "echo no such encoder >&2; exit 1", monkeypatch)
        with pytest.raises(EnvironmentProblem, match=r"cannot write .*a\.mp4: no such encoder; use \.gif"):
            save_mp4(ball(200), tmp_path / "a.mp4", 25.0)
        assert not (tmp_path / "a.mp4").exists()

    def test_without_ffmpeg_there_are_gifs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(EnvironmentProblem, match=r"an \.mp4 needs ffmpeg: use \.gif"):
            saver_of(tmp_path / "a.mp4", 25.0)
        assert saver_of(tmp_path / "a.gif", 25.0) is save_gif


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("a.avi", 25.0, r"suffix = '\.avi': must be \.gif or \.mp4"),
        ("a", 25.0, r"suffix = '': must be \.gif or \.mp4"),
        ("nowhere/a.gif", 25.0, r"folder = .*nowhere.*: must be there"),
        ("a.gif", 60.0, r"fps = 60\.0: must be at most 50 in a GIF"),
    ],
)
def test_what_cannot_be_written_is_refused(name: str, fps: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        saver_of(tmp_path / name, fps)
