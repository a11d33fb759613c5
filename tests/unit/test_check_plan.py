"""check.py: every status of a plan, reached by a trajectory made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.plan import PlanStatus
from dpvp.planning.check import PlanCheck
from dpvp.planning.guess import Guess
from dpvp.robot import Robot
from dpvp.tasks.task import Task, TerminalWeights

Array = NDArray[np.float64]
T, DT, WINDOW = 10, 0.03, 0.12  # four nodes of ten are in the window
GAINS = np.zeros((T, 7, 14))
CHEAP = 1e9  # more than any trajectory here costs


@pytest.fixture
def check(robot: Robot) -> PlanCheck:
    return PlanCheck(robot.limits, window=WINDOW)


@pytest.fixture
def still(at_rest: Array) -> tuple[Array, Array]:
    """An arm at rest, well within its limits."""
    return np.tile(at_rest, (T + 1, 1)), np.zeros((T, 7))


def guess(xs: Array, us: Array, cost: float = CHEAP) -> Guess:
    return Guess("hold", xs, us, cost)


def judge(check: PlanCheck, xs: Array, us: Array, *, gap: float = 0.0, start: Guess | None = None) -> PlanStatus:
    return check(DT, xs, us, GAINS, 1.0, gap, start or guess(xs, us))


def test_ok(check: PlanCheck, still: tuple[Array, Array]) -> None:
    assert judge(check, *still) is PlanStatus.OK


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["xs", "us", "gains", "cost"])
def test_not_finite(check: PlanCheck, still: tuple[Array, Array], where: str, value: float) -> None:
    parts = {"xs": still[0].copy(), "us": still[1].copy(), "gains": GAINS.copy(), "cost": np.array(1.0)}
    parts[where].flat[-1] = value
    found = check(DT, parts["xs"], parts["us"], parts["gains"], float(parts["cost"]), 0.0, guess(*still))
    assert found is PlanStatus.NOT_FINITE


@pytest.mark.parametrize(
    ("gap", "status"), [(0.9e-3, PlanStatus.OK), (1.1e-3, PlanStatus.GAPS_OPEN), (np.nan, PlanStatus.GAPS_OPEN)]
)
def test_gaps_open(check: PlanCheck, still: tuple[Array, Array], gap: float, status: PlanStatus) -> None:
    assert judge(check, *still, gap=gap) is status


def test_gaps_of_the_true_dynamics(check: PlanCheck, task: Task, robot: Robot, at_rest: Array, goal: Array) -> None:
    """A trajectory from a simulation passes; one that teleports does not."""
    ocp = task.ocp(T, TerminalWeights())
    ocp.aim(at_rest, goal)
    us = np.tile(robot.gravity(robot.nominal) + 0.02, (T, 1))
    xs = ocp.rollout(us)
    assert judge(check, xs, us, gap=ocp.gap(xs, us)) is PlanStatus.OK
    xs[5:, 3] += 0.002
    assert judge(check, xs, us, gap=ocp.gap(xs, us)) is PlanStatus.GAPS_OPEN


class TestLimits:
    """The part that is soon to be followed has to keep the robot's limits, up to the slack."""

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    @pytest.mark.parametrize("joint", range(7))
    @pytest.mark.parametrize("kind", ["position", "velocity", "effort"])
    def test_each_joint_each_side(
        self, check: PlanCheck, robot: Robot, still: tuple[Array, Array], kind: str, joint: int, sign: float
    ) -> None:
        limits = robot.limits
        upper = {"position": limits.position_upper, "velocity": limits.velocity, "effort": limits.effort}[kind][joint]
        slack = 0.02 * (2 * upper if kind == "position" else upper)
        for beyond, status in ((0.99 * slack, PlanStatus.OK), (1.01 * slack, PlanStatus.OUT_OF_LIMITS)):
            xs, us = (part.copy() for part in still)
            column = {"position": xs[:, joint], "velocity": xs[:, 7 + joint], "effort": us[:, joint]}[kind]
            column[2] = sign * (upper + beyond)
            assert judge(check, xs, us) is status

    def test_later_nodes_may_leave_them(self, check: PlanCheck, robot: Robot, still: tuple[Array, Array]) -> None:
        """They are planned again long before they are reached."""
        for node, status in ((4, PlanStatus.OUT_OF_LIMITS), (5, PlanStatus.OK)):
            xs, us = (part.copy() for part in still)
            xs[node, 8] = 2 * robot.limits.velocity[1]
            assert judge(check, xs, us) is status
        for node, status in ((3, PlanStatus.OUT_OF_LIMITS), (4, PlanStatus.OK)):
            xs, us = (part.copy() for part in still)
            us[node, 1] = 2 * robot.limits.effort[1]
            assert judge(check, xs, us) is status

    def test_a_window_longer_than_the_plan_is_all_of_it(self, robot: Robot, still: tuple[Array, Array]) -> None:
        xs, us = (part.copy() for part in still)
        us[-1, 0] = 1e4
        assert judge(PlanCheck(robot.limits, window=10.0), xs, us) is PlanStatus.OUT_OF_LIMITS

    def test_the_first_control_always_counts(self, robot: Robot, still: tuple[Array, Array]) -> None:
        xs, us = (part.copy() for part in still)
        us[0, 0] = 1e4
        assert judge(PlanCheck(robot.limits, window=1e-9), xs, us) is PlanStatus.OUT_OF_LIMITS

    def test_from_outside_coming_closer_is_right(
        self, check: PlanCheck, robot: Robot, still: tuple[Array, Array]
    ) -> None:
        """No plan can change the state that was measured."""
        xs, us = (part.copy() for part in still)
        xs[:, 3] = robot.limits.position_upper[3] + np.linspace(0.3, 0.0, T + 1)
        xs[:, 9] = robot.limits.velocity[2] * np.linspace(1.5, 0.5, T + 1)
        assert judge(check, xs, us) is PlanStatus.OK
        farther = xs.copy()
        farther[1:, 3] += 0.3
        assert judge(check, farther, us) is PlanStatus.OUT_OF_LIMITS
        faster = xs.copy()
        faster[1, 9] = 1.6 * robot.limits.velocity[2]
        assert judge(check, faster, us) is PlanStatus.OUT_OF_LIMITS

    def test_torque_has_no_such_excuse(self, check: PlanCheck, robot: Robot, still: tuple[Array, Array]) -> None:
        xs, us = (part.copy() for part in still)
        us[0, 6] = 1.5 * robot.limits.effort[6]
        assert judge(check, xs, us) is PlanStatus.OUT_OF_LIMITS


class TestWorseThanGuess:
    """A solver that makes things worse is not followed."""

    def test_cost_against_the_guess(self, check: PlanCheck, still: tuple[Array, Array]) -> None:
        assert judge(check, *still, start=guess(*still, cost=0.99)) is PlanStatus.WORSE_THAN_GUESS
        assert judge(check, *still, start=guess(*still, cost=1.0)) is PlanStatus.OK
        assert judge(check, *still, start=guess(*still, cost=1.0 - 1e-8)) is PlanStatus.OK  # rounding

    def test_keeping_limits_may_cost_more(self, check: PlanCheck, robot: Robot, still: tuple[Array, Array]) -> None:
        """Where the planner keeps limits that the guess breaks, costs say nothing."""
        keeps = replace(check, hard_limits=True)
        fast = still[0].copy()
        fast[-1, 7] = 1.01 * robot.limits.velocity[0]
        cheap = guess(fast, still[1], cost=0.5)
        assert judge(keeps, *still, start=cheap) is PlanStatus.OK
        assert judge(check, *still, start=cheap) is PlanStatus.WORSE_THAN_GUESS
        assert judge(keeps, *still, start=guess(*still, cost=0.5)) is PlanStatus.WORSE_THAN_GUESS
