"""Trust: full inside, none far outside, smooth between, with its exact derivative."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.learned.contract import EnsembleSpec, TrainingRange
from dpvp.learned.monitor import Trust
from dpvp.learned.value import Derivatives
from dpvp.plan import Verdict

Array = NDArray[np.float64]
RANGES = TrainingRange(np.array([[-1.0, 0.0, 2.0], [1.0, 5.0, 2.0]]), np.array([[0.0], [1.0]]))
ENSEMBLE = EnsembleSpec(members=2, spread=0.1, floor=0.5)
INSIDE, GOAL = np.array([0.0, 1.0, 2.0]), np.array([0.5])
MIX = np.array([[1.0, 0.3], [-0.4, 0.8]])


def trust(goal: Array = GOAL) -> Trust:
    judge = Trust(RANGES, ENSEMBLE)
    judge.aim(goal)
    return judge


def says(spread: float, value: float = 1.5) -> Derivatives:
    """What two members say, wherever they are asked; the second has nothing to do with the state."""
    members = (value + spread, value - spread)
    return Derivatives(value, members, spread, np.ones(2), np.zeros((2, 3)), np.zeros(3), np.eye(3))


def found(x: Array) -> Derivatives:
    """What two members say that depend on the first two numbers of `x`, each in its own way."""
    a, b = MIX @ x[:2]
    r = np.array([1.2 + 0.3 * np.sin(2 * a), 1.0 + 0.2 * np.cos(b)])
    slope = np.zeros((2, 3))
    slope[0, :2], slope[1, :2] = 0.6 * np.cos(2 * a) * MIX[0], -0.2 * np.sin(b) * MIX[1]
    value, members = 0.5 * r @ r, r**2
    return Derivatives(value, tuple(members), float(np.std(members)), r, slope, r @ slope, slope.T @ slope)


class TestRange:
    @given(a=st.floats(-1, 1), b=st.floats(0, 5), goal=st.floats(0, 1))
    def test_is_full_in_the_closed_box(self, a: float, b: float, goal: float) -> None:
        x, judge = np.array([a, b, 2.0]), trust(np.array([goal]))
        assert judge.in_range(x) == 1.0
        assert not judge.gradient(x, says(0.0), np.eye(3)).any()

    @pytest.mark.parametrize(
        ("index", "beyond"), [(0, -1.21), (0, 1.2001), (1, -0.51), (1, 5.6), (2, 1.999999), (2, 2.000001), (1, np.inf)]
    )
    def test_is_none_beyond_the_margin(self, index: int, beyond: float) -> None:
        x = INSIDE.copy()
        x[index] = beyond
        assert trust().in_range(x) == 0.0
        assert not trust().gradient(x, says(0.0), np.eye(3)).any()

    @pytest.mark.parametrize(("a", "expected"), [(1.1, 0.5), (-1.1, 0.5), (1.05, 0.84375), (-1.15, 0.15625)])
    def test_falls_over_a_tenth_of_the_width(self, a: float, expected: float) -> None:
        x = np.array([a, 1.0, 2.0])
        assert trust().in_range(x) == pytest.approx(expected)
        assert trust(np.array([1.05])).in_range(x) == pytest.approx(0.5 * expected)
        x[1] = 5.25
        assert trust().in_range(x) == pytest.approx(0.5 * expected)

    @pytest.mark.parametrize("goal", [-0.11, 1.2, np.nan])
    def test_is_none_for_a_goal_beyond_the_margin(self, goal: float) -> None:
        assert trust(np.array([goal])).in_range(INSIDE) == 0.0

    def test_is_none_before_a_goal_is_known(self) -> None:
        assert Trust(RANGES, ENSEMBLE).in_range(INSIDE) == 0.0

    @pytest.mark.parametrize("index", range(3))
    def test_is_none_for_nan(self, index: int) -> None:
        x = INSIDE.copy()
        x[index] = np.nan
        assert trust().in_range(x) == 0.0


class TestAgreement:
    @pytest.mark.parametrize(
        ("spread", "expected"), [(0.0, 1.0), (0.2, 1.0), (0.25, 0.84375), (0.3, 0.5), (0.4, 0.0), (np.nan, 0.0)]
    )
    def test_falls_from_the_allowed_spread_to_twice_of_it(self, spread: float, expected: float) -> None:
        assert trust().in_agreement(says(spread)) == pytest.approx(expected)  # 0.2 = 0.1 (1.5 + 0.5) is allowed

    def test_without_floor_and_value_only_equal_members_agree(self) -> None:
        judge = Trust(RANGES, EnsembleSpec(members=2, spread=0.1, floor=0.0))
        assert judge.in_agreement(says(0.0, value=0.0)) == 1.0
        assert judge.in_agreement(says(1e-300, value=0.0)) == 0.0


class TestGradient:
    @given(a=st.floats(-1.25, 1.25), b=st.floats(-0.6, 5.6), goal=st.sampled_from([0.5, 1.03]))
    def test_is_that_of_the_weight(self, a: float, b: float, goal: float) -> None:
        judge, x = trust(np.array([goal])), np.array([a, b, 2.0])

        def weight(x: Array) -> float:
            return judge.in_range(x) * judge.in_agreement(found(x))

        # the third number has no margin: any step in it leaves the box
        step = 1e-6 * np.eye(3)[:2]
        by_hand = [(weight(x + d) - weight(x - d)) / 2e-6 for d in step]
        # flat where the pieces meet, but with a jump of the curvature: half of it times the step is the error there
        assert np.allclose(judge.gradient(x, found(x), np.eye(3))[:2], by_hand, atol=1e-3, rtol=1e-5)

    def test_the_cases_of_the_test_before(self) -> None:
        grid = [np.array([a, b, 2.0]) for a in np.linspace(-1.25, 1.25, 30) for b in np.linspace(-0.6, 5.6, 30)]
        ranges = np.array([trust().in_range(x) for x in grid])
        agreements = np.array([trust().in_agreement(found(x)) for x in grid])
        for first in (ranges == 0.0, (ranges > 0.0) & (ranges < 1.0), ranges == 1.0):
            for second in (agreements == 0.0, (agreements > 0.0) & (agreements < 1.0), agreements == 1.0):
                assert (first & second).any()


@pytest.mark.parametrize(
    ("goal", "in_range", "in_agreement", "expected"),
    [
        (0.5, 1.0, 1.0, Verdict.USED),
        (0.5, 0.5, 1.0, Verdict.BLENDED),
        (0.5, 1.0, 0.5, Verdict.BLENDED),
        (1.05, 0.5, 1.0, Verdict.BLENDED),
        (0.5, 0.0, 0.0, Verdict.OUT_OF_RANGE),
        (0.5, 0.5, 0.0, Verdict.DISAGREEMENT),
        (2.0, 0.0, 0.0, Verdict.GOAL_OUT_OF_RANGE),
    ],
)
def test_verdict(goal: float, in_range: float, in_agreement: float, expected: Verdict) -> None:
    assert trust(np.array([goal])).verdict(in_range, in_agreement) is expected
