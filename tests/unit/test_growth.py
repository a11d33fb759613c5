"""The loop runs for days: nothing in it grows, and nothing waits for the collector, which real time turns off."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.control.loop import MpcLoop
from dpvp.control.supervisor import LoopState
from dpvp.errors import GoalError, MessageError
from dpvp.plan import Plan, PlanStatus, State, Timings
from dpvp.planning.process import SolverProcess
from dpvp.planning.wire import plan_layout, plan_to_record, record_to_plan
from dpvp.scenario import Scenario

Array = NDArray[np.float64]
PERIOD, T = 0.01, 10
LAYOUT = plan_layout(T, 14, 7, 14)
GROWTH = 400  # blocks in 800 ticks: the interpreter's own lists of used objects fill up, ever slower


@dataclass
class Quick:
    """A solver that has its answer at once, on a clock of its own; its plans take the way through a mailbox."""

    now: float = 100.0
    pid: int = 1
    alive: bool = True
    ready: bool = True
    busy_since: float | None = None
    asked: list[tuple[Array, float]] = field(default_factory=list)
    status: PlanStatus = PlanStatus.OK

    def post(self, x: Array, goal: Array, t: float, *, fresh: bool = False, plain: bool = False) -> None:
        self.asked, self.busy_since = [(x, t)], self.now

    def take(self) -> Plan | None:
        if not self.asked:
            return None
        ((x, t),), self.asked, self.busy_since = self.asked, [], None
        timings = Timings(0.001, 0.003 + 0.001 * np.sin(t), 0.001)
        arrays = np.tile(x, (T + 1, 1)), np.zeros((T, 7)), np.zeros((T, 7, 14))
        plan = Plan(t, 0.03, *arrays, 1.0, 2.0, "shift", self.status, 3, timings)
        return record_to_plan(plan_to_record(plan, LAYOUT))

    def close(self) -> None:
        self.alive = True

    @property
    def as_process(self) -> SolverProcess:
        return self  # type: ignore[return-value]


class Day:
    """A loop at its work, with all that can happen to it."""

    def __init__(self, scenario: Scenario) -> None:
        self.solver = Quick()
        self.loop = MpcLoop(scenario, lambda: self.solver.as_process, clock=lambda: self.solver.now)
        self.goals = [np.array(scenario.goal), np.array(scenario.goal) + 0.01]
        self.rest = np.concatenate([scenario.robot.nominal, np.zeros(7)])
        self.loop.course.aim(self.goals[0])
        self.loop.ask(LoopState.TRACK)
        self.tick = 0

    def goes_on(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick += 1
            self.solver.now += PERIOD
            self.solver.status = PlanStatus.GAPS_OPEN if self.tick % 30 == 0 else PlanStatus.OK
            self._now_and_then(self.tick)
            self.loop.sense(State(self.solver.now, self.rest + 0.001 * np.sin(self.tick)))
            self.loop.tick(skipped=self.tick % 7 == 0)
            self.loop.poll()
            self.loop.go_on()

    def _now_and_then(self, tick: int) -> None:
        if tick % 20 == 0:
            self.loop.report()
        if tick % 50 == 0:
            self.loop.course.aim(self.goals[tick // 50 % 2])
        if tick % 60 == 0:
            self.loop.refuse_state(MessageError("a state that cannot be used"))
            with suppress(GoalError):
                self.loop.course.aim([np.nan, 0.0, 0.0])
        if tick % 80 == 0:
            self.solver.now += 1.0  # no state for a second: hold, and plan anew
        if tick % 120 == 0:
            self.loop.sense(State(self.solver.now - 0.001, self.rest + 1.0))  # it jumps
        if tick % 200 == 0:
            self.solver.alive = False


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def day(scenario: Scenario) -> Iterator[Day]:
    logging.disable()  # pytest keeps every record
    day = Day(scenario)
    day.goes_on(400)  # whatever is made once is made now
    yield day
    logging.disable(logging.NOTSET)


def blocks() -> int:
    """Return how many blocks the interpreter has given out: every object and every array's head is one."""
    return sys.getallocatedblocks()


def test_the_loop_does_not_grow(day: Day) -> None:
    with no_collector():
        before = blocks()
        day.goes_on(800)
        left = gc.collect()
        assert left == 0, "cycles are freed by the collector only, which real time turns off"
        assert blocks() - before < GROWTH
    assert day.loop.counters.plans > 800
    assert day.loop.counters.solver_restarts >= 6


def test_growth_is_seen(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure is one: a loop that keeps its answers does not pass."""
    kept = []
    poll = day.loop.poll
    monkeypatch.setattr(day.loop, "poll", lambda: kept.append(poll()))
    with no_collector():
        before = blocks()
        day.goes_on(100)
        gc.collect()
        assert blocks() - before > GROWTH


def test_latencies_are_counted_in_place(day: Day) -> None:
    counts = {stage: histogram.counts for stage, histogram in day.loop.latencies.stages.items()}
    before = {stage: array.sum() for stage, array in counts.items()}
    day.goes_on(10)
    for stage, histogram in day.loop.latencies.stages.items():
        assert histogram.counts is counts[stage]
    assert counts["solve"].sum() == before["solve"] + 10


def test_a_plan_is_not_chained_to_the_one_before(day: Day) -> None:
    plan = day.loop.plan
    assert plan is not None
    assert not [other for other in gc.get_referents(plan) if isinstance(other, Plan)]
    assert replace(plan, t0=1.0) is not plan
