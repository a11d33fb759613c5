"""worlds/mujoco.py: the plant moves as pinocchio says, and takes no more than the motors give."""

from __future__ import annotations

import shutil
from pathlib import Path

import mujoco
import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.errors import ModelMismatchError
from dpvp.robot import Robot, load_robot, load_robot_from
from dpvp.tasks.task import Task, TerminalWeights
from dpvp.worlds.mujoco import MujocoWorld

Array = NDArray[np.float64]


@pytest.fixture
def world(robot: Robot) -> MujocoWorld:
    return MujocoWorld(robot)


def draw(robot: Robot, seed: int) -> tuple[Array, Array, Array]:
    """Positions well inside the limits, velocities, and efforts within the limits."""
    rng = np.random.default_rng(seed)
    limits = robot.limits
    q = 0.3 * rng.uniform(limits.position_lower, limits.position_upper)
    return q, rng.uniform(-1, 1, 7) * limits.velocity, 0.3 * rng.uniform(-1, 1, 7) * limits.effort


@pytest.fixture(scope="module")
def worlds(robot: Robot) -> list[MujocoWorld]:
    return [MujocoWorld(robot, dt) for dt in (0.0005, 0.001, 0.002)]


@given(seed=st.integers(0, 2**32 - 1), which=st.integers(0, 2))
def test_one_step_is_semi_implicit_euler_of_the_model(
    robot: Robot, worlds: list[MujocoWorld], seed: int, which: int
) -> None:
    world, (q, v, effort) = worlds[which], draw(robot, seed)
    world.reset(q, v)
    world.apply(effort)
    world.step()
    acceleration = pinocchio.aba(robot.model, robot.model.createData(), q, v, effort)
    if world.data.ncon:
        return  # a posture in which the arm touches itself
    after, dt = world.read(), world.dt
    np.testing.assert_allclose(after.v, v + dt * acceleration, atol=1e-9 + 1e-7 * np.abs(acceleration).max())
    np.testing.assert_allclose(after.q, q + dt * after.v, atol=1e-12)


def test_the_planner_and_the_plant_agree(robot: Robot, task: Task, at_rest: Array, goal: Array) -> None:
    """One node of the problem, taken in one step of the plant."""
    ocp = task.ocp(1, TerminalWeights())
    ocp.aim(at_rest, goal)
    world = MujocoWorld(robot, task.dt)
    effort = robot.gravity(robot.nominal) + np.array([5.0, -5, 3, 3, 1, 1, 0.2])
    world.apply(effort)
    world.step()
    expected, _ = ocp.step(at_rest, effort)
    after = world.read()
    np.testing.assert_allclose(np.concatenate([after.q, after.v]), expected, atol=1e-7)


def test_gravity_carries_the_arm(robot: Robot, world: MujocoWorld) -> None:
    world.reset(robot.nominal, np.zeros(7))
    for _ in range(100):
        world.apply(robot.gravity(world.read().q))
        world.step()
    np.testing.assert_allclose(world.read().q, robot.nominal, atol=1e-6)


class TestEfforts:
    """What is applied, and what is measured of it."""

    def test_they_are_clamped_to_the_limits(self, robot: Robot, world: MujocoWorld) -> None:
        for sign in (-1.0, 1.0):
            world.apply(sign * 10 * robot.limits.effort)
            world.step()
            np.testing.assert_array_equal(world.read().effort, sign * robot.limits.effort)
            np.testing.assert_allclose(world.data.qfrc_actuator, sign * robot.limits.effort)

    def test_within_limits_they_arrive_as_they_are(self, robot: Robot, world: MujocoWorld) -> None:
        _, _, effort = draw(robot, 0)
        world.apply(effort)
        world.step()
        np.testing.assert_array_equal(world.read().effort, effort)
        np.testing.assert_allclose(world.data.qfrc_actuator, effort)

    def test_they_last_until_the_next(self, robot: Robot, world: MujocoWorld) -> None:
        _, _, effort = draw(robot, 0)
        world.apply(effort)
        for _ in range(3):
            world.step()
        np.testing.assert_array_equal(world.read().effort, effort)


class TestReset:
    """Back to a state, with time going on."""

    def test_the_state_is_the_one_asked_for(self, robot: Robot, world: MujocoWorld) -> None:
        q, v, effort = draw(robot, 1)
        world.apply(effort)
        for _ in range(50):
            world.step()
        t = world.read().t
        world.reset(q, v)
        after = world.read()
        assert after.t == t == pytest.approx(0.05)
        np.testing.assert_array_equal(after.q, q)
        np.testing.assert_array_equal(after.v, v)
        np.testing.assert_allclose(after.effort, robot.gravity(q))

    def test_it_starts_at_the_nominal_posture(self, robot: Robot, world: MujocoWorld) -> None:
        np.testing.assert_array_equal(world.read().q, robot.nominal)
        assert world.read().t == 0.0

    def test_what_follows_does_not_depend_on_what_was_before(self, robot: Robot) -> None:
        q, v, effort = draw(robot, 2)
        ends = []
        for warm in (0, 200):
            world = MujocoWorld(robot)
            world.apply(-effort)
            for _ in range(warm):
                world.step()
            world.reset(q, v)
            world.apply(effort)
            for _ in range(20):
                world.step()
            ends.append(world.read())
        np.testing.assert_array_equal(ends[0].q, ends[1].q)
        np.testing.assert_array_equal(ends[0].v, ends[1].v)

    def test_the_marker_of_the_goal_stays(self, robot: Robot, world: MujocoWorld) -> None:
        marker = mujoco.mj_name2id(world.model, mujoco.mjtObj.mjOBJ_BODY, "goal")
        for reset in (False, True):
            world.show_goal(np.array([0.4, 0.1, 0.6]))
            if reset:
                world.reset(robot.nominal, np.zeros(7))
            world.step()
            np.testing.assert_allclose(world.data.xpos[marker], [0.4, 0.1, 0.6])


def test_measurements_are_copies(world: MujocoWorld) -> None:
    measured = world.read()
    kept = measured.q.copy()
    world.apply(np.full(7, 5.0))
    for _ in range(10):
        world.step()
    np.testing.assert_array_equal(measured.q, kept)
    measured.q[...] = 9.0
    assert np.abs(world.read().q).max() < 3.0


def test_time_is_counted_in_steps(robot: Robot) -> None:
    world = MujocoWorld(robot, 0.002)
    for _ in range(1000):
        world.step()
    assert world.read().t == pytest.approx(2.0)
    assert world.data.time == pytest.approx(2.0)


def test_other_names_same_arm(robot: Robot) -> None:
    """The scene carries the default names."""
    renamed = load_robot("iiwa14", prefix="left_", joint_stem="joint_")
    worlds = MujocoWorld(robot), MujocoWorld(renamed)
    effort = np.arange(7.0)
    for world in worlds:
        world.apply(effort)
        for _ in range(50):
            world.step()
    np.testing.assert_array_equal(worlds[0].read().q, worlds[1].read().q)


def test_a_scene_without_a_motor_is_refused(robot: Robot, tmp_path: Path) -> None:
    folder = tmp_path / "iiwa14"
    shutil.copytree(robot.folder, folder)
    scene = (folder / "scene.xml").read_text(encoding="utf-8")
    motor = '<motor name="lbr_A4" joint="lbr_A4" ctrlrange="-176 176"/>'
    assert motor in scene
    (folder / "scene.xml").write_text(scene.replace(motor, ""), encoding="utf-8")
    with pytest.raises(ModelMismatchError, match=r"scene\.xml: motors: expected .*lbr_A4.*, found no lbr_A4"):
        MujocoWorld(load_robot_from(folder))
