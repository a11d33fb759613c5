"""What can go wrong on the way through docs/add_a_robot.md, and what dpvp says then."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dpvp.cli import main
from dpvp.description import robot_names
from dpvp.errors import ConfigError, ModelMismatchError
from dpvp.robot import load_robot
from dpvp.scenario import load_scenario
from dpvp.worlds.scene import check_scene, scene_xml
from guide import skip_without_meshes

skip_without_meshes()


@pytest.fixture
def panda(first: Path, tmp_path: Path) -> Path:
    """A copy of the robot's folder, to be broken, with the scenario beside it."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return tmp_path / "panda"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


class TestRefusals:
    """What can go wrong on the way."""

    def test_a_robot_that_is_not_there(self, panda: Path) -> None:
        """The scenario's file, the key, and which robots there are."""
        scenario = panda.parent / "panda_reach.yaml"
        edit(scenario, "./panda}", "panda}")
        with pytest.raises(ConfigError, match=r"panda_reach\.yaml: robot\.name = 'panda': .* iiwa14, .* or a path"):
            load_scenario(str(scenario))
        edit(scenario, "panda}", "./pandda}")
        with pytest.raises(ConfigError, match=r"robot\.name = '/.*/pandda': .*folder that holds a robot\.yaml"):
            load_scenario(str(scenario))

    def test_joints_in_another_order(self, panda: Path) -> None:
        edit(panda / "robot.yaml", "{name: joint1,", "{name: joint0,")
        edit(panda / "robot.yaml", "{name: joint2,", "{name: joint1,")
        edit(panda / "robot.yaml", "{name: joint0,", "{name: joint2,")
        message = r"panda\.urdf: joints: expected panda_joint2, panda_joint1, .* found panda_joint1, .*order"
        for use in (load_robot, lambda folder: scene_xml(Path(folder))):
            with pytest.raises(ModelMismatchError, match=message):
                use(str(panda))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("base: link0 ", "#", r"robot\.yaml: base = '\(absent\)': Field required"),
            (", hardware: over_gravity", "", r"robot\.yaml: effort = .*for every mode; missing: hardware"),
        ],
    )
    def test_a_key_that_is_missing(self, panda: Path, old: str, new: str, message: str) -> None:
        edit(panda / "robot.yaml", old, new)
        with pytest.raises(ConfigError, match=message):
            load_robot(str(panda))

    def test_another_end_effector(self, panda: Path) -> None:
        edit(panda / "robot.yaml", "end_effector: tcp", "end_effector: tool")
        for use in (load_robot, lambda folder: scene_xml(Path(folder))):
            with pytest.raises(ModelMismatchError, match=r"expected tool, found no such link; there are .*tcp"):
                use(str(panda))

    def test_a_mesh_that_is_not_there(self, panda: Path) -> None:
        (panda / "meshes" / "link3.stl").unlink()
        with pytest.raises(ConfigError, match=r"panda\.urdf: \(mujoco\) = .*link3\.stl.*: MuJoCo must be able to read"):
            scene_xml(panda)

    def test_a_prefix_for_a_plain_urdf(self, panda: Path) -> None:
        with pytest.raises(ConfigError, match=r"\['prefix'\]: unknown xacro arguments; known here: \(there are none\)"):
            load_robot(str(panda), prefix="left_")

    @pytest.mark.parametrize(
        ("old", "new", "what"),
        [
            ('mass="0.73"', 'mass="0.74"', r"mass matrix \[kg m2\], entry \d, \d: expected"),
            ('armature="0.1"', 'armature="0.2"', r"mass matrix \[kg m2\], entry 1, 1: expected"),
            ("<option ", '<option gravity="0 0 -9" ', r"gravity \[Nm\], entry \d: expected"),
            ('pos="0.0 0.0 0.333"', 'pos="0.0 0.0 0.334"', r"position of tcp \[m\], entry 3: expected"),
            ('joint name="panda_joint7"', 'joint name="joint7"', "joints: expected panda_joint1, .*, found .*, joint7"),
        ],
    )
    def test_a_scene_of_another_arm(self, panda: Path, old: str, new: str, what: str) -> None:
        robot = load_robot(str(panda))
        check_scene(robot)
        edit(panda / "scene.xml", old, new)
        if "joint" in what:
            edit(panda / "scene.xml", 'joint="panda_joint7"', 'joint="joint7"')
        with pytest.raises(ModelMismatchError, match=rf"scene\.xml: {what}"):
            check_scene(robot)

    def test_a_robot_on_feet(self) -> None:
        with pytest.raises(ConfigError, match=r"floating = .*must be an arm: .* urdf/go2/scene\.xml"):
            scene_xml(load_robot("go2").folder)


class TestCommand:
    """`dpvp robot`, beyond what the guide does."""

    def test_what_is_there_is_kept(self, panda: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = {file: file.read_bytes() for file in panda.iterdir() if file.is_file()}
        assert main(["robot", str(panda)]) == 0
        said = capsys.readouterr().out
        assert said.count("kept ") == 3
        assert "panda: 7 joints (panda_joint1 " in said
        assert before == {file: file.read_bytes() for file in before}

    def test_robots_that_come_with_dpvp_agree(self, capsys: pytest.CaptureFixture[str]) -> None:
        for name in robot_names():
            assert main(["robot", name]) == 0
            assert "written" not in capsys.readouterr().out

    def test_controllers_of_another_robot(self, panda: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copy(load_robot("iiwa14").folder / "controllers.yaml", panda)
        assert main(["robot", str(panda)]) == 2
        assert re.search(r"moving_joint_names = \['lbr_A1'.*must be \['panda_joint1'", capsys.readouterr().err)

    def test_no_such_robot(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["robot", "panda"]) == 2
        assert "robot = 'panda': must be one of go2, iiwa14, leg2r or a path with a /" in capsys.readouterr().err
