"""footsteps.py: the way of the base, where feet land beside it and how they swing there."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dpvp.tasks.footsteps import BasePath, Footsteps, turned
from dpvp.tasks.gait import Gait

Array = NDArray[np.float64]
TROT = Gait(period=0.5, duty=0.55, offsets=(0.0, 0.5, 0.5, 0.0), clearance=0.07)
HIPS = np.array([[0.2, 0.14], [0.2, -0.14], [-0.2, 0.14], [-0.2, -0.14]])
STEPS = Footsteps(TROT, HIPS, gain=0.1)
T, DT, FLOOR = 40, 0.02, 0.02
TIMES = DT * np.arange(T + 26)
AIR, GROUND = np.ones(4, dtype=bool), np.zeros(4, dtype=bool)

pairs = arrays(np.float64, 2, elements=st.floats(-1.0, 1.0))
commands = arrays(np.float64, 3, elements=st.floats(-1.0, 1.0))
angles = st.floats(-np.pi, np.pi)
phases = st.floats(0.0, 2.0 * np.pi, exclude_max=True)


def standing(place: Array, yaw: float) -> Array:
    """Feet (4, 3) under a base that stands there."""
    return np.hstack([place + turned(HIPS, np.full(4, yaw)), np.full((4, 1), FLOOR)])


def test_the_base_takes_up_the_commanded_speed() -> None:
    path = BasePath.of(np.array([1.0, 2.0]), 0.0, np.array([0.1, 0.3]), np.array([0.5, 0.0, 0.0]), 2.0, TIMES)
    np.testing.assert_allclose(path.speeds[:, 0], np.minimum(0.1 + 2.0 * TIMES, 0.5))
    np.testing.assert_allclose(path.speeds[:, 1], np.maximum(0.3 - 2.0 * TIMES, 0.0), atol=1e-12)
    np.testing.assert_allclose(np.diff(path.places, axis=0), DT * path.speeds[:-1], atol=1e-12)


def test_the_base_goes_round_in_a_circle() -> None:
    path = BasePath.of(np.zeros(2), 0.0, np.array([0.5, 0.0]), np.array([0.5, 0.0, 1.0]), 2.0, 0.001 * np.arange(6284))
    centre = np.array([0.0, 0.5])
    np.testing.assert_allclose(np.linalg.norm(path.places - centre, axis=1), 0.5, atol=1e-3)
    assert path.yaws[-1] == pytest.approx(2.0 * np.pi, abs=1e-3)


@given(pairs, angles, pairs, commands, pairs, angles)
def test_paths_do_not_care_where_they_begin(
    place: Array, yaw: float, speed: Array, command: Array, away: Array, turn: float
) -> None:
    here = BasePath.of(place, yaw, speed, command, 2.0, TIMES)
    there = BasePath.of(place + away, yaw + turn, speed, command, 2.0, TIMES)
    relative = turned(here.places - place, np.full(len(TIMES), turn))
    np.testing.assert_allclose(there.places, place + away + relative, atol=1e-9)
    np.testing.assert_allclose(there.speeds, here.speeds)


@given(pairs, angles, commands)
def test_feet_of_a_steady_base_are_passed_in_the_middle_of_their_stance(
    place: Array, yaw: float, command: Array
) -> None:
    """At constant speed a foot lands as far ahead of its place as the base carries that place in half of the stance."""
    path = BasePath.of(place, yaw, command[:2], command, 2.0, 0.001 * np.arange(1001))
    landing, later = path.at(np.array([0.4])), path.at(np.array([0.4 + TROT.stance / 2]))
    for foot in range(4):
        found = STEPS.landings(landing, command, np.array([foot]))
        passed = later.places + turned(HIPS[[foot]], later.yaws)
        error = np.linalg.norm(found - passed)  # along the tangent, where the base goes round
        assert error < 1.5e-3 + 0.5 * np.abs(command[2]) * (TROT.stance / 2) ** 2 * (0.25 * abs(command[2]) + 1.5)


@given(pairs, commands)
def test_feet_land_beyond_where_the_base_is_too_fast(speed: Array, command: Array) -> None:
    command[2] = 0.0
    at = BasePath(np.zeros(1), np.zeros((1, 2)), np.zeros(1), speed[None])
    steady = BasePath(np.zeros(1), np.zeros((1, 2)), np.zeros(1), command[None, :2])
    excess = speed - command[:2]
    found = STEPS.landings(at, command, np.array([0])) - STEPS.landings(steady, command, np.array([0]))
    np.testing.assert_allclose(found[0], (0.5 * TROT.stance + STEPS.gain) * excess, atol=1e-12)


@given(phases, pairs, angles, pairs, commands)
def test_swings_begin_where_feet_are_and_end_on_the_floor(
    phase: float, place: Array, yaw: float, speed: Array, command: Array
) -> None:
    feet = standing(place, yaw)
    feet[:, 2] += 0.03
    path = BasePath.of(place, yaw, speed, command, 2.0, TIMES)
    schedule = TROT.schedule(phase, T, DT, AIR)
    targets = STEPS.targets(schedule, path, command, feet, FLOOR)
    np.testing.assert_array_equal(np.isnan(targets[..., 0]), ~schedule.guided)
    assert np.nanmin(targets[..., 2]) >= FLOOR
    assert np.nanmax(targets[..., 2]) <= FLOOR + TROT.clearance + 1e-12
    np.testing.assert_allclose(targets[..., 2][schedule.arrives], FLOOR)
    swinging = ~schedule.stands[0]
    np.testing.assert_allclose(targets[0, swinging, :2], feet[swinging, :2], atol=1e-9)
    for node, foot in np.argwhere(schedule.arrives):
        landing = path.at(np.array([schedule.touchdown[node, foot]]))
        np.testing.assert_allclose(
            targets[node, foot, :2], STEPS.landings(landing, command, np.array([foot]))[0], atol=1e-9
        )


@given(phases, commands)
def test_feet_do_not_jump(phase: float, command: Array) -> None:
    """From node to node a swinging foot goes as far as the way and the duration of its swing allow, and no further."""
    path = BasePath.of(np.zeros(2), 0.0, command[:2], command, 2.0, TIMES)
    schedule = TROT.schedule(phase, T, DT, GROUND)
    targets = STEPS.targets(schedule, path, command, standing(np.zeros(2), 0.0), FLOOR)
    steps = np.diff(targets, axis=0)
    longest = 1.5 / TROT.swing * 1.2 * DT  # 1.5 is the steepest slope of 3s² - 2s³; no swing is longer than 1.2 m here
    assert np.nanmax(np.abs(steps[..., :2]), initial=0.0) < longest / (1.0 - 0.3)
    assert np.nanmax(np.abs(steps[..., 2]), initial=0.0) < 4.0 * TROT.clearance / TROT.swing * DT


def test_the_second_swing_begins_where_the_first_ended() -> None:
    command = np.array([0.5, 0.0, 0.0])
    path = BasePath.of(np.zeros(2), 0.0, command[:2], command, 2.0, TIMES)
    schedule = TROT.schedule(2.0 * np.pi * 0.6, T, DT, AIR)  # two feet swing now and again before the end
    targets = STEPS.targets(schedule, path, command, standing(np.zeros(2), 0.0), FLOOR)
    (first,) = np.flatnonzero(schedule.arrives[:25, 0])
    again = np.flatnonzero(schedule.swing[:, 0] == 1)[0]
    assert again > first
    np.testing.assert_allclose(targets[again, 0, 0], targets[first, 0, 0], atol=0.02)
    assert targets[again + 4, 0, 0] > targets[first, 0, 0] + 0.02
