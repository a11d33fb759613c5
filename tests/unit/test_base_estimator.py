"""The base estimator on a quadruped whose motion is known exactly: what it finds, what it bears, what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpvp.control.base_estimator import BaseEstimator
from dpvp.control.base_state import BaseMeasurement, EstimateStatus, EstimatorConfig, Place
from dpvp.control.leg_kinematics import LegKinematics
from dpvp.errors import MessageError
from dpvp.plan import Array
from dpvp.robot import Robot
from walker import SLIP_TIME, Noise, Trot, Truth, errors, follow, rms, trot

DT = 0.004
SETTLED = 125  # measurements after which the filter knows what it can
WALK = Trot()
OK, LOST, UNSUPPORTED = EstimateStatus.OK, EstimateStatus.LOST, EstimateStatus.UNSUPPORTED


@pytest.fixture(scope="module")
def walk(go2: Robot) -> list[Truth]:
    """Half a second of standing, then a trot forwards, sideways and round."""
    return trot(go2, WALK, 2.0)


def said(truths: list[Truth]) -> list[BaseMeasurement]:
    return [truth.measurement for truth in truths]


def turned(m: BaseMeasurement, yaw: float) -> BaseMeasurement:
    """What an IMU says whose own world is turned by `yaw` from ours."""
    turn = pinocchio.Quaternion(pinocchio.utils.rotate("z", yaw))
    return dataclasses.replace(m, orientation=(turn * pinocchio.Quaternion(m.orientation)).coeffs())


def with_imu(robot: Robot, xyz: Array, rpy: Array) -> Robot:
    """The robot with its IMU elsewhere on the base."""
    model = robot.model.copy()
    place = pinocchio.SE3(pinocchio.rpy.rpyToMatrix(rpy), xyz)
    model.addFrame(pinocchio.Frame("another_imu", 1, place, pinocchio.FrameType.OP_FRAME))
    return dataclasses.replace(robot, model=model, imu="another_imu")


class TestExact:
    """Without noise only the length of a step stands between estimate and truth."""

    def test_walk(self, legs: LegKinematics, walk: list[Truth]) -> None:
        estimates = follow(BaseEstimator(legs), said(walk))
        position, velocity = errors(estimates, walk)
        assert np.linalg.norm(walk[-1].q[:2]) > 0.5
        assert np.abs(position).max() < 5e-5
        assert np.abs(velocity).max() < 1e-3
        for estimate, truth in zip(estimates, walk, strict=True):
            np.testing.assert_allclose(estimate.q[3:], truth.q[3:7], atol=1e-9)
            np.testing.assert_allclose(estimate.v[3:], truth.v[3:6], atol=1e-9)
            np.testing.assert_array_equal(estimate.standing, truth.measurement.contacts > 0)
            assert estimate.valid
        np.testing.assert_allclose(estimates[-1].bias, 0, atol=1e-4)

    @settings(max_examples=8)
    @given(
        speed=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3)),
        turn=st.floats(-0.8, 0.8),
        xyz=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
        rpy=st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3),
    )
    def test_any_walk_and_any_place_of_the_imu(
        self, go2: Robot, speed: tuple[float, float], turn: float, xyz: list[float], rpy: list[float]
    ) -> None:
        robot = with_imu(go2, np.array(xyz), np.array(rpy))
        truths = trot(robot, Trot(speed=speed, turn=turn, stand=0.1, period=0.25), 0.6, dt=0.005)
        position, velocity = errors(follow(BaseEstimator(LegKinematics(robot)), said(truths)), truths)
        assert np.abs(position).max() < 2e-4
        assert np.abs(velocity).max() < 5e-3

    @given(x=st.floats(-9, 9), y=st.floats(-9, 9), yaw=st.floats(-3, 3), own=st.floats(-3, 3))
    def test_it_starts_where_it_is_told_whatever_the_imu_calls_north(
        self, legs: LegKinematics, walk: list[Truth], x: float, y: float, yaw: float, own: float
    ) -> None:
        few = walk[::10]
        config = EstimatorConfig(imu_timeout=1.0)
        plain = follow(BaseEstimator(legs, config), said(few))[-1]
        moved = follow(BaseEstimator(legs, config, Place(x, y, yaw)), [turned(m, own) for m in said(few)])[-1]
        turn = pinocchio.utils.rotate("z", yaw)
        np.testing.assert_allclose(moved.q[:3], [x, y, 0.0] + turn @ plain.q[:3], atol=1e-6)
        orientation = pinocchio.Quaternion(turn) * pinocchio.Quaternion(plain.q[3:])
        assert abs(orientation.coeffs() @ moved.q[3:]) == pytest.approx(1.0, abs=1e-9)
        np.testing.assert_allclose(moved.v, plain.v, atol=1e-6)


class TestNoise:
    """Sensors as they are."""

    def test_errors_are_small_and_no_larger_than_the_filter_says(self, legs: LegKinematics, walk: list[Truth]) -> None:
        places, speeds, surprise = [], [], []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            estimates = follow(BaseEstimator(legs), [Noise().on(m, rng) for m in said(walk)])
            position, velocity = errors(estimates, walk)
            places.append(rms(position[SETTLED:]))
            speeds.append(rms(velocity[SETTLED:]))
            for estimate, off in zip(estimates[SETTLED::10], velocity[SETTLED::10], strict=True):
                surprise.append(off @ np.linalg.solve(estimate.covariance[3:, 3:], off))
        assert max(places) < 0.01
        assert max(speeds) < 0.02
        assert np.mean(surprise) < 3.0  # of three degrees of freedom; more would be overconfidence

    def test_it_beats_dead_reckoning(self, legs: LegKinematics, walk: list[Truth]) -> None:
        """Which is even told the true state at the beginning."""
        rng = np.random.default_rng(1)
        measured = [Noise().on(m, rng) for m in said(walk)]
        estimate = follow(BaseEstimator(legs), measured)[-1]
        place, speed = walk[0].q[:3], np.zeros(3)
        for m in measured:
            turn = pinocchio.Quaternion(m.orientation).toRotationMatrix()
            speed = speed + DT * (turn @ m.accelerometer + [0.0, 0.0, -9.81])
            place = place + DT * speed
        off = np.linalg.norm(place - walk[-1].q[:3])
        assert off > 0.2
        assert np.linalg.norm(estimate.q[:3] - walk[-1].q[:3]) < 0.05 * off

    def test_the_bias_of_the_accelerometer_is_found(self, legs: LegKinematics, walk: list[Truth]) -> None:
        noise = Noise(bias=(0.25, -0.15, 0.2))
        rng = np.random.default_rng(2)
        estimates = follow(BaseEstimator(legs), [noise.on(m, rng) for m in said(walk)])
        np.testing.assert_allclose(estimates[-1].bias, noise.bias, atol=0.08)
        _, velocity = errors(estimates, walk)
        assert np.abs(velocity[SETTLED:].mean(axis=0)).max() < 0.01

    def test_a_drifting_yaw_turns_path_and_heading_and_nothing_else(
        self, legs: LegKinematics, walk: list[Truth]
    ) -> None:
        """The yaw of the IMU is believed: the height and the speed in the base's own frame stay right."""
        rate = 0.05
        estimates = follow(BaseEstimator(legs), [turned(m, rate * m.t) for m in said(walk)])
        _, velocity = errors(estimates, walk)
        assert np.abs(velocity).max() < 0.01
        assert abs(estimates[-1].q[2] - walk[-1].q[2]) < 1e-3
        off = np.linalg.norm(estimates[-1].q[:2] - walk[-1].q[:2])
        assert 1e-3 < off < rate * 2.0 * np.linalg.norm(walk[-1].q[:2])


class TestSlip:
    """Feet that are said to stand and move all the same."""

    @pytest.mark.parametrize("begin", [0.2, 0.74], ids=["of four", "of two"])
    def test_a_slipping_foot_is_not_believed(self, go2: Robot, legs: LegKinematics, begin: float) -> None:
        """At 0.74 s the first foot stands with one other, in its trot."""
        truths = trot(go2, Trot(slip=begin), 1.4)
        slipping = [k for k, truth in enumerate(truths) if begin <= truth.measurement.t < begin + SLIP_TIME]
        rng = np.random.default_rng(3)
        measured = [Noise().on(m, rng) for m in said(truths)]
        assert min(truths[k].measurement.contacts[0] for k in slipping) == 1.0
        guarded = follow(BaseEstimator(legs), measured)
        blind = follow(BaseEstimator(legs, EstimatorConfig(slip_gate=100.0)), measured)
        believed = np.array([guarded[k].standing for k in slipping])
        assert believed[:, 0].mean() < 0.05
        assert believed[:, 3].mean() > 0.95
        drift, lost = (np.abs(errors(estimates, truths)[0][slipping[-1]]).max() for estimates in (guarded, blind))
        assert drift < 0.01
        assert lost > 3 * drift
        assert guarded[slipping[-1] + 5].standing[0] == (truths[slipping[-1] + 5].measurement.contacts[0] > 0)

    def test_a_schedule_that_is_late(self, legs: LegKinematics, walk: list[Truth]) -> None:
        """Contacts as they were 20 ms ago, as from a planner at 50 Hz."""
        rng, late = np.random.default_rng(4), 5
        measured = [Noise().on(m, rng) for m in said(walk)]
        delayed = [dataclasses.replace(m, contacts=measured[max(0, k - late)].contacts) for k, m in enumerate(measured)]
        position, velocity = errors(follow(BaseEstimator(legs), delayed), walk)
        assert rms(position) < 0.015
        assert rms(velocity[SETTLED:]) < 0.05

    def test_no_schedule_at_all(self, legs: LegKinematics, walk: list[Truth]) -> None:
        """All feet said to stand always: those that swing are found out, most of the time."""
        rng = np.random.default_rng(5)
        measured = [dataclasses.replace(Noise().on(m, rng), contacts=np.ones(4)) for m in said(walk)]
        position, _ = errors(follow(BaseEstimator(legs), measured), walk)
        assert rms(position) < 0.05

    def test_a_foot_held_up_is_not_the_ground(self, legs: LegKinematics, walk: list[Truth]) -> None:
        """It keeps still, as one that stands, and is said to stand; its height tells that it does not."""
        lifted = np.zeros(12)
        lifted[1:3] = [0.3, -0.6]
        still = [dataclasses.replace(m, q=m.q + lifted) for m in said(walk) if m.t < WALK.stand]
        three = np.array([0.0, 1.0, 1.0, 1.0])
        measured = [*(dataclasses.replace(m, contacts=three) for m in still[:50]), *still[50:]]
        guarded, blind = (
            np.array([estimate.q[2] for estimate in follow(BaseEstimator(legs, config), measured)])
            for config in (EstimatorConfig(), EstimatorConfig(slip_gate=100.0))
        )
        np.testing.assert_allclose(guarded, walk[0].q[2], atol=1e-3)
        assert np.abs(blind - walk[0].q[2]).max() > 5e-3


class TestRecovery:
    """A filter that is wrong comes to see it."""

    def test_a_shock_to_the_accelerometer(self, legs: LegKinematics, walk: list[Truth]) -> None:
        """All feet contradict a speed that is off by 2 m/s: at first they seem to slip, then it starts anew."""
        force = np.array([100.0, 0.0, 0.0])
        shocked = [
            dataclasses.replace(m, accelerometer=m.accelerometer + force * (150 <= k < 155))
            for k, m in enumerate(said(walk))
        ]
        estimator = BaseEstimator(legs, EstimatorConfig(support_timeout=0.3))
        estimates = follow(estimator, shocked)
        _, velocity = errors(estimates, walk)
        assert np.linalg.norm(velocity[160]) > 1.0
        assert not np.any(estimates[160].standing)
        assert estimator.started == 2
        assert np.abs(velocity[150 + round(0.35 / DT) :]).max() < 0.02
        assert all(estimate.valid for estimate in estimates[150 + round(0.35 / DT) :])


class TestSilence:
    """Sensors, or feet, that say nothing."""

    def test_a_lost_imu_makes_the_estimate_unusable(self, legs: LegKinematics, walk: list[Truth]) -> None:
        estimator = BaseEstimator(legs, EstimatorConfig(imu_timeout=0.02))
        assert estimator.status(0.0) is EstimateStatus.NOT_STARTED
        follow(estimator, said(walk[:100]))
        last = walk[99].measurement.t
        assert estimator.status(last + 0.019) is OK
        assert estimator.status(last + 0.021) is LOST

    def test_afterwards_it_goes_on_from_where_it_was(self, legs: LegKinematics, walk: list[Truth]) -> None:
        """Speed and height are known at once; how far it went in the meantime is not."""
        estimator = BaseEstimator(legs)
        before = follow(estimator, said(walk[:300]))[-1]
        gap = 25
        after = follow(estimator, said(walk[300 + gap :]))
        assert estimator.started == 2
        np.testing.assert_allclose(after[0].q[:2], before.q[:2], atol=1e-3)
        position, velocity = errors(after, walk[300 + gap :])
        assert np.abs(velocity[5:]).max() < 0.02
        assert np.abs(position[5:, 2]).max() < 2e-3
        moved = walk[300 + gap].q[:2] - walk[299].q[:2]
        assert np.abs(position[:, :2]).max() < 1.2 * np.linalg.norm(moved)
        np.testing.assert_allclose(after[-1].q[3:], walk[-1].q[3:7], atol=1e-9)  # the heading goes on too

    def test_time_that_begins_anew(self, legs: LegKinematics, walk: list[Truth]) -> None:
        estimator = BaseEstimator(legs)
        before = follow(estimator, said(walk[:150]))[-1]
        with pytest.raises(MessageError, match="has to come after"):
            estimator.update(walk[0].measurement)
        estimator.resume()
        assert estimator.status(0.0) is LOST
        np.testing.assert_allclose(estimator.update(walk[0].measurement).q[:2], before.q[:2], atol=1e-3)
        estimator.reset(Place(1.0, 2.0))
        np.testing.assert_allclose(estimator.update(walk[0].measurement).q[:2], [1.0, 2.0], atol=1e-3)

    def test_without_feet_it_is_valid_for_a_while_only(self, legs: LegKinematics, walk: list[Truth]) -> None:
        config = EstimatorConfig(support_timeout=0.3)
        in_air = [dataclasses.replace(m, contacts=np.zeros(4)) if 0.6 < m.t < 1.2 else m for m in said(walk)]
        estimates = follow(BaseEstimator(legs, config), in_air)
        for estimate in estimates:
            flying = 0.6 < estimate.t < 1.2
            if abs(estimate.t - 0.9) > 2 * DT:
                assert estimate.status is (UNSUPPORTED if flying and estimate.t > 0.9 else OK)
        position, velocity = errors(estimates, walk)
        assert np.abs(position).max() < 5e-3  # the accelerometer has no bias here
        assert np.abs(velocity).max() < 5e-3
        spread = [estimate.covariance[3, 3] for estimate in estimates]
        assert spread[295] > 5 * spread[145]


def nan(field: str) -> Callable[[BaseMeasurement], BaseMeasurement]:
    def change(m: BaseMeasurement) -> BaseMeasurement:
        values = getattr(m, field).copy()
        values[1] = np.nan
        return dataclasses.replace(m, **{field: values})

    return change


def short(field: str) -> Callable[[BaseMeasurement], BaseMeasurement]:
    return lambda m: dataclasses.replace(m, **{field: getattr(m, field)[:-1]})


FIELDS = ("orientation", "gyro", "accelerometer", "q", "v", "contacts")
WRONG = [
    *((nan(field), rf"not finite: .*{field}") for field in FIELDS),
    *((short(field), rf"{field} has shape .* needs") for field in FIELDS),
    (lambda m: dataclasses.replace(m, orientation=1.1 * m.orientation), r"length 1\.100: needs 1"),
    (lambda m: dataclasses.replace(m, orientation=np.zeros(4)), r"length 0\.000"),
    (lambda m: dataclasses.replace(m, t=m.t - DT), "has to come after"),
    (lambda m: dataclasses.replace(m, t=m.t - 1.0), "has to come after"),
    (lambda m: dataclasses.replace(m, t=np.nan), "has to come after"),
    (lambda m: dataclasses.replace(m, t=np.inf), "has to come after"),
    (lambda m: dataclasses.replace(m, contacts=np.array([1.0, 1.0, 1.0, 1.5])), "probabilities"),
    (lambda m: dataclasses.replace(m, contacts=np.array([1.0, -0.1, 1.0, 1.0])), "probabilities"),
]


class TestRefusals:
    """What cannot be used leaves no trace."""

    @pytest.mark.parametrize(("change", "words"), WRONG)
    def test_bad_measurements(
        self,
        legs: LegKinematics,
        walk: list[Truth],
        change: Callable[[BaseMeasurement], BaseMeasurement],
        words: str,
    ) -> None:
        clean, troubled = BaseEstimator(legs), BaseEstimator(legs)
        for truth in walk[:40]:
            clean.update(truth.measurement)
            troubled.update(truth.measurement)
        with pytest.raises(MessageError, match=words):
            troubled.update(change(walk[40].measurement))
        expected, found = (estimator.update(walk[40].measurement) for estimator in (clean, troubled))
        np.testing.assert_array_equal(found.q, expected.q)
        np.testing.assert_array_equal(found.covariance, expected.covariance)

    @pytest.mark.parametrize("force", [(0.0, 0.0, 0.1), (0.0, 0.0, 1.0), (9.81, 9.81, 9.81)])
    def test_it_does_not_start_on_an_accelerometer_without_gravity(
        self, legs: LegKinematics, walk: list[Truth], force: tuple[float, float, float]
    ) -> None:
        estimator, m = BaseEstimator(legs), walk[0].measurement
        with pytest.raises(MessageError, match="REP 145"):
            estimator.update(dataclasses.replace(m, accelerometer=np.array(force)))
        assert estimator.status(m.t) is EstimateStatus.NOT_STARTED
        assert estimator.update(m).valid
