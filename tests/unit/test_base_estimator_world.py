"""The base estimator against MuJoCo: soft contacts, late feet, noise, a slippery floor, pushes; the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pinocchio
import pytest

from dpvp.control.base_estimator import BaseEstimator
from dpvp.control.base_state import BaseMeasurement, EstimatorConfig
from dpvp.control.leg_kinematics import LegKinematics
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.worlds.mujoco import MujocoWorld
from walker import Trot, Truth, errors, follow, rms, trot

TICK, EVERY = 0.001, 2  # s of physics, steps of it for each measurement
STIFFNESS, DAMPING = 100.0, 2.5  # Nm/rad and Nm s/rad, that drag the legs along the planned trot
WALK = Trot(speed=(0.3, 0.05), turn=0.2, sway=(0.02, 0.015, 0.0), period=0.3)
SETTLED = 150  # measurements after which transients are over
ENCODERS = 0.0005, 0.05  # rad and rad/s, deviations of what joints say


@pytest.fixture(scope="module")
def walked(go2: Robot) -> list[Truth]:
    return walk(go2, MujocoWorld(go2, TICK))


def walk(robot: Robot, world: MujocoWorld, push: Callable[[float], Array] | None = None) -> list[Truth]:
    """Let the legs follow the trot `WALK` open loop, and return what noisy sensors said beside the truth.

    Contacts are those of the plan, not those of the floor.
    """
    rng, bias = np.random.default_rng(0), np.array([0.1, -0.1, 0.15])
    base = world.model.body("base").id
    carry, heard = robot.gravity(robot.nominal), []
    for plan in trot(robot, WALK, 2.0, dt=EVERY * TICK):
        stands = plan.measurement.contacts
        share = np.repeat(stands * len(stands) / stands.sum(), 3)
        for _ in range(EVERY):
            now = world.read()
            pull = STIFFNESS * (plan.q[7:] - now.q[7:]) + DAMPING * (plan.v[6:] - now.v[6:])
            world.apply(carry * share + pull)
            world.data.xfrc_applied[base, :3] = np.zeros(3) if push is None else push(now.t)
            world.step()
        now, imu = world.read(), world.read_imu(rng)
        q, v = (rng.normal(values, spread) for values, spread in zip((now.q[7:], now.v[6:]), ENCODERS, strict=True))
        said = BaseMeasurement(now.t, imu.orientation, imu.gyro, imu.accelerometer + bias, q, v, stands)
        heard.append(Truth(said, now.q, now.v))
    return heard[25:]  # at first the feet sink into the floor


def said(truths: list[Truth]) -> list[BaseMeasurement]:
    return [truth.measurement for truth in truths]


def test_it_follows_a_real_walk(legs: LegKinematics, walked: list[Truth]) -> None:
    estimates = follow(BaseEstimator(legs), said(walked))
    position, velocity = errors(estimates, walked)
    path = np.linalg.norm(walked[-1].q[:2] - walked[0].q[:2])
    assert path > 0.25
    assert np.linalg.norm(position[-1, :2] - position[0, :2]) < 0.03 * path
    assert np.abs(position[:, 2]).max() < 0.01
    assert rms(velocity[SETTLED:]) < 0.03
    assert np.abs(velocity[SETTLED:]).max() < 0.1
    for estimate, truth in zip(estimates, walked, strict=True):
        tilt = pinocchio.Quaternion(estimate.q[3:]).angularDistance(pinocchio.Quaternion(truth.q[3:7]))
        assert tilt < 0.02
        assert estimate.valid


def test_the_gate_is_what_makes_it_good(legs: LegKinematics, walked: list[Truth]) -> None:
    """Feet come down late and lift off late; without looking at that the speed is worse by far."""
    guarded, blind = (
        rms(errors(follow(BaseEstimator(legs, config), said(walked)), walked)[1][SETTLED:])
        for config in (EstimatorConfig(), EstimatorConfig(slip_gate=100.0))
    )
    assert blind > 1.5 * guarded


def test_a_slippery_floor(go2: Robot, legs: LegKinematics) -> None:
    world = MujocoWorld(go2, TICK)
    feet = [world.model.geom(foot).id for foot in go2.feet]
    world.model.geom_friction[feet, 0] = 0.15
    truths = walk(go2, world)
    position, velocity = errors(follow(BaseEstimator(legs), said(truths)), truths)
    assert np.abs(position).max() < 0.1
    assert rms(velocity[SETTLED:]) < 0.1


def test_pushed_over(go2: Robot, legs: LegKinematics) -> None:
    """It tips over on its side and on to its back, and the estimate goes with it."""

    def push(t: float) -> Array:
        return np.array([0.0, 80.0, 0.0]) * (0.9 < t < 1.1) - np.array([60.0, 0.0, 0.0]) * (1.4 < t < 1.6)

    truths = walk(go2, MujocoWorld(go2, TICK), push)
    assert pinocchio.Quaternion(truths[-1].q[3:7]).toRotationMatrix()[2, 2] < 0
    estimates = follow(BaseEstimator(legs), said(truths))
    position, velocity = errors(estimates, truths)
    assert np.abs(position).max() < 0.1
    assert rms(velocity[SETTLED:]) < 0.15
    assert not np.any(estimates[-1].standing)
