"""robot.py: what it refuses and what it says then; joint orders."""

from __future__ import annotations

import functools
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.config import share_directory
from dpvp.description import robot_names, robot_urdf
from dpvp.errors import ConfigError, MessageError, ModelMismatchError
from dpvp.robot import JointMap, Robot, load_robot, load_robot_from

load_robot_once = functools.cache(load_robot)
Edit = Callable[[str, str, str], Path]
names_of_joints = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Copy the iiwa14 folder and replace one text in one of its files; returns the copy."""
    return editor("iiwa14", tmp_path)


@pytest.fixture
def edit_go2(tmp_path: Path) -> Edit:
    """The same of the go2 folder."""
    return editor("go2", tmp_path)


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


def editor(name: str, scratch: Path) -> Edit:
    def replace(file: str, old: str, new: str) -> Path:
        folder = scratch / name
        if not folder.exists():
            shutil.copytree(share_directory() / "urdf" / name, folder)
        content = (folder / file).read_text(encoding="utf-8")
        assert old in content, f"{old!r} is not in {file}"
        (folder / file).write_text(content.replace(old, new, 1), encoding="utf-8")
        return folder

    return replace


class TestLoading:
    """What a good folder gives."""

    def test_names_lists_the_arm(self) -> None:
        assert "iiwa14" in robot_names()

    def test_sizes(self) -> None:
        robot = load_robot("iiwa14")
        assert (robot.nq, robot.nv, robot.nx, robot.ndx, robot.nu) == (7, 7, 14, 14, 7)
        assert robot.joint_names == tuple(f"lbr_A{i}" for i in range(1, 8))
        np.testing.assert_array_equal(robot.nominal, [0.1, 0.7, 0, 0.7, -0.5, 1.5, 0])
        np.testing.assert_array_equal(robot.model.armature, [0.1] * 6 + [0.01])

    def test_arrays_cannot_be_written(self) -> None:
        robot = load_robot("iiwa14")
        for array in (*vars(robot.limits).values(), *vars(robot.hold).values(), *robot.postures.values()):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1.0

    def test_gravity_and_frame_position_own_their_result(self) -> None:
        robot = load_robot("iiwa14")
        first, position = robot.gravity(robot.nominal), robot.frame_position(robot.nominal)
        kept, kept_position = first.copy(), position.copy()
        robot.gravity(np.zeros(7))
        robot.frame_position(np.zeros(7))
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(position, kept_position)

    def test_straight_up_needs_no_shoulder_torque_for_the_centred_part(self) -> None:
        """At the candle the vertical axes carry no gravity: A1, A3, A5, A7."""
        robot = load_robot("iiwa14")
        np.testing.assert_allclose(robot.gravity(np.zeros(7))[[0, 2, 4, 6]], 0.0, atol=1e-12)
        np.testing.assert_allclose(robot.frame_position(np.zeros(7)), [0, 0, 1.301], atol=1e-12)

    def test_survives_a_trip_to_another_process(self) -> None:
        robot = load_robot("iiwa14")
        copy = pickle.loads(pickle.dumps(robot))
        np.testing.assert_array_equal(copy.gravity(robot.nominal), robot.gravity(robot.nominal))
        assert copy.model_hash == robot.model_hash

    @pytest.mark.parametrize("name", robot_names())
    @given(share=st.floats(0.0, 1.0))
    def test_a_share_of_the_positions_is_about_the_middle(self, name: str, share: float) -> None:
        limits = load_robot_once(name).limits
        low, high = limits.positions(share)
        np.testing.assert_allclose(high - low, share * (limits.position_upper - limits.position_lower), atol=1e-12)
        np.testing.assert_allclose(low - limits.position_lower, limits.position_upper - high, atol=1e-12)

    def test_benchmark_numbers(self) -> None:
        """End effector of the published start posture; mass of the arm alone and of the ball."""
        robot = load_robot("iiwa14")
        assert np.linalg.norm(robot.frame_position(robot.nominal) - [0.380, -0.020, 1.090]) < 2e-3
        assert sum(inertia.mass for inertia in robot.model.inertias) == pytest.approx(29.9 + 0.057, abs=1e-6)

    def test_names_of_another_driver(self) -> None:
        robot = load_robot("iiwa14", prefix="", joint_stem="joint_")
        assert robot.joint_names == tuple(f"joint_{i}" for i in range(1, 8))
        assert robot.model_hash == load_robot("iiwa14").model_hash

    def test_xacro_arguments_reach_the_urdf(self) -> None:
        assert robot_urdf("iiwa14", prefix="none") == robot_urdf("iiwa14", prefix="")
        assert f">{load_robot('iiwa14').scene}</param>" in robot_urdf("iiwa14", mode="mujoco")
        gazebo = robot_urdf("iiwa14", mode="gazebo", namespace="/left")
        assert 'name="gz_ros2_control::GazeboSimROS2ControlPlugin"' in gazebo
        assert "urdf/iiwa14/controllers.yaml</parameters>" in gazebo
        assert "<namespace>/left</namespace>" in gazebo

    def test_copied_folder_is_the_same_robot(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "Kuka LBR iiwa 14 R820 with", "The arm with")
        assert load_robot_from(folder).model_hash == load_robot("iiwa14").model_hash

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("robot.yaml", "armature: 0.01}", "armature: 0.02}"),
            ("robot.yaml", "velocity: 1.30900", "velocity: 1.2"),
            ("iiwa14.urdf.xacro", 'mass="1.563756"', 'mass="1.563757"'),
            ("iiwa14.urdf.xacro", 'child="$(arg tip)" height="0.04"', 'child="$(arg tip)" height="0.05"'),
            ("iiwa14.urdf.xacro", 'height="0.2045"', 'height="0.2046"'),
            ("iiwa14.urdf.xacro", 'axis="0 -1 0"', 'axis="0 1 0"'),
        ],
    )
    def test_hash_sees_a_change(self, edit: Edit, file: str, old: str, new: str) -> None:
        assert load_robot_from(edit(file, old, new)).model_hash != load_robot("iiwa14").model_hash


class TestRefusals:
    """Each message names the file, the key, what was found and what would be right."""

    def test_unknown_robot(self) -> None:
        with pytest.raises(ConfigError, match=r"urdf: robot = 'iiwa15': must be one of .*iiwa14"):
            load_robot("iiwa15")

    def test_unknown_key(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "scene: ", "scnee: ")
        with pytest.raises(ConfigError, match=r"robot\.yaml: (scene|scnee) = ") as caught:
            load_robot_from(folder)
        assert caught.value.file == str(folder / "robot.yaml")

    def test_unknown_key_of_a_joint_lists_the_known_ones(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "armature: 0.01}", "armature: 0.01, inertia: 1.0}")
        with pytest.raises(ConfigError, match=r"joints\.6\.inertia = 1\.0: unknown key; known here: armature, effort"):
            load_robot_from(folder)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"robot\.yaml: \(file\) = 'missing'"):
            load_robot_from(tmp_path)

    @pytest.mark.parametrize(("key", "name"), [("urdf", "iiwa14.urdf.xacro"), ("scene", "scene.xml")])
    def test_named_file_is_missing(self, edit: Edit, key: str, name: str) -> None:
        folder = edit("robot.yaml", f"{key}: {name}", f"{key}: other.xml")
        with pytest.raises(ConfigError, match=rf"robot\.yaml: {key} = 'other\.xml': must name a file in "):
            load_robot_from(folder)

    @pytest.mark.parametrize(
        ("key", "old", "new"),
        [
            ("postures.candle", "candle: [0.0, ", "candle: ["),
            ("hold.stiffness", "stiffness: [180.0, ", "stiffness: ["),
            ("hold.damping", "damping: [45.0, ", "damping: ["),
        ],
    )
    def test_wrong_length(self, edit: Edit, key: str, old: str, new: str) -> None:
        folder = edit("robot.yaml", old, new)
        with pytest.raises(ConfigError, match=rf"{key} = .*: must have 7 numbers, one per joint; found 6"):
            load_robot_from(folder)

    def test_no_nominal_posture(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "  nominal: [", "  start: [")
        with pytest.raises(ConfigError, match=r"postures = .*: must contain a posture `nominal`"):
            load_robot_from(folder)

    def test_limits_the_wrong_way_round(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "position: [-3.05433, 3.05433]", "position: [3.05433, -3.05433]")
        with pytest.raises(
            ConfigError, match=r"joints\.6\.position = \(3\.05433, -3\.05433\): must be \[lower, upper\]"
        ):
            load_robot_from(folder)

    @pytest.mark.parametrize(("old", "key"), [("effort: 320.0", "effort"), ("velocity: 1.48353", "velocity")])
    def test_limit_that_is_not_positive(self, edit: Edit, old: str, key: str) -> None:
        folder = edit("robot.yaml", old, f"{key}: 0.0")
        with pytest.raises(ConfigError, match=rf"joints\.0\.{key} = 0\.0: Input should be greater than 0"):
            load_robot_from(folder)

    def test_unknown_meaning_of_effort(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "gazebo: total", "gazebo: all")
        with pytest.raises(ConfigError, match=r"effort\.gazebo = 'all': Input should be 'total' or 'over_gravity'"):
            load_robot_from(folder)

    def test_wrong_order_of_joints(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "{name: A1,", "{name: A8,")
        folder = edit("robot.yaml", "{name: A2,", "{name: A1,")
        folder = edit("robot.yaml", "{name: A8,", "{name: A2,")
        with pytest.raises(ModelMismatchError) as caught:
            load_robot_from(folder)
        assert caught.value.expected == "lbr_A2, lbr_A1, lbr_A3, lbr_A4, lbr_A5, lbr_A6, lbr_A7"
        assert caught.value.found == "lbr_A1, lbr_A2, lbr_A3, lbr_A4, lbr_A5, lbr_A6, lbr_A7"
        assert "iiwa14.urdf.xacro: joints: expected lbr_A2" in str(caught.value)
        assert "in pinocchio's order" in str(caught.value)

    def test_joint_missing_in_the_yaml(self, edit: Edit) -> None:
        folder = edit(
            "iiwa14.urdf.xacro",
            'joint name="${prefix}${stem}${number}" type="revolute"',
            'joint name="${prefix}J${number}" type="revolute"',
        )
        with pytest.raises(ModelMismatchError, match=r"expected lbr_A1, .* found lbr_J1, "):
            load_robot_from(folder)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "lower=\"${limits['position'][0]}\"",
                'lower="-2.0"',
                "limit position_lower of lbr_A1: expected -2.96706, found -2.0",
            ),
            (
                "upper=\"${limits['position'][1]}\"",
                'upper="2.5"',
                "limit position_upper of lbr_A1: expected 2.96706, found 2.5",
            ),
            (
                "velocity=\"${limits['velocity']}\"",
                'velocity="10"',
                "limit velocity of lbr_A1: expected 1.48353, found 10.0",
            ),
            ("effort=\"${limits['effort']}\"", 'effort="200"', "limit effort of lbr_A1: expected 320.0, found 200.0"),
        ],
    )
    def test_limits_differ(self, edit: Edit, old: str, new: str, message: str) -> None:
        folder = edit("iiwa14.urdf.xacro", old, new)
        with pytest.raises(ModelMismatchError) as caught:
            load_robot_from(folder)
        assert message in str(caught.value)

    def test_no_such_end_effector(self, edit: Edit) -> None:
        folder = edit("robot.yaml", "end_effector: contact", "end_effector: gripper")
        with pytest.raises(ModelMismatchError, match=r"expected gripper, found no such link; there are .*contact"):
            load_robot_from(folder)

    def test_unknown_mode_and_driver(self) -> None:
        with pytest.raises(
            ConfigError, match=r"\(xacro\) = \{'mode': 'sim'\}: mode is 'sim', must be mock, mujoco, gaz"
        ):
            robot_urdf("iiwa14", mode="sim")
        with pytest.raises(ConfigError, match="driver is 'sunrise', must be lbr or kuka"):
            robot_urdf("iiwa14", mode="hardware", driver="sunrise")

    def test_unknown_xacro_argument(self) -> None:
        with pytest.raises(ConfigError, match=r"\['mdoe'\]: unknown xacro arguments; known here: prefix, .*mode"):
            robot_urdf("iiwa14", mdoe="mock")

    def test_broken_xml(self, edit: Edit) -> None:
        folder = edit("iiwa14.urdf.xacro", "</robot>", "</robo>")
        with pytest.raises(ConfigError, match=r"iiwa14\.urdf\.xacro: \(xacro\) = .*: mismatched tag"):
            load_robot_from(folder)


class TestFloatingBase:
    """A robot that nothing fixes to the ground."""

    def test_sizes(self, go2: Robot) -> None:
        assert (go2.nq, go2.nv, go2.nx, go2.ndx, go2.nu) == (19, 18, 37, 36, 12)
        assert go2.floating
        assert len(go2.limits.effort) == len(go2.hold.damping) == 12
        assert not go2.model.armature[:6].any()
        assert go2.model.armature[6:].all()

    def test_order_of_the_legs_is_alphabetical(self, go2: Robot) -> None:
        legs, joints = ("FL", "FR", "RL", "RR"), ("hip", "thigh", "calf")
        assert go2.joint_names == tuple(f"{leg}_{joint}_joint" for leg in legs for joint in joints)
        assert go2.feet == tuple(f"{leg}_foot" for leg in legs)

    def test_postures_are_configurations(self, go2: Robot) -> None:
        np.testing.assert_array_equal(go2.nominal[:7], [0, 0, 0.3188, 0, 0, 0, 1])
        np.testing.assert_array_equal(go2.nominal[7:], [0.0, 0.8, -1.6] * 4)
        np.testing.assert_array_equal(go2.at_rest("tall"), np.concatenate([go2.postures["tall"], np.zeros(18)]))

    def test_an_arm_has_none_of_it(self) -> None:
        arm = load_robot("iiwa14")
        assert (arm.floating, arm.feet, arm.imu) == (False, (), None)
        np.testing.assert_array_equal(arm.at_rest(), np.concatenate([arm.nominal, np.zeros(7)]))

    def test_prefix_comes_before_feet_and_imu(self, go2: Robot) -> None:
        renamed = load_robot("go2", prefix="left_")
        assert renamed.feet == tuple(f"left_{foot}" for foot in go2.feet)
        assert (renamed.base, renamed.imu, renamed.end_effector) == ("left_base", "left_imu_link", "trunk")
        assert all(renamed.model.existFrame(name) for name in (*renamed.feet, renamed.base, str(renamed.imu)))
        assert renamed.model_hash == go2.model_hash

    @given(seed=st.integers(0, 2**32 - 1))
    def test_gravity_and_the_forces_of_feet_that_stand_keep_it_still(self, go2: Robot, seed: int) -> None:
        """With the feet held where they are, the efforts let nothing accelerate: also on a slope and with bent legs."""
        step = np.random.default_rng(seed).uniform(-0.3, 0.3, go2.nv)
        q = pinocchio.integrate(go2.model, go2.nominal, step)
        data = go2.model.createData()
        frames = [go2.model.getFrameId(foot) for foot in go2.feet]
        kind = pinocchio.LOCAL_WORLD_ALIGNED
        rows = [pinocchio.computeFrameJacobian(go2.model, data, q, frame, kind)[:3] for frame in frames]
        jacobian, upper = np.vstack(rows), np.triu(pinocchio.crba(go2.model, data, q))
        mass = upper + np.triu(upper, 1).T
        push = np.concatenate([np.zeros(6), go2.gravity(q)])
        push -= pinocchio.computeGeneralizedGravity(go2.model, data, q)
        constrained = np.block([[mass, -jacobian.T], [jacobian, np.zeros((12, 12))]])
        motion = np.linalg.lstsq(constrained, np.concatenate([push, np.zeros(12)]), rcond=None)[0]
        np.testing.assert_allclose(motion[: go2.nv], 0.0, atol=1e-6)

    def test_on_a_level_floor_the_forces_are_vertical(self, go2: Robot) -> None:
        """So a knee carries a quarter of the weight, on the arm that its foot has; and left is as right."""
        effort = go2.gravity(go2.nominal).reshape(4, 3)
        np.testing.assert_allclose(effort[[0, 2]] * [-1, 1, 1], effort[[1, 3]], atol=1e-9)
        data = go2.model.createData()
        pinocchio.framesForwardKinematics(go2.model, data, go2.nominal)
        knee = data.oMi[go2.model.getJointId("FL_calf_joint")].translation
        foot = data.oMf[go2.model.getFrameId("FL_foot")].translation
        calf = pinocchio.computeGeneralizedGravity(go2.model, data, go2.nominal)[8]
        load = (effort[0, 2] - calf) / (foot - knee)[0]  # the calf turns about +y: a force up acts by its arm along x
        weight = 9.81 * sum(inertia.mass for inertia in go2.model.inertias)
        assert load == pytest.approx(weight / 4, rel=0.02)

    def test_survives_a_trip_to_another_process(self, go2: Robot) -> None:
        copy = pickle.loads(pickle.dumps(go2))
        np.testing.assert_array_equal(copy.gravity(go2.nominal), go2.gravity(go2.nominal))

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("robot.yaml", "feet: [FL_foot, FR_foot,", "feet: [FR_foot, FL_foot,"),
            ("robot.yaml", "feet: [FL_foot, FR_foot, RL_foot, RR_foot]", "feet: [FL_foot, FR_foot, RL_foot]"),
            ("go2.urdf.xacro", 'foot" origin="0 0 ${-length}"', 'foot" origin="0 0 -0.2"'),
            ("go2.urdf.xacro", 'mass="6.921"', 'mass="6.922"'),
        ],
    )
    def test_hash_sees_a_change(self, go2: Robot, edit_go2: Edit, file: str, old: str, new: str) -> None:
        assert load_robot_from(edit_go2(file, old, new)).model_hash != go2.model_hash

    def test_hash_does_not_depend_on_heights(self, go2: Robot, edit_go2: Edit) -> None:
        assert load_robot_from(edit_go2("robot.yaml", "nominal: 0.31880", "nominal: 0.4")).model_hash == go2.model_hash

    def test_legs_in_the_order_of_the_sdk_are_refused(self, edit_go2: Edit) -> None:
        for joint in ("hip", "thigh", "calf"):
            edit_go2("robot.yaml", f"name: FL_{joint}_joint", f"name: XX_{joint}_joint")
            edit_go2("robot.yaml", f"name: FR_{joint}_joint", f"name: FL_{joint}_joint")
            folder = edit_go2("robot.yaml", f"name: XX_{joint}_joint", f"name: FR_{joint}_joint")
        with pytest.raises(ModelMismatchError, match="in pinocchio's order") as caught:
            load_robot_from(folder)
        assert str(caught.value.expected).startswith("FR_hip_joint, FR_thigh_joint, FR_calf_joint, FL_hip_joint")
        assert str(caught.value.found).startswith("FL_hip_joint, FL_thigh_joint, FL_calf_joint, FR_hip_joint")

    def test_a_urdf_with_another_order_is_refused(self, edit_go2: Edit) -> None:
        """Pinocchio sorts siblings by their names, so other names are another order."""
        folder = edit_go2("go2.urdf.xacro", "name=\"${prefix}${limits['name']}\"", "name=\"${limits['name'][::-1]}\"")
        with pytest.raises(ModelMismatchError, match="in pinocchio's order"):
            load_robot_from(folder)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "[FL_foot, FR",
                "[FL_toe, FR",
                r"floating\.feet\.0 of .*: expected FL_toe, found no such link; there",
            ),
            ("imu: imu_link", "imu: imu", r"floating\.imu of robot\.yaml: expected imu, found no such link"),
            (
                "base: base ",
                "base: FL_hip ",
                r"root link: expected FL_hip, found base; the base that floats",
            ),
        ],
    )
    def test_frames_that_are_not_there(self, edit_go2: Edit, old: str, new: str, message: str) -> None:
        with pytest.raises(ModelMismatchError, match=message):
            load_robot_from(edit_go2("robot.yaml", old, new))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("tall: 0.37117, ", "", r"floating\.heights = \['crouched', 'nominal'\]: must have one height for each"),
            ("[FL_foot, FR_foot, RL_foot, RR_foot]", "[FL_foot]", r"floating\.feet = .* at least 3 items"),
        ],
    )
    def test_what_stands_on_the_floor(self, edit_go2: Edit, old: str, new: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            load_robot_from(edit_go2("robot.yaml", old, new))

    def test_an_arm_cannot_float(self, edit: Edit) -> None:
        """Its URDF starts with the world."""
        text = "floating: {feet: [contact, contact, contact], imu: contact, heights: {nominal: 1, candle: 1, home: 1}}"
        folder = edit("robot.yaml", "end_effector: contact", f"{text}\nend_effector: contact")
        edit("robot.yaml", "prefix: lbr_", 'prefix: ""')
        with pytest.raises(ModelMismatchError, match="root link: expected link_0, found world"):
            load_robot_from(folder)


class TestJointMap:
    """Orders of joints are permutations, or refused."""

    @given(names=names_of_joints, data=st.data())
    def test_value_follows_its_name(self, names: list[str], data: st.DataObject) -> None:
        found = data.draw(st.permutations(names))
        values = {name: float(i) for i, name in enumerate(names)}
        reordered = JointMap(names, found).reorder([values[name] for name in found])
        assert reordered.tolist() == [values[name] for name in names]

    @given(names=names_of_joints, data=st.data())
    def test_there_and_back(self, names: list[str], data: st.DataObject) -> None:
        found = data.draw(st.permutations(names))
        values = np.arange(2.0 * len(names)).reshape(2, -1)
        there = JointMap(names, found).reorder(values)
        np.testing.assert_array_equal(JointMap(found, names).reorder(there), values)

    @given(names=names_of_joints)
    def test_same_order_copies(self, names: list[str]) -> None:
        values = np.zeros(len(names))
        result = JointMap(names, tuple(names)).reorder(values)
        result += 1.0
        assert not values.any()

    @given(names=names_of_joints, data=st.data())
    def test_missing_name_is_named(self, names: list[str], data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(names))
        with pytest.raises(MessageError) as caught:
            JointMap(names, [name for name in names if name != lost])
        assert f"missing: {lost}" in str(caught.value)

    def test_message_lists_everything(self) -> None:
        with pytest.raises(MessageError) as caught:
            JointMap(["A1", "A2", "A3"], ["A1", "A1", "gripper"])
        expected = "joint names: missing: A2, A3; unknown: gripper; twice: A1; expected exactly A1, A2, A3"
        assert str(caught.value) == expected

    @pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
    def test_wrong_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(MessageError, match=r"expected shape \(\.\.\., 3\), found "):
            JointMap("abc", "cba").reorder(np.zeros(shape))
