"""guess.py: guesses follow from the dynamics, read the previous plan at the true time, and the cheapest wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.plan import Plan, PlanStatus
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import Guess, HoldGuess, ShiftGuess, best_guess
from dpvp.planning.planner import Budget
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import Task, TerminalWeights

Array = NDArray[np.float64]
T = 30
SINCE_1970 = 1.7e9


@pytest.fixture(scope="module")
def ocp(task: Task) -> Ocp:
    return task.ocp(T, TerminalWeights(20.0, 2.0))


def solved(task: Task, ocp: Ocp, x: Array, goal: Array) -> Plan:
    """The optimum from `x`, t0 = 0."""
    guess = best_guess([HoldGuess()], ocp, x, goal, 0.0, None)
    return DdpPlanner(ocp, PlanCheck(task.robot.limits)).plan(x, goal, 0.0, guess, Budget(iterations=60))


@pytest.fixture(scope="module")
def plan(task: Task, ocp: Ocp, at_rest: Array, goal: Array) -> Plan:
    return solved(task, ocp, at_rest, goal)


def consistent(ocp: Ocp, guess: Guess, x: Array) -> bool:
    """True if the guess starts at `x`, follows from its controls and costs what it says."""
    np.testing.assert_array_equal(guess.xs[0], x)
    assert guess.cost == pytest.approx(ocp.cost(guess.xs, guess.us), rel=1e-12)
    return ocp.gap(guess.xs, guess.us) < 1e-9


class TestHold:
    """Staying."""

    def test_at_rest_it_stays(self, ocp: Ocp, at_rest: Array, goal: Array) -> None:
        ocp.aim(at_rest, goal)
        guess = HoldGuess().propose(ocp, at_rest, goal, 0.0, None)
        assert guess is not None
        assert guess.name == "hold"
        assert consistent(ocp, guess, at_rest)
        np.testing.assert_allclose(guess.xs, np.tile(at_rest, (T + 1, 1)), atol=1e-9)

    def test_it_never_falls(self, task: Task, goal: Array) -> None:
        """Over six seconds from the starts of the benchmark; open loop the arm would swing until nothing is finite."""
        ocp = task.ocp(200, TerminalWeights())
        rng = np.random.default_rng(0)
        for _ in range(10):
            x = task.sample_start(rng)
            ocp.aim(x, goal)
            guess = HoldGuess().propose(ocp, x, goal, 0.0, None)
            assert guess is not None
            assert consistent(ocp, guess, x)
            assert np.abs(guess.xs[-1] - x).max() < 0.2

    def test_a_moving_arm_coasts(self, ocp: Ocp, at_rest: Array, goal: Array) -> None:
        x = at_rest + np.repeat([0.0, 1.0], 7)
        ocp.aim(x, goal)
        guess = HoldGuess().propose(ocp, x, goal, 0.0, None)
        assert guess is not None
        assert consistent(ocp, guess, x)
        assert np.abs(guess.xs[:, 7:]).max() < 3.0

    def test_the_state_stays_as_it_is(self, ocp: Ocp, at_rest: Array, goal: Array) -> None:
        x = at_rest + 0.1
        ocp.aim(x, goal)
        HoldGuess().propose(ocp, x, goal, 0.0, None)
        np.testing.assert_array_equal(x, at_rest + 0.1)


class TestShift:
    """Following the previous plan."""

    @pytest.mark.parametrize("node", [0, 1, 7])
    def test_on_the_plan_it_is_the_plan(self, ocp: Ocp, plan: Plan, goal: Array, node: int) -> None:
        """Node by node what was planned, until the old end."""
        t = node * plan.dt
        ocp.aim(plan.at(t), goal)
        guess = ShiftGuess().propose(ocp, plan.at(t), goal, t, plan)
        assert guess is not None
        assert guess.name == "shift"
        assert consistent(ocp, guess, plan.at(t))
        np.testing.assert_allclose(guess.xs[: T + 1 - node], plan.xs[node:], atol=1e-6)
        np.testing.assert_allclose(guess.us[: T - node], plan.us[node:], atol=1e-4)

    def test_past_the_old_end_it_carries_the_arm(self, ocp: Ocp, plan: Plan, goal: Array) -> None:
        t = 20 * plan.dt
        ocp.aim(plan.at(t), goal)
        guess = ShiftGuess().propose(ocp, plan.at(t), goal, t, plan)
        assert guess is not None
        assert np.abs(guess.xs[-1, :7] - plan.xs[-1, :7]).max() < 0.3
        assert np.abs(guess.us[-1] - ocp.gravity(guess.xs[-1])).max() < 10.0

    def test_beside_the_plan_its_gains_pull_back(self, ocp: Ocp, plan: Plan, goal: Array) -> None:
        t = 2 * plan.dt
        x = plan.at(t) + 0.02
        ocp.aim(x, goal)
        guess = ShiftGuess().propose(ocp, x, goal, t, plan)
        assert guess is not None
        assert consistent(ocp, guess, x)
        xs, us, _ = plan.shifted(t)
        open_loop = ocp.rollout(us)
        assert ocp.cost(guess.xs, guess.us) < 0.5 * ocp.cost(open_loop, us)
        assert np.abs(guess.xs[-1] - xs[-1]).max() < np.abs(open_loop[-1] - xs[-1]).max()

    @pytest.mark.parametrize("t0", [0.0, SINCE_1970])
    def test_the_true_time_beats_one_node_per_plan(
        self, task: Task, ocp: Ocp, plan: Plan, goal: Array, t0: float
    ) -> None:
        """Ten plans in 40 ms on an arm that follows: reading 40 ms ahead costs less than reading ten nodes ahead."""
        period = 0.004

        def followed(elapsed: Callable[[int], float]) -> float:
            """Cost after ten guesses, each of which becomes the previous plan of the next one."""
            previous, moved = replace(plan, t0=t0), plan.t0
            for k in range(1, 11):
                moved = plan.t0 + k * period
                x, t = plan.at(moved), t0 + elapsed(k)
                ocp.aim(x, goal)
                guess = ShiftGuess().propose(ocp, x, goal, t, previous)
                assert guess is not None
                _, _, gains = previous.shifted(t)
                previous = replace(previous, t0=t, xs=guess.xs, us=guess.us, gains=gains, cost=guess.cost)
            return previous.cost

        optimum = solved(task, ocp, plan.at(plan.t0 + 10 * period), goal).cost
        by_time, by_node = followed(lambda k: k * period), followed(lambda k: k * plan.dt)
        assert by_time < 1.15 * optimum
        assert by_time < 0.8 * by_node

    def test_stamps_since_1970_read_the_same_nodes(self, ocp: Ocp, plan: Plan, goal: Array) -> None:
        """A float of that size cannot hold node times exactly; that must not put a control one node late."""
        late = replace(plan, t0=SINCE_1970)
        for node in range(1, 10):
            x = plan.xs[node]
            ocp.aim(x, goal)
            early = ShiftGuess().propose(ocp, x, goal, node * plan.dt, plan)
            guess = ShiftGuess().propose(ocp, x, goal, SINCE_1970 + node * plan.dt, late)
            assert early is not None
            assert guess is not None
            np.testing.assert_allclose(guess.us, early.us, atol=1e-9)

    def test_it_is_silent_without_a_plan_that_lasts(self, task: Task, ocp: Ocp, plan: Plan, goal: Array) -> None:
        x, shift = plan.at(0.1), ShiftGuess()
        ocp.aim(x, goal)
        assert shift.propose(ocp, x, goal, 0.1, None) is None
        assert shift.propose(ocp, x, goal, plan.end, plan) is None
        assert shift.propose(ocp, x, goal, plan.end + 1.0, plan) is None
        assert shift.propose(ocp, x, goal, plan.t0 - 0.01, plan) is None
        assert shift.propose(ocp, x, goal, plan.end - 1e-3, plan) is not None
        assert shift.propose(task.ocp(T - 1, TerminalWeights()), x, goal, 0.1, plan) is None


class Fixed:
    """A source that proposes hold's trajectory at a price of its own."""

    def __init__(self, name: str, cost: float | None) -> None:
        self.name, self._cost = name, cost

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        hold = HoldGuess().propose(ocp, x, goal, t, previous)
        assert hold is not None
        return None if self._cost is None else replace(hold, name=self.name, cost=self._cost)


@pytest.mark.parametrize(
    ("costs", "winner"),
    [
        ([3.0, 2.0, 4.0], "1"),
        ([2.0, 2.0], "0"),
        ([None, 5.0], "1"),
        ([np.nan, 5.0], "1"),
        ([5.0, np.nan], "0"),
        ([np.inf, 5.0], "1"),
        ([-np.inf, 5.0], "1"),
        ([None, None], "hold"),
        ([np.nan, np.inf], "hold"),
        ([], "hold"),
    ],
)
def test_the_cheapest_finite_guess_wins(
    ocp: Ocp, at_rest: Array, goal: Array, costs: list[float | None], winner: str
) -> None:
    sources = [Fixed(str(i), cost) for i, cost in enumerate(costs)]
    assert best_guess(sources, ocp, at_rest, goal, 0.0, None).name == winner


def test_asking_aims_the_problem(ocp: Ocp, at_rest: Array, goal: Array) -> None:
    ocp.aim(at_rest + 1.0, goal + 0.3)
    guess = best_guess([HoldGuess()], ocp, at_rest, goal, 0.0, None)
    np.testing.assert_array_equal(ocp.problem.x0, at_rest)
    elsewhere = best_guess([HoldGuess()], ocp, at_rest, goal + 0.3, 0.0, None)
    assert elsewhere.cost != guess.cost


def test_a_previous_plan_of_nan_never_wins(ocp: Ocp, plan: Plan, at_rest: Array, goal: Array) -> None:
    for broken in ("xs", "us", "gains"):
        spoilt = replace(plan, status=PlanStatus.NOT_FINITE, **{broken: np.full_like(getattr(plan, broken), np.nan)})
        assert best_guess([ShiftGuess(), HoldGuess()], ocp, at_rest, goal, 0.01, spoilt).name == "hold"
        assert best_guess([ShiftGuess()], ocp, at_rest, goal, 0.01, spoilt).name == "hold"


def test_following_beats_holding_in_motion(ocp: Ocp, plan: Plan, goal: Array) -> None:
    assert best_guess([HoldGuess(), ShiftGuess()], ocp, plan.at(0.1), goal, 0.1, plan).name == "shift"
