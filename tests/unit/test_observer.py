"""The torque observer: what it finds in simulated motions, what it does not, and what it never does."""

from __future__ import annotations

import numpy as np
import pinocchio
from hypothesis import given, settings
from hypothesis import strategies as st

from dpvp.control.observer import TorqueObserver
from dpvp.plan import Command
from dpvp.robot import Robot

DT, FINE = 0.01, 20
K = 4.0  # rad/s


def simulated(robot: Robot, torque: np.ndarray, seconds: float, observer: TorqueObserver) -> None:
    """Let the arm move under a soft law with `torque` on its joints, the observer looking on every `DT`."""
    model, data = robot.model, robot.model.createData()
    q, v = robot.nominal.copy(), np.full(robot.nv, 0.1)
    gain = np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)])
    command = Command(0.0, np.concatenate([q, 0.0 * v]), robot.gravity(q), gain, np.inf)
    for k in range(round(seconds / DT)):
        observer.sense(k * DT, np.concatenate([q, v]))
        observer.note(command)
        for _ in range(FINE):
            u = command.u0 + gain @ (command.x0 - np.concatenate([q, v]))
            a = pinocchio.aba(model, data, q, v, u + torque)
            v = v + DT / FINE * a
            q = q + DT / FINE * v


def test_a_constant_torque_is_found_as_by_a_low_pass(robot: Robot) -> None:
    torque = 0.02 * robot.limits.effort * np.array([1, -1, 1, -1, 1, -1, 1])
    observer = TorqueObserver(robot, K, 0.15)
    simulated(robot, torque, 0.25, observer)
    share = 1.0 - np.exp(-K * 0.24)  # the first sample only sets the momentum
    np.testing.assert_allclose(observer.torque, share * torque, atol=0.1 * np.abs(torque).max())
    simulated(robot, torque, 2.0, observer := TorqueObserver(robot, K, 0.15))
    np.testing.assert_allclose(observer.torque, torque, atol=0.02 * np.abs(torque).max())


def test_where_the_model_is_right_there_is_next_to_nothing(robot: Robot) -> None:
    observer = TorqueObserver(robot, K, 0.15)
    simulated(robot, np.zeros(robot.nv), 1.0, observer)
    assert np.abs(observer.torque / robot.limits.effort).max() < 1e-3


def test_it_is_taken_off_the_feed_forward_and_of_nothing_else(robot: Robot) -> None:
    observer = TorqueObserver(robot, K, 0.15)
    observer.torque = np.arange(7.0)
    rng = np.random.default_rng(0)
    command = Command(1.0, rng.normal(size=14), rng.normal(size=7), rng.normal(size=(7, 14)), 2.0)
    corrected = observer.corrected(command)
    np.testing.assert_array_equal(corrected.u0, command.u0 - np.arange(7.0))
    assert (corrected.t, corrected.valid_until) == (1.0, 2.0)
    assert corrected.x0 is command.x0
    assert corrected.gain is command.gain


@given(seed=st.integers(0, 2**32 - 1), gap=st.floats(-1.0, 1.0))
@settings(deadline=None)
def test_it_never_takes_more_than_its_share_and_knows_nothing_over_gaps(robot: Robot, seed: int, gap: float) -> None:
    rng, observer = np.random.default_rng(seed), TorqueObserver(robot, K, 0.15)
    x = np.concatenate([robot.nominal, rng.normal(size=7)])
    observer.sense(1.0, x)
    observer.note(Command(1.0, x, 100.0 * rng.normal(size=7), rng.normal(size=(7, 14)), 2.0))
    observer.sense(1.0 + gap, x + rng.normal(size=14))
    assert (np.abs(observer.torque) <= 0.15 * robot.limits.effort).all()
    if not 0.0 < gap <= 0.1:
        np.testing.assert_array_equal(observer.torque, np.zeros(7))
    observer.reset()
    np.testing.assert_array_equal(observer.torque, np.zeros(7))


def test_without_bandwidth_it_does_nothing(robot: Robot) -> None:
    observer = TorqueObserver(robot, 0.0, 0.15)
    simulated(robot, 0.02 * robot.limits.effort, 0.5, observer)
    np.testing.assert_array_equal(observer.torque, np.zeros(robot.nv))
