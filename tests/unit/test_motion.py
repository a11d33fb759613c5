"""record/motion.py: what moved in a recording, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dpvp.errors import ConfigError
from dpvp.record.motion import Motion, motion_of, read_motion
from dpvp.robot import Robot, load_robot
from dpvp.scenario import load_scenario
from dpvp.tasks.walk import WalkConfig, WalkTask

pytest.importorskip("rclpy", reason="serialises messages with ROS")
pytest.importorskip("linear_feedback_controller_msgs", reason="make msgs")

from dpvp.ros.record_node import topics_of
from recordings import Recording


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


def moving(t: list[float]) -> Motion:
    times = np.array(t)
    return Motion(times, times[:, None], np.ones(len(t)), -times[:, None])


class TestJoints:
    """Where the base is fixed."""

    def test_it_begins_where_the_robot_does_and_has_the_goal_of_each_time(self, tmp_path: Path) -> None:
        scenario = load_scenario("leg_track")
        period = scenario.task.config.period
        with Recording(tmp_path, scenario) as recording:
            recording.goal([0.1, 0.12, 0.05])
            for k in range(4):
                recording.joints(0.1 * k, [0.7, -1.4], [0.0, 0.001])
            recording.joints(0.4, [0.8, -1.5], [0.3, -0.5])
            recording.goal([0.2, 0.12, 0.05])
            recording.joints(0.5, [0.9, -1.6], [0.0, 0.0])
        read, motion = read_motion(tmp_path)
        assert read.config == scenario.config
        np.testing.assert_allclose(motion.t, [0.4, 0.5], atol=1e-9)
        np.testing.assert_array_equal(motion.q, [[0.8, -1.5], [0.9, -1.6]])
        np.testing.assert_array_equal(motion.speed, [0.5, 0.0])
        turn = 2.0 * np.pi / period
        expected = [[0.1 + 0.4 * turn, 0.12, 0.05], [0.2 + 0.5 * turn, 0.12, 0.05]]
        np.testing.assert_allclose(motion.goals, expected, atol=1e-6)

    def test_it_begins_anew_when_the_plant_is_set_back(self, tmp_path: Path) -> None:
        scenario = load_scenario("leg_track")
        with Recording(tmp_path, scenario) as recording:
            for t in (5.0, 5.1, 0.0, 0.1, 0.2):
                recording.joints(t, [t, -1.0], [1.0, 1.0])
        np.testing.assert_allclose(read_motion(tmp_path)[1].t, [0.0, 0.1, 0.2], atol=1e-9)

    def test_nothing_that_moves_is_nothing_to_show(self, tmp_path: Path) -> None:
        with Recording(tmp_path, load_scenario("leg_track")) as recording:
            recording.joints(0.0, [0.7, -1.4], [0.0, 0.0])
        with pytest.raises(ConfigError, match=r"run\.mcap.*leg2r does not move in /joint_states: nothing to show"):
            read_motion(tmp_path)


class TestFloatingBase:
    """Where the estimator knows the base."""

    def test_the_pose_comes_first_and_joints_are_sorted(self, go2: Robot, tmp_path: Path) -> None:
        task = WalkTask(go2, WalkConfig())
        qs = [go2.nominal + np.eye(19)[0] * 0.01 * k for k in range(3)]
        qs[1][3:7] = 0.0, 0.0, np.sin(0.1), np.cos(0.1)
        with Recording(tmp_path) as recording:
            recording.goal([0.0, 0.5, 0.0, 0.2, 0.0])
            for k, q in enumerate(qs):
                recording.joints(0.02 * k, q[7:], np.ones(12), go2.joint_names)  # is not asked
                recording.sensor(0.02 * k, q, np.ones(12), go2.joint_names)
            recording.sensor(0.06, np.full(19, np.nan), np.ones(12), go2.joint_names)  # the base is lost
        motion = motion_of(tmp_path / "run.mcap", go2, task, np.zeros(5))
        np.testing.assert_array_equal(motion.q, qs)
        np.testing.assert_allclose(motion.t, [0.0, 0.02, 0.04], atol=1e-9)
        np.testing.assert_allclose(motion.goals[:, 4], 0.2 * motion.t, atol=1e-9)

    def test_the_recorder_keeps_it(self, go2: Robot) -> None:
        leg = load_scenario("leg_track")
        assert "estimator_node/sensor" in topics_of(go2, WalkTask(go2, WalkConfig()))
        assert "estimator_node/sensor" not in topics_of(leg.robot, leg.task)


class TestSampled:
    """Moments for so many pictures per second."""

    def test_they_are_the_nearest(self) -> None:
        sampled = moving([1.0, 1.04, 1.11, 1.18, 1.33, 1.5]).sampled(10.0)
        np.testing.assert_allclose(sampled.t, [1.0, 1.11, 1.18, 1.33, 1.33])
        np.testing.assert_allclose(sampled.q[:, 0], sampled.t)
        np.testing.assert_allclose(sampled.goals[:, 0], -sampled.t)

    @pytest.mark.parametrize(("seconds", "count"), [(np.inf, 50), (5.0, 50), (1.0, 25), (0.04, 1), (0.001, 1)])
    def test_together_they_last_as_long_as_was_asked(self, seconds: float, count: int) -> None:
        motion = moving(list(np.arange(0.0, 2.0001, 0.01)))
        assert len(motion.sampled(25.0, seconds).t) == count

    def test_a_single_moment_is_one_picture(self) -> None:
        assert len(moving([3.0]).sampled(25.0).t) == 1
