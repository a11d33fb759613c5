"""Every robot below urdf/ can be brought up on each of its drivers; what is special about the driver of the leg."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import get_args

import numpy as np
import pytest

from dpvp.description import Mode, robot_names, robot_urdf
from dpvp.errors import ConfigError
from dpvp.robot import Robot, load_robot
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


class TestLeg2r:
    """The leg: its kinematics, and ODrives on a CAN bus."""

    def test_kinematics_are_those_of_the_published_leg(self) -> None:
        """Hip from the vertical, knee relative to the thigh, positive swings the foot to -x; 0.3 m each."""
        leg = load_robot("leg2r")
        for hip, knee in np.random.default_rng(1).uniform(-2.0, 2.0, size=(20, 2)):
            x, z = -0.3 * np.array([np.sin(hip) + np.sin(hip + knee), np.cos(hip) + np.cos(hip + knee)])
            np.testing.assert_allclose(leg.frame_position([hip, knee]), [x, 0.0, 0.7 + z], atol=1e-12)

    def test_torque_control_over_can(self) -> None:
        """Claiming position or velocity would change the mode of the ODrive: only effort is declared."""
        system = hardware("leg2r", can="can7", knee_node_id="5")
        assert system.findtext("hardware/plugin") == "odrive_ros2_control_plugin/ODriveHardwareInterface"
        assert system.findtext("hardware/param[@name='can']") == "can7"
        assert [joint.get("name") for joint in system.findall("joint")] == ["hip", "knee"]
        assert [joint.findtext("param[@name='node_id']") for joint in system.findall("joint")] == ["0", "5"]
        for joint in system.findall("joint"):
            assert [element.get("name") for element in joint.findall("command_interface")] == ["effort"]
            states = [element.get("name") for element in joint.findall("state_interface")]
            assert states == ["position", "velocity", "effort"]
