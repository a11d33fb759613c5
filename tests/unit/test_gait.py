"""gait.py: who stands when, whatever the gait, the phase and what really left the floor."""

from __future__ import annotations

import contextlib

import hypothesis.strategies as st
import numpy as np
import pydantic
import pytest
from hypothesis import assume, given

from dpvp.tasks.gait import AT_ONCE, LATE, LEAST, Gait, Schedule

TROT = Gait(period=0.5, duty=0.55, offsets=(0.0, 0.5, 0.5, 0.0))
T, DT = 40, 0.02
TIMES = DT * np.arange(T + 1)
FLOOR, AIR = np.zeros(4, dtype=bool), np.ones(4, dtype=bool)


@st.composite
def gaits(draw: st.DrawFn) -> Gait:
    """A gait of four feet that leaves enough of them on the floor."""
    share = st.floats(0.0, 1.0, exclude_max=True)
    period, offsets = draw(st.floats(0.3, 2.0)), draw(st.tuples(share, share, share, share))
    for duty in (*np.linspace(draw(st.floats(0.3, 1.0)), 1.0, 5)[:-1], 1.0):
        with contextlib.suppress(pydantic.ValidationError):
            return Gait(period=period, duty=duty, offsets=offsets)
    raise AssertionError("on all feet anybody stands")


phases = st.floats(0.0, 2.0 * np.pi, exclude_max=True)
in_the_air = st.tuples(*[st.booleans()] * 4).map(np.array)


@given(gaits(), phases)
def test_enough_feet_stand_at_any_time(gait: Gait, phase: float) -> None:
    assert gait.stands(np.array([phase])).sum() >= LEAST


@given(gaits(), phases, st.integers(-3, 3))
def test_the_phase_goes_round(gait: Gait, phase: float, rounds: int) -> None:
    away = np.abs((np.array(gait.offsets) + phase / (2 * np.pi)) % 1.0 - gait.duty).min()
    assume(min(away, np.abs((np.array(gait.offsets) + phase / (2 * np.pi) + 0.5) % 1.0 - 0.5).min()) > 1e-9)
    np.testing.assert_array_equal(gait.stands(np.array([phase])), gait.stands(np.array([phase + 2.0 * np.pi * rounds])))


@given(gaits())
def test_each_foot_stands_its_share_of_the_period(gait: Gait) -> None:
    stands = gait.stands(2.0 * np.pi * (np.arange(2000) + 0.5) / 2000)
    np.testing.assert_allclose(stands.mean(axis=0), gait.duty, atol=1e-3)
    assert gait.stance + gait.swing == pytest.approx(gait.period)


def test_a_trot_moves_diagonals() -> None:
    stands = TROT.stands(np.linspace(0.0, 2.0 * np.pi, 100))
    np.testing.assert_array_equal(stands[:, 0], stands[:, 3])
    np.testing.assert_array_equal(stands[:, 1], stands[:, 2])
    assert (stands[:, 0] | stands[:, 1]).all()


def test_a_schedule_by_hand() -> None:
    """Period 1 s, nodes of 0.1 s, a foot that is just about to swing and one that has just come down."""
    gait = Gait(period=1.0, duty=0.6, offsets=(0.6, 0.0, 0.6, 0.0))
    found = gait.schedule(0.0, 0.1 * np.arange(9), 0.1, np.array([True, False, True, False]))
    np.testing.assert_array_equal(found.stands[:, 0], [False] * 4 + [True] * 5)
    np.testing.assert_array_equal(found.stands[:, 1], [True] * 6 + [False] * 3)
    np.testing.assert_allclose(found.progress[:, 0], [0.0, 0.25, 0.5, 0.75, 1.0, 0.0, 0.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.progress[:, 1], [0.0] * 6 + [0.0, 0.25, 0.5], atol=1e-12)
    np.testing.assert_allclose(found.touchdown[:, 0], [0.4] * 5 + [0.0] * 4, atol=1e-12)
    np.testing.assert_allclose(found.touchdown[:, 1], [0.0] * 6 + [1.0] * 3, atol=1e-12)
    np.testing.assert_array_equal(found.arrives[:, 0], [False] * 4 + [True] + [False] * 4)
    np.testing.assert_array_equal(found.swing[:, 0], [0] * 5 + [-1] * 4)
    np.testing.assert_array_equal(found.swing[:, 1], [-1] * 6 + [0] * 3)


@given(gaits(), phases, in_the_air, st.booleans())
def test_a_schedule_is_consistent(gait: Gait, phase: float, airborne: np.ndarray, still: bool) -> None:
    found = gait.schedule(phase, TIMES, DT, airborne, still=still)
    swings = ~found.stands
    assert found.stands.shape == found.progress.shape == found.touchdown.shape == found.swing.shape == (T + 1, 4)
    np.testing.assert_array_equal(found.swing >= 0, found.guided)
    np.testing.assert_array_equal(found.arrives[1:], found.stands[1:] & swings[:-1])
    assert not found.arrives[0].any()
    assert (found.progress[found.arrives] == 1.0).all()
    assert ((found.progress >= 0.0) & (found.progress <= 1.0)).all()
    assert (found.progress[found.stands & ~found.arrives] == 0.0).all()
    for foot in range(4):
        for number in set(found.swing[:, foot]) - {-1}:
            nodes = np.flatnonzero(found.swing[:, foot] == number)
            assert (np.diff(nodes) == 1).all(), "a swing is in one piece"
            assert (np.diff(found.progress[nodes, foot]) > -1e-12).all()
            ends = found.touchdown[nodes, foot]
            np.testing.assert_allclose(ends, ends[0], atol=1e-9)
            at = DT * nodes[-1]
            assert at - DT / 2 - 1e-9 <= ends[0] if found.arrives[nodes[-1], foot] else ends[0] >= at


@given(gaits(), phases)
def test_feet_in_the_air_follow_the_clock(gait: Gait, phase: float) -> None:
    found = gait.schedule(phase, TIMES, DT, AIR)
    middle = phase + 2.0 * np.pi * DT / gait.period * (np.arange(T + 1) + 0.5)
    np.testing.assert_array_equal(found.stands, gait.stands(middle))


@given(gaits(), phases)
def test_a_swing_that_did_not_begin_is_left_out(gait: Gait, phase: float) -> None:
    """With all feet on the floor, no swing goes on that is far advanced; the next ones come when they are due."""
    clock, found = gait.schedule(phase, TIMES, DT, AIR), gait.schedule(phase, TIMES, DT, FLOOR)
    late = ~clock.stands[0] & (clock.progress[0] > LATE)
    assert found.stands[0][late].all()
    np.testing.assert_array_equal(found.stands[:, ~late], clock.stands[:, ~late])
    lifted = np.flatnonzero(late)
    for foot in lifted:
        ends = np.flatnonzero(clock.stands[:, foot])
        if len(ends):
            np.testing.assert_array_equal(found.stands[ends[0] :, foot], clock.stands[ends[0] :, foot])


@given(gaits(), phases, in_the_air)
def test_standing_still_ends_the_swings_under_way(gait: Gait, phase: float, airborne: np.ndarray) -> None:
    clock, found = gait.schedule(phase, TIMES, DT, AIR), gait.schedule(phase, TIMES, DT, airborne, still=True)
    assert found.stands[:, ~airborne].all()
    assert found.stands[:, clock.stands[0]].all()
    assert found.arrives.sum(axis=0).max() <= 1


@pytest.mark.parametrize(
    ("duty", "offsets", "feet"),
    [(0.45, (0.0, 0.5, 0.5, 0.0), 0), (0.6, (0.0, 0.25, 0.5, 0.75), 2), (0.5, (0.0, 0.0, 0.0, 0.0), 0)],
)
def test_gaits_that_nobody_can_stand_on_are_refused(duty: float, offsets: tuple[float, ...], feet: int) -> None:
    if feet >= LEAST:
        Gait(period=0.5, duty=duty, offsets=offsets)
        return
    with pytest.raises(pydantic.ValidationError, match=f"leaves {feet} of 4 feet on the floor at times"):
        Gait(period=0.5, duty=duty, offsets=offsets)


@given(gaits(), st.integers(20, 60), phases, st.floats(0.0, 1.0, exclude_max=True))
def test_nodes_that_begin_with_the_ticks_stand_whenever_they_are_asked(
    gait: Gait, ticks: int, phase: float, share: float
) -> None:
    """Who stands in a node of the clock does not depend on when it is asked: plans go on where the last one was."""
    dt = gait.period / ticks
    first = gait.until_tick(phase, dt)
    assert AT_ONCE * dt < first <= (1.0 + AT_ONCE) * dt
    later = share * first
    rest = gait.until_tick(phase + 2.0 * np.pi * later / gait.period, dt)
    assume(abs(rest - (first - later)) < 1e-9)  # not where what is left of the node is left out
    grid = dt * np.arange(T)
    now = gait.schedule(phase, np.array([0.0, *(first + grid)]), dt, AIR)
    then = gait.schedule(phase + 2.0 * np.pi * later / gait.period, np.array([0.0, *(rest + grid)]), dt, AIR)
    clear = np.abs((gait.offsets + np.array([[gait.duty], [0.0]])) * ticks % 1.0 - 0.5).min() > 1e-6
    assume(clear)  # a middle that is just where a foot lifts may be either
    np.testing.assert_array_equal(then.stands[1:], now.stands[1:])


def test_standing_has_no_swings() -> None:
    found: Schedule = Gait(period=1.0, duty=1.0, offsets=(0.0, 0.1, 0.2, 0.3)).schedule(1.0, TIMES, DT, FLOOR)
    assert found.stands.all()
    assert not found.guided.any()
