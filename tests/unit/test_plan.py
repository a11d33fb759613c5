"""plan.py: a plan owns its arrays, and reading it at any time gives what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.plan import Advice, Command, Plan, PlanStatus, State, Timings, Verdict

Array = NDArray[np.float64]
NX, NU = 4, 2
SINCE_1970 = 1.7e9  # s; the stamps of a robot on system time


def make(t0: float, dt: float, horizon: int, seed: int = 0) -> Plan:
    rng = np.random.default_rng(seed)
    return Plan(
        t0=t0,
        dt=dt,
        xs=rng.normal(size=(horizon + 1, NX)),
        us=rng.normal(size=(horizon, NU)),
        gains=rng.normal(size=(horizon, NU, NX)),
        cost=1.0,
        guess_cost=2.0,
        guess="hold",
        status=PlanStatus.OK,
        iterations=3,
        timings=Timings(guess=0.001, solve=0.004, check=0.0005),
    )


plans = st.builds(
    make,
    t0=st.floats(-1e3, 1e3) | st.floats(SINCE_1970, 2e9),
    dt=st.floats(0.001, 0.2),
    horizon=st.integers(1, 6),
    seed=st.integers(0, 1000),
)


class TestOwnership:
    """Solvers hand out views that their next solve overwrites; a plan must not notice."""

    def test_changing_the_sources_does_not_change_the_plan(self) -> None:
        xs, us, gains = np.zeros((3, NX)), np.zeros((2, NU)), np.zeros((2, NU, NX))
        plan = Plan(0.0, 0.03, xs, us, gains, 0.0, 0.0, "hold", PlanStatus.OK, 1)
        for source in (xs, us, gains):
            source[...] = 1.0
        assert not plan.xs.any()
        assert not plan.us.any()
        assert not plan.gains.any()

    def test_a_read_only_view_is_copied_too(self) -> None:
        source = np.zeros((3, NX))
        view = source[:]
        view.flags.writeable = False
        plan = Plan(0.0, 0.03, view, np.zeros((2, NU)), np.zeros((2, NU, NX)), 0.0, 0.0, "hold", PlanStatus.OK, 1)
        source[...] = 1.0
        assert not plan.xs.any()

    def test_lists_of_views_become_arrays_of_its_own(self) -> None:
        views = [np.zeros(NX) for _ in range(3)]
        plan = Plan(0.0, 0.03, views, np.zeros((2, NU)), np.zeros((2, NU, NX)), 0.0, 0.0, "hold", PlanStatus.OK, 1)  # type: ignore[arg-type]
        views[1][:] = 7.0
        assert plan.xs.shape == (3, NX)
        assert not plan.xs.any()

    @pytest.mark.parametrize("name", ["xs", "us", "gains"])
    def test_arrays_cannot_be_written(self, name: str) -> None:
        with pytest.raises(ValueError, match="read-only"):
            getattr(make(0.0, 0.03, 3), name)[0] = 1.0

    @given(plan=plans, share=st.floats(-1.0, 2.0))
    def test_what_is_read_can_be_changed_without_harm(self, plan: Plan, share: float) -> None:
        before = plan.xs.copy(), plan.us.copy(), plan.gains.copy()
        t = plan.t0 + share * (plan.end - plan.t0)
        command = plan.command(t, 0.1)
        for array in (plan.at(t), *plan.shifted(t), command.x0, command.u0, command.gain):
            array[...] = 9.0
        for kept, now in zip(before, (plan.xs, plan.us, plan.gains), strict=True):
            np.testing.assert_array_equal(now, kept)


class TestAt:
    """The state planned for a time."""

    @given(plan=plans)
    def test_a_node_is_exact(self, plan: Plan) -> None:
        for k in range(plan.horizon + 1):
            np.testing.assert_array_equal(plan.at(plan.t0 + k * plan.dt), plan.xs[k])

    @given(plan=plans, node=st.integers(0, 5), share=st.floats(0.01, 0.99))
    def test_between_nodes_it_is_linear(self, plan: Plan, node: int, share: float) -> None:
        node %= plan.horizon
        expected = (1 - share) * plan.xs[node] + share * plan.xs[node + 1]
        # stamps since 1970 are rounded to a quarter of a microsecond; a microsecond counts as none
        loose = 1e-12 + 2e-6 / plan.dt * np.abs(plan.xs[node + 1] - plan.xs[node]).max()
        np.testing.assert_allclose(plan.at(plan.t0 + (node + share) * plan.dt), expected, atol=loose)

    @given(plan=plans, beyond=st.floats(0.0, 1e6))
    def test_beyond_the_ends_it_stays(self, plan: Plan, beyond: float) -> None:
        np.testing.assert_array_equal(plan.at(plan.t0 - beyond), plan.xs[0])
        np.testing.assert_array_equal(plan.at(plan.end + beyond), plan.xs[-1])

    def test_end_and_horizon(self) -> None:
        plan = make(2.0, 0.03, 5)
        assert plan.horizon == 5
        assert plan.end == pytest.approx(2.15)


class TestShifted:
    """The plan on its own grid from a later time on."""

    @given(plan=plans)
    def test_by_nothing_it_is_the_plan(self, plan: Plan) -> None:
        for read, own in zip(plan.shifted(plan.t0), (plan.xs, plan.us, plan.gains), strict=True):
            np.testing.assert_array_equal(read, own)

    @given(plan=plans, k=st.integers(0, 8))
    def test_by_whole_nodes_it_moves_up_and_repeats_the_last(self, plan: Plan, k: int) -> None:
        xs, us, gains = plan.shifted(plan.t0 + k * plan.dt)
        states = np.minimum(np.arange(plan.horizon + 1) + k, plan.horizon)
        controls = np.minimum(np.arange(plan.horizon) + k, plan.horizon - 1)
        np.testing.assert_array_equal(xs, plan.xs[states])
        np.testing.assert_array_equal(us, plan.us[controls])
        np.testing.assert_array_equal(gains, plan.gains[controls])

    @given(plan=plans, share=st.floats(0.0, 7.0))
    def test_it_agrees_with_reading_one_by_one(self, plan: Plan, share: float) -> None:
        t = plan.t0 + share * plan.dt
        xs, us, gains = plan.shifted(t)
        loose = 2e-6 / plan.dt * np.abs(np.diff(plan.xs, axis=0)).max()
        for k in range(plan.horizon):
            np.testing.assert_allclose(xs[k], plan.at(t + k * plan.dt), atol=1e-12 + loose)
        command = plan.command(t, 0.1)
        np.testing.assert_array_equal(us[0], command.u0)
        np.testing.assert_array_equal(gains[0], command.gain)

    def test_between_nodes_controls_are_those_under_way(self) -> None:
        plan = make(0.0, 0.03, 4)
        _, us, _ = plan.shifted(0.04)
        np.testing.assert_array_equal(us, plan.us[[1, 2, 3, 3]])


class TestCommand:
    """The feedback law that goes to the plant."""

    @given(plan=plans)
    def test_at_the_start_it_is_the_first_node(self, plan: Plan) -> None:
        command = plan.command(plan.t0, 0.25)
        np.testing.assert_array_equal(command.x0, plan.xs[0])
        np.testing.assert_array_equal(command.u0, plan.us[0])
        np.testing.assert_array_equal(command.gain, plan.gains[0])
        assert (command.t, command.valid_until) == (plan.t0, plan.t0 + 0.25)

    @given(plan=plans, share=st.floats(0.01, 0.99), node=st.integers(0, 5))
    def test_later_it_is_the_node_under_way(self, plan: Plan, share: float, node: int) -> None:
        node %= plan.horizon
        t = plan.t0 + (node + share) * plan.dt
        nearest = node + round(share) if min(share, 1 - share) * plan.dt < 2e-6 else node
        command = plan.command(t, 0.1)
        assert any(np.array_equal(command.u0, plan.us[min(k, plan.horizon - 1)]) for k in (node, nearest))
        np.testing.assert_array_equal(command.x0, plan.at(t))

    @given(plan=plans, beyond=st.floats(0.0, 1e3))
    def test_beyond_the_ends_it_is_the_first_or_last(self, plan: Plan, beyond: float) -> None:
        before, after = plan.command(plan.t0 - beyond, 0.1), plan.command(plan.end + beyond, 0.1)
        np.testing.assert_array_equal(before.u0, plan.us[0])
        np.testing.assert_array_equal(after.u0, plan.us[-1])
        np.testing.assert_array_equal(after.x0, plan.xs[-1])


@pytest.mark.parametrize("status", list(PlanStatus))
def test_only_ok_is_usable(status: PlanStatus) -> None:
    assert status.usable == (status is PlanStatus.OK)
    assert len(status.value) > 20  # says something


def test_the_time_of_the_guess_is_booked_beside_the_others() -> None:
    plan = make(0.0, 0.03, 2).told(0.010, Advice(Verdict.USED))
    timings = plan.timings
    assert (timings.guess, timings.solve, timings.check) == (0.010, 0.004, 0.0005)
    assert timings.total == pytest.approx(0.0145)
    assert plan.advice == Advice(Verdict.USED)


@pytest.mark.parametrize(
    ("advice", "keys"),
    [
        (Advice(), []),
        (Advice(Verdict.USED), ["value_used"]),
        (Advice(Verdict.BLENDED), ["value_blended"]),
        (Advice(Verdict.OUT_OF_RANGE), ["value_refused_out_of_range"]),
        (Advice(Verdict.GOAL_OUT_OF_RANGE), ["value_refused_goal_out_of_range"]),
        (Advice(Verdict.DISAGREEMENT, policy_refused=True), ["policy_refused", "value_refused_disagreement"]),
    ],
)
def test_what_counters_call_advice(advice: Advice, keys: list[str]) -> None:
    assert advice.keys == keys


def test_values_cannot_be_reassigned() -> None:
    plan, state = make(0.0, 0.03, 2), State(0.0, np.zeros(NX))
    for value, name in ((plan, "cost"), (state, "t"), (Command(0.0, state.x, state.x, state.x, 1.0), "t")):
        with pytest.raises(AttributeError, match="cannot assign"):
            setattr(value, name, 0.0)
