"""worlds/mujoco.py with a floating base: what it reads is what pinocchio means by it, and the robot stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.errors import ModelMismatchError
from dpvp.robot import Robot, load_robot, load_robot_from
from dpvp.worlds.mujoco import ImuReading, MujocoWorld

Array = NDArray[np.float64]
UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


@pytest.fixture
def world(go2: Robot) -> MujocoWorld:
    return MujocoWorld(go2)


@pytest.fixture(scope="module")
def shared_world(go2: Robot) -> MujocoWorld:
    return MujocoWorld(go2)


@pytest.fixture(scope="module")
def lossless(go2: Robot) -> MujocoWorld:
    """Without damping and friction in the joints, which the model does not know."""
    world = MujocoWorld(go2)
    world.model.dof_damping[:] = world.model.dof_frictionloss[:] = 0.0
    return world


def in_the_air(robot: Robot, seed: int) -> tuple[Array, Array]:
    """A configuration high over the floor, turned anyhow, and a velocity."""
    rng = np.random.default_rng(seed)
    step = np.concatenate([rng.uniform(-1, 1, 3) + [0, 0, 3], rng.uniform(-2, 2, 3), rng.uniform(-0.2, 0.2, robot.nu)])
    return pinocchio.integrate(robot.model, robot.nominal, step), rng.normal(size=robot.nv)


def stand(robot: Robot, world: MujocoWorld, seconds: float) -> None:
    """Hold the nominal posture."""
    weight, joints = robot.gravity(robot.nominal), slice(-robot.nu, None)
    for _ in range(round(seconds / world.dt)):
        now = world.read()
        pull = robot.hold.stiffness * (robot.nominal - now.q)[joints] - robot.hold.damping * now.v[joints]
        world.apply(weight + pull)
        world.step()


def test_switched_on_it_comes_to_rest_on_its_feet(world: MujocoWorld, go2: Robot) -> None:
    world.reset(go2.nominal, np.zeros(go2.nv))
    start = world.read()
    world.come_to_rest()
    now = world.read()
    assert 0.1 < now.t - start.t < 1.0
    assert np.abs(now.v).max() < 0.1
    assert np.abs(now.q - start.q).max() < 0.05


@given(seed=st.integers(0, 2**32 - 1))
def test_the_state_is_the_one_asked_for(go2: Robot, shared_world: MujocoWorld, seed: int) -> None:
    q, v = in_the_air(go2, seed)
    shared_world.reset(q, v)
    after = shared_world.read()
    np.testing.assert_array_equal(after.q, q)
    np.testing.assert_allclose(after.v, v, atol=1e-12)
    np.testing.assert_allclose(after.effort, np.clip(go2.gravity(q), -go2.limits.effort, go2.limits.effort))


@given(seed=st.integers(0, 2**32 - 1))
def test_the_velocity_is_the_derivative_of_the_configuration(go2: Robot, shared_world: MujocoWorld, seed: int) -> None:
    """In the frame of the base, linear and angular; to first order in the step."""
    world = shared_world
    world.reset(*in_the_air(go2, seed))
    world.apply(np.zeros(go2.nu))
    before = world.read()
    world.step()
    after = world.read()
    rate = pinocchio.difference(go2.model, before.q, after.q) / world.dt
    np.testing.assert_allclose(rate, after.v, atol=world.dt * 0.5 * np.square(after.v).sum() + 1e-6)


def test_free_fall(go2: Robot, world: MujocoWorld) -> None:
    """The centre of mass falls as a stone, whatever the legs do: to 1 mm in 0.44 m."""
    q, _ = in_the_air(go2, 1)
    world.reset(q, np.zeros(go2.nv))
    data = go2.model.createData()
    start = pinocchio.centerOfMass(go2.model, data, q).copy()
    steps = round(0.3 / world.dt)
    for _ in range(steps):
        world.apply(np.array([3.0, -5.0, 8.0] * 4))
        world.step()
    fall = pinocchio.centerOfMass(go2.model, data, world.read().q) - start
    np.testing.assert_allclose(fall, -0.5 * 9.81 * world.dt**2 * steps * (steps + 1) * UP, atol=1e-3)


def test_it_stands(go2: Robot, world: MujocoWorld) -> None:
    stand(go2, world, 3.0)
    end = world.read()
    np.testing.assert_allclose(pinocchio.difference(go2.model, go2.nominal, end.q), 0.0, atol=0.01)
    np.testing.assert_allclose(end.v, 0.0, atol=2e-3)
    assert world.data.ncon == 4
    load = sum(world.data.efc_force[world.data.contact[i].efc_address] for i in range(4))
    assert load == pytest.approx(9.81 * sum(inertia.mass for inertia in go2.model.inertias), rel=0.01)


class TestImu:
    """What the IMU says, in its own frame."""

    def test_standing_it_feels_the_floor_push_upwards(self, go2: Robot, world: MujocoWorld) -> None:
        stand(go2, world, 1.0)
        reading = world.read_imu()
        np.testing.assert_allclose(reading.accelerometer, 9.81 * UP, atol=0.2)
        np.testing.assert_allclose(reading.gyro, 0.0, atol=0.02)

    @given(seed=st.integers(0, 2**32 - 1))
    def test_it_turns_as_the_base_does(self, go2: Robot, shared_world: MujocoWorld, seed: int) -> None:
        """Its axes are those of the base: go2.urdf.xacro."""
        q, v = in_the_air(go2, seed)
        shared_world.reset(q, v)
        reading = shared_world.read_imu()
        assert abs(reading.orientation @ q[3:7]) == pytest.approx(1.0, abs=1e-9)
        np.testing.assert_allclose(reading.gyro, v[3:6], atol=1e-9)

    @given(seed=st.integers(0, 2**32 - 1))
    def test_specific_force_is_that_of_the_model(self, go2: Robot, lossless: MujocoWorld, seed: int) -> None:
        """At the place where the URDF has the IMU: acceleration less gravity; so falling freely it feels what turns."""
        q, v = in_the_air(go2, seed)
        lossless.reset(q, v)
        effort = lossless.read().effort
        data, frame = go2.model.createData(), go2.model.getFrameId(str(go2.imu))
        a = pinocchio.aba(go2.model, data, q, v, np.concatenate([np.zeros(6), effort]))
        pinocchio.forwardKinematics(go2.model, data, q, v, a)
        placement = pinocchio.updateFramePlacement(go2.model, data, frame)
        felt = pinocchio.getFrameClassicalAcceleration(go2.model, data, frame, pinocchio.LOCAL).linear
        expected = felt + 9.81 * placement.rotation.T @ UP
        np.testing.assert_allclose(lossless.read_imu().accelerometer, expected, atol=1e-6 * (1 + np.abs(a).max()))

    def test_noise_is_that_of_the_scene(self, world: MujocoWorld) -> None:
        rng, clean = np.random.default_rng(5), world.read_imu()
        noisy = [world.read_imu(rng) for _ in range(2000)]
        for name, sensor in {"gyro": "imu_gyro", "accelerometer": "imu_accel"}.items():
            errors = np.array([getattr(reading, name) for reading in noisy]) - getattr(clean, name)
            deviation = float(world.model.sensor(sensor).noise[0])
            np.testing.assert_allclose(errors.std(axis=0), deviation, rtol=0.1)
            np.testing.assert_allclose(errors.mean(axis=0), 0.0, atol=0.1 * deviation)
        lengths = [np.linalg.norm(reading.orientation) for reading in noisy]
        np.testing.assert_allclose(lengths, 1.0)
        assert angle(clean, noisy[0]) > 0.0

    def test_without_noise_it_repeats_itself(self, world: MujocoWorld) -> None:
        np.testing.assert_array_equal(world.read_imu().accelerometer, world.read_imu().accelerometer)

    def test_an_arm_has_none(self, robot: Robot) -> None:
        with pytest.raises(ModelMismatchError, match=r"scene\.xml: sensors: expected imu_quat, .* found no imu_quat"):
            MujocoWorld(robot).read_imu()


def angle(one: ImuReading, other: ImuReading) -> float:
    """Return the angle between two orientations, rad."""
    return float(2 * np.arccos(min(1.0, abs(one.orientation @ other.orientation))))


def test_a_scene_whose_base_is_fixed_is_refused(go2: Robot, tmp_path: Path) -> None:
    folder = tmp_path / "go2"
    shutil.copytree(go2.folder, folder)
    scene = (folder / "scene.xml").read_text(encoding="utf-8")
    free = '<freejoint name="floating_base"/>'
    assert free in scene
    keys = scene.index("<keyframe>"), scene.index("</keyframe>")
    fixed = scene[: keys[0]] + scene[keys[1] + len("</keyframe>") :]
    (folder / "scene.xml").write_text(fixed.replace(free, ""), encoding="utf-8")
    with pytest.raises(ModelMismatchError, match=r"scene\.xml: free joints: expected one, of base, found 0"):
        MujocoWorld(load_robot_from(folder))
