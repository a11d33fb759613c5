"""What the contract tests share: every robot below urdf/, and the robot of the guide."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpvp.description import read_description, robot_folder, robot_names
from dpvp.robot import Robot, load_robot
from guide import follow, parts

FLOATING = [name for name in robot_names() if read_description(robot_folder(name)).floating]


@pytest.fixture(scope="module", params=robot_names())
def robot(request: pytest.FixtureRequest) -> Robot:
    """One robot after the other."""
    return load_robot(request.param)


@pytest.fixture(scope="module", params=[name for name in robot_names() if name not in FLOATING])
def arm(request: pytest.FixtureRequest) -> Robot:
    """One robot that is fixed to the ground after the other."""
    return load_robot(request.param)


@pytest.fixture(scope="module", params=FLOATING)
def walker(request: pytest.FixtureRequest) -> Robot:
    """One robot that stands on feet after the other."""
    return load_robot(request.param)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of someone who has read up to a first run in MuJoCo."""
    folder = tmp_path_factory.mktemp("first")
    follow(parts()[0], folder)
    return folder
