"""learned_watch.py: when planning goes on without what was learned, and for how long."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpvp.control.learned_watch import WINDOW, LearnedWatch
from dpvp.plan import Advice, Plan, PlanStatus, Verdict
from dpvp.scenario import SafetyConfig


def plan(bellman: float, value: Verdict | None = Verdict.USED, guess: str = "shift", *, usable: bool = True) -> Plan:
    status = PlanStatus.OK if usable else PlanStatus.OUT_OF_LIMITS
    xs, us, gains = np.zeros((2, 2)), np.zeros((1, 1)), np.zeros((1, 1, 2))
    return Plan(0.0, 0.1, xs, us, gains, 1.0, 1.0, guess, status, 1, advice=Advice(value, bellman=bellman))


@pytest.fixture
def watch() -> LearnedWatch:
    return LearnedWatch(SafetyConfig(bellman=0.5, plain_for=2.0))


def test_a_value_that_contradicts_its_plans_is_doubted_for_a_while(watch: LearnedWatch) -> None:
    for k in range(WINDOW):
        assert not watch.doubts(10.0 + 0.01 * k)
        watch.look(plan(0.6), 10.0 + 0.01 * k)
    began = 10.0 + 0.01 * (WINDOW - 1)
    assert watch.doubts(began)
    assert watch.doubts(began + 1.99)
    assert not watch.doubts(began + 2.01)


def test_some_are_no_reason(watch: LearnedWatch) -> None:
    for k in range(20 * WINDOW):
        watch.look(plan(0.9 if k % 3 == 0 else 0.1), 0.0)
        watch.look(plan(math.nan), 0.0)
    assert not watch.doubts(0.0)


@pytest.mark.parametrize("guess", ["policy", "trajectory"])
def test_plans_that_the_learned_parts_had_to_do_with_and_that_were_rejected_count(
    watch: LearnedWatch, guess: str
) -> None:
    for _ in range(WINDOW):
        watch.look(plan(math.nan, None, guess, usable=False), 0.0)
    assert watch.doubts(0.0)


def test_plans_without_anything_learned_say_nothing(watch: LearnedWatch) -> None:
    for _ in range(5 * WINDOW):
        watch.look(plan(math.nan, Verdict.OUT_OF_RANGE, usable=False), 0.0)
        watch.look(plan(math.nan, None, usable=False), 0.0)
    assert not watch.doubts(0.0)
