"""`dpvp video`: recordings become videos in which the robot moves and its goal shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from dpvp.cli.video import PAUSE, VideoArgs, video
from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.robot import Robot, load_robot
from dpvp.scenario import load_scenario
from dpvp.worlds.render import RobotRenderer

pytest.importorskip("rclpy", reason="serialises messages with ROS")
pytest.importorskip("linear_feedback_controller_msgs", reason="make msgs")

from recordings import Recording

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]
SIZE = (160, 120)
NOWHERE = np.full(3, np.nan)


def renderer_of(robot: Robot) -> Iterator[RobotRenderer]:
    try:
        renderer = RobotRenderer(robot, *SIZE)
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


@pytest.fixture(scope="module")
def dog(go2: Robot) -> Iterator[RobotRenderer]:
    yield from renderer_of(go2)


@pytest.fixture(scope="module")
def leg() -> Iterator[RobotRenderer]:
    yield from renderer_of(load_robot("leg2r"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of the leg on its path, half a turn behind the goal; the last fifth it stands still."""
    folder, scenario = tmp_path_factory.mktemp("run"), load_scenario("leg_track")
    goal, robot = np.array(scenario.goal), scenario.robot
    xs = scenario.task.reference(scenario.task.later(goal, 0.5 * scenario.task.config.period), 80).xs
    with Recording(folder, scenario) as recording:
        recording.goal(goal)
        for k, x in enumerate(xs):
            recording.joints(0.01 * k, x[: robot.nq], x[robot.nq :])
        for k in range(81, 101):
            recording.joints(0.01 * k, xs[-1][: robot.nq], np.zeros(robot.nv))
    return folder


def green(picture: Picture) -> Array:
    """Middle of what has the colour of goals, pixels from the left and from above; NaN if there is nothing."""
    red, strong, blue = np.moveaxis(picture.astype(int), 2, 0)
    rows, columns = np.nonzero((strong > red + 40) & (strong > blue + 20))
    return np.array([columns.mean(), rows.mean()]) if len(rows) else np.full(2, np.nan)


def changed(one: Picture, other: Picture) -> float:
    """Share of the pixels that differ."""
    return float((np.abs(one.astype(int) - other).max(axis=2) > 30).mean())


@dataclass(frozen=True)
class Gif:
    """A file, read back."""

    size: tuple[int, int]
    pictures: list[Picture]
    lasts: list[int]  # ms, of each picture


def read(file: Path) -> Gif:
    with Image.open(file) as image:
        frames = [(np.array(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
        pictures, lasts = zip(*frames, strict=True)
        return Gif(image.size, list(pictures), list(lasts))


@pytest.fixture(scope="module")
def gif(run: Path, leg: RobotRenderer) -> Gif:
    assert video(VideoArgs(run, fps=10.0, size="160x120")) == 0
    return read(run / "run.gif")


class TestVideo:
    """What is in the file."""

    def test_it_lasts_as_long_as_the_run_and_a_pause_at_rest(self, gif: Gif) -> None:
        assert gif.size == SIZE
        assert gif.lasts == [100] * 9 + [100 + round(1000 * PAUSE)]

    def test_the_leg_moves_and_then_stands(self, gif: Gif) -> None:
        moved = [changed(*pair) for pair in pairwise(gif.pictures)]
        assert min(moved[:8]) > 2.0 * moved[8] > 0.0  # of the last two the goal alone moves

    def test_the_goal_goes_along_its_path(self, gif: Gif, leg: RobotRenderer) -> None:
        scenario = load_scenario("leg_track")
        goals = [scenario.task.later(np.array(scenario.goal), 0.1 * k) for k in range(10)]
        places = np.array([scenario.task.place(goal) for goal in goals])
        seen = np.array([green(picture) for picture in gif.pictures])
        assert np.corrcoef(seen[:, 0], places[:, 0])[0, 1] > 0.9  # to the right in the picture is x
        assert np.corrcoef(seen[:, 1], places[:, 2])[0, 1] < -0.9

    def test_a_part_of_a_run_in_another_file(self, run: Path, tmp_path: Path, leg: RobotRenderer) -> None:
        assert video(VideoArgs(run, tmp_path / "part.gif", fps=25.0, seconds=0.2, size="64x48")) == 0
        part = read(tmp_path / "part.gif")
        assert (part.size, part.lasts) == ((64, 48), [40] * 5)


class TestRenderer:
    """A robot whose base floats, and goals that are on their way or nowhere."""

    @pytest.mark.parametrize("away", [(3.0, 0.0), (-40.0, 25.0)])
    def test_camera_and_light_go_with_the_robot(self, go2: Robot, dog: RobotRenderer, away: tuple[float, ...]) -> None:
        """Whole metres, so that the tiles of the floor are where they were."""
        q = go2.nominal.copy()
        q[:2] = away
        assert changed(dog.posture(go2.nominal, NOWHERE), dog.posture(q, NOWHERE)) < 0.002

    def test_base_and_joints_show(self, go2: Robot, dog: RobotRenderer) -> None:
        standing = dog.posture(go2.nominal, NOWHERE)
        turned, crouched = go2.nominal.copy(), go2.postures["crouched"]
        turned[3:7] = 0.0, 0.0, np.sin(0.5), np.cos(0.5)
        assert changed(standing, dog.posture(turned, NOWHERE)) > 0.05
        assert changed(standing, dog.posture(crouched, NOWHERE)) > 0.05

    def test_a_goal_that_is_no_place_is_not_shown(self, go2: Robot, dog: RobotRenderer) -> None:
        assert np.isfinite(green(dog.posture(go2.nominal, np.array([0.0, 0.0, 0.6])))).all()
        assert np.isnan(green(dog.posture(go2.nominal, NOWHERE, way=np.full((5, 3), np.nan)))).all()
        assert np.isfinite(green(dog.posture(go2.nominal, np.array([0.0, 0.0, 0.6])))).all()

    def test_the_way_of_a_goal_is_a_line(self, leg: RobotRenderer) -> None:
        q, way = np.array([1.2, -2.4]), np.linspace([-0.2, 0.0, 0.1], [0.2, 0.0, 0.1], 20)
        bare, drawn = leg.posture(q, NOWHERE), leg.posture(q, NOWHERE, way=way)
        rows, columns = np.nonzero(np.abs(bare.astype(int) - drawn).max(axis=2) > 30)
        assert np.ptp(columns) > 2 * np.ptp(rows) > 0  # the floor shines a little
        assert changed(bare, leg.posture(q, NOWHERE)) == 0.0
        assert changed(bare, leg.posture(q, NOWHERE, way=way[:1].repeat(5, axis=0))) == 0.0


class TestRefusals:
    """What cannot be shown, and why."""

    def refused(self, args: VideoArgs, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            video(args)

    def test_no_such_run(self, tmp_path: Path) -> None:
        self.refused(VideoArgs(tmp_path / "none"), r"scenario\.yaml.*is missing here; give the folder of a run")

    def test_a_run_of_an_unknown_robot(self, run: Path, tmp_path: Path) -> None:
        shutil.copytree(run, tmp_path / "run")
        file = tmp_path / "run" / "scenario.yaml"
        file.write_text(file.read_text().replace("name: leg2r", "name: leg3r"))
        self.refused(VideoArgs(tmp_path / "run"), "leg3r")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"out": Path("run.avi")}, r"suffix = '\.avi': must be \.gif or \.mp4"),
            ({"fps": 0.0}, r"fps = 0\.0: must be above zero"),
            ({"fps": 80.0}, r"at most 50 in a GIF"),
            ({"seconds": float("inf")}, "seconds = inf: must be above zero and finite"),
            ({"size": "480"}, "size = '480': must be WIDTHxHEIGHT in pixels"),
            ({"size": "481x360"}, "both even"),
            ({"size": "0x360"}, "both even"),
            ({"size": "9000x360"}, "at most 4096"),
        ],
    )
    def test_options_that_do_not_fit(self, run: Path, change: dict[str, Any], message: str) -> None:
        self.refused(replace(VideoArgs(run), **change), message)

    def test_no_opengl(self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def renderer(*_: object) -> None:
            raise RuntimeError("an OpenGL platform library has not been loaded")

        monkeypatch.setattr(mujoco, "Renderer", renderer)
        with pytest.raises(EnvironmentProblem, match=r"no OpenGL without a screen .*: apt install libegl1"):
            video(VideoArgs(run, tmp_path / "none.gif"))
        assert list(tmp_path.iterdir()) == []
