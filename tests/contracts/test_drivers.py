"""Every robot below urdf/ can be brought up on each of its drivers; what is special about single drivers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import get_args

import numpy as np
import pytest

from dpvp.config import read_yaml
from dpvp.description import Mode, robot_urdf
from dpvp.errors import ConfigError
from dpvp.robot import Robot, load_robot
from dpvp.ros.controllers import Succession, controller_groups, succession


def hardware(name: str, **xacro_args: str) -> ET.Element:
    """The ros2_control element of mode hardware."""
    system = ET.fromstring(robot_urdf(name, mode="hardware", **xacro_args)).find("ros2_control")
    assert system is not None
    return system


class TestEveryRobot:
    """robot.yaml, xacro and controllers agree on the drivers."""

    def test_first_driver_is_the_default_of_the_xacro(self, robot: Robot) -> None:
        first = next(iter(robot.drivers))
        assert ET.tostring(hardware(str(robot.folder))) == ET.tostring(hardware(str(robot.folder), driver=first))

    def test_plugins_are_in_the_packages(self, robot: Robot) -> None:
        """Plugins are called after their package, or nearly so: `<package>::`, `<package>/` or `<package>_plugin/`."""
        for driver, package in robot.drivers.items():
            plugin = str(hardware(str(robot.folder), driver=driver).findtext("hardware/plugin"))
            assert plugin.startswith((f"{package}::", f"{package}/", f"{package}_plugin/")), driver

    def test_unknown_driver_is_refused(self, robot: Robot) -> None:
        known = " or ".join(robot.drivers)
        with pytest.raises(ConfigError, match=f"driver is 'other', must be {known}"):
            hardware(str(robot.folder), driver="other")

    @pytest.mark.parametrize("mode", get_args(Mode))
    def test_controllers_can_be_spawned(self, robot: Robot, mode: Mode) -> None:
        overlay = [robot.folder / "controllers.hardware.yaml"] if mode == "hardware" else []
        groups = controller_groups([robot.folder / "controllers.yaml", *overlay], robot, mode)
        assert [group.name for group in groups] == ["spawn_broadcasters", "spawn_fallback", "spawn_feedback"]

    @pytest.mark.parametrize("mode", get_args(Mode))
    def test_what_damps_takes_over_from_the_law_and_what_feeds_it(self, robot: Robot, mode: Mode) -> None:
        """And from nothing else: a driver that wants to know where the arm is goes on being told."""
        overlay = [robot.folder / "controllers.hardware.yaml"] if mode == "hardware" else []
        assert succession([robot.folder / "controllers.yaml", *overlay]) == Succession()


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


class TestGo2:
    """The quadruped: motors in the order of Unitree's SDK, and an IMU on every target."""

    def test_motors_in_the_order_of_the_sdk(self) -> None:
        """The driver gives the n-th joint the n-th motor, whatever it is called."""
        system = hardware("go2", network_interface="enp3s0", domain="2")
        assert system.findtext("hardware/plugin") == "hardware_unitree_sdk2/HardwareUnitree"
        assert system.findtext("hardware/param[@name='network_interface']") == "enp3s0"
        assert system.findtext("hardware/param[@name='domain']") == "2"
        legs = [f"{leg}_{joint}_joint" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf")]
        assert [joint.get("name") for joint in system.findall("joint")] == legs
        robot = load_robot("go2")
        effort = dict(zip(robot.joint_names, robot.limits.effort, strict=True))
        for joint in system.findall("joint"):
            commands = {str(element.get("name")): element for element in joint.findall("command_interface")}
            assert sorted(commands) == ["effort", "kd", "kp", "position", "velocity"]
            assert commands["effort"].findtext("param[@name='max']") == str(effort[str(joint.get("name"))])
            states = [element.get("name") for element in joint.findall("state_interface")]
            assert states == ["position", "velocity", "effort"]

    def test_sensors_in_the_order_of_the_sdk(self) -> None:
        imu, feet = hardware("go2").findall("sensor")
        axes = [f"{kind}.{axis}" for kind in ("angular_velocity", "linear_acceleration") for axis in "xyz"]
        assert [element.get("name") for element in imu] == [f"orientation.{axis}" for axis in "wxyz"] + axes
        assert [element.get("name") for element in feet] == ["FR", "FL", "RR", "RL"]

    @pytest.mark.parametrize("mode", get_args(Mode))
    def test_imu_that_is_broadcast_exists(self, mode: Mode) -> None:
        robot = load_robot("go2")
        broadcaster = read_yaml(robot.folder / "controllers.yaml")["/**/imu_sensor_broadcaster"]["ros__parameters"]
        system = ET.fromstring(robot_urdf("go2", mode=mode)).find("ros2_control")
        assert system is not None
        assert broadcaster["sensor_name"] in [sensor.get("name") for sensor in system.findall("sensor")]
        assert broadcaster["frame_id"] == robot.imu
