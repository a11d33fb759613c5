"""ddp.py, csqp.py, solve.py: optima, budgets, limits, gains, and what is left of a planner after nonsense."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import crocoddyl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.plan import Plan, PlanStatus
from dpvp.planning import solve as solve_module
from dpvp.planning.check import PlanCheck
from dpvp.planning.csqp import CsqpPlanner
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import Guess, HoldGuess, ShiftGuess, best_guess
from dpvp.planning.planner import Budget, Planner
from dpvp.planning.solve import Iterations, RiccatiGains, Trajectory, within_budget
from dpvp.robot import Robot
from dpvp.tasks.task import Task, TerminalWeights

Array = NDArray[np.float64]
T = 30
WEIGHTS = TerminalWeights(20.0, 2.0)
KINDS = ["ddp", "csqp"]
Make = Callable[[str], Planner]


@pytest.fixture(scope="module")
def make(task: Task) -> Make:
    """A new planner of a kind; the problems are built once."""
    problems = {kind: task.ocp(T, WEIGHTS, hard_limits=kind == "csqp") for kind in KINDS}

    def make(kind: str) -> Planner:
        check = PlanCheck(task.robot.limits, hard_limits=kind == "csqp")
        return (CsqpPlanner if kind == "csqp" else DdpPlanner)(problems[kind], check)

    return make


@pytest.fixture(scope="module")
def nearby(robot: Robot) -> Array:
    """A goal so close that no limit matters on the way."""
    return robot.frame_position(robot.nominal) + [0.05, 0.05, -0.05]


def hold(planner: Planner, x: Array, goal: Array) -> Guess:
    return best_guess([HoldGuess()], planner.ocp, x, goal, 0.0, None)


def ask(planner: Planner, x: Array, goal: Array, iterations: int) -> Plan:
    return planner.plan(x, goal, 0.0, hold(planner, x, goal), Budget(iterations))


class TestOptimum:
    """What is found when there is time."""

    def test_where_limits_are_far_both_planners_agree(self, make: Make, at_rest: Array, nearby: Array) -> None:
        ddp, csqp = (ask(make(kind), at_rest, nearby, 60) for kind in KINDS)
        assert ddp.status is csqp.status is PlanStatus.OK
        assert csqp.cost == pytest.approx(ddp.cost, rel=1e-3)
        np.testing.assert_allclose(csqp.xs, ddp.xs, atol=5e-3)
        np.testing.assert_allclose(csqp.us, ddp.us, atol=0.2)

    def test_only_csqp_keeps_the_velocity_limits(
        self, make: Make, task: Task, robot: Robot, at_rest: Array, goal: Array
    ) -> None:
        ddp, csqp = (ask(make(kind), at_rest, goal, 60) for kind in KINDS)
        speed = {name: np.abs(plan.xs[:, 7:]) / robot.limits.velocity for name, plan in (("ddp", ddp), ("csqp", csqp))}
        assert speed["ddp"].max() > 1.3
        assert speed["csqp"].max() < task.config.velocity_share + 0.01  # type: ignore[attr-defined]
        assert ddp.status is PlanStatus.OUT_OF_LIMITS
        assert csqp.status is PlanStatus.OK
        assert ddp.cost < csqp.cost < 0.5 * csqp.guess_cost

    def test_csqp_keeps_position_limits(self, make: Make, robot: Robot, goal: Array) -> None:
        """Towards the stop of A4 at speed, a hand's breadth before it."""
        q, v = robot.nominal.copy(), np.zeros(7)
        q[3], v[3] = robot.limits.position_upper[3] - 0.1, 1.0
        for kind, kept in (("ddp", False), ("csqp", True)):
            plan = ask(make(kind), np.concatenate([q, v]), robot.frame_position(q) + [0.0, 0.0, -0.1], 20)
            assert bool(plan.xs[:, 3].max() < robot.limits.position_upper[3] + 1e-3) is kept

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("iterations", [1, 2, 3])
    def test_a_few_iterations_leave_no_gap(
        self, make: Make, at_rest: Array, goal: Array, kind: str, iterations: int
    ) -> None:
        planner = make(kind)
        plan = ask(planner, at_rest, goal, iterations)
        assert planner.ocp.gap(plan.xs, plan.us) < 1e-3
        assert plan.cost == pytest.approx(planner.ocp.cost(plan.xs, plan.us), rel=1e-12)
        np.testing.assert_array_equal(plan.xs[0], at_rest)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_answer_says_where_it_comes_from(self, make: Make, at_rest: Array, nearby: Array, kind: str) -> None:
        planner = make(kind)
        guess = replace(hold(planner, at_rest, nearby), name="policy")
        plan = planner.plan(at_rest, nearby, 12.5, guess, Budget(4))
        assert (plan.t0, plan.dt, plan.horizon) == (12.5, 0.03, T)
        assert (plan.guess, plan.guess_cost) == ("policy", guess.cost)
        assert plan.gains.shape == (T, 7, 14)
        assert plan.timings.solve > 0.0
        assert plan.timings.check > 0.0

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_plan_survives_the_next_solve(
        self, make: Make, at_rest: Array, nearby: Array, goal: Array, kind: str
    ) -> None:
        planner = make(kind)
        plan = ask(planner, at_rest, nearby, 5)
        kept = plan.xs.copy(), plan.us.copy(), plan.gains.copy()
        ask(planner, at_rest + 0.1, goal, 5)
        for array, copy in zip((plan.xs, plan.us, plan.gains), kept, strict=True):
            np.testing.assert_array_equal(array, copy)


class TestBudget:
    """Iterations against the clock."""

    class Clock:
        """A stopwatch whose splits are given beforehand, s."""

        def __init__(self, splits: list[float]) -> None:
            self._splits = iter(splits)

        def split(self) -> float:
            return next(self._splits)

    @pytest.mark.parametrize(
        ("splits", "budget", "done"),
        [
            ([5.0] * 9, Budget(9, 0.0), 1),  # the first is always done
            ([5.0] * 9, Budget(9, 1e-9), 1),
            ([1.0] * 9, Budget(9, 1.9), 1),
            ([1.0] * 9, Budget(9, 2.0), 2),
            ([1.0] * 9, Budget(9, 8.5), 8),
            ([1.0] * 9, Budget(9), 9),
            ([1.0] * 9, Budget(4, 100.0), 4),
            ([1.0, 3.0, 1.0, 1.0], Budget(9, 6.9), 2),  # the pace is that of the slowest: 4 s used, 3 s to come
            ([1.0, 3.0, 1.0, 1.0], Budget(9, 7.5), 3),
            ([1.0, 3.0, 1.0, 1.0], Budget(9, 8.0), 4),
        ],
    )
    def test_no_iteration_starts_that_would_end_late(
        self, monkeypatch: pytest.MonkeyPatch, splits: list[float], budget: Budget, done: int
    ) -> None:
        monkeypatch.setattr(solve_module, "Stopwatch", lambda: self.Clock([*splits, *[1.0] * 9]))
        calls: list[int] = []
        assert within_budget(budget, lambda: bool(calls.append(1))) == done
        assert len(calls) == done

    @given(converged=st.integers(1, 20), most=st.integers(1, 20))
    def test_it_ends_with_convergence(self, converged: int, most: int) -> None:
        calls: list[int] = []

        def iterate() -> bool:
            calls.append(1)
            return len(calls) == converged

        assert within_budget(Budget(most), iterate) == min(converged, most) == len(calls)

    @pytest.mark.parametrize("kind", KINDS)
    def test_planners_keep_it(self, make: Make, at_rest: Array, goal: Array, kind: str) -> None:
        planner = make(kind)
        guess = hold(planner, at_rest, goal)
        assert planner.plan(at_rest, goal, 0.0, guess, Budget(50, 0.0)).iterations == 1
        for iterations in (1, 2, 3):
            assert planner.plan(at_rest, goal, 0.0, guess, Budget(iterations)).iterations == iterations

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_solved_problem_takes_one_look(self, make: Make, at_rest: Array, nearby: Array, kind: str) -> None:
        planner = make(kind)
        first = ask(planner, at_rest, nearby, 60)
        guess = Guess("shift", first.xs, first.us, first.cost)
        again = planner.plan(at_rest, nearby, 0.0, guess, Budget(60))
        assert again.iterations <= 2
        assert again.cost == pytest.approx(first.cost, rel=1e-4)


class TestSingleIterations:
    """One iteration at a time, each starting where the last one ended, is the solver's own loop."""

    def test_cost_falls_with_each(self, make: Make, at_rest: Array, goal: Array) -> None:
        costs = [ask(make("ddp"), at_rest, goal, iterations).cost for iterations in range(1, 16)]
        assert np.all(np.diff(costs) <= 1e-12)
        assert costs[-1] < 0.5 * costs[0]

    @pytest.mark.parametrize("iterations", [2, 5, 9])
    def test_they_equal_one_long_solve(self, make: Make, at_rest: Array, goal: Array, iterations: int) -> None:
        planner = make("ddp")
        guess = hold(planner, at_rest, goal)
        solver = crocoddyl.SolverFDDP(planner.ocp.problem)
        solver.solve(list(guess.xs), list(guess.us), iterations, True, np.nan)
        plan = planner.plan(at_rest, goal, 0.0, guess, Budget(iterations))
        np.testing.assert_allclose(plan.xs, np.array(solver.xs), atol=1e-8)
        np.testing.assert_allclose(plan.us, np.array(solver.us), atol=1e-7)

    def test_csqp_comes_to_the_same_as_one_long_solve(self, make: Make, at_rest: Array, nearby: Array) -> None:
        planner = make("csqp")
        assert isinstance(planner, CsqpPlanner)
        guess = hold(planner, at_rest, nearby)
        solver = planner._new_solver()
        solver.solve(list(guess.xs), list(guess.us), 30, True, np.nan)
        plan = planner.plan(at_rest, nearby, 0.0, guess, Budget(30))
        np.testing.assert_allclose(plan.xs, np.array(solver.xs), atol=5e-3)  # both stop when they are near enough

    def test_the_guess_is_not_changed(self, make: Make, at_rest: Array, goal: Array) -> None:
        planner = make("ddp")
        guess = hold(planner, at_rest, goal)
        kept = guess.xs.copy(), guess.us.copy()
        step = Iterations(planner._solver, guess)  # type: ignore[attr-defined]
        for _ in range(3):
            step()
        np.testing.assert_array_equal(guess.xs, kept[0])
        np.testing.assert_array_equal(guess.us, kept[1])


class TestGains:
    """u = u0 + K (x0 - x)."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_following_with_them_is_nearly_optimal(self, make: Make, at_rest: Array, nearby: Array, kind: str) -> None:
        """From beside the start: far better than open loop, and to second order as good as planning again."""
        planner = make(kind)
        plan = ask(planner, at_rest, nearby, 60)
        rng = np.random.default_rng(0)
        for _ in range(4):
            x = at_rest + np.concatenate([rng.normal(0, 0.02, 7), rng.normal(0, 0.1, 7)])
            planner.ocp.aim(x, nearby)
            followed = planner.ocp.cost(*planner.ocp.rollout_feedback(plan.xs, plan.us, plan.gains))
            open_loop = planner.ocp.cost(planner.ocp.rollout(plan.us), plan.us)
            against = planner.ocp.cost(*planner.ocp.rollout_feedback(plan.xs, plan.us, -plan.gains))
            assert followed < 0.05 * open_loop
            assert not against < open_loop
            assert followed < 1.03 * ask(planner, x, nearby, 60).cost

    @pytest.mark.parametrize("kind", KINDS)
    def test_springs_and_dampers_have_positive_sign(self, make: Make, at_rest: Array, nearby: Array, kind: str) -> None:
        """Not each entry must be positive, but the symmetric part of the damping is, and K is not a bystander."""
        gain = ask(make(kind), at_rest, nearby, 60).gains[0]
        damping = gain[:, 7:]
        assert np.linalg.eigvalsh(damping + damping.T).min() > 0.0
        assert np.trace(gain[:, :7]) > 10.0

    def test_they_are_those_of_ddp(self, make: Make, at_rest: Array, nearby: Array) -> None:
        """Where limits are far, those of both planners are the gains of the unconstrained problem."""
        ddp, csqp = (ask(make(kind), at_rest, nearby, 60) for kind in KINDS)
        scale = np.abs(ddp.gains).max()
        np.testing.assert_allclose(csqp.gains, ddp.gains, atol=0.05 * scale)

    def test_they_are_the_slope_of_the_optimal_control(self, make: Make, at_rest: Array, nearby: Array) -> None:
        """K = -du/dx of the optimum, apart from the curvature that Gauss-Newton leaves out."""
        planner = make("ddp")
        gain = ask(planner, at_rest, nearby, 100).gains[0]
        for j in (1, 3, 8, 10):
            step = 1e-3 * np.eye(14)[j]
            plus, minus = (ask(planner, at_rest + sign * step, nearby, 100).us[0] for sign in (1, -1))
            slope = -(plus - minus) / 2e-3
            assert np.linalg.norm(slope - gain[:, j]) < 0.15 * np.linalg.norm(gain[:, j])

    def test_no_gains_where_there_is_no_minimum(self, make: Make, at_rest: Array) -> None:
        gains = RiccatiGains(make("ddp").ocp)
        xs, us = np.tile(at_rest, (T + 1, 1)), np.zeros((T, 7))
        assert np.all(np.isfinite(gains(xs, us)))
        assert np.all(np.isnan(gains(np.full_like(xs, np.nan), us)))
        assert np.all(np.isfinite(gains(xs, us)))


def mpc(planner: Planner, goal: Array, states: list[Array], iterations: int) -> list[Plan]:
    """Plan from each state in turn, 10 ms apart, with hold and shift."""
    plans: list[Plan] = []
    for k, x in enumerate(states):
        guess = best_guess([HoldGuess(), ShiftGuess()], planner.ocp, x, goal, 0.01 * k, plans[-1] if plans else None)
        plans.append(planner.plan(x, goal, 0.01 * k, guess, Budget(iterations)))
    return plans


class TestNonsense:
    """States and goals that cannot be planned for are answered with a status, and leave nothing behind."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "nonsense", [np.full(14, np.nan), np.repeat([0.0, np.inf], 7), np.repeat([0.0, 1e5], 7)], ids=str
    )
    def test_a_state(self, make: Make, at_rest: Array, goal: Array, kind: str, nonsense: Array) -> None:
        planner = make(kind)
        before = ask(planner, at_rest, goal, 3)
        plan = ask(planner, at_rest + nonsense, goal, 3)
        assert plan.status is PlanStatus.NOT_FINITE
        assert kind == "ddp" or plan.iterations == 0  # mim_solvers ends the process on some of these
        after = ask(planner, at_rest, goal, 3)
        np.testing.assert_array_equal(after.xs, before.xs)
        np.testing.assert_array_equal(after.gains, before.gains)
        assert after.status is before.status

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_goal(self, make: Make, at_rest: Array, goal: Array, kind: str) -> None:
        planner = make(kind)
        before = ask(planner, at_rest, goal, 3)
        assert ask(planner, at_rest, np.full(3, np.nan), 3).status is PlanStatus.NOT_FINITE
        np.testing.assert_array_equal(ask(planner, at_rest, goal, 3).xs, before.xs)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_loop_recovers_in_the_next_plan(self, make: Make, at_rest: Array, goal: Array, kind: str) -> None:
        """A previous plan of nonsense is no guess, and the solver's multipliers are not those of nonsense."""
        wild = at_rest + np.repeat([0.0, 12.0], 7)
        with_nonsense = mpc(make(kind), goal, [at_rest, wild, at_rest, at_rest], 3)
        without = mpc(make(kind), goal, [at_rest], 3)
        assert with_nonsense[2].guess == "hold"
        np.testing.assert_array_equal(with_nonsense[2].xs, without[0].xs)
        assert with_nonsense[3].cost < with_nonsense[2].cost

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_plan_without_a_past_depends_on_no_past(
        self, make: Make, task: Task, at_rest: Array, goal: Array, kind: str
    ) -> None:
        rng = np.random.default_rng(0)
        used = make(kind)
        mpc(used, goal, [task.sample_start(rng) for _ in range(3)], 3)
        np.testing.assert_array_equal(ask(used, at_rest, goal, 3).xs, ask(make(kind), at_rest, goal, 3).xs)

    @pytest.mark.parametrize("kind", KINDS)
    def test_wild_states_do_not_end_the_process(self, make: Make, robot: Robot, goal: Array, kind: str) -> None:
        """Far beyond limits and much too fast; in a process of its own, because some libraries abort."""
        if (pid := os.fork()) == 0:
            try:
                planner, rng = make(kind), np.random.default_rng(0)
                for _ in range(30):
                    q = rng.uniform(-1.3, 1.3, 7) * robot.limits.position_upper
                    v = rng.normal(size=7) * rng.choice([1, 2, 5, 10, 30, 100])
                    plan = ask(planner, np.concatenate([q, v]), goal, 2)
                    assert plan.status in PlanStatus
                    if plan.status.usable:
                        assert np.all(np.isfinite(plan.us))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0


def test_a_goal_that_moves_is_followed(make: Make, at_rest: Array, nearby: Array, goal: Array) -> None:
    """The problem is aimed by the plan call itself, whatever it was aimed at before."""
    planner: Planner = make("ddp")
    there = ask(planner, at_rest, nearby, 20)
    planner.ocp.aim(at_rest + 1.0, goal)
    guess = Guess("hold", there.xs, there.us, there.cost)
    assert planner.plan(at_rest, nearby, 0.0, guess, Budget(1)).cost == pytest.approx(there.cost, rel=1e-3)


def test_one_iteration_per_plan_stays_within_limits(make: Make, task: Task, goal: Array) -> None:
    """Where the step of the linear model leads out of the limits a shorter one is taken, from the first plan on."""
    planner = make("csqp")
    for seed in range(10, 30):
        start = task.sample_start(np.random.default_rng(seed))
        assert mpc(planner, goal, [start], 1)[0].status is PlanStatus.OK, seed


def test_a_step_that_leads_nowhere_leaves_the_guess(
    make: Make, at_rest: Array, nearby: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = make("csqp")
    best = ask(planner, at_rest, nearby, 60)
    guess = Guess("shift", best.xs, best.us, best.cost)

    def astray(solver: crocoddyl.SolverAbstract) -> Trajectory:
        found = Trajectory(np.array(solver.xs), np.array(solver.us), np.array(solver.K))
        return replace(found, us=found.us + 1.0, xs=planner.ocp.rollout(found.us + 1.0))

    monkeypatch.setattr(Trajectory, "of", astray)
    plan = planner.plan(at_rest, nearby, 0.0, guess, Budget(1))
    assert plan.status is PlanStatus.OK
    assert plan.cost == pytest.approx(best.cost, rel=1e-6)
    np.testing.assert_allclose(plan.us, best.us, atol=1e-4)  # its small gaps are closed on the way
