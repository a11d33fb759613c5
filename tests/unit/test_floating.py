"""Plans, their checks and the laws at the plant where a base floats: nq = nv + 1, and joints come after the base."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.control.feedback import FeedbackLaw, FeedbackPhase, FeedbackTiming
from dpvp.control.guard import check_command, check_state, hold_command
from dpvp.errors import MessageError
from dpvp.plan import Command, Plan, PlanStatus
from dpvp.planning.check import PlanCheck
from dpvp.planning.guess import Guess
from dpvp.robot import Robot, load_robot

Array = NDArray[np.float64]
T, DT = 4, 0.02
shares = st.floats(0.0, T, allow_nan=False)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


def draw(go2: Robot, seed: int) -> Array:
    """Any state (nx,) within the limits."""
    rng, x = np.random.default_rng(seed), go2.at_rest()
    x[:3] += rng.uniform(-1, 1, 3)
    x[3:7] = pinocchio.Quaternion(pinocchio.rpy.rpyToMatrix(*rng.uniform(-3, 3, 3))).coeffs()
    x[7 : go2.nq] = rng.uniform(go2.limits.position_lower, go2.limits.position_upper)
    x[go2.nq :] = rng.uniform(-1, 1, go2.nv)
    return x


def turning(go2: Robot, *, flip: bool = False) -> Plan:
    """A plan whose base turns about z by 0.1 rad a node; `flip` writes every other turn as the other quaternion."""
    xs = np.tile(go2.at_rest(), (T + 1, 1))
    for node in range(T + 1):
        sign = -1.0 if flip and node % 2 else 1.0
        xs[node, 3:7] = sign * np.array([0.0, 0.0, np.sin(0.05 * node), np.cos(0.05 * node)])
        xs[node, 0] = 0.01 * node
    gains, us = np.zeros((T, go2.nu, go2.ndx)), np.outer(np.arange(T), np.ones(go2.nu))
    return Plan(0.0, DT, xs, us, gains, 1.0, 2.0, "shift", PlanStatus.OK, 1)


@given(share=shares)
@pytest.mark.parametrize("flip", [False, True])
def test_between_nodes_the_base_turns_on(go2: Robot, flip: bool, share: float) -> None:
    plan = turning(go2, flip=flip)
    x = plan.at(share * DT)
    assert np.linalg.norm(x[3:7]) == pytest.approx(1.0, abs=1e-12)
    yaw = 2.0 * np.arctan2(x[5], x[6])
    assert np.cos(yaw - 0.1 * share) == pytest.approx(1.0, abs=1e-8)
    assert x[0] == pytest.approx(0.01 * share, abs=1e-6)  # a time that is a node's up to rounding is that node's
    np.testing.assert_allclose(plan.shifted(share * DT)[0][0], x, atol=1e-12)


class TestShortFirstNode:
    """A plan whose nodes begin with the ticks of a clock has a first one that is shorter."""

    @staticmethod
    def plan(go2: Robot, first_dt: float) -> Plan:
        return replace(turning(go2), first_dt=first_dt)

    @given(first=st.floats(1e-4, DT))
    def test_nodes_are_where_the_clock_ticks(self, go2: Robot, first: float) -> None:
        plan = self.plan(go2, first)
        assert plan.end == pytest.approx(first + 3 * DT)
        for node, t in enumerate([0.0, *(first + DT * np.arange(T))]):
            np.testing.assert_array_equal(plan.at(t), plan.xs[node])
        np.testing.assert_allclose(plan.at(0.5 * first)[0], 0.005, atol=1e-4)
        np.testing.assert_allclose(plan.at(first + 0.5 * DT)[0], 0.015, atol=1e-9)

    @given(first=st.floats(0.1 * DT, DT), share=st.floats(0.0, 0.99))  # below a tenth of a node there is none
    def test_read_anew_in_its_first_node_it_is_the_same_but_for_the_start(
        self, go2: Robot, first: float, share: float
    ) -> None:
        plan = self.plan(go2, first)
        xs, us, gains = plan.shifted(share * first, first * (1.0 - share))
        np.testing.assert_allclose(xs[1:], plan.xs[1:], atol=1e-12)
        np.testing.assert_allclose(xs[0], plan.at(share * first), atol=1e-9)
        np.testing.assert_array_equal(us, plan.us)
        np.testing.assert_array_equal(gains, plan.gains)

    @given(first=st.floats(1e-3, DT), rest=st.floats(1e-5, 1e-4))
    def test_a_first_node_that_takes_in_the_rest_of_the_last_is_the_one_after_it(
        self, go2: Robot, first: float, rest: float
    ) -> None:
        _, us, _ = self.plan(go2, first).shifted(first - rest, rest + DT)
        np.testing.assert_array_equal(us[:, 0], [1.0, 2.0, 3.0, 3.0])

    @given(first=st.floats(1e-4, DT), second=st.floats(1e-4, 0.99 * DT), nodes=st.integers(1, 6))
    def test_read_anew_later_its_nodes_move_up(self, go2: Robot, first: float, second: float, nodes: int) -> None:
        plan = self.plan(go2, first)
        t = first + nodes * DT - second
        xs, us, _ = plan.shifted(t, second)
        np.testing.assert_allclose(xs[1:], plan.xs[(np.arange(1, T + 1) + nodes).clip(0, T)], atol=1e-12)
        np.testing.assert_array_equal(us, plan.us[(np.arange(T) + nodes).clip(0, T - 1)])


@given(seed=seeds)
def test_the_linear_law_is_that_of_the_manifold(go2: Robot, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x0, x, gain = draw(go2, seed), draw(go2, seed + 1), rng.normal(size=(go2.nu, go2.ndx))
    command = check_command(go2, Command(0.0, x0, rng.uniform(-5, 5, go2.nu), gain, np.inf))
    law = FeedbackLaw(go2, FeedbackTiming(transition=0.0, velocity_filter=1.0))
    law.receive(command, -0.001)
    found = law.update(0.0, x[: go2.nq], x[go2.nq :], np.zeros(go2.nu))
    away = pinocchio.difference(go2.model, x[: go2.nq], x0[: go2.nq])
    np.testing.assert_allclose(found, command.u0 + gain @ np.concatenate([away, (x0 - x)[go2.nq :]]))
    assert law.phase is FeedbackPhase.FEEDBACK
    turned = x0.copy()
    turned[3:7] *= -1.0  # the same attitude
    np.testing.assert_allclose(law.update(0.001, turned[: go2.nq], turned[go2.nq :], np.zeros(go2.nu)), command.u0)


@given(seed=seeds)
def test_holding_is_about_the_joints(go2: Robot, seed: int) -> None:
    """Wherever the base is: the law of the loop and that at the plant, PD and damping."""
    x, now = draw(go2, seed), draw(go2, seed + 1)
    springs = go2.hold.stiffness * (x - now)[7 : go2.nq]
    command = check_command(go2, hold_command(go2, x, 0.0, np.inf))
    away = pinocchio.difference(go2.model, now[: go2.nq], x[: go2.nq])
    held = command.u0 + command.gain @ np.concatenate([away, (command.x0 - now)[go2.nq :]])
    effort = np.clip(go2.gravity(x[: go2.nq]), -go2.limits.effort, go2.limits.effort)
    expected = effort + springs - go2.hold.damping * now[go2.nq + 6 :]
    np.testing.assert_allclose(held, expected, atol=1e-9)
    law = FeedbackLaw(go2, FeedbackTiming(0.0, 1.0, command_timeout=0.2, damping_timeout=2.0))
    bias = np.arange(12.0)
    law.update(0.0, x[: go2.nq], np.zeros(go2.nv), bias)
    found = law.update(0.001, now[: go2.nq], now[go2.nq :], bias)
    np.testing.assert_allclose(found, bias + springs - go2.hold.damping * now[go2.nq + 6 :])
    law.receive(command, 0.0)
    damped = law.update(5.0, now[: go2.nq], now[go2.nq :], bias)
    assert law.phase is FeedbackPhase.DAMPING
    np.testing.assert_allclose(damped, go2.gravity(now[: go2.nq]) - go2.hold.damping * now[go2.nq + 6 :])


@pytest.mark.parametrize(("entry", "name"), [(0, "base"), (6, "base"), (7, "FL_hip_joint"), (18, "RR_calf_joint")])
def test_states_that_are_not_finite_name_whose_they_are(go2: Robot, entry: int, name: str) -> None:
    x = go2.at_rest()
    x[entry] = np.nan
    with pytest.raises(MessageError, match=f"not finite at {name}$"):
        check_state(go2, x)
    velocity = go2.nq + (0 if entry < 7 else entry - 1)
    x = go2.at_rest()
    x[velocity] = np.inf
    with pytest.raises(MessageError, match=f"not finite at {name}$"):
        check_state(go2, x)


def test_checks_are_about_the_joints(go2: Robot) -> None:
    """A base may be anywhere and go at any speed."""
    check, plan = PlanCheck(go2.limits, window=1.0), turning(go2)
    guess = Guess("hold", plan.xs, plan.us, np.inf)

    def judge(xs: Array) -> PlanStatus:
        return check(DT, xs, plan.us, plan.gains, 1.0, 0.0, guess)

    xs = plan.xs.copy()
    xs[:, :3], xs[:, go2.nq : go2.nq + 6] = 1e3, 1e3
    assert judge(xs) is PlanStatus.OK
    for joint in (0, 11):
        for entry, value in ((7, go2.limits.position_upper), (go2.nq + 6, go2.limits.velocity)):
            beyond = xs.copy()
            beyond[2, entry + joint] = 1.2 * abs(value[joint]) + 0.1
            assert judge(beyond) is PlanStatus.OUT_OF_LIMITS
    assert replace(check, limits=None)(DT, beyond, plan.us, plan.gains, 1.0, 0.0, guess) is PlanStatus.OK
