"""robot.py: what it refuses and what it says then; joint orders."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.config import share_directory
from dpvp.description import robot_names, robot_urdf
from dpvp.errors import ConfigError, MessageError, ModelMismatchError
from dpvp.robot import JointMap, load_robot, load_robot_from

Edit = Callable[[str, str, str], Path]
names_of_joints = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Copy the iiwa14 folder and replace one text in one of its files; returns the copy."""

    def replace(file: str, old: str, new: str) -> Path:
        folder = tmp_path / "iiwa14"
        if not folder.exists():
            shutil.copytree(share_directory() / "urdf" / "iiwa14", folder)
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
