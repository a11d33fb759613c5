"""Every robot below urdf/ describes one machine in all of its files: robot.yaml, URDF, MJCF, controllers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import mujoco
import numpy as np
import pinocchio
import pytest
import yaml

from dpvp.description import RobotConfig, robot_urdf
from dpvp.robot import Robot, load_robot
from dpvp.worlds.mujoco import MujocoWorld

MODES = {
    "mock": "mock_components/GenericSystem",
    "mujoco": "mujoco_ros2_control/MujocoSystemInterface",
    "gazebo": "gz_ros2_control/GazeboSimSystem",
    "topic": "joint_state_topic_hardware_interface/JointStateTopicSystem",
}


@pytest.fixture(scope="module")
def scene(robot: Robot) -> mujoco.MjModel:
    """The MJCF of the robot."""
    return scene_of(robot)


@pytest.fixture(scope="module")
def config(robot: Robot) -> RobotConfig:
    """The content of robot.yaml."""
    return RobotConfig.model_validate(yaml.safe_load((robot.folder / "robot.yaml").read_text()))


def scene_of(robot: Robot) -> mujoco.MjModel:
    """The MJCF of the robot."""
    return mujoco.MjModel.from_xml_path(str(robot.scene))


def configurations(robot: Robot, count: int) -> np.ndarray:
    """Random configurations (count, nq) with joints within the limits; a floating base is anywhere, turned anyhow."""
    rng = np.random.default_rng(7)
    joints = rng.uniform(robot.limits.position_lower, robot.limits.position_upper, size=(count, robot.nu))
    poses = rng.normal(size=(count, robot.nq - robot.nu))
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    return np.hstack([poses, joints])


def qpos(robot: Robot, q: np.ndarray) -> np.ndarray:
    """The configuration (nq,) as MuJoCo writes it: the quaternion of a floating base as wxyz."""
    return np.concatenate([q[:3], q[6:7], q[3:6], q[7:]]) if robot.floating else q


def to_mujoco(robot: Robot, q: np.ndarray) -> np.ndarray:
    """The matrix (nv, nv) that makes MuJoCo's velocity of pinocchio's: that of a base is along the world's axes."""
    matrix = np.eye(robot.nv)
    if robot.floating:
        matrix[:3, :3] = pinocchio.Quaternion(q[3:7]).toRotationMatrix()
    return matrix


def driven(scene: mujoco.MjModel) -> np.ndarray:
    """Numbers of the joints of the scene that are not free."""
    return np.flatnonzero(scene.jnt_type != mujoco.mjtJoint.mjJNT_FREE)


class TestScene:
    """URDF and robot.yaml against the MJCF."""

    def test_joints_and_actuators_have_the_same_order(self, robot: Robot, scene: mujoco.MjModel) -> None:
        joints = driven(scene)
        assert tuple(scene.joint(i).name for i in joints) == robot.joint_names
        assert joints.tolist() == list(range(scene.njnt))[robot.floating :]
        assert tuple(scene.actuator(i).name for i in range(scene.nu)) == robot.joint_names
        assert scene.actuator_trnid[:, 0].tolist() == joints.tolist()
        assert scene.actuator_trntype.tolist() == [mujoco.mjtTrn.mjTRN_JOINT] * scene.nu

    def test_limits(self, robot: Robot, scene: mujoco.MjModel) -> None:
        joints = driven(scene)
        assert scene.jnt_limited[joints].all()
        np.testing.assert_allclose(scene.jnt_range[joints, 0], robot.limits.position_lower, atol=1e-9)
        np.testing.assert_allclose(scene.jnt_range[joints, 1], robot.limits.position_upper, atol=1e-9)
        assert scene.actuator_ctrllimited.all()
        np.testing.assert_allclose(scene.actuator_ctrlrange, np.c_[-robot.limits.effort, robot.limits.effort])
        np.testing.assert_allclose(robot.model.upperVelocityLimit[-robot.nu :], robot.limits.velocity)

    def test_motors_pass_the_torque_on(self, scene: mujoco.MjModel) -> None:
        assert (scene.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED).all()
        assert (scene.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE).all()
        np.testing.assert_array_equal(scene.actuator_gainprm[:, 0], 1.0)
        np.testing.assert_array_equal(scene.actuator_gear[:, 0], 1.0)

    def test_armature_and_losses(self, robot: Robot, scene: mujoco.MjModel) -> None:
        """Losses are those of the URDF, where Gazebo finds them; arms have none, as the planner's models."""
        np.testing.assert_allclose(scene.dof_armature, robot.model.armature, atol=1e-12)
        joints = {joint.get("name"): joint for joint in ET.fromstring(robot.urdf_xml).findall("joint")}
        for key, found in {"damping": scene.dof_damping, "friction": scene.dof_frictionloss}.items():
            expected = [float(joints[name].find("dynamics").get(key)) for name in robot.joint_names]
            np.testing.assert_allclose(found[-robot.nu :], expected)
            assert not found[: -robot.nu].any()
            assert robot.floating or not found.any()

    def test_mass_and_inertia_of_every_body(self, robot: Robot, scene: mujoco.MjModel) -> None:
        data = mujoco.MjData(scene)
        data.qpos[:] = qpos(robot, pinocchio.neutral(robot.model))
        mujoco.mj_forward(scene, data)
        placed = robot.model.createData()
        pinocchio.forwardKinematics(robot.model, placed, pinocchio.neutral(robot.model))
        for joint, moved in enumerate(scene.jnt_bodyid, start=1):
            found = pinocchio.Inertia.Zero()
            for body in np.flatnonzero(scene.body_weldid == scene.body_weldid[moved]):
                rotation = data.ximat[body].reshape(3, 3)
                tensor = rotation @ np.diag(scene.body_inertia[body]) @ rotation.T
                found += pinocchio.Inertia(scene.body_mass[body], data.xipos[body], tensor)
            expected = placed.oMi[joint].act(robot.model.inertias[joint])
            np.testing.assert_allclose(found.mass, expected.mass, atol=1e-9)
            np.testing.assert_allclose(found.lever, expected.lever, atol=1e-9)
            np.testing.assert_allclose(found.inertia, expected.inertia, atol=1e-9)
        total = sum(inertia.mass for inertia in robot.model.inertias)
        assert total == pytest.approx(scene.body_mass.sum(), abs=1e-9)

    def test_inertias_are_physical(self, robot: Robot) -> None:
        for inertia in list(robot.model.inertias)[robot.floating :]:  # what is fixed to the ground comes first
            moments = np.linalg.eigvalsh(inertia.inertia)
            assert inertia.mass > 0
            assert moments[0] > 0
            assert moments[0] + moments[1] >= moments[2]

    def test_forward_kinematics(self, robot: Robot, scene: mujoco.MjModel) -> None:
        data = mujoco.MjData(scene)
        for q in configurations(robot, 50):
            data.qpos[:] = qpos(robot, q)
            mujoco.mj_kinematics(scene, data)
            difference = data.site(robot.end_effector).xpos - robot.frame_position(q)
            assert np.linalg.norm(difference) < 1e-6
            placed = robot.model.createData()
            pinocchio.framesForwardKinematics(robot.model, placed, q)
            for foot in robot.feet:
                difference = data.site(foot).xpos - placed.oMf[robot.model.getFrameId(foot)].translation
                assert np.linalg.norm(difference) < 1e-6

    def test_mass_matrix_and_gravity(self, robot: Robot, scene: mujoco.MjModel) -> None:
        data = mujoco.MjData(scene)
        for q in configurations(robot, 20):
            data.qpos[:] = qpos(robot, q)
            mujoco.mj_forward(scene, data)
            mass, turn = np.zeros((robot.nv, robot.nv)), to_mujoco(robot, q)
            for row, unit in zip(mass, np.eye(robot.nv), strict=True):
                mujoco.mj_mulM(scene, data, row, unit)
            upper = np.triu(pinocchio.crba(robot.model, robot.model.createData(), q))
            assert np.abs(upper + np.triu(upper, 1).T - turn.T @ mass @ turn).max() < 1e-6
            weight = pinocchio.computeGeneralizedGravity(robot.model, robot.model.createData(), q)
            assert np.abs(weight - turn.T @ data.qfrc_bias).max() < 1e-6
            if not robot.floating:
                np.testing.assert_array_equal(robot.gravity(q), weight)

    def test_accelerations(self, robot: Robot) -> None:
        """Pinocchio and MuJoCo, in the air and without losses, move alike."""
        rng, world = np.random.default_rng(8), MujocoWorld(robot)
        world.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
        world.model.dof_damping[:] = world.model.dof_frictionloss[:] = 0.0
        for q in configurations(robot, 20):
            v, effort = rng.normal(size=robot.nv), rng.uniform(-1, 1, robot.nu) * robot.limits.effort
            world.reset(q, v)
            world.apply(effort)
            mujoco.mj_forward(world.model, world.data)
            forces = np.concatenate([np.zeros(robot.nv - robot.nu), effort])
            expected = pinocchio.aba(robot.model, robot.model.createData(), q, v, forces)
            found = to_mujoco(robot, q).T @ world.data.qacc
            if robot.floating:  # the frame of the base turns, in which pinocchio sees the velocity
                found[:3] -= np.cross(v[3:6], v[:3])
            np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())

    def test_what_worlds_and_pictures_need(self, scene: mujoco.MjModel) -> None:
        assert scene.body_mocapid[scene.body("goal").id] >= 0
        assert min(scene.site("goal").id, scene.camera("side").id) >= 0
        assert (scene.vis.global_.offwidth, scene.vis.global_.offheight) == (1280, 960)
        assert scene.opt.timestep == pytest.approx(0.001)
        assert scene.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST


class TestPostures:
    """The postures of robot.yaml, and holding them."""

    def test_keyframes_within_limits_and_free_of_contact(self, robot: Robot, scene: mujoco.MjModel) -> None:
        data = mujoco.MjData(scene)
        for name, posture in robot.postures.items():
            np.testing.assert_allclose(scene.key(name).qpos, qpos(robot, posture), err_msg=name)
            assert (posture[-robot.nu :] > robot.limits.position_lower).all(), name
            assert (posture[-robot.nu :] < robot.limits.position_upper).all(), name
            data.qpos[:] = qpos(robot, posture)
            mujoco.mj_forward(scene, data)
            assert touching(scene, data) <= set(robot.feet), name

    def test_gravity_fits_into_the_effort_limits(self, arm: Robot) -> None:
        """With something to spare: a Panda that reaches out needs 0.64 of what its shoulder has."""
        largest = np.max([np.abs(arm.gravity(q)) for q in configurations(arm, 200)], axis=0)
        assert (largest < 0.7 * arm.limits.effort).all()

    def test_gravity_compensation_alone_keeps_the_nominal_posture(self, arm: Robot) -> None:
        scene = scene_of(arm)
        data = mujoco.MjData(scene)
        data.qpos[:] = arm.nominal
        for _ in range(round(2.0 / scene.opt.timestep)):
            data.ctrl[:] = arm.gravity(data.qpos)
            mujoco.mj_step(scene, data)
        assert np.abs(data.qpos - arm.nominal).max() < 1e-3

    @pytest.mark.parametrize("delay", [0, 2])
    def test_hold_settles_without_oscillating(self, arm: Robot, delay: int) -> None:
        """Pushed away from every posture, also when the torque comes `delay` ticks late."""
        rng, scene = np.random.default_rng(3), scene_of(arm)
        for name, posture in arm.postures.items():
            offset = 0.1 * rng.choice([-1.0, 1.0], size=arm.nq)
            errors = hold(arm, scene, posture, offset, delay)
            assert (-errors * np.sign(offset)).max() < 0.1 * 0.1, f"{name} overshoots"
            assert np.abs(errors[len(errors) // 2 :]).max() < 2e-3, f"{name} is slow"
            assert np.abs(errors[-1]).max() < 1e-5, f"{name} still moves"


def hold(robot: Robot, scene: mujoco.MjModel, posture: np.ndarray, offset: np.ndarray, delay: int) -> np.ndarray:
    """Three seconds of the hold law from `posture + offset`; errors q - posture, (T, nq) [rad]."""
    data = mujoco.MjData(scene)
    data.qpos[:] = posture + offset
    pending = [robot.gravity(data.qpos)] * delay
    errors = []
    for _ in range(round(3.0 / scene.opt.timestep)):
        errors.append(data.qpos - posture)
        pull = -robot.hold.stiffness * errors[-1] - robot.hold.damping * data.qvel
        pending.append(robot.gravity(data.qpos) + pull)
        data.ctrl[:] = np.clip(pending.pop(0), -robot.limits.effort, robot.limits.effort)
        mujoco.mj_step(scene, data)
    return np.array(errors)


def touching(scene: mujoco.MjModel, data: mujoco.MjData) -> set[str]:
    """What is in contact: names of the geometry, where it is not the floor."""
    names = {scene.geom(geom).name for contact in data.contact for geom in contact.geom}
    return names - {"floor"}


class TestStanding:
    """Robots that nothing but their feet carries."""

    def test_feet_are_on_the_floor(self, walker: Robot) -> None:
        scene = scene_of(walker)
        for name, posture in walker.postures.items():
            data = walker.model.createData()
            pinocchio.framesForwardKinematics(walker.model, data, posture)
            for foot in walker.feet:
                height = data.oMf[walker.model.getFrameId(foot)].translation[2]
                assert height == pytest.approx(scene.geom(foot).size[0], abs=1e-4), (name, foot)

    def test_weight_fits_into_the_effort_limits(self, walker: Robot) -> None:
        for name, posture in walker.postures.items():
            assert (np.abs(walker.gravity(posture)) < 0.6 * walker.limits.effort).all(), name

    @pytest.mark.parametrize("delay", [0, 2])
    def test_hold_keeps_every_posture(self, walker: Robot, delay: int) -> None:
        """Pushed at 0.3 m/s, also when the torque comes `delay` ticks late: nothing but feet touches the floor."""
        world, joints = MujocoWorld(walker), slice(-walker.nu, None)
        for name, posture in walker.postures.items():
            world.reset(posture, np.concatenate([[0.2, 0.2, 0.1], np.zeros(walker.nv - 3)]))
            pending = [walker.gravity(posture)] * delay
            for _ in range(round(3.0 / world.dt)):
                now = world.read()
                pull = walker.hold.stiffness * (posture - now.q)[joints] - walker.hold.damping * now.v[joints]
                pending.append(walker.gravity(posture) + pull)
                world.apply(pending.pop(0))
                world.step()
            assert touching(world.model, world.data) == set(walker.feet), name
            end = world.read()
            away = pinocchio.difference(walker.model, posture, end.q)
            assert np.abs(away[:3]).max() < 0.02, f"{name} goes away"
            assert np.abs(away[3:]).max() < 0.02, f"{name} is another posture"
            assert np.abs(end.v).max() < 2e-3, f"{name} still moves"


class TestUrdf:
    """What xacro makes of every mode, prefix and driver."""

    @pytest.mark.parametrize(("mode", "plugin"), MODES.items())
    def test_simulated_modes(self, robot: Robot, mode: str, plugin: str) -> None:
        system = ros2_control(robot_urdf(str(robot.folder), mode=mode))
        assert system.findtext("hardware/plugin") == plugin
        assert tuple(joint.get("name") for joint in system.findall("joint")) == robot.joint_names
        for joint, effort in zip(system.findall("joint"), robot.limits.effort, strict=True):
            assert interfaces(joint, "command") == ["effort"]
            assert [float(str(param.text)) for param in joint.findall("command_interface/param")] == [-effort, effort]
            assert interfaces(joint, "state") == ["position", "velocity", "effort"]

    def test_every_mode_keeps_the_dynamics(self, robot: Robot, config: RobotConfig) -> None:
        for mode in (*MODES, "hardware"):
            root = [pinocchio.JointModelFreeFlyer()] * robot.floating
            model = pinocchio.buildModelFromXML(robot_urdf(str(robot.folder), mode=mode), *root)
            assert tuple(model.names)[1 + robot.floating :] == robot.joint_names
            assert all(ours == theirs for ours, theirs in zip(model.inertias, robot.model.inertias, strict=True))
            assert model.existFrame(config.prefix + config.base)

    def test_mujoco_reads_the_urdf(self, robot: Robot) -> None:
        model = mujoco.MjModel.from_xml_string(robot_urdf(str(robot.folder)).replace("file://", ""))
        assert tuple(model.joint(i).name for i in range(model.njnt)) == robot.joint_names

    def test_prefix_renames_but_keeps_the_dynamics(self, robot: Robot, config: RobotConfig) -> None:
        renamed = load_robot(str(robot.folder), prefix="left_")
        stems = [joint.removeprefix(config.prefix) for joint in robot.joint_names]
        assert renamed.joint_names == tuple(f"left_{stem}" for stem in stems)
        links = {str(link.get("name")) for link in ET.fromstring(renamed.urdf_xml).findall("link")}
        assert all(link.startswith("left_") for link in links - {"world", robot.end_effector})
        assert renamed.model_hash == robot.model_hash
        assert load_robot(str(robot.folder), prefix="").joint_names == tuple(stems)


class TestControllers:
    """controllers.yaml and its overlay against robot.yaml."""

    def test_joints_in_order(self, robot: Robot) -> None:
        names = list(robot.joint_names)
        efforts = [f"{name}/effort" for name in names]
        nodes = controllers(robot)
        assert nodes["linear_feedback_controller"]["moving_joint_names"] == names
        assert nodes["linear_feedback_controller"]["chainable_controller"]["command_interfaces"] == efforts
        assert nodes["damping_controller"]["joints"] == names
        states = [f"{name}/{kind}" for kind in ("position", "velocity", "effort") for name in names]
        assert nodes["joint_state_estimator"]["state_interfaces"] == states
        references = [f"linear_feedback_controller/{state}" for state in states]
        assert nodes["joint_state_estimator"]["command_interfaces"] == references

    def test_gains_are_the_hold_gains(self, robot: Robot) -> None:
        nodes = controllers(robot)
        for name, p, d in zip(robot.joint_names, robot.hold.stiffness, robot.hold.damping, strict=True):
            assert nodes["linear_feedback_controller"][name] == {"p": p, "d": d}
            assert nodes["damping_controller"]["gains"][name] == {"p": 0.0, "i": 0.0, "d": d}

    def test_who_adds_gravity(self, robot: Robot) -> None:
        """The flag of linear_feedback_controller follows robot.yaml on every target."""
        assert set(robot.effort) == {*MODES, "hardware"}
        for mode, meaning in robot.effort.items():
            overlay = mode == "hardware" and (robot.folder / "controllers.hardware.yaml").is_file()
            flag = controllers(robot, overlay)["linear_feedback_controller"]["remove_gravity_compensation_effort"]
            assert flag == (meaning == "over_gravity"), mode

    def test_manager_knows_every_controller(self, robot: Robot) -> None:
        nodes = controllers(robot, overlay=True)
        manager = nodes.pop("controller_manager")
        assert set(nodes) == {name for name, value in manager.items() if isinstance(value, dict)}
        assert set(manager["linear_feedback_controller"]["fallback_controllers"]) <= set(nodes)
        assert manager["update_rate"] == 1000


class TestIiwa14Hardware:
    """The two drivers of the real arm."""

    @pytest.mark.parametrize(("generation", "states"), [("1", 7), ("2", 6)])
    def test_lbr_driver(self, generation: str, states: int) -> None:
        """The second generation of FRI no longer tells the commanded position."""
        robot = load_robot("iiwa14")
        system = ros2_control(robot_urdf("iiwa14", mode="hardware", fri_major=generation))
        assert system.findtext("hardware/plugin") == "lbr_ros2_control::SystemInterface"
        assert system.findtext("hardware/param[@name='client_command_mode']") == "torque"
        assert len(system.findall("sensor[@name='auxiliary_sensor']/state_interface")) == 12
        assert len(system.findall("gpio[@name='wrench']/command_interface")) == 6
        assert tuple(joint.get("name") for joint in system.findall("joint")) == robot.joint_names
        for i, joint in enumerate(system.findall("joint")):
            assert sorted(interfaces(joint, "command")) == ["effort", "position"]
            assert len(interfaces(joint, "state")) == states
            assert float(str(joint.findtext("param[@name='max_velocity']"))) == robot.limits.velocity[i]
            assert float(str(joint.findtext("param[@name='max_torque']"))) == robot.limits.effort[i]

    def test_kuka_driver(self) -> None:
        arguments = {"mode": "hardware", "driver": "kuka", "prefix": "", "joint_stem": "joint_"}
        system = ros2_control(robot_urdf("iiwa14", **arguments))
        assert system.findtext("hardware/plugin") == "kuka_sunrise_fri_driver::KukaFRIHardwareInterface"
        assert len(system.findall("gpio")) == 1
        assert [joint.get("name") for joint in system.findall("joint")] == [f"joint_{i}" for i in range(1, 8)]
        for joint in system.findall("joint"):
            assert sorted(interfaces(joint, "command")) == ["damping", "effort", "position", "stiffness"]
            assert sorted(interfaces(joint, "state")) == ["commanded_position", "effort", "external_torque", "position"]


def ros2_control(urdf: str) -> ET.Element:
    """The only ros2_control element of `urdf`."""
    (system,) = ET.fromstring(urdf).findall("ros2_control")
    return system


def interfaces(joint: ET.Element, kind: str) -> list[str]:
    """Names of the command or state interfaces of `joint`, in the order of the file."""
    return [str(element.get("name")) for element in joint.findall(f"{kind}_interface")]


def controllers(robot: Robot, overlay: bool = False) -> dict[str, dict[str, Any]]:
    """Parameters of every node of controllers.yaml, with those of controllers.hardware.yaml laid over them."""
    nodes: dict[str, dict[str, Any]] = {}
    for file in ["controllers.yaml"] + ["controllers.hardware.yaml"] * overlay:
        for node, content in yaml.safe_load((robot.folder / file).read_text()).items():
            nodes.setdefault(node.split("/")[-1], {}).update(content["ros__parameters"])
    return nodes
