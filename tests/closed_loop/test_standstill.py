"""At the goal the arm stands: plans that pass small torques off as optimal make the wrist tremble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario
from dpvp.worlds.mujoco import MujocoWorld

ARRIVED, END = 900, 1100  # plans at 100 Hz


def test_the_arm_stands_still_at_the_goal(scenario: Scenario) -> None:
    planning = replace(build_planning(scenario), budget=Budget(scenario.config.planner.iterations))
    world, goal, plan, fastest = MujocoWorld(scenario.robot), np.array(scenario.goal), None, 0.0
    for number in range(END):
        measured = world.read()
        plan = planning.plan(np.concatenate([measured.q, measured.v]), goal, measured.t, plan)
        for _ in range(10):
            now = world.read()
            world.apply(plan.us[0] + plan.gains[0] @ (plan.xs[0] - np.concatenate([now.q, now.v])))
            world.step()
            if number > ARRIVED:
                fastest = max(fastest, float(np.abs(now.v).max()))
    assert scenario.task.reached(np.concatenate([now.q, now.v]), goal)
    assert fastest < 0.01  # rad/s; 0.08 was seen where the solver stopped too early
