"""`dpvp robot`: complete the folder of a robot, and check that its files describe one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tyro.conf import Positional

from dpvp.config import load
from dpvp.description import Mode, RobotConfig, robot_folder
from dpvp.robot import load_robot_from


@dataclass(frozen=True)
class RobotArgs:
    """Write the scene and the controllers that the folder of an arm lacks, then check that all of it agrees.

    The folder must hold robot.yaml and the URDF that it names; docs/add_a_robot.md says how. Files that are there are
    kept as they are.
    """

    robot: Positional[str]
    """Folder with a / in it (./my_arm), or name of a robot that comes with dpvp."""


def robot(args: RobotArgs) -> int:
    """Complete and check; return 0, since everything that is wrong is an error.

    Raises:
        ConfigError: a file cannot be used.
        ModelMismatchError: two files describe different machines.
    """
    from dpvp.ros.controllers import controller_groups
    from dpvp.ros.controllers_file import controllers_yaml, hardware_yaml
    from dpvp.worlds.scene import check_scene, scene_xml

    folder = robot_folder(args.robot)
    scene = folder / load(RobotConfig, folder / "robot.yaml").scene
    _write(scene, lambda: scene_xml(folder))
    found = load_robot_from(folder)
    _write(folder / "controllers.yaml", lambda: controllers_yaml(found))
    _write(folder / "controllers.hardware.yaml", lambda: hardware_yaml(found))
    if not found.floating:
        check_scene(found)
    for mode in get_args(Mode):
        overlay = [folder / "controllers.hardware.yaml"] if mode == "hardware" else []
        controller_groups([folder / "controllers.yaml", *overlay], found, mode)
    print(f"{found.name}: {found.nu} joints ({' '.join(found.joint_names)}); its files agree")
    return 0


def _write(file: Path, text: Callable[[], str]) -> None:
    """Write what `text` returns to `file`, if that is not there."""
    if file.exists():
        print(f"kept     {file}")
        return
    file.write_text(text(), encoding="utf-8")
    print(f"written  {file}")
