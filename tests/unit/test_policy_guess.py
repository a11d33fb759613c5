"""PolicyGuess: consistent, silent outside its range, and chosen when it is the cheapest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import handmade
from dpvp.learned.artifact import load_artifact
from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp.plan import Advice, PlanStatus, Verdict
from dpvp.planning.build import build_planning
from dpvp.planning.guess import HoldGuess, best_guess
from dpvp.planning.policy_guess import PolicyGuess
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from handmade import LinearPolicy, quadratic_value, reaching_policy
from unlearned import UNLEARNED

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach", UNLEARNED)


@pytest.fixture(scope="module")
def source(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PolicyGuess]:
    def make(policy: LinearPolicy | None = None, **box: Any) -> PolicyGuess:
        policy = policy or reaching_policy(scenario.robot, scenario.robot.nominal)
        folder = tmp_path_factory.mktemp("artifact")
        handmade.write_artifact(folder, scenario.robot, scenario.task, policy=policy, **box)
        return PolicyGuess(Policy(load_artifact(folder, scenario.robot, scenario.task)))

    return make


@pytest.fixture(scope="module")
def start(scenario: Scenario) -> Array:
    return np.concatenate([scenario.robot.nominal, np.zeros(7)])


@pytest.fixture(scope="module")
def goal(scenario: Scenario) -> Array:
    offset = np.array([-0.1, 0.1, -0.05])
    return np.asarray(scenario.robot.frame_position(scenario.robot.nominal) + offset)


@pytest.fixture
def ocp(scenario: Scenario, start: Array, goal: Array) -> Ocp:
    ocp = scenario.task.ocp(30, TerminalWeights(20.0, 2.0))
    ocp.aim(start, goal)
    return ocp


def test_is_the_policy_simulated(
    scenario: Scenario, source: Callable[..., PolicyGuess], ocp: Ocp, start: Array, goal: Array
) -> None:
    guess = source().propose(ocp, start, goal, 0.0, None)
    assert guess is not None
    assert guess.name == "policy"
    assert guess.xs.shape == (31, 14)
    assert guess.us.shape == (30, 7)
    assert np.array_equal(guess.xs[0], start)
    assert ocp.gap(guess.xs, guess.us) < 1e-12
    assert guess.cost == pytest.approx(ocp.cost(guess.xs, guess.us), rel=1e-12)
    policy = reaching_policy(scenario.robot, scenario.robot.nominal)
    assert np.allclose(guess.us, [policy(x, goal) for x in guess.xs[:-1]], atol=1e-9)


def test_wins_over_hold_when_cheaper(source: Callable[..., PolicyGuess], ocp: Ocp, start: Array, goal: Array) -> None:
    hold = HoldGuess().propose(ocp, start, goal, 0.0, None)
    best = best_guess([HoldGuess(), source()], ocp, start, goal, 0.0, None)
    assert hold is not None
    assert best.name == "policy"
    assert best.cost == ocp.cost(best.xs, best.us) < 0.8 * hold.cost


def test_scenario_with_artifact_plans_from_the_policy_to_the_value(
    scenario: Scenario, start: Array, goal: Array, tmp_path: Path
) -> None:
    policy, value = reaching_policy(scenario.robot, scenario.robot.nominal), quadratic_value(20.0, 2.0)
    handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy, value=value)
    changes = "planner.guesses=[hold, shift, policy]", "planner.terminal={kind: value, goal: 20, velocity: 2}"
    plan = build_planning(load_scenario("kuka_reach", (*UNLEARNED, f"artifact={tmp_path}", *changes))).plan(
        start, goal, 0.0, None
    )
    usual = build_planning(load_scenario("kuka_reach", UNLEARNED)).plan(start, goal, 0.0, None)
    assert plan.status.usable
    assert (plan.guess, usual.guess) == ("policy", "hold")
    assert plan.guess_cost < 0.8 * usual.guess_cost
    assert (plan.advice, usual.advice) == (Advice(Verdict.USED), Advice())


def test_plain_plans_do_without_both(scenario: Scenario, start: Array, goal: Array, tmp_path: Path) -> None:
    """As if nothing learned had ever been there, and with it again when it is asked for again."""
    policy, value = reaching_policy(scenario.robot, scenario.robot.nominal), quadratic_value(5.0, 1.0)
    handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy, value=value)
    terminal = "planner.terminal={kind: value, goal: 20, velocity: 2}"
    changes = "planner.guesses=[hold, shift, policy]", terminal
    planning = build_planning(load_scenario("kuka_reach", (*UNLEARNED, f"artifact={tmp_path}", *changes)))
    quadratic = "planner.terminal={kind: quadratic, goal: 20, velocity: 2}"
    usual = build_planning(load_scenario("kuka_reach", (*UNLEARNED, quadratic))).plan(start, goal, 0.0, None)
    learned = planning.plan(start, goal, 0.0, None)
    assert learned.guess == "policy"
    plain = planning.plan(start, goal, 0.0, None, plain=True)
    assert plain.advice == Advice(Verdict.DROPPED)
    assert plain.guess == "hold"
    np.testing.assert_array_equal(plain.xs, usual.xs)
    np.testing.assert_array_equal(planning.plan(start, goal, 0.0, None).xs, learned.xs)


def test_the_residual_of_bellman_is_that_of_the_value_and_the_plan(
    scenario: Scenario, start: Array, goal: Array, tmp_path: Path
) -> None:
    handmade.write_artifact(tmp_path, scenario.robot, scenario.task, value=quadratic_value(20.0, 2.0))
    changes = f"artifact={tmp_path}", "planner.terminal={kind: value, goal: 20, velocity: 2}"
    planning = build_planning(load_scenario("kuka_reach", (*UNLEARNED, *changes)))
    plan, value = (
        planning.plan(start, goal, 0.0, None),
        ValueFunction(load_artifact(tmp_path, scenario.robot, scenario.task)),
    )
    there = value.value(start, goal).value
    assert plan.advice.bellman == pytest.approx(abs(there - plan.cost) / (there + value.ensemble.floor))
    assert np.isnan(planning.plan(start, goal, 0.0, None, plain=True).advice.bellman)


def test_plans_say_that_learned_parts_were_not_asked(scenario: Scenario, start: Array, tmp_path: Path) -> None:
    policy, value = reaching_policy(scenario.robot, scenario.robot.nominal), quadratic_value(20.0, 2.0)
    handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy, value=value)
    changes = "planner.guesses=[hold, shift, policy]", "planner.terminal={kind: value, goal: 20, velocity: 2}"
    planning = build_planning(load_scenario("kuka_reach", (*UNLEARNED, f"artifact={tmp_path}", *changes)))
    first = planning.plan(start, np.array([1.9, 0.0, 0.5]), 0.0, None)  # hand-made goals and their margin end at 1.8 m
    assert first.advice == Advice(Verdict.GOAL_OUT_OF_RANGE, policy_refused=True)
    assert first.guess == "hold"
    fast = start.copy()
    fast[7:] = 4.5  # rad/s; beyond the range of the policy, in the margin of the value
    assert planning.plan(fast, np.array([0.4, 0.2, 0.6]), 0.0, None).advice.policy_refused


def test_a_plan_that_is_not_finite_says_that_it_left_the_range(
    scenario: Scenario, start: Array, tmp_path: Path
) -> None:
    handmade.write_artifact(tmp_path, scenario.robot, scenario.task, value=quadratic_value(20.0, 2.0))
    changes = f"artifact={tmp_path}", "planner.terminal={kind: value, goal: 20, velocity: 2}"
    planning = build_planning(load_scenario("kuka_reach", (*UNLEARNED, *changes)))
    plan = planning.plan(np.full(14, np.nan), np.array(scenario.goal), 0.0, None)
    assert plan.status is PlanStatus.NOT_FINITE
    assert plan.advice == Advice(Verdict.OUT_OF_RANGE)


def test_loses_to_hold_when_dearer(
    scenario: Scenario, source: Callable[..., PolicyGuess], ocp: Ocp, start: Array, goal: Array
) -> None:
    away = reaching_policy(scenario.robot, scenario.robot.nominal, stiffness=-60.0)
    proposal = source(away).propose(ocp, start, goal, 0.0, None)
    assert proposal is not None
    assert best_guess([source(away), HoldGuess()], ocp, start, goal, 0.0, None).name == "hold"


def test_silent_for_a_goal_outside(source: Callable[..., PolicyGuess], ocp: Ocp, start: Array) -> None:
    far = np.array([1.6, 0.0, 0.5])  # hand-made goals end at 1.5 m
    ocp.aim(start, far)
    assert source().propose(ocp, start, far, 0.0, None) is None
    assert best_guess([source()], ocp, start, far, 0.0, None).name == "hold"


@settings(max_examples=15, deadline=None)
@given(joint=st.integers(0, 13), side=st.sampled_from([-1.0, 1.0]), by=st.sampled_from([-1e-6, 1e-6]))
def test_range_of_the_start_decides(
    joint: int,
    side: float,
    by: float,
    scenario: Scenario,
    source: Callable[..., PolicyGuess],
    start: Array,
    goal: Array,
) -> None:
    ocp = scenario.task.ocp(1, TerminalWeights())
    x = start.copy()
    half = np.full(14, 1.5)
    x[joint] = start[joint] + side * (1.5 + by)
    ocp.aim(x, goal)
    guess = source(lower=start - half, upper=start + half).propose(ocp, x, goal, 0.0, None)
    assert (guess is None) == (by > 0)


def test_silent_if_it_leaves_its_range_on_the_way(
    scenario: Scenario, source: Callable[..., PolicyGuess], ocp: Ocp, start: Array, goal: Array
) -> None:
    open_box = source().propose(ocp, start, goal, 0.0, None)
    assert open_box is not None
    fastest = np.abs(open_box.xs[:-1, 7:]).max()
    box = np.concatenate([np.full(7, 4.0), np.full(7, fastest)])
    assert source(lower=-box, upper=box).propose(ocp, start, goal, 0.0, None) is not None
    box[7:] *= 0.99
    assert source(lower=-box, upper=box).propose(ocp, start, goal, 0.0, None) is None


def test_silent_when_the_simulation_breaks(
    source: Callable[..., PolicyGuess], ocp: Ocp, start: Array, goal: Array
) -> None:
    broken = start.copy()
    broken[3] = np.nan
    assert source().propose(ocp, broken, goal, 0.0, None) is None
