"""The disturbed plant of the benches: delays, pushes, wrong models and noise are what they are said to be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dpvp.bench.plant import Course, Disturbance, DisturbedLoop, Push, _Plant
from dpvp.plan import Advice, Plan, PlanStatus, Verdict
from dpvp.scenario import Scenario, load_scenario
from unlearned import UNLEARNED


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The observer would make up for what is wrong here on purpose."""
    return load_scenario("kuka_reach", (*UNLEARNED, "loop.observer.bandwidth=0"))


class Recorder:
    """Stands for a planner: plans to stay where the arm is, and remembers what it was shown."""

    def __init__(self, scenario: Scenario, value: Verdict | None = None) -> None:
        self._robot, self._dt, self._value = scenario.robot, scenario.task.dt, value
        self.shown: list[tuple[float, np.ndarray]] = []

    def plan(self, x: np.ndarray, goal: np.ndarray, t: float, previous: Plan | None) -> Plan:
        self.shown.append((t, x))
        us = np.tile(self._robot.gravity(x[: self._robot.nq]), (10, 1))
        gains = np.tile(np.hstack([np.zeros((7, 7)), np.diag(self._robot.hold.damping)]), (10, 1, 1))
        at_rest = np.concatenate([x[: self._robot.nq], np.zeros(self._robot.nv)])
        xs, advice = np.tile(at_rest, (11, 1)), Advice(self._value)
        return Plan(t, self._dt, xs, us, gains, 1.0, 1.0, "hold", PlanStatus.OK, 1, advice=advice)


@pytest.fixture
def disturbed(scenario: Scenario) -> DisturbedLoop:
    loop = DisturbedLoop(scenario)
    loop._planning = Recorder(scenario, Verdict.USED)
    return loop


def follow(loop: DisturbedLoop, seconds: float, seed: int = 0, **wrong: Any) -> Course:
    robot = loop.scenario.robot
    start = np.concatenate([robot.nominal, np.zeros(robot.nv)])
    goal = robot.frame_position(robot.nominal)
    return loop.run(start, goal, seconds, Disturbance(**wrong), np.random.default_rng(seed))


def test_an_arm_as_the_planner_believes_it_stays_where_it_is(scenario: Scenario) -> None:
    course = follow(DisturbedLoop(scenario), 0.1)
    assert course.t == pytest.approx(0.01 * np.arange(10))
    assert course.error.max() < 1e-4
    assert course.reached.all()
    assert course.statuses == {"OK": 10}
    assert (course.held, sum(course.guesses.values()), course.advice) == (0, 10, {})


def test_the_planner_sees_what_the_late_sensor_shows(disturbed: DisturbedLoop) -> None:
    push = Push(0.0, 0.1, (100.0, 0.0, 0.0))
    course = follow(disturbed, 0.1, pushes=(push,), sensor_delay=0.01)
    late, recorder = disturbed._planning.shown, Recorder(disturbed.scenario)
    disturbed._planning = recorder
    follow(disturbed, 0.05, pushes=(push,), plan_delay=1.0)  # until commands matter, the same motion
    prompt = recorder.shown
    assert course.advice == {"value_used": 10}
    q = disturbed.scenario.robot.nq
    assert np.array_equal(late[1][1][:q], prompt[0][1][:q])
    assert not np.array_equal(late[1][1][:q], prompt[1][1][:q])


def test_commands_reach_the_law_after_the_delay(disturbed: DisturbedLoop) -> None:
    courses = [
        follow(disturbed, 0.3, pushes=(Push(0.0, 0.1, (0.0, 60.0, 0.0)),), plan_delay=d) for d in (None, 0.01, 9.0)
    ]
    assert np.array_equal(courses[0].error, courses[1].error)  # one period of planning
    assert np.array_equal(courses[0].error[:2], courses[2].error[:2])
    # without a command the law is a spring to the start; the recorder's plans only brake
    assert courses[2].error[-1] < 0.5 * courses[0].error[-1]


def test_a_push_throws_the_end_effector_off_while_it_lasts_and_no_sooner(disturbed: DisturbedLoop) -> None:
    course = follow(disturbed, 0.3, pushes=(Push(0.1, 0.05, (0.0, 0.0, 200.0)),))
    assert course.error[:11].max() < 1e-3
    assert course.error[16:].min() > 5e-3


def test_the_plant_is_wrong_by_what_was_drawn(scenario: Scenario) -> None:
    start = np.concatenate([scenario.robot.nominal, np.zeros(scenario.robot.nv)])

    def model(seed: int, **wrong: float) -> Any:
        return _Plant(scenario, start, Disturbance(**wrong), np.random.default_rng(seed))._world.model

    true = model(0)
    moving = true.body_mass > 0.0
    heavy, again, other = model(1, mass=0.2), model(1, mass=0.2, inertia=0.1), model(2, mass=0.2)
    factors = heavy.body_mass[moving] / true.body_mass[moving]
    tip = [name for name in range(true.nbody) if true.body(name).name == scenario.robot.end_effector]
    assert np.array_equal(heavy.body_mass, again.body_mass)
    assert not np.array_equal(heavy.body_mass, other.body_mass)
    assert np.abs(factors - 1.0).max() <= 0.2
    assert np.std(factors) > 0.05
    assert heavy.body_mass[tip] == true.body_mass[tip]
    assert np.array_equal(heavy.body_inertia, true.body_inertia)
    ratios = again.body_inertia[moving] / true.body_inertia[moving]
    assert np.ptp(ratios, axis=1) == pytest.approx(np.zeros(len(ratios)))
    assert 0.0 < np.abs(ratios - 1.0).max() <= 0.1
    payload = model(1, payload=0.5)
    assert np.flatnonzero(payload.body_mass != true.body_mass).tolist() == tip


def test_noise_depends_on_the_generator(disturbed: DisturbedLoop) -> None:
    one, again, other, none = (
        follow(disturbed, 0.1, seed, noise=n) for seed, n in ((1, 0.1), (1, 0.1), (2, 0.1), (1, 0))
    )
    assert np.array_equal(one.error, again.error)
    assert not np.array_equal(one.error, other.error)
    assert none.error.max() < 0.1 * one.error.max()


def course_of(error: list[float]) -> Course:
    values = np.array(error)
    return Course(0.1 * np.arange(len(values)), values, values < 0.01, {}, {}, {}, 0)


def test_a_goal_is_reached_when_it_stays_so() -> None:
    course = course_of([0.1, 0.0, 0.1, 0.0, 0.0, 0.0, 0.1])
    assert course.reached_at(0.2) == pytest.approx(0.3)
    assert math.isnan(course.reached_at(0.3))
    assert course.reached_at(0.0) == pytest.approx(0.1)


def test_recovery_is_for_good() -> None:
    course = course_of([0.0, 0.2, 0.005, 0.02, 0.001, 0.0, 0.3])
    assert course.recovery(0.05, 0.55, 0.01) == pytest.approx({"peak": 0.2, "back_after": 0.35})
    assert math.isnan(course.recovery(0.05, 0.75, 0.01)["back_after"])
    assert course.recovery(0.45, 0.55, 0.01) == pytest.approx({"peak": 0.0, "back_after": 0.05})
