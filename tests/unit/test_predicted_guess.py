"""PredictedGuess: a predicted plan of a walk becomes a consistent one, and only where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.errors import ConfigError
from dpvp.plan import Plan
from dpvp.planning.build import build_planning
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import HoldGuess, ShiftGuess, best_guess
from dpvp.planning.planner import Budget
from dpvp.planning.predicted_guess import PredictedGuess, referred
from dpvp.robot import load_robot
from dpvp.scenario import load_scenario
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.walk import WalkConfig, WalkTask

Array = NDArray[np.float64]
T = 12
GOAL = np.array([0.3, 0.4, 0.0, 0.2, 0.0])


@pytest.fixture(scope="module")
def task() -> WalkTask:
    return WalkTask(load_robot("go2"), WalkConfig())


@pytest.fixture(scope="module")
def ocp(task: WalkTask) -> Ocp:
    return task.ocp(T, TerminalWeights(0.2, 0.01))


@pytest.fixture(scope="module")
def start(task: WalkTask) -> Array:
    return task.sample_start(np.random.default_rng(0))


@pytest.fixture(scope="module")
def plan(ocp: Ocp, start: Array) -> Plan:
    """The optimum."""
    guess = best_guess([], ocp, start, GOAL, 0.0, None)
    return DdpPlanner(ocp, PlanCheck(None)).plan(start, GOAL, 0.0, guess, Budget(100))


@pytest.fixture
def aimed(ocp: Ocp, start: Array) -> Ocp:
    ocp.aim(start, GOAL)
    return ocp


def blurred(plan: Plan, ocp: Ocp, size: float) -> tuple[Array, Array]:
    """The states and controls of `plan` with errors: no longer does one state follow from the other."""
    rng, state = np.random.default_rng(1), ocp.state
    steps = size * rng.normal(size=(len(plan.us), state.ndx)) * np.repeat([1.0, 5.0], state.nv)
    xs = [plan.xs[0], *(state.integrate(x, step) for x, step in zip(plan.xs[1:], steps, strict=True))]
    return np.array(xs), plan.us + 20.0 * size * rng.normal(size=plan.us.shape)


def propose(guess: PredictedGuess, ocp: Ocp, x: Array, t: float = 0.0, previous: Plan | None = None) -> Any:
    return guess.propose(ocp, x, GOAL, t, previous)


def source(ocp: Ocp, xs: Array, us: Array) -> PredictedGuess:
    return PredictedGuess("predicted", lambda x, goal: (xs, us), ocp)


def test_the_optimum_leads_to_itself(aimed: Ocp, plan: Plan, start: Array) -> None:
    guess = propose(source(aimed, plan.xs, plan.us), aimed, start)
    assert guess.cost == pytest.approx(plan.cost, rel=1e-6)
    np.testing.assert_allclose(guess.us, plan.us, atol=1e-3)


def test_a_blurred_prediction_becomes_a_plan_that_is_nearly_the_best(aimed: Ocp, plan: Plan, start: Array) -> None:
    xs, us = blurred(plan, aimed, 0.003)
    assert aimed.gap(xs, us) > 0.01
    guess = propose(source(aimed, xs, us), aimed, start)
    assert guess.name == "predicted"
    assert aimed.gap(guess.xs, guess.us) < 1e-9
    assert guess.cost == pytest.approx(aimed.cost(guess.xs, guess.us), rel=1e-9)
    assert plan.cost <= guess.cost * (1.0 + 1e-9)
    assert guess.cost < 1.2 * plan.cost
    hold = HoldGuess().propose(aimed, start, GOAL, 0.0, None)
    assert hold is not None
    assert guess.cost < 0.5 * hold.cost


def test_is_silent_without_a_prediction_and_where_a_plan_goes_on(aimed: Ocp, plan: Plan, start: Array) -> None:
    assert propose(PredictedGuess("nothing", lambda x, goal: None, aimed), aimed, start) is None
    known = source(aimed, plan.xs, plan.us)
    assert propose(known, aimed, start, 0.1, plan) is None
    assert propose(known, aimed, start, plan.end, plan) is not None


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("part", [0, 1])
def test_nonsense_is_no_guess_and_spoils_nothing(
    aimed: Ocp, plan: Plan, start: Array, part: int, nonsense: float
) -> None:
    spoilt = [plan.xs.copy(), plan.us.copy()]
    spoilt[part][3] = nonsense
    assert propose(source(aimed, *spoilt), aimed, start) is None
    again = propose(source(aimed, plan.xs, plan.us), aimed, start)
    assert again.cost == pytest.approx(plan.cost, rel=1e-4)


def test_a_scenario_without_an_artifact_cannot_ask_for_it() -> None:
    with pytest.raises(ConfigError, match=r"planner\.guesses.*trajectory.*needs `artifact:` with a trajectory head"):
        build_planning(load_scenario("quadruped_walk", ("planner.guesses=[shift, trajectory]", "artifact=null")))


def test_on_the_way_what_the_nodes_refer_to_is_a_better_start_than_to_hold(task: WalkTask, ocp: Ocp) -> None:
    """There feet are to swing, and to hold lets the robot fall."""
    x, walked, planner = task.robot.at_rest(), None, DdpPlanner(ocp, PlanCheck(None))
    for k in range(18):
        goal = task.later(GOAL, k * task.dt)
        guess = best_guess([ShiftGuess()], ocp, x, goal, k * task.dt, walked)
        walked = planner.plan(x, goal, k * task.dt, guess, Budget(3))
        x = walked.at((k + 1) * task.dt)
    goal = task.later(GOAL, 18 * task.dt)
    ocp.aim(x, goal)
    reference = PredictedGuess("reference", referred(task, ocp), ocp)
    found, hold = (source.propose(ocp, x, goal, 0.0, None) for source in (reference, HoldGuess()))
    assert found is not None
    assert hold is not None
    assert ocp.gap(found.xs, found.us) < 1e-9
    assert found.cost < 0.1 * hold.cost


def test_a_scenario_may_start_at_the_reference() -> None:
    planning = build_planning(load_scenario("quadruped_walk", ("planner.guesses=[shift, reference]", "artifact=null")))
    x = load_robot("go2").at_rest()
    first = planning.plan(x, GOAL, 0.0, None)
    assert first.guess == "reference"
    assert first.status.usable
    assert planning.plan(first.xs[1], GOAL, first.first_dt or first.dt, first).guess == "shift"


def test_only_walks_have_a_reference_to_start_at() -> None:
    with pytest.raises(
        ConfigError, match=r"planner\.guesses.*reference.*needs a task of kind walk, and this one is track"
    ):
        build_planning(load_scenario("leg_track", ("planner.guesses=[shift, reference]",)))
