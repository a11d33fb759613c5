"""wire.py: a plan comes out of its record bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dpvp.plan import Advice, Plan, PlanStatus, Timings, Verdict
from dpvp.planning.wire import GUESSES, goal_layout, plan_layout, plan_to_record, record_to_plan, state_layout
from dpvp.scenario import GuessName

any_float = st.floats(allow_nan=True, allow_infinity=True)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    horizon, nv, nu = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    numbers = st.builds(
        Plan,
        t0=any_float,
        dt=any_float,
        xs=arrays.arrays(np.float64, (horizon + 1, 2 * nv), elements=any_float),
        us=arrays.arrays(np.float64, (horizon, nu), elements=any_float),
        gains=arrays.arrays(np.float64, (horizon, nu, 2 * nv), elements=any_float),
        cost=any_float,
        guess_cost=any_float,
        guess=st.sampled_from(GUESSES),
        status=st.sampled_from(PlanStatus),
        iterations=st.integers(0, 2**32 - 1),
        timings=st.builds(Timings, any_float, any_float, any_float),
        advice=st.builds(Advice, st.none() | st.sampled_from(Verdict), st.booleans()),
    )
    return draw(numbers)


@given(plan=plans())
def test_round_trip(plan: Plan) -> None:
    horizon, nu, ndx = plan.gains.shape
    record = plan_to_record(plan, plan_layout(horizon, plan.xs.shape[1], nu, ndx))
    back = record_to_plan(np.frombuffer(record.tobytes(), record.dtype)[0])
    for field in dataclasses.fields(Plan):
        sent, received = getattr(plan, field.name), getattr(back, field.name)
        if field.name == "timings":
            sent, received = dataclasses.astuple(sent), dataclasses.astuple(received)
        np.testing.assert_array_equal(received, sent, strict=isinstance(sent, np.ndarray))


def test_the_plan_does_not_hold_on_to_the_record() -> None:
    record = np.zeros((), plan_layout(2, 4, 2, 4))
    plan = record_to_plan(record)
    record["xs"] = 1.0
    assert not plan.xs.any()


def test_every_guess_of_a_scenario_has_a_number() -> None:
    assert set(GUESSES) == set(GuessName.__args__)  # type: ignore[attr-defined]


def test_a_guess_without_number_is_not_sent() -> None:
    plan = record_to_plan(np.zeros((), plan_layout(1, 2, 1, 2)))
    with pytest.raises(ValueError, match="not in tuple"):
        plan_to_record(dataclasses.replace(plan, guess="oracle"), plan_layout(1, 2, 1, 2))


def test_a_plan_of_another_size_is_not_sent() -> None:
    plan = record_to_plan(np.zeros((), plan_layout(2, 4, 2, 4)))
    with pytest.raises(ValueError, match="broadcast"):
        plan_to_record(plan, plan_layout(3, 4, 2, 4))


def test_states_and_goals_keep_every_bit() -> None:
    state = np.zeros((), state_layout(3))
    state["t"], state["x"], state["fresh"] = 1.7e9 + 0.125, [0.1, np.nan, -np.inf], True
    back = np.frombuffer(state.tobytes(), state_layout(3))[0]
    assert back.tobytes() == state.tobytes()
    assert (float(back["t"]), bool(back["fresh"])) == (1.7e9 + 0.125, True)
    wanted = np.zeros((), goal_layout(3))
    wanted["goal"] = [-0.3, -0.4, 0.5]
    np.testing.assert_array_equal(np.frombuffer(wanted.tobytes(), goal_layout(3))[0]["goal"], [-0.3, -0.4, 0.5])
