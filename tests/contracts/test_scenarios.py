"""Every scenario that comes with dpvp: it loads, its goal can be had, its planner plans, and it can be launched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dpvp.config import share_directory
from dpvp.planning.build import build_planning
from dpvp.scenario import Scenario, load_scenario, scenario_names


@pytest.fixture(params=scenario_names())
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return load_scenario(request.param)


def test_its_own_goal_and_drawn_ones_are_accepted(scenario: Scenario) -> None:
    task, rng = scenario.task, np.random.default_rng(0)
    assert len(scenario.goal) == task.goal_size == len(task.goal_layout)
    for goal in (np.array(scenario.goal), *(task.sample_goal(rng) for _ in range(20))):
        np.testing.assert_array_equal(task.check_goal(goal), goal)
        assert task.place(goal).shape == (3,)
        np.testing.assert_array_equal(task.check_goal(task.later(goal, 0.37)), task.later(goal, 0.37))


def test_what_is_saved_is_the_same_scenario(scenario: Scenario, tmp_path: Path) -> None:
    scenario.save(tmp_path / "again.yaml")
    assert load_scenario(str(tmp_path / "again.yaml")).config == scenario.config


def test_it_plans_from_rest_and_goes_on_from_there(scenario: Scenario) -> None:
    planning, robot = build_planning(scenario), scenario.robot
    x, goal = np.concatenate([robot.nominal, np.zeros(robot.nv)]), np.array(scenario.goal)
    first = planning.plan(x, goal, 0.0, None)
    later = planning.plan(first.at(0.01), goal, 0.01, first)
    assert first.status.usable, first.status
    assert later.status.usable, later.status
    assert later.guess == "shift" or "policy" in scenario.config.planner.guesses


def test_launch_files_are_of_scenarios_that_there_are() -> None:
    """bringup.launch.py starts any scenario; some have a short form."""
    for file in sorted((share_directory() / "launch").glob("*.launch.py")):
        name = file.name.removesuffix(".launch.py")
        if name != "bringup":
            assert name in scenario_names()
            assert f'default_value="{name}"' in file.read_text(encoding="utf-8")
