"""What people look at: the picture of a run, the report made from a run folder, and the page in the browser."""

from __future__ import annotations

import json
import math
import re
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pinocchio
import pytest

from dpvp.cli.report import ReportArgs, report
from dpvp.errors import ConfigError
from dpvp.record.mcap import McapRecorder
from dpvp.record.report import read_run, write_report
from dpvp.robot import Robot, load_robot
from dpvp.scenario import load_scenario
from dpvp.view.plots import BLUE, GREEN, ORANGE, RED, RunSeries, draw_run
from dpvp.view.viser import STICK_COLOUR, ArmView, Shape, ViewActions, robot_shapes
from unlearned import UNLEARNED

T0 = 1_790_000_000.0  # s since 1970, when the recording begins


def example() -> RunSeries:
    t = np.linspace(-0.2, 5.0, 521)
    velocity = np.outer(np.sin(t), [1.4, -0.7])
    return RunSeries(
        title="example",
        joint_names=("A1", "A2"),
        t=t,
        error=np.where(t < 0.0, np.nan, np.exp(-3.0 * t)),
        velocity=velocity,
        effort=10.0 * velocity,
        velocity_limit=np.array([1.5, 1.5]),
        effort_limit=np.array([320.0, 176.0]),
        plan_t=t[20:],
        plan_ms=5.0 + np.sin(40.0 * t[20:]),
        age_t=t[20:],
        age_ms=7.0 + np.cos(40.0 * t[20:]),
        period_ms=10.0,
        goal_t=np.array([0.0]),
        reached_t=2.0,
        reached_after=2.0,
        success_error=0.01,
        final_error=3e-7,
    )


def pixels(run: RunSeries, folder: Path) -> np.ndarray:
    draw_run(run, folder / "run.png")
    return matplotlib.image.imread(folder / "run.png")[:, :, :3]


def rows_of(image: np.ndarray, colour: str) -> np.ndarray:
    """Rows, as shares of the height, that hold a pixel of `colour`."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0
    return np.flatnonzero((np.abs(image - wanted).max(axis=2) < 0.04).any(axis=1)) / len(image)


@pytest.mark.parametrize("scale", [1.0, 1e-5])  # a run that starts far from its goal, and one that is there
def test_every_panel_shows_its_curves(tmp_path: Path, scale: float) -> None:
    image = pixels(replace(example(), error=scale * example().error), tmp_path)
    assert min(image.shape[:2]) > 900
    for low, high in ((0.05, 0.28), (0.33, 0.5), (0.55, 0.73), (0.78, 0.95)):  # error, torques, velocities, timing
        assert np.any((rows_of(image, BLUE) > low) & (rows_of(image, BLUE) < high))
    assert np.any(rows_of(image, ORANGE) > 0.78)  # the state age
    assert np.any(rows_of(image, GREEN) < 0.28)  # the success threshold
    assert np.any(rows_of(image, RED) > 0.5)  # velocity limit and period


def test_the_picture_follows_the_data(tmp_path: Path) -> None:
    run = example()
    changed = (
        replace(run, error=2.0 * run.error),
        replace(run, effort=-run.effort),
        replace(run, velocity=0.5 * run.velocity),
        replace(run, age_ms=run.age_ms + 1.0),
        replace(run, reached_t=math.nan, reached_after=math.nan),
        replace(run, reached_t=0.0, reached_after=0.0),  # where it was already
        replace(run, reached_t=3.0, reached_after=1.0),  # in lock-step
    )
    before = pixels(run, tmp_path)
    assert np.array_equal(before, pixels(run, tmp_path))
    for other in changed:
        assert not np.array_equal(before, pixels(other, tmp_path))


def test_a_pause_is_a_gap_and_no_straight_line(tmp_path: Path) -> None:
    run = example()
    kept = np.r_[0:100, 400:501]
    image = pixels(replace(run, age_t=run.age_t[kept], age_ms=run.age_ms[kept]), tmp_path)
    middle = image[int(0.78 * image.shape[0]) :, int(0.45 * image.shape[1]) : int(0.55 * image.shape[1])]
    assert len(rows_of(middle, BLUE))
    assert not len(rows_of(middle, ORANGE))


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_that_ended_at_once_is_drawn_too(tmp_path: Path, count: int) -> None:
    run, nothing = example(), np.zeros(0)
    empty = replace(
        run,
        t=run.t[:count],
        error=np.full(count, np.nan),
        velocity=run.velocity[:count],
        effort=np.full((count, 2), np.nan),
        **dict.fromkeys(("plan_t", "plan_ms", "age_t", "age_ms", "goal_t"), nothing),
        reached_t=math.nan,
        reached_after=math.nan,
        final_error=math.nan,
    )
    assert pixels(empty, tmp_path).std() > 0.01


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of 3 s: at rest away from the goal, which is set after 0.5 s, and at the goal from 1.5 s on."""
    messages = pytest.importorskip("sensor_msgs.msg")
    from geometry_msgs.msg import PoseStamped
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Float64

    folder = tmp_path / "20261121-081500_kuka_reach"
    folder.mkdir()
    scenario = load_scenario("kuka_reach", UNLEARNED)
    scenario.save(folder / "scenario.yaml")
    robot, near = scenario.robot, np.array(scenario.config.task.starts.centre)
    order = [3, 0, 6, 1, 5, 2, 4]
    with McapRecorder(folder / "run.mcap") as recorder:
        recorder.add_topic("/lbr/joint_states", "sensor_msgs/msg/JointState")
        recorder.add_topic("/lbr/mpc_node/active_goal", "geometry_msgs/msg/PoseStamped")
        recorder.add_topic("/lbr/mpc_node/plan_ms", "std_msgs/msg/Float64")
        recorder.add_topic("/other/joint_states", "sensor_msgs/msg/JointState")
        for k in range(301):
            q, effort = near if k >= 150 else robot.nominal, 0.1 * robot.limits.effort
            message = messages.JointState(name=[robot.joint_names[i] for i in order], position=q[order])
            message.velocity, message.effort = np.zeros(7), effort[order]
            message.header.stamp.sec, message.header.stamp.nanosec = k // 100, k % 100 * 10_000_000
            recorder.write("/lbr/joint_states", serialize_message(message), T0 + 0.01 * k)
            recorder.write("/lbr/mpc_node/plan_ms", serialize_message(Float64(data=5.0)), T0 + 0.01 * k)
            if k == 90:  # the goal was set at 0.495 s, but the news was late
                pose = PoseStamped()
                pose.header.stamp.nanosec = 495_000_000
                point = robot.frame_position(near)
                pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = map(float, point)
                recorder.write("/lbr/mpc_node/active_goal", serialize_message(pose), T0 + 0.9)
        gripper = messages.JointState(name=["gripper"], position=[1.0], velocity=[0.0])
        recorder.write("/other/joint_states", serialize_message(gripper), T0 + 3.0)
    return folder


def test_the_report_is_made_from_the_recording(folder: Path) -> None:
    summary = write_report(folder)
    assert summary["scenario"] == "kuka_reach"
    assert summary["reached_at_s"] == pytest.approx(1.005)
    assert summary["duration_s"] == pytest.approx(3.0)
    assert summary["peak_effort_share"] == pytest.approx(0.1)
    assert summary["plan_ms"]["p50"] == 5.0
    assert summary["success"] is True
    assert json.loads((folder / "metrics.json").read_text())["reached_at_s"] == pytest.approx(1.005)
    assert (folder / "run.png").stat().st_size > 30_000


def test_the_series_are_in_the_robots_order_and_on_one_clock(folder: Path) -> None:
    _, run = read_run(folder)
    limits = load_scenario("kuka_reach").robot.limits
    assert run.effort[0] == pytest.approx(0.1 * limits.effort)
    assert run.t[0] == pytest.approx(-0.495, abs=1e-6)  # the goal is at zero
    assert run.plan_t[-1] == pytest.approx(2.505, abs=1e-6)
    assert run.reached_t == pytest.approx(1.005, abs=1e-6)
    assert np.isnan(run.error[:50]).all()
    assert (run.error[50:150] > 0.1).all()
    assert run.error[150:] == pytest.approx(np.zeros(151), abs=1e-12)


def test_a_recording_that_was_cut_off_is_reported_up_to_the_cut(folder: Path) -> None:
    content = (folder / "run.mcap").read_bytes()
    (folder / "run.mcap").write_bytes(content[: int(0.5 * len(content))])
    (folder / "metrics.json").write_text('{"scenario": "as_the_recorder_called_it"}')
    assert write_report(folder)["scenario"] == "as_the_recorder_called_it"
    assert (folder / "run.mcap").read_bytes()[-8:] == content[-8:]


def test_the_verb_prints_the_metrics_and_its_exit_code_is_success(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(ReportArgs(folder)) == 0
    printed = capsys.readouterr().out
    assert "reached after  1.00 s" in printed
    assert "p50 5.00 ms" in printed
    assert "missed" not in printed  # nothing was recorded of the loop
    strict = (folder / "scenario.yaml").read_text().replace("within: 8.0", "within: 0.9")
    (folder / "scenario.yaml").write_text(strict)
    assert report(ReportArgs(folder)) == 1


def test_a_folder_without_a_run_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"scenario.yaml.*give the folder of a run"):
        report(ReportArgs(folder.parent))
    (folder / "run.mcap").unlink()
    with pytest.raises(ConfigError, match=r"run.mcap.*give the folder of a run"):
        report(ReportArgs(folder))


def placed(robot: Robot, shapes: list[Shape], q: np.ndarray) -> list[np.ndarray]:
    """Corners of each shape in the world, m, with the robot in posture `q`."""
    data = robot.model.createData()
    pinocchio.forwardKinematics(robot.model, data, q)
    return [shape.vertices @ data.oMi[shape.joint].rotation.T + data.oMi[shape.joint].translation for shape in shapes]


def test_the_visuals_of_the_urdf_are_where_the_arm_is() -> None:
    robot = load_robot("iiwa14")
    shapes = robot_shapes(robot)
    assert {shape.joint for shape in shapes} == set(range(8))
    for shape in shapes:
        assert shape.faces.max() == len(shape.vertices) - 1  # all corners are used, none is beyond
    for q in (robot.nominal, robot.postures["candle"]):
        corners = placed(robot, shapes, q)
        tip = robot.frame_position(q)
        blue = next(at for shape, at in zip(shapes, corners, strict=True) if shape.colour[2] > 2 * shape.colour[0])
        assert 0.5 * (blue.min(axis=0) + blue.max(axis=0)) == pytest.approx(tip, abs=1e-3)  # the ball at the flange
        everything = np.concatenate(corners)
        assert everything[:, 2].min() == pytest.approx(0.0, abs=1e-3)  # it stands on the floor
        assert np.abs(everything[:, :2]).max() < 1.2


def test_a_robot_without_visuals_is_drawn_as_sticks() -> None:
    robot = load_robot("iiwa14")
    bare = replace(robot, urdf_xml=re.sub(r"(?s)<visual.*?</visual>", "", robot.urdf_xml))
    shapes = robot_shapes(bare)
    assert {shape.colour for shape in shapes} == {STICK_COLOUR}
    assert {shape.joint for shape in shapes} == set(range(8))
    everything = np.concatenate(placed(robot, shapes, robot.postures["candle"]))
    last_joint = robot.frame_position(robot.postures["candle"])[2] - 0.04  # the ball is 4 cm above joint 7
    assert everything[:, 2].max() == pytest.approx(last_joint + 0.045, abs=1e-3)


class Page:
    """An ArmView and what it was asked for."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self.aimed: list[list[float]] = []
        self.asked: list[str] = []
        actions = ViewActions(lambda point: self.aimed.append(point.tolist()), self.asked.append)
        self.robot = load_robot("iiwa14")
        self.view = ArmView(self.robot, "example", actions, "localhost", port)

    def drag(self, phase: str, position: tuple[float, ...]) -> None:
        self.view._on_drag(SimpleNamespace(phase=phase, target=SimpleNamespace(position=position)))


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.view.close()


def test_the_page_is_served_and_shows_what_it_is_told(page: Page) -> None:
    with urllib.request.urlopen(page.view.url, timeout=10) as answer:
        assert b"<html" in answer.read()
    robot, view = page.robot, page.view
    view.show_state(robot.nominal)
    ball = view._joints[7]
    w, x, y, z = ball.wxyz
    flange = pinocchio.Quaternion(w, x, y, z).toRotationMatrix() @ [0.0, 0.0, 0.04] + ball.position
    assert flange == pytest.approx(robot.frame_position(robot.nominal), abs=1e-9)
    view.show_plan(np.linspace(robot.nominal, robot.postures["home"], 5))
    assert view._path.points.shape == (4, 2, 3)
    assert view._path.points[0, 0] == pytest.approx(robot.frame_position(robot.nominal), abs=1e-6)
    assert view._path.points[-1, 1] == pytest.approx(robot.frame_position(robot.postures["home"]), abs=1e-6)
    view.show_plan(np.zeros((0, 7)))
    assert view._path.points.shape == (0, 2, 3)
    view.show_text("**HOLD**")
    assert view._text.content == "**HOLD**"


def test_a_goal_is_asked_for_when_the_handle_is_let_go(page: Page) -> None:
    page.view.show_goal((-0.3, -0.4, 0.5))
    assert page.view._handle.visible
    page.drag("start", (-0.3, -0.4, 0.5))
    page.drag("update", (-0.3, -0.4, 0.6))
    page.view.show_goal((0.1, 0.1, 0.1))  # somebody else's goal does not tear the handle away
    assert page.view._handle.position == pytest.approx((-0.3, -0.4, 0.5))
    assert page.view._goal.position == pytest.approx((0.1, 0.1, 0.1))
    assert page.aimed == []
    page.drag("end", (-0.3, -0.4, 0.7))
    assert page.aimed == [[-0.3, -0.4, 0.7]]
    page.view.show_goal((0.2, 0.2, 0.2))
    assert page.view._handle.position == pytest.approx((0.2, 0.2, 0.2))
