"""What the tests share: the scenario, loaded once. Whoever reads these fixtures leaves them as they are."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.control.leg_kinematics import LegKinematics
from dpvp.robot import Robot, load_robot
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Task

Array = NDArray[np.float64]

# a loaded machine is no reason to fail
hypothesis.settings.register_profile(
    "dpvp", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("dpvp")


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return load_scenario("kuka_reach")


@pytest.fixture(scope="session")
def robot(scenario: Scenario) -> Robot:
    return scenario.robot


@pytest.fixture(scope="session")
def task(scenario: Scenario) -> Task:
    return scenario.task


@pytest.fixture(scope="session")
def goal(scenario: Scenario) -> Array:
    """The published target (3,), m."""
    return np.array(scenario.goal)


@pytest.fixture(scope="session")
def at_rest(robot: Robot) -> Array:
    """The published start (nx,): nominal posture, no velocity."""
    return np.concatenate([robot.nominal, np.zeros(robot.nv)])


@pytest.fixture(scope="session")
def go2() -> Robot:
    return load_robot("go2")


@pytest.fixture(scope="session")
def legs(go2: Robot) -> LegKinematics:
    return LegKinematics(go2)
