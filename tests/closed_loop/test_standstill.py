"""At the goal the arm stands: plans that pass small torques off as optimal make the wrist tremble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import load_scenario
from dpvp.worlds.mujoco import MujocoWorld
from unlearned import UNLEARNED


# plans at 100 Hz until it has arrived, and until the end
@pytest.mark.parametrize(("overrides", "arrived", "end"), [(UNLEARNED, 450, 650), ((), 900, 1100)])
def test_the_arm_stands_still_at_the_goal(overrides: tuple[str, ...], arrived: int, end: int) -> None:
    scenario = load_scenario("kuka_reach", overrides)
    planning = replace(build_planning(scenario), budget=Budget(scenario.config.planner.iterations))
    world, goal, plan, fastest = MujocoWorld(scenario.robot), np.array(scenario.goal), None, 0.0
    for number in range(end):
        measured = world.read()
        plan = planning.plan(np.concatenate([measured.q, measured.v]), goal, measured.t, plan)
        for _ in range(10):
            now = world.read()
            world.apply(plan.us[0] + plan.gains[0] @ (plan.xs[0] - np.concatenate([now.q, now.v])))
            world.step()
            if number > arrived:
                fastest = max(fastest, float(np.abs(now.v).max()))
    assert scenario.task.reached(np.concatenate([now.q, now.v]), goal)
    assert fastest < 0.01  # rad/s; 0.08 was seen where the solver stopped too early
