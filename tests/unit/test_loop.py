"""loop.py: from states to commands with a solver that answers when the test says so, on a clock that the test moves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.control.loop import Answer, MpcLoop
from dpvp.control.states import LoopState, Reason
from dpvp.errors import GoalError, MessageError
from dpvp.plan import Advice, Plan, PlanStatus, State, Timings, Verdict
from dpvp.robot import Robot
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Task

Array = NDArray[np.float64]
IDLE, HOLD, TRACK, FAULT = LoopState
PERIOD = 0.01
T = 5


@dataclass
class Clock:
    """Seconds, moved by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeSolver:
    """A solver process that thinks until `answer`; `broken` plans come with a status of their own."""

    clock: Clock
    pid: int
    alive: bool = True
    ready: bool = True
    closed: bool = False
    busy_since: float | None = None
    posts: list[tuple[Array, Array, float, bool]] = field(default_factory=list)
    finished: Plan | None = None
    lock_step: Callable[[], Plan | None] = lambda: None

    def post(self, x: Array, goal: Array, t: float, *, fresh: bool = False, plain: bool = False) -> None:
        assert self.busy_since is None, "asked while it thinks"
        self.posts.append((x.copy(), goal.copy(), t, fresh))
        self.busy_since = self.clock()

    def take(self) -> Plan | None:
        plan, self.finished = self.finished, None
        if plan is not None:
            self.busy_since = None
        return plan

    def wait(self, timeout: float) -> Plan | None:
        self.finished = self.lock_step()
        return self.take()

    def close(self) -> None:
        self.closed = True

    def answer(self, status: PlanStatus = PlanStatus.OK, guess: str = "shift") -> Plan:
        """Finish the plan for the last state that was posted."""
        x, _, t, _ = self.posts[-1]
        rng = np.random.default_rng(len(self.posts))
        xs = x + np.outer(np.arange(T + 1), np.repeat([0.01, 0.0], 7))
        us, gains = rng.normal(size=(T, 7)), rng.normal(size=(T, 7, 14))
        self.finished = Plan(t, 0.03, xs, us, gains, 1.0, 2.0, guess, status, 3, Timings(0.001, 0.003, 0.001))
        return self.finished


class Bench:
    """A loop, its clock and its solvers, in the order in which they were started."""

    def __init__(self, scenario: Scenario, goal: Array | None) -> None:
        self.clock, self.solvers = Clock(), list[FakeSolver]()
        self.loop = MpcLoop(scenario, self.start, clock=self.clock)  # type: ignore[arg-type]
        self.x = np.concatenate([scenario.robot.nominal, np.zeros(7)])
        if goal is not None:
            self.loop.course.aim(goal)

    def start(self) -> FakeSolver:
        self.solvers.append(FakeSolver(self.clock, pid=1000 + len(self.solvers)))
        return self.solvers[-1]

    @property
    def solver(self) -> FakeSolver:
        return self.solvers[-1]

    @property
    def found(self) -> tuple[LoopState, Reason]:
        return self.loop.decision.state, self.loop.decision.reason

    def period(self, x: Array | None = None, *, t: float | None = None) -> Answer | None:
        """Let a period pass and tick with a new state, stamped with the clock's time unless `t` says otherwise."""
        self.clock.now += PERIOD
        self.x = self.x if x is None else x
        self.loop.sense(State(self.clock.now if t is None else t, self.x))
        return self.loop.tick()

    def planned(self, status: PlanStatus = PlanStatus.OK) -> Answer | None:
        """A period at whose end the solver answers."""
        self.period()
        self.clock.now += 0.004
        self.solver.answer(status)
        return self.loop.poll()

    def tracking(self) -> Answer:
        """Ask for tracking and get there."""
        self.loop.ask(TRACK)
        answer = self.planned()
        assert answer is not None
        assert self.found == (TRACK, Reason.ASKED)
        return answer


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """Commands are those of plans; what observer and guard make of their torques is looked at elsewhere."""
    return load_scenario("kuka_reach", ("loop.observer.bandwidth=0", "safety.torque_rate=1000000"))


@pytest.fixture
def bench(scenario: Scenario, goal: Array) -> Bench:
    return Bench(scenario, goal)


def holds(answer: Answer | None, robot: Robot, x: Array) -> bool:
    """True if the command keeps the posture of `x`."""
    assert answer is not None
    command = answer.command
    np.testing.assert_array_equal(command.x0, np.concatenate([x[:7], np.zeros(7)]))
    np.testing.assert_allclose(command.u0, robot.gravity(x[:7]))
    expected = np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)])
    return np.array_equal(command.gain, expected) and answer.plan is None


class TestStates:
    """IDLE, HOLD, TRACK and back."""

    def test_nothing_is_commanded_unasked(self, bench: Bench) -> None:
        for _ in range(3):
            assert bench.period() is None
        assert bench.found == (IDLE, Reason.ASKED)
        assert not bench.solver.posts

    @pytest.mark.parametrize("asked", [HOLD, TRACK])
    def test_nothing_is_commanded_without_a_state(self, bench: Bench, asked: LoopState) -> None:
        bench.loop.ask(asked)
        assert bench.loop.tick() is None
        assert bench.found == (IDLE, Reason.NO_STATE)

    def test_the_whole_round(self, bench: Bench, robot: Robot) -> None:
        """HOLD, TRACK, HOLD for want of plans, TRACK again by itself."""
        loop = bench.loop
        loop.ask(HOLD)
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.ASKED)
        loop.ask(TRACK)
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.NO_PLAN)
        bench.solver.answer()
        assert loop.poll() is not None
        assert bench.found == (TRACK, Reason.ASKED)
        bench.x = bench.x + 0.02
        for _ in range(9):
            assert bench.period() is None  # the last plan is followed by the plant
            assert bench.found == (TRACK, Reason.ASKED)
        bench.clock.now += 0.01
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.NO_PLAN)
        bench.solver.answer()
        assert loop.poll() is None  # it begins where the robot was long ago
        assert bench.planned() is not None
        assert bench.found == (TRACK, Reason.ASKED)

    def test_holding_keeps_one_posture(self, bench: Bench, robot: Robot) -> None:
        bench.loop.ask(HOLD)
        held = bench.x
        for k in range(5):
            assert holds(bench.period(held + 0.01 * k), robot, held)
        bench.loop.ask(HOLD)  # again: from here
        assert holds(bench.period(held + 0.05), robot, held + 0.05)

    def test_leaving_and_coming_back_holds_anew(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        bench.loop.ask(HOLD)
        assert holds(bench.period(bench.x + 0.03), robot, bench.x)
        bench.loop.ask(IDLE)
        assert bench.period() is None
        bench.loop.ask(HOLD)
        assert holds(bench.period(bench.x + 0.03), robot, bench.x)

    def test_without_a_goal(self, scenario: Scenario, robot: Robot) -> None:
        bench = Bench(scenario, None)
        bench.loop.ask(TRACK)
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.NO_GOAL)
        assert not bench.solver.posts

    def test_while_the_solver_starts(self, bench: Bench, robot: Robot) -> None:
        bench.solver.ready = False
        bench.loop.ask(TRACK)
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.SOLVER_STARTING)
        bench.solver.ready = True
        bench.planned()
        assert bench.found == (TRACK, Reason.ASKED)


class TestCommands:
    """What goes to the plant."""

    def test_it_is_the_first_node_of_the_plan(self, bench: Bench, scenario: Scenario) -> None:
        answer = bench.tracking()
        plan = bench.loop.plan
        assert plan is not None
        assert answer.plan is plan
        assert answer.command.t == answer.state.t == plan.t0
        np.testing.assert_array_equal(answer.command.x0, plan.xs[0])
        np.testing.assert_array_equal(answer.command.u0, plan.us[0])
        np.testing.assert_array_equal(answer.command.gain, plan.gains[0])
        timeout = scenario.config.feedback.command_timeout
        assert timeout is not None
        assert answer.command.valid_until == pytest.approx(answer.state.t + timeout)

    def test_validity_counts_from_the_state_also_when_holding(self, bench: Bench, scenario: Scenario) -> None:
        bench.loop.ask(HOLD)
        answer = bench.period()
        assert answer is not None
        assert answer.command.valid_until == pytest.approx(bench.clock.now + 0.2)

    def test_without_timeout_it_is_valid_for_ever(self, goal: Array) -> None:
        bench = Bench(load_scenario("kuka_reach", ("feedback.command_timeout=null",)), goal)
        assert bench.tracking().command.valid_until == np.inf

    def test_the_mark_of_the_state_comes_back(self, bench: Bench) -> None:
        stamp = object()
        bench.loop.ask(TRACK)
        bench.loop.sense(State(1.0, bench.x, stamp))
        held = bench.loop.tick()
        bench.solver.answer()
        answer = bench.loop.poll()
        assert held is not None
        assert answer is not None
        assert held.state.mark is answer.state.mark is stamp

    def test_the_plan_before_stays_where_one_is_unsound(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        good = bench.loop.plan
        for spoilt in ("us", "gains"):
            bench.period()
            plan = bench.solver.answer()
            value = plan.us + 1e4 if spoilt == "us" else np.full_like(plan.gains, np.nan)
            bench.solver.finished = replace(plan, **{spoilt: value})
            answer = bench.loop.poll()
            assert answer is not None
            assert answer.plan is None
            assert bench.loop.plan is good
        assert bench.loop.counters.rejected["UNSOUND"] == 2
        for _ in range(10):
            bench.period()
        assert bench.found == (HOLD, Reason.PLANS_REJECTED)
        bench.solver.answer()
        assert bench.loop.poll() is not None
        assert bench.found == (TRACK, Reason.ASKED)

    def test_a_state_faster_than_any_motor_is_refused(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        x = bench.x.copy()
        x[9] = -1.4 * robot.limits.velocity[2]
        with pytest.raises(MessageError, match=r"state has lbr_A3 at 1\.4 times its velocity limit"):
            bench.period(x)

    def test_what_must_not_reach_the_plant_is_withheld(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.loop.ask(TRACK)
        bench.period()
        plan = bench.solver.answer()
        bench.solver.finished = replace(plan, gains=1e6 * plan.gains)
        assert bench.loop.poll() is None
        assert "command withheld" in caplog.text
        assert bench.loop.plan is None

    def test_no_plan_from_before_a_hold_is_followed_after_it(self, bench: Bench) -> None:
        bench.tracking()
        bench.clock.now += 0.06
        bench.loop.tick()
        assert bench.found == (HOLD, Reason.STALE_STATE)
        bench.period()
        assert bench.found == (HOLD, Reason.NO_PLAN)
        assert bench.planned() is not None
        assert bench.found == (TRACK, Reason.ASKED)

    def test_a_plan_that_comes_too_late_is_not_followed(self, bench: Bench) -> None:
        """The robot held meanwhile, and is not where the plan begins."""
        bench.tracking()
        bench.period()
        for _ in range(15):
            bench.clock.now += PERIOD
            bench.loop.sense(State(bench.clock.now, bench.x))
            bench.loop.tick()
        assert bench.found == (HOLD, Reason.NO_PLAN)
        bench.solver.answer()
        assert bench.loop.poll() is None
        assert bench.loop.counters.rejected["TOO_LATE"] == 1
        assert bench.planned() is not None
        assert bench.solver.posts[-1][3], "starts afresh"

    def test_nothing_new_nothing_said(self, bench: Bench) -> None:
        bench.tracking()
        assert bench.loop.poll() is None


class TestAsking:
    """What the solver is asked, and when."""

    def test_once_at_a_time_and_about_the_newest_state(self, bench: Bench, goal: Array) -> None:
        bench.tracking()
        first = bench.period(bench.x + 0.01)
        bench.period(bench.x + 0.01)
        assert first is None
        assert len(bench.solver.posts) == 2
        bench.solver.answer()
        bench.loop.poll()
        bench.period(bench.x + 0.01)
        x, asked_goal, t, _ = bench.solver.posts[2]
        np.testing.assert_array_equal(x, bench.x)
        np.testing.assert_array_equal(asked_goal, goal)
        assert t == bench.clock.now

    def test_the_first_plan_is_fresh_the_next_ones_are_not(self, bench: Bench) -> None:
        bench.tracking()
        bench.planned()
        assert [fresh for _, _, _, fresh in bench.solver.posts] == [True, False]
        bench.loop.ask(HOLD)
        bench.period()
        bench.loop.ask(TRACK)
        bench.planned()
        assert bench.solver.posts[-1][3]

    def test_a_new_goal_goes_along(self, bench: Bench, task: Task, robot: Robot) -> None:
        bench.tracking()
        elsewhere = robot.frame_position(np.full(7, 0.5))
        bench.loop.course.aim(elsewhere)
        bench.planned()
        np.testing.assert_array_equal(bench.solver.posts[-1][1], elsewhere)
        assert not bench.solver.posts[-1][3]  # the plan at hand is still a guess

    def test_a_refused_goal_leaves_the_old_one(self, bench: Bench, goal: Array) -> None:
        for wrong in ([3.0, 0.0, 0.5], [0.5, np.nan, 0.5], [0.5, 0.5]):
            with pytest.raises(GoalError):
                bench.loop.course.aim(wrong)
        np.testing.assert_array_equal(bench.loop.course.goal, goal)

    def test_the_goal_is_not_the_callers_array(self, bench: Bench, goal: Array) -> None:
        mine = goal.copy()
        bench.loop.course.aim(mine)
        mine[2] = -5.0
        np.testing.assert_array_equal(bench.loop.course.goal, goal)


class TestStaleStates:
    """A sensor that falls silent."""

    def test_it_holds_where_the_arm_was_seen_last(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        bench.period()
        seen = bench.clock.now
        bench.clock.now += 0.051
        answer = bench.loop.tick()
        assert bench.found == (HOLD, Reason.STALE_STATE)
        assert holds(answer, robot, bench.x)
        assert answer is not None
        assert answer.command.valid_until == pytest.approx(seen + 0.2)  # the plant knows that this is old
        assert len(bench.solver.posts) == 2

    def test_the_same_state_again_is_no_news(self, bench: Bench) -> None:
        bench.tracking()
        frozen = bench.clock.now
        for _ in range(6):
            bench.period(t=frozen)
        assert bench.found == (HOLD, Reason.STALE_STATE)

    def test_it_goes_on_when_states_come_again(self, bench: Bench) -> None:
        bench.tracking()
        bench.clock.now += 0.06
        bench.loop.tick()
        assert bench.found == (HOLD, Reason.STALE_STATE)
        assert bench.planned() is not None
        assert bench.found == (TRACK, Reason.ASKED)

    def test_a_refused_state_is_counted_and_said_once_a_second(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(250):
            bench.clock.now += PERIOD
            bench.loop.refuse_state(MessageError("state is not finite at lbr_A1"))
        assert bench.loop.counters.bad_states == 250
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
        assert "250" not in caplog.records[0].message
        assert "not finite at lbr_A1" in caplog.text


class TestSolverTrouble:
    """A solver that dies or hangs is replaced."""

    def test_death(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        bench.period()
        dead = bench.solver
        dead.alive = False
        start = bench.start

        def slowly() -> FakeSolver:
            solver = start()
            solver.ready = False
            return solver

        bench.loop._start_solver = slowly  # type: ignore[assignment]
        assert holds(bench.period(), robot, bench.x)
        assert dead.closed
        assert len(bench.solvers) == 2
        assert bench.loop.solver is bench.solver  # type: ignore[comparison-overlap]
        assert bench.found == (HOLD, Reason.SOLVER_LOST)
        assert bench.loop.counters.solver_restarts == 1
        for _ in range(5):  # it is given its time
            assert holds(bench.period(), robot, bench.x)
        assert len(bench.solvers) == 2
        bench.solver.ready = True
        assert bench.planned() is not None
        assert bench.found == (TRACK, Reason.ASKED)
        assert bench.solver.posts[0][3]

    def test_hanging(self, bench: Bench, scenario: Scenario) -> None:
        bench.tracking()
        bench.period()  # from here it thinks
        for _ in range(round(scenario.config.loop.solver_timeout / PERIOD) - 1):
            bench.period()
        assert len(bench.solvers) == 1
        for _ in range(3):
            bench.period()
        assert len(bench.solvers) == 2
        assert bench.solvers[0].closed
        assert bench.planned() is not None

    def test_death_while_holding(self, bench: Bench, robot: Robot) -> None:
        bench.loop.ask(HOLD)
        bench.period()
        bench.solver.alive = False
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.ASKED)
        assert len(bench.solvers) == 2

    def test_closing_ends_the_solver(self, bench: Bench) -> None:
        bench.loop.close()
        assert bench.solver.closed


class TestRejectedPlans:
    """Plans whose status says that they must not be followed."""

    @pytest.mark.parametrize("status", [status for status in PlanStatus if not status.usable])
    def test_the_last_usable_plan_goes_on(self, bench: Bench, status: PlanStatus) -> None:
        bench.tracking()
        good = bench.loop.plan
        assert good is not None
        answer = bench.planned(status)
        assert answer is not None
        assert answer.plan is None
        assert bench.loop.plan is good
        expected = good.command(answer.state.t, 0.2)
        np.testing.assert_array_equal(answer.command.x0, expected.x0)
        np.testing.assert_array_equal(answer.command.u0, expected.u0)
        np.testing.assert_array_equal(answer.command.gain, expected.gain)
        assert not np.array_equal(answer.command.x0, good.xs[0])  # time has passed on it
        assert bench.loop.counters.rejected == {status.name: 1}

    def test_but_not_for_long(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        answers = [bench.planned(PlanStatus.GAPS_OPEN) for _ in range(10)]
        assert all(answer is not None for answer in answers[:6])
        assert answers[-1] is None
        assert bench.found == (HOLD, Reason.PLANS_REJECTED)
        assert holds(bench.period(), robot, bench.x)
        bench.solver.answer()
        assert bench.loop.poll() is not None
        assert bench.found == (TRACK, Reason.ASKED)

    def test_from_the_start_there_is_nothing_to_fall_back_on(self, bench: Bench, robot: Robot) -> None:
        bench.loop.ask(TRACK)
        assert bench.planned(PlanStatus.NOT_FINITE) is None
        assert holds(bench.period(), robot, bench.x)
        assert bench.found == (HOLD, Reason.PLANS_REJECTED)

    def test_a_plan_of_an_earlier_run_is_nothing_to_fall_back_on(self, bench: Bench) -> None:
        bench.tracking()
        bench.loop.ask(HOLD)
        bench.period()
        bench.loop.ask(TRACK)
        assert bench.planned(PlanStatus.NOT_FINITE) is None
        assert bench.found == (HOLD, Reason.NO_PLAN)


class TestJumps:
    """States that no arm can have reached: a reset of the plant, a clock that is set back."""

    def test_a_far_posture_is_held_and_planned_for_afresh(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        assert holds(bench.period(bench.x + np.repeat([1.0, 0.0], 7)), robot, bench.x)
        assert bench.found == (HOLD, Reason.NO_PLAN)
        bench.solver.answer()
        assert bench.loop.poll() is not None
        assert bench.found == (TRACK, Reason.ASKED)
        assert bench.solver.posts[-1][3]

    def test_a_plan_from_before_the_jump_is_not_followed(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        bench.period()
        before = bench.loop.plan
        here = bench.x + np.repeat([1.0, 0.0], 7)
        assert holds(bench.period(here), robot, here)
        bench.solver.answer()  # what it was thinking about lies a radian away
        assert bench.loop.poll() is None
        assert bench.loop.plan is before
        assert holds(bench.period(here), robot, here)
        bench.solver.answer()
        answer = bench.loop.poll()
        assert answer is not None
        np.testing.assert_array_equal(answer.command.x0, here)

    def test_nor_is_it_fallen_back_on(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        here = bench.x + np.repeat([1.0, 0.0], 7)
        assert holds(bench.period(here), robot, here)
        bench.solver.answer(PlanStatus.NOT_FINITE)
        assert bench.loop.poll() is None

    def test_time_that_runs_backwards(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        assert holds(bench.period(t=1.0), robot, bench.x)
        assert bench.found == (HOLD, Reason.NO_PLAN)
        assert bench.solver.posts[-1][3]

    def test_holding_goes_on_from_the_new_posture(self, bench: Bench, robot: Robot) -> None:
        bench.loop.ask(HOLD)
        bench.period()
        here = bench.x + np.repeat([1.0, 0.0], 7)
        assert holds(bench.period(here), robot, here)

    def test_fast_motion_and_gaps_in_the_stream_are_none(self, bench: Bench, robot: Robot) -> None:
        bench.tracking()
        for k in (1, 3):
            bench.clock.now += (k - 1) * PERIOD
            bench.period(bench.x + np.concatenate([robot.limits.velocity * k * PERIOD, np.zeros(7)]))
            assert bench.found == (TRACK, Reason.ASKED)


class TestLatePlans:
    """Plans that were asked for in another life."""

    def test_a_plan_from_before_idle_is_not_followed(self, bench: Bench) -> None:
        bench.tracking()
        bench.period()  # the solver thinks
        bench.loop.ask(IDLE)
        bench.period()
        bench.solver.answer()
        for _ in range(100):  # somebody moves the arm
            bench.period(bench.x + np.repeat([0.01, 0.0], 7))
        bench.loop.ask(TRACK)
        bench.period()
        assert bench.loop.poll() is None
        assert bench.found == (HOLD, Reason.NO_PLAN)
        assert bench.planned() is not None

    def test_a_plan_for_another_state_is_not_followed(self, bench: Bench) -> None:
        bench.tracking()
        bench.period()
        plan = bench.solver.answer()
        bench.solver.finished = replace(plan, t0=plan.t0 - 1.0)
        before = bench.loop.plan
        assert bench.loop.poll() is None
        assert bench.loop.plan is before


class TestArrival:
    """The goal is reached, and this is said once."""

    def said(self, caplog: pytest.LogCaptureFixture) -> int:
        return sum("goal reached" in record.message for record in caplog.records)

    def test_once_per_goal(self, bench: Bench, robot: Robot, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        here = robot.frame_position(robot.nominal)
        bench.loop.course.aim(here)
        bench.tracking()
        for _ in range(3):
            bench.planned()
        assert self.said(caplog) == 1
        assert "0.0 mm away" in caplog.text
        bench.loop.course.aim(here)
        bench.planned()
        assert self.said(caplog) == 2

    def test_not_on_the_way(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        bench.tracking()
        bench.planned()
        assert self.said(caplog) == 0

    def test_not_in_passing_and_not_while_holding(
        self, bench: Bench, robot: Robot, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        bench.loop.course.aim(robot.frame_position(robot.nominal))
        bench.loop.ask(HOLD)
        bench.period()
        bench.x = bench.x + np.repeat([0.0, 0.5], 7)
        bench.tracking()
        bench.planned()
        assert self.said(caplog) == 0


class TestCounters:
    """What monitors see."""

    def test_periods_and_missed_ones(self, bench: Bench) -> None:
        bench.tracking()
        counters = bench.loop.counters
        assert (counters.periods, counters.missed) == (0, 0)  # the one that began tracking was not yet one of it
        bench.planned()
        assert (counters.periods, counters.missed) == (1, 0)
        bench.period()
        bench.period()  # the solver still thinks
        assert (counters.periods, counters.missed) == (3, 1)
        bench.loop.tick(skipped=4)
        assert (counters.periods, counters.missed, counters.missed_asleep) == (8, 6, 4)
        bench.loop.ask(HOLD)
        bench.period()
        assert counters.periods == 8

    def test_the_report(self, bench: Bench) -> None:
        fresh = bench.loop.report()
        assert (fresh["state"], fresh["reason"], fresh["plans"]) == ("IDLE", "ASKED", "0")
        bench.tracking()
        bench.planned()
        bench.planned(PlanStatus.GAPS_OPEN)
        bench.clock.now += 0.001
        report = bench.loop.report()
        expected = {
            "state": "TRACK",
            "reason_text": "as asked",
            "plans": "3",
            "guess_shift": "3",
            "rejected_gaps_open": "1",
            "plan_ms_p50": "5.000",
            "plan_ms_p99": "5.000",
            "state_age_ms": "5.00",
            "plan_age_ms": "15.00",
            "periods": "2",
            "missed_share": "0.00000",
            "missed_asleep": "0",
            "latency_solve_ms_p50": "3.000",
            "latency_solve_ms_max": "3.000",
            "solver_restarts": "0",
            "solver_pid": "1000",
            "plan_cost": "1",
        }
        assert {key: report[key] for key in expected} == expected
        assert float(report["goal_error"]) > 0.1
        assert all(isinstance(value, str) for value in report.values())

    def test_what_became_of_learned_advice(self, bench: Bench) -> None:
        bench.tracking()
        assert not [key for key in bench.loop.report() if key.startswith(("value_", "policy_"))]
        said = [Advice(Verdict.USED), Advice(Verdict.USED, policy_refused=True), Advice(Verdict.DISAGREEMENT)]
        for advice in said:
            bench.period()
            bench.solver.finished = replace(bench.solver.answer(), advice=advice)
            bench.loop.poll()
        report = bench.loop.report()
        expected = {"value_used": "2", "value_refused_disagreement": "1", "policy_refused": "1"}
        assert {key: report[key] for key in report if key.startswith(("value_", "policy_"))} == expected


class TestLockStep:
    """The plant waits for each answer."""

    def test_every_state_is_answered(self, bench: Bench) -> None:
        bench.loop.ask(TRACK)
        bench.solver.lock_step = bench.solver.answer
        for k in range(5):
            answer = bench.loop.step(State(0.01 * k, bench.x))
            assert answer is not None
            assert answer.command.t == 0.01 * k
            assert answer.plan is not None
        assert bench.found == (TRACK, Reason.ASKED)

    def test_nothing_ages_while_the_plant_waits(self, bench: Bench) -> None:
        bench.loop.ask(TRACK)
        bench.solver.lock_step = bench.solver.answer
        for k in range(3):
            bench.loop.step(State(0.01 * k, bench.x))
            bench.clock.now += 60.0
        answer = bench.loop.step(State(0.03, bench.x))
        assert answer is not None
        assert answer.plan is not None
        assert bench.loop.counters.solver_restarts == 0

    def test_a_slow_plan_is_waited_for(self, bench: Bench) -> None:
        """However long it takes: the same answers on a fast machine and on a slow one."""
        bench.loop.ask(TRACK)

        def slowly() -> Plan:
            bench.clock.now += 5.0
            return bench.solver.answer()

        bench.solver.lock_step = slowly
        for k in range(3):
            answer = bench.loop.step(State(0.01 * k, bench.x))
            assert answer is not None
            assert answer.plan is not None
            assert bench.found == (TRACK, Reason.ASKED)

    def test_plans_age_by_the_time_of_the_plant(self, bench: Bench, robot: Robot) -> None:
        """Without a usable plan for too long it holds, as it does in real time."""
        bench.loop.ask(TRACK)
        bench.solver.lock_step = bench.solver.answer
        bench.loop.step(State(0.0, bench.x))
        bench.solver.lock_step = lambda: bench.solver.answer(PlanStatus.OUT_OF_LIMITS)
        for k in range(1, 10):
            answer = bench.loop.step(State(0.01 * k, bench.x))
            assert bench.found == (TRACK, Reason.ASKED)
            assert answer is not None
        assert holds(bench.loop.step(State(0.11, bench.x)), robot, bench.x)
        assert bench.found == (HOLD, Reason.PLANS_REJECTED)
        bench.solver.lock_step = bench.solver.answer
        bench.loop.step(State(0.12, bench.x))
        assert bench.found == (TRACK, Reason.ASKED)

    def test_a_state_that_is_sent_again_is_answered_again(self, bench: Bench) -> None:
        bench.loop.ask(TRACK)
        bench.solver.lock_step = bench.solver.answer
        for _ in range(3):
            answer = bench.loop.step(State(0.5, bench.x))
            assert answer is not None
            assert answer.command.t == 0.5

    def test_holding_needs_no_solver(self, bench: Bench, robot: Robot) -> None:
        bench.loop.ask(HOLD)
        assert holds(bench.loop.step(State(0.0, bench.x)), robot, bench.x)
        assert not bench.solver.posts

    def test_where_no_usable_plan_comes_it_holds(self, bench: Bench, robot: Robot) -> None:
        bench.loop.ask(TRACK)
        bench.solver.lock_step = lambda: bench.solver.answer(PlanStatus.NOT_FINITE)
        assert holds(bench.loop.step(State(0.0, bench.x)), robot, bench.x)
        bench.solver.lock_step = lambda: None
        assert holds(bench.loop.step(State(0.01, bench.x)), robot, bench.x)

    def test_after_a_jump_it_plans_afresh(self, bench: Bench) -> None:
        bench.loop.ask(TRACK)
        bench.solver.lock_step = bench.solver.answer
        bench.loop.step(State(0.0, bench.x))
        here = bench.x + np.repeat([1.0, 0.0], 7)
        answer = bench.loop.step(State(0.01, here))
        assert answer is not None
        np.testing.assert_array_equal(answer.command.x0, here)
        assert bench.solver.posts[-1][3]


def test_what_the_model_does_not_know_is_taken_off_the_feed_forward(goal: Array, robot: Robot) -> None:
    bench = Bench(load_scenario("kuka_reach", ("loop.observer.bandwidth=5",)), goal)
    bench.tracking()
    bench.period(bench.x + np.repeat([0.0, 0.05], 7))  # it sped up as no plan of its own would have made it
    bench.solver.answer()
    answer = bench.loop.poll()
    assert answer is not None
    assert answer.plan is not None
    off = answer.plan.us[0] - answer.command.u0
    assert np.abs(off).max() > 0.1
    assert (np.abs(off) <= 0.15 * robot.limits.effort + 1e-9).all()


class TestTime:
    """What goes on while the loop works: goals that move, and the time that an answer takes."""

    def test_commands_are_ahead_of_their_states_by_the_lead(self, goal: Array) -> None:
        scenario = load_scenario("kuka_reach", ("loop.lead=0.012",))
        bench = Bench(scenario, goal)
        command, plan = bench.tracking().command, bench.loop.plan
        assert plan is not None
        np.testing.assert_array_equal(command.x0, plan.at(plan.t0 + 0.012))
        assert command.t == pytest.approx(plan.t0 + 0.012)
        timeout = scenario.config.feedback.command_timeout
        assert timeout is not None
        assert command.valid_until == pytest.approx(plan.t0 + timeout), "no longer valid than it would be without"

    def test_in_lock_step_no_time_passes(self, goal: Array) -> None:
        bench = Bench(load_scenario("kuka_reach", ("loop.lead=0.012",)), goal)
        bench.loop.ask(TRACK)
        bench.solver.lock_step = bench.solver.answer
        answer = bench.loop.step(State(0.0, bench.x))
        assert answer is not None
        np.testing.assert_array_equal(answer.command.x0, bench.x)

    def test_the_goal_is_where_it_is_at_the_time_of_the_state(self) -> None:
        scenario = load_scenario("leg_track")
        task, period = scenario.task, 0.25  # of a second: a quarter of the way around
        bench = Bench.__new__(Bench)
        bench.clock, bench.solvers = Clock(), []
        bench.loop = MpcLoop(scenario, bench.start, clock=bench.clock)  # type: ignore[arg-type]
        goal = bench.loop.course.aim(scenario.goal)
        on_path = task.reference(task.later(goal, period), 0).xs[0]  # type: ignore[attr-defined]
        bench.loop.sense(State(period, on_path))
        assert float(bench.loop.report()["goal_error"]) == pytest.approx(0.0, abs=1e-5)
        assert task.error(on_path, goal) > 0.01
