"""Gazebo gets the machine and the world that MuJoCo gets: config/gazebo/world.sdf, and every robot in mode gazebo.

What becomes of a URDF inside Gazebo only libsdformat knows: `TestConverted` asks it where `gz sdf` is installed.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pinocchio
import pytest

from dpvp.config import share_directory
from dpvp.description import robot_urdf
from dpvp.robot import Robot, load_robot
from dpvp.ros.bringup import Bringup
from dpvp.ros.controllers import GAZEBO_STEPS
from dpvp.ros.processes import bringup_processes
from dpvp.scenario import load_scenario

WORLD = share_directory() / "config" / "gazebo" / "world.sdf"
ROS2_CONTROL = ("gz_ros2_control-system", "gz_ros2_control::GazeboSimROS2ControlPlugin")
ROUNDED = 1e-9
Convert = Callable[[Robot], ET.Element]


@pytest.fixture(scope="module")
def world() -> ET.Element:
    """The world of mode gazebo."""
    return element(ET.parse(WORLD).getroot(), "world")


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """A function that returns the SDF model of a robot."""
    folder, known = tmp_path_factory.mktemp("sdf"), dict[str, ET.Element]()

    def run(robot: Robot) -> ET.Element:
        if robot.name not in known:
            file = folder / f"{robot.name}.urdf"
            file.write_text(expanded(robot.name), encoding="utf-8")
            assert gz_sdf("-k", file) == "Valid.\n"
            known[robot.name] = element(ET.fromstring(gz_sdf("-p", file)), "model")
        return known[robot.name]

    return run


@functools.cache
def expanded(name: str) -> str:
    """The URDF that Gazebo gets, as XML; xacro is slow."""
    return robot_urdf(name, mode="gazebo")


def scene_of(robot: Robot) -> mujoco.MjModel:
    """The MJCF of the robot."""
    return mujoco.MjModel.from_xml_path(str(robot.scene))


def urdf_of(robot: Robot) -> ET.Element:
    """The URDF that Gazebo gets, parsed."""
    return ET.fromstring(expanded(robot.name))


def bringup(robot: Robot) -> dict[str, tuple[str, ...]]:
    """The processes that a scenario with this robot starts, and their arguments."""
    scenario = load_scenario("kuka_reach")
    scenario.robot = robot
    return {spec.name: spec.arguments for spec in bringup_processes(scenario, Bringup(mode="gazebo"), Path("run"))}


def element(parent: ET.Element, path: str) -> ET.Element:
    """The only element of `parent` at `path`."""
    (found,) = parent.findall(path)
    return found


def numbers(parent: ET.Element, path: str) -> list[float]:
    """The numbers that stand at `path`."""
    return [float(word) for word in str(element(parent, path).text).split()]


def noise(imu: ET.Element) -> dict[str, set[float]]:
    """The standard deviations of what `imu` measures, over its axes, by the names of the sensors in scene.xml."""
    paths = {"imu_gyro": "angular_velocity", "imu_accel": "linear_acceleration"}
    return {
        name: {numbers(imu, f"imu/{path}/{axis}/noise/stddev")[0] for axis in "xyz"} for name, path in paths.items()
    }


class TestWorld:
    """One world for all robots."""

    def test_bringup_starts_it(self) -> None:
        assert bringup(load_robot("iiwa14"))["gazebo"][-1] == str(WORLD)

    def test_step_and_gravity_are_those_of_the_scene(self, world: ET.Element, robot: Robot) -> None:
        scene, step = scene_of(robot), numbers(world, "physics/max_step_size")
        assert step == [scene.opt.timestep] == [1 / GAZEBO_STEPS]
        np.testing.assert_allclose(numbers(world, "gravity"), scene.opt.gravity)
        np.testing.assert_allclose(numbers(world, "gravity"), robot.model.gravity.linear)
        assert numbers(world, "physics/real_time_factor") == [1.0]

    def test_systems(self, world: ET.Element) -> None:
        """With one system in the file Gazebo loads none by itself, so all that are needed are here."""
        systems = {str(plugin.get("name")): plugin.get("filename") for plugin in world.findall("plugin")}
        assert systems == {
            "gz::sim::systems::Physics": "gz-sim-physics-system",
            "gz::sim::systems::UserCommands": "gz-sim-user-commands-system",
            "gz::sim::systems::SceneBroadcaster": "gz-sim-scene-broadcaster-system",
            "gz::sim::systems::Imu": "gz-sim-imu-system",
            "gz::sim::systems::Contact": "gz-sim-contact-system",
        }

    def test_floor(self, world: ET.Element, walker: Robot) -> None:
        """It is where MuJoCo has it, and rougher than any foot: the smaller friction of the two counts."""
        scene, floor = scene_of(walker), element(world, "model")
        assert floor.find(".//pose") is None
        np.testing.assert_array_equal(scene.geom("floor").pos, 0.0)
        assert numbers(floor, "link/collision/geometry/plane/normal") == [0.0, 0.0, 1.0]
        for name in ("mu", "mu2"):
            (friction,) = numbers(floor, f"link/collision/surface/friction/ode/{name}")
            assert all(friction >= scene.geom(foot).friction[0] for foot in walker.feet)


class TestUrdf:
    """What a robot brings into the world, as it is written."""

    def test_systems_of_the_world_run_once(self, robot: Robot) -> None:
        """A system that a second robot brought again would measure everything twice."""
        (plugin,) = urdf_of(robot).findall("gazebo/plugin")
        assert (plugin.get("filename"), plugin.get("name")) == ROS2_CONTROL
        assert plugin.findtext("parameters") == str(robot.folder / "controllers.yaml")

    def test_joints_are_those_of_the_scene(self, robot: Robot) -> None:
        scene, joints = scene_of(robot), {joint.get("name"): joint for joint in urdf_of(robot).findall("joint")}
        for name in robot.joint_names:
            limit, dynamics = element(joints[name], "limit"), element(joints[name], "dynamics")
            found = [float(str(limit.get(key))) for key in ("lower", "upper", "effort")]
            found += [float(str(dynamics.get(key))) for key in ("damping", "friction")]
            np.testing.assert_allclose(found, joint_of_scene(scene, name), err_msg=name)

    def test_it_starts_where_mujoco_starts(self, robot: Robot) -> None:
        start = scene_of(robot).key("nominal").qpos
        path = "ros2_control/joint/state_interface[@name='position']/param[@name='initial_value']"
        assert [float(str(param.text)) for param in urdf_of(robot).findall(path)] == start[-robot.nu :].tolist()
        arguments = bringup(robot)["gazebo_create"]
        height = [float(z) for key, z in itertools.pairwise(arguments) if key == "-z"]
        assert height == (start[2:3].tolist() if robot.floating else [])  # in the world as it is
        assert robot.floating == ("world" not in {link.get("name") for link in urdf_of(robot).findall("link")})

    def test_imu_is_that_of_the_scene(self, walker: Robot) -> None:
        scene, urdf = scene_of(walker), urdf_of(walker)
        imu = element(urdf, f"gazebo[@reference='{walker.imu}']/sensor")
        assert imu.get("type") == "imu"
        assert imu.get("name") in {sensor.get("name") for sensor in urdf.findall("ros2_control/sensor")}
        assert numbers(imu, "update_rate") == [GAZEBO_STEPS]
        assert imu.findtext("imu/orientation_reference_frame/localization") == "ENU"  # the world's, as in MuJoCo
        assert noise(imu) == {name: {float(scene.sensor(name).noise[0])} for name in ("imu_gyro", "imu_accel")}
        frame = walker.model.frames[walker.model.getFrameId(walker.imu)]
        np.testing.assert_allclose(frame.placement.homogeneous, place_of_imu(scene).homogeneous, atol=ROUNDED)

    def test_feet_slide_as_in_the_scene(self, walker: Robot) -> None:
        scene, urdf = scene_of(walker), urdf_of(walker)
        for foot in walker.feet:
            block, geom = element(urdf, f"gazebo[@reference='{foot}']"), scene.geom(foot)
            assert numbers(block, "mu1") == numbers(block, "mu2") == [geom.friction[0]]
            assert geom.priority[0] > scene.geom("floor").priority[0]  # the foot's counts in MuJoCo too
            assert element(block, "sensor").get("type") == "contact"


class TestConverted:
    """What libsdformat makes of it all, which is what Gazebo simulates."""

    def test_valid(self, convert: Convert, robot: Robot) -> None:
        assert gz_sdf("-k", WORLD) == "Valid.\n"
        assert convert(robot).get("name") == robot.name

    def test_bodies(self, convert: Convert, robot: Robot) -> None:
        """Where they are, and their mass and inertia, with all that is fixed to them."""
        model, data = convert(robot), robot.model.createData()
        pinocchio.forwardKinematics(robot.model, data, pinocchio.neutral(robot.model))
        driven = [element(model, f"joint[@name='{name}']/child").text for name in robot.joint_names]
        links = {link.get("name"): inertia_of(link) for link in model.findall("link")}
        assert set(links) - set(driven) == {robot.base}
        for body, link in enumerate([robot.base, *driven], start=int(robot.floating)):
            expected = robot.model.inertias[body]
            np.testing.assert_allclose(links[link].mass, expected.mass, rtol=ROUNDED, err_msg=link)
            np.testing.assert_allclose(links[link].lever, expected.lever, atol=ROUNDED, err_msg=link)
            np.testing.assert_allclose(links[link].inertia, expected.inertia, atol=ROUNDED, err_msg=link)
            found, placed = placement(model, str(link)).homogeneous, data.oMi[body].homogeneous
            np.testing.assert_allclose(found, placed, atol=ROUNDED, err_msg=link)

    def test_joints(self, convert: Convert, robot: Robot) -> None:
        model, scene = convert(robot), scene_of(robot)
        driven = model.findall("joint[@type='revolute']")
        assert [joint.get("name") for joint in driven] == list(robot.joint_names)
        keys = ("limit/lower", "limit/upper", "limit/effort", "dynamics/damping", "dynamics/friction")
        for joint, speed in zip(driven, robot.limits.velocity, strict=True):
            name, axis = str(joint.get("name")), element(joint, "axis")
            found = [numbers(axis, key)[0] for key in keys]
            np.testing.assert_allclose(found, joint_of_scene(scene, name), rtol=ROUNDED, err_msg=name)
            np.testing.assert_allclose(numbers(axis, "xyz"), scene.joint(name).axis, atol=ROUNDED, err_msg=name)
            assert numbers(axis, "limit/velocity") == pytest.approx([speed], rel=ROUNDED), name
        fixed = [(joint.findtext("parent"), joint.findtext("child")) for joint in model.findall("joint[@type='fixed']")]
        assert fixed == ([] if robot.floating else [("world", robot.base)])

    def test_plugin(self, convert: Convert, robot: Robot) -> None:
        plugin = element(convert(robot), "plugin")
        assert (plugin.get("filename"), plugin.get("name")) == ROS2_CONTROL
        assert plugin.findtext("parameters") == str(robot.folder / "controllers.yaml")

    def test_imu(self, convert: Convert, walker: Robot) -> None:
        """Its frame is gone: it sits in the base, where the frame was."""
        scene, imu = scene_of(walker), element(convert(walker), f"link[@name='{walker.base}']/sensor")
        found = pose_of(element(imu, "pose")).homogeneous
        np.testing.assert_allclose(found, place_of_imu(scene).homogeneous, atol=ROUNDED)
        assert noise(imu) == {name: {float(scene.sensor(name).noise[0])} for name in ("imu_gyro", "imu_accel")}
        assert imu.findtext("imu/orientation_reference_frame/localization") == "ENU"

    def test_feet(self, convert: Convert, walker: Robot) -> None:
        """They have become part of the links before; friction, and the sensors that name the shapes, came along."""
        scene, model = scene_of(walker), convert(walker)
        sensors = {
            sensor.get("name"): (link, sensor) for link in model.findall("link") for sensor in link.iter("sensor")
        }
        for foot in walker.feet:
            link, sensor = sensors[f"{foot}_contact"]
            shape = element(link, f"collision[@name='{sensor.findtext('contact/collision')}']")
            assert numbers(shape, "geometry/sphere/radius") == pytest.approx(scene.geom(foot).size[:1])
            for name in ("mu", "mu2"):
                assert numbers(shape, f"surface/friction/ode/{name}") == [scene.geom(foot).friction[0]]


def joint_of_scene(scene: mujoco.MjModel, name: str) -> list[float]:
    """Lower, upper, effort, damping and friction of a joint of the MJCF."""
    joint, motor = scene.joint(name), scene.actuator(name)
    return [*joint.range, motor.ctrlrange[1], joint.damping[0], joint.frictionloss[0]]


def place_of_imu(scene: mujoco.MjModel) -> pinocchio.SE3:
    """Where the IMU of the MJCF is, in the base."""
    site = scene.site("imu")
    return pinocchio.XYZQUATToSE3([*site.pos, *np.roll(site.quat, -1)])


def gz_sdf(option: str, file: Path) -> str:
    """What `gz sdf` says about `file`; skips the test where Gazebo is not installed."""
    there = shutil.which("gz") and subprocess.run(["gz", "sdf", "--help"], capture_output=True, check=False)
    if not there or there.returncode != 0:
        pytest.skip("`gz sdf` is not installed: what Gazebo makes of the URDF is not checked")
    return subprocess.run(["gz", "sdf", option, str(file)], capture_output=True, text=True, check=True).stdout


def pose_of(pose: ET.Element) -> pinocchio.SE3:
    """The pose that SDF writes as x y z roll pitch yaw."""
    found = [float(word) for word in str(pose.text).split()]
    return pinocchio.SE3(pinocchio.rpy.rpyToMatrix(np.array(found[3:])), np.array(found[:3]))


def placement(model: ET.Element, name: str) -> pinocchio.SE3:
    """Where the link or joint `name` is in the model, through all that it is written relative to."""
    part = element(model, f"*[@name='{name}']")
    pose = part.find("pose")
    if pose is None:
        return pinocchio.SE3.Identity()
    before = pose.get("relative_to", "__model__")
    return pose_of(pose) if before == "__model__" else placement(model, before) * pose_of(pose)


def inertia_of(link: ET.Element) -> pinocchio.Inertia:
    """Mass and inertia of a link, in its frame."""
    inertial = element(link, "inertial")
    values = {key: numbers(inertial, f"inertia/{key}")[0] for key in ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")}
    tensor = np.array([[values["".join(("i", *sorted(row + column)))] for column in "xyz"] for row in "xyz"])
    own = pinocchio.Inertia(numbers(inertial, "mass")[0], np.zeros(3), tensor)
    return pose_of(element(inertial, "pose")).act(own)
