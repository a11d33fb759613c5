"""guard.py: what is refused, what is clamped, and the command that holds."""

from __future__ import annotations

import contextlib
from functools import lru_cache

import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from dpvp.control.guard import CommandGuard, check_command, check_state, hold_command
from dpvp.control.onboard import joint_columns
from dpvp.errors import MessageError
from dpvp.plan import Command
from dpvp.robot import Robot, load_robot
from dpvp.scenario import SafetyConfig

Array = NDArray[np.float64]
finite = st.floats(-1e6, 1e6)


def command(**changes: Array) -> Command:
    parts = {"x0": np.zeros(14), "u0": np.zeros(7), "gain": np.zeros((7, 14))} | changes
    return Command(1.0, parts["x0"], parts["u0"], parts["gain"], 1.2)


class TestState:
    """What the loop takes in."""

    @given(x=arrays.arrays(np.float64, 14, elements=finite))
    def test_finite_states_pass(self, robot: Robot, x: Array) -> None:
        assert check_state(robot, x) is x

    @pytest.mark.parametrize("shape", [(7,), (15,), (2, 7), (14, 1), ()])
    def test_other_shapes_do_not(self, robot: Robot, shape: tuple[int, ...]) -> None:
        with pytest.raises(MessageError, match=r"state has shape .*: iiwa14 needs \(14,\)"):
            check_state(robot, np.zeros(shape))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_the_joint_is_named(self, robot: Robot, value: float) -> None:
        for index, joint in ((2, "lbr_A3"), (9, "lbr_A3"), (13, "lbr_A7")):
            x = np.zeros(14)
            x[index] = value
            with pytest.raises(MessageError, match=f"not finite at {joint}$"):
                check_state(robot, x)
        with pytest.raises(MessageError, match=r"at lbr_A1, lbr_A2$"):
            check_state(robot, np.where(np.isin(np.arange(14), [0, 1, 7]), value, 0.0))


class TestCommand:
    """What the plant gets."""

    @given(u0=arrays.arrays(np.float64, 7, elements=finite))
    def test_torque_is_clamped_and_nothing_else_touched(self, robot: Robot, u0: Array) -> None:
        rng = np.random.default_rng(0)
        given_command = command(u0=u0, x0=rng.normal(size=14), gain=rng.normal(size=(7, 14)))
        checked = check_command(robot, given_command)
        inside = np.abs(u0) <= robot.limits.effort
        np.testing.assert_array_equal(checked.u0[inside], u0[inside])
        np.testing.assert_array_equal(checked.u0[~inside], (np.sign(u0) * robot.limits.effort)[~inside])
        np.testing.assert_array_equal(checked.x0, given_command.x0)
        np.testing.assert_array_equal(checked.gain, given_command.gain)
        assert (checked.t, checked.valid_until) == (1.0, 1.2)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("x0", (7,)),
            ("x0", (14, 1)),
            ("u0", (14,)),
            ("u0", (1, 7)),
            ("gain", (14, 7)),
            ("gain", (7, 7)),
            ("gain", (98,)),
        ],
    )
    def test_wrong_shapes_are_refused(self, robot: Robot, name: str, shape: tuple[int, ...]) -> None:
        """The stock controller aborts on them."""
        with pytest.raises(MessageError, match=f"command {name} has shape"):
            check_command(robot, command(**{name: np.zeros(shape)}))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize(("name", "shape"), [("x0", (14,)), ("u0", (7,)), ("gain", (7, 14))])
    def test_no_number_may_be_missing(self, robot: Robot, name: str, shape: tuple[int, ...], value: float) -> None:
        array = np.zeros(shape)
        array.flat[-1] = value
        with pytest.raises(MessageError, match=f"command {name} holds NaN or infinity"):
            check_command(robot, command(**{name: array}))


PERIOD = 0.01


def law(rng: np.random.Generator, robot: Robot, t: float, torque: float) -> Command:
    """Some feedback law of normal stiffness."""
    gain = np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)])
    gain = gain * rng.uniform(0.5, 1.5, gain.shape)
    return Command(t, 0.1 * rng.normal(size=14), torque * rng.normal(size=7), gain, t + 0.2)


def torque(command: Command, x: Array) -> Array:
    return np.asarray(command.u0 + command.gain @ (command.x0 - x))


ANY = {"drive": 1e9, "velocity": 1e9}  # commands of any size are looked at


class TestGuard:
    """What passes last, on the way out of the loop and into the plant."""

    @given(seed=st.integers(0, 2**32 - 1), size=st.floats(1.0, 1e4))
    def test_what_is_asked_in_the_newest_state_is_within_limits_and_rate(
        self, robot: Robot, seed: int, size: float
    ) -> None:
        rng, safety = np.random.default_rng(seed), SafetyConfig(torque_rate=20.0, **ANY)
        guard, before = CommandGuard(robot, safety, PERIOD), None
        for k in range(5):
            x = np.concatenate([rng.normal(size=7), 3.0 * rng.normal(size=7)])
            asked = law(rng, robot, PERIOD * k, size)
            passed = guard(asked, x, PERIOD * k)
            found, limit = torque(passed, x), robot.limits.effort
            assert (np.abs(found) <= limit * (1 + 1e-9)).all()
            if before is not None:
                step = 20.0 * PERIOD * limit
                bound = np.clip(torque(before, x), -limit, limit)
                assert (np.abs(found - bound) <= step * (1 + 1e-9)).all()
            np.testing.assert_array_equal(passed.gain, asked.gain)
            np.testing.assert_array_equal(passed.x0, asked.x0)
            before = passed

    @given(seed=st.integers(0, 2**32 - 1))
    def test_what_is_within_passes_as_it_is(self, robot: Robot, seed: int) -> None:
        rng, guard = np.random.default_rng(seed), CommandGuard(robot, SafetyConfig(**ANY), PERIOD)
        for k in range(3):
            asked = law(rng, robot, PERIOD * k, 1.0)
            passed = guard(asked, asked.x0 + 0.01 * rng.normal(size=14), PERIOD * k)
            np.testing.assert_array_equal(passed.u0, asked.u0)

    def test_after_a_jump_the_next_command_is_the_first(self, robot: Robot) -> None:
        guard = CommandGuard(robot, SafetyConfig(torque_rate=1.0, **ANY), PERIOD)
        guard(command(), np.zeros(14), 1.0)
        asked = command(u0=0.5 * robot.limits.effort)
        assert (np.abs(guard(asked, np.zeros(14), 1.01).u0) < 0.02 * robot.limits.effort).all()
        guard.forget()
        np.testing.assert_array_equal(guard(asked, np.zeros(14), 1.02).u0, asked.u0)

    def test_a_scale_leaves_gravity_alone(self, robot: Robot) -> None:
        """A first run on hardware with a tenth of the torque does not let the arm fall."""
        guard, q = CommandGuard(robot, SafetyConfig(torque_scale=0.1, **ANY), PERIOD), robot.nominal
        x, weight = robot.at_rest(), robot.gravity(q)
        for sign in (-1.0, 1.0):
            guard.forget()
            passed = guard(command(x0=x, u0=sign * robot.limits.effort), x, 1.0)
            expected = np.clip(weight + sign * 0.1 * robot.limits.effort, -robot.limits.effort, robot.limits.effort)
            np.testing.assert_allclose(passed.u0, expected)

    def test_what_comes_too_late_is_refused(self, robot: Robot) -> None:
        guard = CommandGuard(robot, SafetyConfig(), PERIOD)
        guard(command(), np.zeros(14), 1.2)
        with pytest.raises(MessageError, match=r"command expired 0\.050 s ago"):
            guard(command(), np.zeros(14), 1.25)

    def test_a_hold_is_right_however_late_it_comes(self, robot: Robot) -> None:
        x, guard = robot.at_rest(), CommandGuard(robot, SafetyConfig(), PERIOD)
        held = hold_command(robot, x, 1.0, 1.2)
        np.testing.assert_array_equal(guard(held, x, 9.0).u0, held.u0)

    @pytest.mark.parametrize("column", [3, 10])
    def test_gains_beyond_all_bounds_are_refused(self, robot: Robot, column: int) -> None:
        gain = np.zeros((7, 14))
        gain[2, column] = -20.5 * (robot.hold.stiffness, robot.hold.damping)[column // 7].max()
        with pytest.raises(MessageError, match=r"command gain is 1\.02 times what safety\.gain allows"):
            CommandGuard(robot, SafetyConfig(), PERIOD)(command(gain=gain), np.zeros(14), 1.0)


class TestHold:
    """u = g(q) + stiffness (q_hold - q) - damping v."""

    @given(seed=st.integers(0, 2**32 - 1))
    def test_it_is_the_hold_law(self, robot: Robot, seed: int) -> None:
        rng = np.random.default_rng(seed)
        held, x = rng.normal(size=14), rng.normal(size=14)
        law = hold_command(robot, held, 3.0, 3.2)
        u = law.u0 + law.gain @ (law.x0 - x)
        q, v = np.split(x, 2)
        expected = robot.gravity(held[:7]) + robot.hold.stiffness * (held[:7] - q) - robot.hold.damping * v
        np.testing.assert_allclose(u, expected, atol=1e-9)
        assert (law.t, law.valid_until) == (3.0, 3.2)

    def test_a_moving_arm_is_brought_to_rest(self, robot: Robot) -> None:
        law = hold_command(robot, np.ones(14), 0.0, 1.0)
        np.testing.assert_array_equal(law.x0, np.repeat([1.0, 0.0], 7))

    def test_the_guard_takes_it(self, robot: Robot) -> None:
        check_command(robot, hold_command(robot, np.zeros(14), 0.0, np.inf))


robot_named = lru_cache(load_robot)


class TestUnsound:
    """Commands that no planner of ours makes."""

    @given(seed=st.integers(0, 2**32 - 1), share=st.floats(3.1, 100.0))
    def test_torque_beyond_all_bounds(self, robot: Robot, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.normal(size=7), rng.uniform(-0.5, 0.5, 7) * robot.limits.velocity])
        u0 = robot.gravity(x[:7])
        u0[2] = share * np.copysign(robot.limits.effort[2], x[9])
        with pytest.raises(MessageError, match="times a joint's torque"):
            CommandGuard(robot, SafetyConfig(), 0.01)(command(u0=u0), x, 1.0)

    @pytest.mark.parametrize("name", ["iiwa14", "leg2r", "go2"])
    @pytest.mark.parametrize("seed", range(20))
    def test_robots_may_always_be_held(self, name: str, seed: int) -> None:
        """From any posture at any speed, also where the hold law asks for more than the motors have."""
        robot, rng = robot_named(name), np.random.default_rng(seed)
        x = robot.at_rest()
        low, high = robot.limits.positions(1.0)
        x[robot.nq - robot.nu : robot.nq] = rng.uniform(low, high)
        x[-robot.nu :] = rng.uniform(-1.0, 1.0, robot.nu) * robot.limits.velocity
        passed = CommandGuard(robot, SafetyConfig(), 0.01)(hold_command(robot, x, 1.0, 1.2), x, 1.0)
        joints = joint_columns(robot)
        torque = passed.u0 + passed.gain[:, joints] @ np.concatenate([np.zeros(robot.nu), -x[-robot.nu :]])
        assert np.all(np.abs(torque) <= robot.limits.effort * (1.0 + 1e-9))

    @given(seed=st.integers(0, 2**32 - 1))
    def test_no_joint_becomes_too_fast_before_the_next_command(self, robot: Robot, seed: int) -> None:
        """Of what passes; integrated finer than the guard does, under the law that the plant applies."""
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.normal(size=7), rng.uniform(-1.0, 1.0, 7) * robot.limits.velocity])
        u0 = robot.gravity(x[:7]) + rng.uniform(0.0, 0.3) * rng.uniform(-1.0, 1.0, 7) * robot.limits.effort
        with contextlib.suppress(MessageError):
            passed, before = CommandGuard(robot, SafetyConfig(), 0.01)(command(u0=u0), x, 1.0), np.abs(x[7:])
            (q, v), data = np.split(x, 2), robot.model.createData()
            for _ in range(100):
                v = v + 1e-4 * pinocchio.aba(robot.model, data, q, v, passed.u0)
                q = q + 1e-4 * v
            assert np.all(np.abs(v) <= np.maximum(1.15 * robot.limits.velocity, before + 0.2))
