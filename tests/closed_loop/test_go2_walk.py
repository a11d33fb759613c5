"""The quadruped walks in MuJoCo by plans made from the true state that come a plan period late."""

from __future__ import annotations

import numpy as np
import pytest

from dpvp.bench.walk import Course, Walk, WalkingLoop
from dpvp.scenario import load_scenario


@pytest.fixture(scope="module")
def loop() -> WalkingLoop:
    return walking("trot")


def walking(gait: str) -> WalkingLoop:
    plain = () if gait == "trot" else ("artifact=null", "planner.guesses=[shift]")  # what was learned is of the trot
    return WalkingLoop(load_scenario("quadruped_walk", (f"task.gait={gait}", *plain)))


def walked(loop: WalkingLoop, walk: Walk) -> tuple[Course, dict]:
    course = loop.run(walk, np.random.default_rng(1))
    assert not course.fell
    if not walk.push:  # whom a push takes out of the plan, the law asks for more than motors have
        assert (course.effort <= loop.task.robot.limits.effort).all()
    assert course.statuses["OK"] >= 0.98 * sum(course.statuses.values())
    return course, course.summary(walk, loop.task)


def test_it_stands_still(loop: WalkingLoop) -> None:
    _, found = walked(loop, Walk("stand", 10.0, (0.0, 0.0, 0.0)))
    assert found["moved"] < 0.02
    assert found["velocity_rms"] < 0.01
    assert abs(found["turn"]) < 0.005


def test_it_trots_and_is_pushed(loop: WalkingLoop) -> None:
    """50 N from the side for 0.2 s, 2 s after the start: it goes on, as fast as it should."""
    course, found = walked(loop, Walk("trot", 5.0, (0.5, 0.0, 0.0), push=50.0))
    assert found["moved"] > 2.2
    late = course.t > 4.0
    errors = [loop.task.error(x, np.array([0.0, 0.5, 0.0, 0.0, 0.0])) for x in course.xs[late]]
    assert np.sqrt(np.mean(np.square(errors))) < 0.1
    sideways = np.abs(course.xs[:, loop.task.robot.nq + 1])
    assert sideways.max() > 0.3, "the push was felt"
    np.testing.assert_allclose(course.xs[:, 2], loop.task.robot.nominal[2], atol=0.04)


def test_it_turns(loop: WalkingLoop) -> None:
    _, found = walked(loop, Walk("turn", 4.0, (0.2, 0.0, 0.5)))
    assert found["velocity_rms"] < 0.1
    assert found["turn"] == pytest.approx(0.5, abs=0.05)


def test_it_walks_with_three_feet_on_the_floor() -> None:
    slow = walking("walk")
    _, found = walked(slow, Walk("walk", 3.0, (0.3, 0.0, 0.0)))
    assert found["velocity_rms"] < 0.1
