"""The folder of a robot as its author wrote it: robot.yaml, read and checked, and the xacro, expanded."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import xacro
from pydantic import Field

from dpvp.config import Config, load, share_directory
from dpvp.errors import ConfigError
from dpvp.untrusted import UnreadableError, is_file, located

Mode = Literal["mock", "mujoco", "gazebo", "topic", "hardware"]


class JointConfig(Config):
    """One joint of robot.yaml: `position` [rad], `velocity` [rad/s], `effort` [Nm], `armature` [kg m2]."""

    name: str
    position: tuple[float, float]
    velocity: float = Field(gt=0)
    effort: float = Field(gt=0)
    armature: float = Field(ge=0)


class HoldConfig(Config):
    """Gains of the hold law: `stiffness` [Nm/rad] and `damping` [Nm s/rad], one per joint."""

    stiffness: tuple[float, ...]
    damping: tuple[float, ...]


class FloatingConfig(Config):
    """A base that nothing fixes to the ground: frames of its `feet` and its `imu`, `heights` [m] at which it stands."""

    feet: tuple[str, ...] = Field(min_length=3)  # fewer cannot hold it still
    imu: str
    heights: dict[str, float]  # posture -> height of the base over a level floor


class RobotConfig(Config):
    """The content of robot.yaml; names of joints, of `base` and of what floats are written without the prefix."""

    name: str
    description: str
    urdf: str
    scene: str
    prefix: str = ""
    joint_stem: str = ""
    joints: tuple[JointConfig, ...] = Field(min_length=1)
    base: str
    floating: FloatingConfig | None = None  # None: `base` is fixed to the ground
    end_effector: str
    postures: dict[str, tuple[float, ...]]
    hold: HoldConfig
    effort: dict[Mode, Literal["total", "over_gravity"]]
    drivers: dict[str, str] = Field(min_length=1)


def robot_names() -> list[str]:
    """Names of the robots there are: folders of `urdf/` that hold a robot.yaml, sorted."""
    return sorted(file.parent.name for file in (share_directory() / "urdf").glob("*/robot.yaml"))


def robot_folder(name: str, scenario: Path | str | None = None) -> Path:
    """Return the folder that `name` means, absolute: a path where it has a `/`, else urdf/<name>.

    ConfigError if there is no robot; it names the file of the `scenario` that asks for it, where one does.
    """
    root, names = share_directory() / "urdf", robot_names()
    try:
        folder = located(name, Path()) if "/" in name else root / name
        if is_file(folder / "robot.yaml"):
            return folder
    except UnreadableError:
        pass  # then there is no robot
    where = (root, "robot") if scenario is None else (scenario, "robot.name")
    known = ", ".join(names) or "(there are none)"
    raise ConfigError(*where, name, f"must be one of {known} or a path with a / to a folder that holds a robot.yaml")


def read_description(folder: Path) -> RobotConfig:
    """Return the robot.yaml of `folder`; ConfigError if it contradicts itself or names files that are not there."""
    file = folder / "robot.yaml"
    config = load(RobotConfig, file)
    _check(config, file)
    return config


def robot_urdf(name: str, **xacro_args: str) -> str:
    """Return the URDF of the robot that `name` means as XML, expanded with `xacro_args` (`mode`, `prefix`, ...)."""
    folder = robot_folder(name)
    return expand(folder / load(RobotConfig, folder / "robot.yaml").urdf, xacro_args)


def xacro_arguments(file: Path) -> list[str]:
    """Names of the arguments that `file` declares; a plain URDF declares none."""
    try:
        return [tag.get("name", "") for tag in ET.parse(file).iter("{http://www.ros.org/wiki/xacro}arg")]
    except (ET.ParseError, OSError) as error:
        raise ConfigError(file, "(xacro)", {}, str(error)) from None


def expand(file: Path, arguments: Mapping[str, str]) -> str:
    """Run xacro on `file`; unlike xacro itself, refuse arguments that the file does not declare."""
    declared = xacro_arguments(file)
    if unknown := [key for key in arguments if key not in declared]:
        known = ", ".join(declared) or "(there are none)"
        raise ConfigError(file, "(xacro)", unknown, f"unknown xacro arguments; known here: {known}")
    try:
        return str(xacro.process_file(str(file), mappings=dict(arguments)).toprettyxml(indent="  "))
    except Exception as error:  # xacro raises whatever the evaluated expression raises
        raise ConfigError(file, "(xacro)", dict(arguments), str(error).split("\n")[0].strip()) from error


def _check(config: RobotConfig, file: Path) -> None:
    """Refuse what pydantic cannot see: lists that do not fit the joints, limits the wrong way round, missing files."""
    lists = {f"postures.{name}": posture for name, posture in config.postures.items()}
    lists |= {"hold.stiffness": config.hold.stiffness, "hold.damping": config.hold.damping}
    for key, values in lists.items():
        if (n := len(config.joints)) != len(values):
            raise ConfigError(file, key, list(values), f"must have {n} numbers, one per joint; found {len(values)}")
    if missing := [mode for mode in get_args(Mode) if mode not in config.effort]:
        reason = f"must say `total` or `over_gravity` for every mode; missing: {', '.join(missing)}"
        raise ConfigError(file, "effort", dict(config.effort), reason)
    if "nominal" not in config.postures:
        raise ConfigError(file, "postures", sorted(config.postures), "must contain a posture `nominal`")
    if config.floating and config.floating.heights.keys() != config.postures.keys():
        needed = f"must have one height for each of the postures: {', '.join(sorted(config.postures))}"
        raise ConfigError(file, "floating.heights", sorted(config.floating.heights), needed)
    for i, joint in enumerate(config.joints):
        if not joint.position[0] < joint.position[1]:
            raise ConfigError(file, f"joints.{i}.position", joint.position, "must be [lower, upper], lower < upper")
    for key, name in {"urdf": config.urdf, "scene": config.scene}.items():
        if not is_file(file.parent / name):
            raise ConfigError(file, key, name, f"must name a file in {file.parent}")
