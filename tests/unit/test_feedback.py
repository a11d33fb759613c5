"""feedback.py: the law of linear_feedback_controller 4, phase by phase, and what follows when commands stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.control.feedback import FeedbackLaw, FeedbackPhase, FeedbackTiming
from dpvp.plan import Command
from dpvp.robot import Robot
from dpvp.worlds.mujoco import MujocoWorld

Array = NDArray[np.float64]
PD, BLEND, FEEDBACK, HOLD, DAMPING = FeedbackPhase
TICK = 0.001
STOCK = FeedbackTiming(transition=0.1, velocity_filter=0.9)
SAFE = replace(STOCK, command_timeout=0.2, damping_timeout=2.0)
AT_ONCE = replace(SAFE, transition=0.0)
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, t: float = 0.0, valid_until: float = np.inf) -> Command:
    rng = np.random.default_rng(seed)
    gain = np.hstack([np.diag(rng.uniform(5, 50, 7)), np.diag(rng.uniform(1, 5, 7))]) + rng.normal(size=(7, 14))
    return Command(t, rng.normal(size=14), rng.normal(0, 10, 7), gain, valid_until)


def linear(command: Command, q: Array, v: Array) -> Array:
    """The published law, written with its two halves of K."""
    stiffness, damping = np.split(command.gain, 2, axis=1)
    q0, v0 = np.split(command.x0, 2)
    return np.asarray(command.u0 + stiffness @ (q0 - q) + damping @ (v0 - v))


@pytest.fixture
def arm() -> tuple[Array, Array, Array]:
    """Some measured q, v and effort."""
    rng = np.random.default_rng(9)
    return rng.normal(size=7), rng.normal(0, 0.1, 7), rng.normal(0, 20, 7)


def pd(robot: Robot, start: Array, bias: Array, q: Array, v: Array) -> Array:
    return np.asarray(bias + robot.hold.stiffness * (start - q) - robot.hold.damping * v)


class TestBeforeTheFirstCommand:
    """Phase A: PD around the posture and effort of the first update."""

    def test_the_first_update_gives_the_measured_effort_back(self, robot: Robot, arm: tuple) -> None:
        q, _, effort = arm
        law = FeedbackLaw(robot, STOCK)
        np.testing.assert_array_equal(law.update(0.0, q, np.zeros(7), effort), effort)
        assert law.phase is PD

    @given(seed=seeds, t=st.floats(0.001, 1e6))
    def test_posture_and_bias_stay_those_of_the_first(self, robot: Robot, seed: int, t: float) -> None:
        rng = np.random.default_rng(seed)
        start, bias, q, v = rng.normal(size=(4, 7))
        law = FeedbackLaw(robot, SAFE)
        law.update(0.0, start.copy(), np.zeros(7), bias.copy())
        np.testing.assert_allclose(law.update(t, q, v, 100 * bias), pd(robot, start, bias, q, v), atol=1e-12)
        assert law.phase is PD  # however long nothing comes

    def test_it_keeps_copies_of_what_it_captured(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = FeedbackLaw(robot, STOCK)
        law.update(0.0, q, v, effort)
        expected = pd(robot, q.copy(), effort.copy(), np.zeros(7), v)
        q += 1.0
        effort += 1.0
        np.testing.assert_array_equal(law.update(TICK, np.zeros(7), v, effort), expected)


class TestVelocityFilter:
    """Exponential, with the weight on the new sample."""

    @given(samples=st.lists(st.floats(-5, 5), min_size=1, max_size=10), weight=st.floats(0, 1))
    def test_it_is_the_published_one(self, robot: Robot, samples: list[float], weight: float) -> None:
        law = FeedbackLaw(robot, replace(STOCK, velocity_filter=weight))
        expected = samples[0]
        for sample in samples:
            expected = weight * sample + (1 - weight) * expected
            np.testing.assert_allclose(law.filtered(np.full(7, sample)), expected, atol=1e-12)

    def test_it_starts_at_the_first_sample_again_after_a_reset(self, robot: Robot) -> None:
        law = FeedbackLaw(robot, STOCK)
        law.filtered(np.ones(7))
        law.reset()
        np.testing.assert_array_equal(law.filtered(np.zeros(7)), np.zeros(7))

    def test_samples_are_copied(self, robot: Robot) -> None:
        law, v = FeedbackLaw(robot, replace(STOCK, velocity_filter=0.5)), np.zeros(7)
        law.filtered(v)
        v += 2.0
        np.testing.assert_array_equal(law.filtered(v), np.ones(7))


class TestFirstCommand:
    """Phases B and C: blend over the transition, then linear feedback for ever."""

    def test_the_cycle_that_receives_it_still_is_pd(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        for timing in (STOCK, AT_ONCE):
            law = FeedbackLaw(robot, timing)
            law.update(0.0, q, v, effort)
            law.receive(draw(0), 0.5)
            np.testing.assert_array_equal(law.update(0.5, q, v, effort), pd(robot, q, effort, q, v))
            assert law.phase is PD

    def test_a_command_before_the_first_update(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = FeedbackLaw(robot, STOCK)
        law.receive(draw(0), 0.5)
        np.testing.assert_array_equal(law.update(0.5, q, v, effort), pd(robot, q, effort, q, v))

    @given(seed=seeds, share=st.floats(0.001, 0.999))
    def test_the_blend_is_linear_in_time(self, robot: Robot, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        start, bias, q, v = rng.normal(size=(4, 7))
        law, command = FeedbackLaw(robot, STOCK), draw(seed)
        law.update(0.0, start, np.zeros(7), bias)
        law.receive(command, 1.0)
        expected = (1 - share) * pd(robot, start, bias, q, v) + share * linear(command, q, v)
        np.testing.assert_allclose(law.update(1.0 + share * 0.1, q, v, bias), expected, atol=1e-9)
        assert law.phase is BLEND

    @given(seed=seeds, later=st.floats(0.1001, 1e6))
    def test_then_it_is_the_law_and_for_ever(self, robot: Robot, seed: int, later: float) -> None:
        """The stock controller follows its last command without end, velocity and all."""
        rng = np.random.default_rng(seed)
        start, bias, q, v = rng.normal(size=(4, 7))
        law, command = FeedbackLaw(robot, STOCK), draw(seed, valid_until=0.3)
        law.update(0.0, start, np.zeros(7), bias)
        law.receive(command, 1.0)
        np.testing.assert_allclose(law.update(1.0 + later, q, v, bias), linear(command, q, v), atol=1e-9)
        assert law.phase is FEEDBACK

    def test_without_transition_the_law_follows_at_once(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = FeedbackLaw(robot, AT_ONCE)
        law.update(0.0, q, v, effort)
        law.receive(draw(1), 0.5)
        law.update(0.5, q, v, effort)
        np.testing.assert_allclose(law.update(0.5 + TICK, q, v, effort), linear(draw(1), q, v), atol=1e-12)

    def test_later_commands_do_not_start_the_blend_again(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = FeedbackLaw(robot, STOCK)
        law.update(0.0, q, v, effort)
        for k in range(30):
            law.receive(draw(k), 0.01 * k)
            law.update(0.01 * k + 0.005, q, v, effort)
        assert law.phase is FEEDBACK
        np.testing.assert_allclose(law.update(0.295, q, v, effort), linear(draw(29), q, v), atol=1e-12)

    def test_signs(self, robot: Robot) -> None:
        """A joint behind its reference is pushed forward, one that is too fast is braked."""
        law = FeedbackLaw(robot, AT_ONCE)
        gain = np.hstack([np.diag(np.full(7, 30.0)), np.diag(np.full(7, 4.0))])
        law.receive(Command(0.0, np.zeros(14), np.zeros(7), gain, np.inf), 0.0)
        np.testing.assert_allclose(law.update(TICK, np.full(7, -0.1), np.zeros(7), np.zeros(7)), 3.0)
        np.testing.assert_allclose(law.update(TICK, np.zeros(7), np.full(7, 0.5), np.zeros(7)), -2.0)


def tracking(robot: Robot, q: Array, command: Command, *, timing: FeedbackTiming = AT_ONCE) -> FeedbackLaw:
    """A law that follows `command`, received at t = 0 around posture `q`."""
    law = FeedbackLaw(robot, timing)
    law.update(-TICK, q, np.zeros(7), robot.gravity(q))
    law.receive(command, 0.0)
    law.update(0.0, q, np.zeros(7), robot.gravity(q))
    law.update(timing.transition + TICK, q, np.zeros(7), robot.gravity(q))
    assert law.phase is FEEDBACK
    return law


class TestSilence:
    """What the stock controller lacks: hold, then damping."""

    def test_hold_keeps_the_posture_of_that_moment(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2))
        law.update(0.2, q, v, effort)
        assert law.phase is FEEDBACK
        expected = robot.gravity(q) - robot.hold.damping * v
        np.testing.assert_allclose(law.update(0.201, q, v, effort), expected, atol=1e-12)
        assert law.phase is HOLD
        moved = q + 0.1
        expected = pd(robot, q, robot.gravity(q), moved, v)
        np.testing.assert_allclose(law.update(1.9, moved, v, effort), expected, atol=1e-12)

    def test_damping_carries_the_arm_and_lets_it_be_moved(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2))
        for t, posture in ((0.3, q), (2.001, q + 0.3), (100.0, q - 0.3)):
            u = law.update(t, posture, v, effort)
        np.testing.assert_allclose(u, robot.gravity(q - 0.3) - robot.hold.damping * v, atol=1e-12)
        assert law.phase is DAMPING

    def test_each_command_starts_the_count_again(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = tracking(robot, q, draw(2))
        for k in range(1, 40):
            law.receive(draw(k), 0.19 * k)
            law.update(0.19 * k + 0.18, q, v, effort)
            assert law.phase is FEEDBACK

    def test_a_command_that_is_old_on_arrival_ends_sooner(self, robot: Robot, arm: tuple) -> None:
        """Its validity counts from the state that it answers."""
        q, v, effort = arm
        law = tracking(robot, q, draw(2))
        law.receive(draw(3, t=0.0, valid_until=0.2), 0.15)
        law.update(0.19, q, v, effort)
        assert law.phase is FEEDBACK
        law.update(0.21, q, v, effort)
        assert law.phase is HOLD
        # a loop that is blind and repeats itself does not keep the arm from damping
        for k in range(1, 220):
            law.receive(draw(3, t=0.0, valid_until=0.2), 0.01 * k)
            law.update(0.01 * k + 0.001, q, v, effort)
        assert law.phase is DAMPING

    @pytest.mark.parametrize(
        ("command_timeout", "damping_timeout", "phase"),
        [(None, None, FEEDBACK), (None, 2.0, DAMPING), (0.2, None, HOLD)],
    )
    def test_each_can_be_switched_off(
        self,
        robot: Robot,
        arm: tuple,
        command_timeout: float | None,
        damping_timeout: float | None,
        phase: FeedbackPhase,
    ) -> None:
        q, v, effort = arm
        timing = replace(AT_ONCE, command_timeout=command_timeout, damping_timeout=damping_timeout)
        law = tracking(robot, q, draw(2), timing=timing)
        law.update(1e3, q, v, effort)
        assert law.phase is phase


class TestRecovery:
    """Commands that come again."""

    def test_from_hold_it_blends(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=SAFE)
        law.update(0.5, q, v, effort)
        assert law.phase is HOLD
        law.receive(draw(3), 0.6)
        held = pd(robot, q, robot.gravity(q), q, v)
        np.testing.assert_allclose(law.update(0.6, q, v, effort), held, atol=1e-12)
        half = 0.5 * held + 0.5 * linear(draw(3), q, v)
        np.testing.assert_allclose(law.update(0.65, q, v, effort), half, atol=1e-9)
        assert law.phase is BLEND
        np.testing.assert_allclose(law.update(0.7001, q, v, effort), linear(draw(3), q, v), atol=1e-9)

    def test_from_damping_it_starts_where_the_arm_is(self, robot: Robot, arm: tuple) -> None:
        """Not where it held before it was pushed away."""
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=SAFE)
        law.update(0.5, q, v, effort)
        pushed = q + 1.0
        damped = law.update(5.0, pushed, v, effort)
        assert law.phase is DAMPING
        law.receive(draw(3), 5.001)
        np.testing.assert_allclose(law.update(5.001, pushed, v, effort), damped, atol=1e-12)
        assert law.phase is PD

    def test_from_damping_without_a_hold_before(self, robot: Robot, arm: tuple) -> None:
        """The posture captured at the start, far away by now, must not come back."""
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=SAFE)
        damped = law.update(10.0, q, v, effort)
        law.receive(draw(3), 10.001)
        np.testing.assert_allclose(law.update(10.001, q, v, effort), damped, atol=1e-12)

    def test_a_command_just_after_the_timeout_is_followed_on(self, robot: Robot, arm: tuple) -> None:
        """No cycle saw the silence, so there is nothing to recover from."""
        q, v, effort = arm
        law = tracking(robot, q, draw(2), timing=SAFE)
        law.receive(draw(3), 0.3)
        np.testing.assert_allclose(law.update(0.3, q, v, effort), linear(draw(3), q, v), atol=1e-12)

    def test_after_a_reset_everything_is_as_new(self, robot: Robot, arm: tuple) -> None:
        q, _, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=SAFE)
        law.reset()
        np.testing.assert_allclose(law.update(9.0, q, np.zeros(7), effort), effort, atol=1e-12)
        assert law.phase is PD


class TestTakenOff:
    """A supervisor takes the plant away, and gives it back."""

    def test_it_damps_whatever_it_is_sent(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=AT_ONCE)
        law.damp()
        for k in range(5):
            law.receive(draw(k), 0.1 * k)
            u = law.update(0.1 * k, q, v, effort)
            assert law.phase is DAMPING
            np.testing.assert_allclose(u, robot.gravity(q) - robot.hold.damping * v, atol=1e-12)

    def test_made_anew_it_holds_the_posture_found(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=AT_ONCE)
        law.damp()
        law.update(0.5, q, v, effort)
        law.reset()
        np.testing.assert_allclose(law.update(5.0, q + 1.0, np.zeros(7), effort), effort, atol=1e-12)
        assert law.phase is PD

    def test_put_back_as_it_was_the_stock_law_follows_its_old_command(self, robot: Robot, arm: tuple) -> None:
        """Which is why the controller manager is asked for a new one."""
        q, v, effort = arm
        law = tracking(robot, robot.nominal, draw(2), timing=STOCK)
        law.damp()
        law.update(50.0, q, v, effort)
        law.release()
        np.testing.assert_allclose(law.update(60.0, q, v, effort), linear(draw(2), q, v), atol=1e-12)

    def test_taken_off_before_it_ran_it_keeps_no_posture(self, robot: Robot, arm: tuple) -> None:
        q, v, effort = arm
        law = FeedbackLaw(robot, STOCK)
        law.damp()
        law.update(0.0, robot.nominal, v, effort)
        law.release()
        np.testing.assert_allclose(law.update(0.1, q, np.zeros(7), effort), robot.gravity(q), atol=1e-12)
        assert law.phase is PD


def test_efforts_do_not_jump_in_the_plant(robot: Robot) -> None:
    """Commands stop and come again twice while the arm carries itself: no cycle changes torque by more than a nudge."""
    world = MujocoWorld(robot, TICK)
    law = FeedbackLaw(robot, replace(SAFE, damping_timeout=0.6))
    target = np.concatenate([robot.nominal + 0.05, np.zeros(7)])
    gain = 0.7 * np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)])
    phases, efforts = [], []
    for k in range(4000):
        measured = world.read()
        v = law.filtered(measured.v)
        if k % 10 == 0 and (200 <= k < 1000 or 1400 <= k < 2000 or k >= 3000):  # pauses of 0.4 s and 1 s
            law.receive(Command(measured.t, target, robot.gravity(target[:7]), gain, np.inf), measured.t)
        world.apply(law.update(measured.t, measured.q, v, measured.effort))
        world.step()
        phases.append(law.phase)
        efforts.append(world.read().effort)
    order = [phase for k, phase in enumerate(phases) if k == 0 or phases[k - 1] is not phase]
    assert order == [PD, BLEND, FEEDBACK, HOLD, PD, BLEND, FEEDBACK, HOLD, DAMPING, PD, BLEND, FEEDBACK]
    jumps = np.abs(np.diff(efforts, axis=0)) / robot.limits.effort
    assert jumps.max() < 0.02
    assert np.abs(world.read().q - target[:7]).max() < 0.05
