"""Every robot below urdf/ can be brought up on each of its drivers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import get_args

import pytest

from dpvp.errors import ConfigError
from dpvp.robot import Mode, Robot, load_robot, robot_names, robot_urdf
from dpvp.ros.controllers import controller_groups


@pytest.fixture(scope="module", params=robot_names())
def robot(request: pytest.FixtureRequest) -> Robot:
    """One robot after the other."""
    return load_robot(request.param)


def hardware(name: str, **xacro_args: str) -> ET.Element:
    """The ros2_control element of mode hardware."""
    system = ET.fromstring(robot_urdf(name, mode="hardware", **xacro_args)).find("ros2_control")
    assert system is not None
    return system


class TestEveryRobot:
    """robot.yaml, xacro and controllers agree on the drivers."""

    def test_first_driver_is_the_default_of_the_xacro(self, robot: Robot) -> None:
        first = next(iter(robot.drivers))
        assert ET.tostring(hardware(robot.name)) == ET.tostring(hardware(robot.name, driver=first))

    def test_plugins_are_in_the_packages(self, robot: Robot) -> None:
        """Plugins are called after their package, or nearly so: `<package>::` or `<package>_plugin/`."""
        for driver, package in robot.drivers.items():
            plugin = str(hardware(robot.name, driver=driver).findtext("hardware/plugin"))
            assert plugin.startswith((f"{package}::", f"{package}_plugin/")), driver

    def test_unknown_driver_is_refused(self, robot: Robot) -> None:
        known = " or ".join(robot.drivers)
        with pytest.raises(ConfigError, match=f"driver is 'other', must be {known}"):
            hardware(robot.name, driver="other")

    @pytest.mark.parametrize("mode", get_args(Mode))
    def test_controllers_can_be_spawned(self, robot: Robot, mode: Mode) -> None:
        overlay = [robot.folder / "controllers.hardware.yaml"] if mode == "hardware" else []
        groups = controller_groups([robot.folder / "controllers.yaml", *overlay], robot, mode)
        assert [group.name for group in groups] == ["spawn_broadcasters", "spawn_fallback", "spawn_feedback"]
