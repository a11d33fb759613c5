"""What the machine is: kinematics and inertia, joint order, limits, postures, hold gains, who adds gravity.

A robot is a folder `urdf/<name>/` with a robot.yaml. Loading refuses when it and the URDF describe different machines.
"""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pinocchio
import xacro
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from dpvp.config import Config, load, share_directory
from dpvp.errors import ConfigError, MessageError, ModelMismatchError

Array = NDArray[np.float64]
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


class RobotConfig(Config):
    """The content of robot.yaml; names of joints and of `base` are written without the prefix."""

    name: str
    description: str
    urdf: str
    scene: str
    prefix: str = ""
    joint_stem: str = ""
    joints: tuple[JointConfig, ...] = Field(min_length=1)
    base: str
    end_effector: str
    postures: dict[str, tuple[float, ...]]
    hold: HoldConfig
    effort: dict[Mode, Literal["total", "over_gravity"]]
    drivers: dict[str, str] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of the joints; every array is (n,), read-only and in joint order."""

    position_lower: Array  # [rad]
    position_upper: Array  # [rad]
    velocity: Array  # [rad/s], symmetric
    effort: Array  # [Nm], symmetric


@dataclass(frozen=True, eq=False)
class HoldGains:
    """Gains of `u = g(q) + stiffness (q_hold - q) - damping v`; both (n,), read-only."""

    stiffness: Array  # [Nm/rad]
    damping: Array  # [Nm s/rad]


@dataclass(frozen=True, eq=False)
class Robot:
    """One machine, loaded and checked; see `load_robot`.

    `model` belongs to everyone who holds the robot: read it, make `Data` from it, never change it. All joint arrays
    are in the order of `joint_names`, which is pinocchio's. `scene` is written for the default prefix.
    """

    name: str
    folder: Path
    model: pinocchio.Model  # with armature
    joint_names: tuple[str, ...]
    own_names: tuple[str, ...]  # of the joints as robot.yaml writes them, whatever prefix they go by
    limits: Limits
    base: str  # frame in which goals are given; fixed to the ground
    end_effector: str
    postures: Mapping[str, Array]  # each (nq,) [rad], read-only
    hold: HoldGains
    effort: Mapping[str, str]  # mode -> what an effort command means there: `total` or `over_gravity`
    drivers: Mapping[str, str]  # of mode hardware, the default first -> ROS package of its plugin
    urdf_xml: str
    scene: Path
    model_hash: str  # of kinematics, inertia, armature, limits and end effector; the same for every prefix

    @property
    def nq(self) -> int:
        """Length of a configuration `q`."""
        return int(self.model.nq)

    @property
    def nv(self) -> int:
        """Length of a velocity `v`."""
        return int(self.model.nv)

    @property
    def nx(self) -> int:
        """Length of a state `x = (q, v)`."""
        return self.nq + self.nv

    @property
    def ndx(self) -> int:
        """Length of a difference of two states."""
        return 2 * self.nv

    @property
    def nu(self) -> int:
        """Number of driven joints."""
        return len(self.joint_names)

    @property
    def nominal(self) -> Array:
        """The posture `nominal`: (nq,) [rad], read-only."""
        return self.postures["nominal"]

    def gravity(self, q: ArrayLike) -> Array:
        """Return the efforts (nv,) [Nm] that balance gravity at `q` (nq,) [rad]; safe to call from several threads."""
        data = self.model.createData()
        return np.array(pinocchio.computeGeneralizedGravity(self.model, data, np.asarray(q, dtype=np.float64)))

    def frame_position(self, q: ArrayLike) -> Array:
        """Return the position (3,) [m] of the end effector in the world at `q` (nq,) [rad]; safe as `gravity` is."""
        data, frame = self.model.createData(), self.model.getFrameId(self.end_effector)
        pinocchio.forwardKinematics(self.model, data, np.asarray(q, dtype=np.float64))
        return np.array(pinocchio.updateFramePlacement(self.model, data, frame).translation)


class JointMap:
    """The only place where one order of joints becomes another; `names` is the order that comes out."""

    def __init__(self, expected_names: Sequence[str], found_names: Sequence[str]) -> None:
        """Map the order of `found_names` to that of `expected_names`; MessageError unless each is there just once."""
        expected, found = list(expected_names), list(found_names)
        complaints = {
            "missing": [name for name in expected if name not in found],
            "unknown": [name for name in found if name not in expected],
            "twice": sorted({name for names in (expected, found) for name in names if names.count(name) > 1}),
        }
        if any(complaints.values()):
            text = "; ".join(f"{what}: {', '.join(names)}" for what, names in complaints.items() if names)
            raise MessageError(f"joint names: {text}; expected exactly {', '.join(expected)}")
        self.names = tuple(expected)
        self._index = np.array([found.index(name) for name in expected], dtype=np.intp)

    def reorder(self, values: ArrayLike) -> Array:
        """Return `values` (..., n), whose last axis is in the found order, in the expected order; always a copy."""
        array = np.asarray(values, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] != len(self.names):
            raise MessageError(f"joint values: expected shape (..., {len(self.names)}), found {array.shape}")
        return array[..., self._index]


def robot_names() -> list[str]:
    """Names of the robots there are: folders of `urdf/` that hold a robot.yaml, sorted."""
    return sorted(file.parent.name for file in (share_directory() / "urdf").glob("*/robot.yaml"))


def load_robot(name: str, prefix: str | None = None, joint_stem: str | None = None) -> Robot:
    """Load the robot in `urdf/<name>/`; see `load_robot_from`."""
    return load_robot_from(_folder(name), prefix, joint_stem)


def load_robot_from(folder: Path, prefix: str | None = None, joint_stem: str | None = None) -> Robot:
    """Load and check the robot described in `folder`.

    Args:
        folder: holds robot.yaml and the files it names.
        prefix: comes before the joint and link names; that of robot.yaml when None.
        joint_stem: replaces the stem of the joint names (`A` of `A1`), for drivers with names of their own.

    Raises:
        ConfigError: robot.yaml or a file it names cannot be used.
        ModelMismatchError: the URDF and robot.yaml describe different machines.
    """
    config = load(RobotConfig, folder / "robot.yaml")
    _check_config(config, folder / "robot.yaml")
    prefix = config.prefix if prefix is None else prefix
    stem = config.joint_stem if joint_stem is None else joint_stem
    names = tuple(prefix + stem + joint.name.removeprefix(config.joint_stem) for joint in config.joints)
    urdf_xml = _expand(folder / config.urdf, {"prefix": prefix} | ({"joint_stem": stem} if stem else {}))
    rows = [(*joint.position, joint.velocity, joint.effort) for joint in config.joints]
    limits = Limits(*map(_constant, zip(*rows, strict=True)))
    model = pinocchio.buildModelFromXML(urdf_xml)
    _check_model(model, names, limits, config.end_effector, folder / config.urdf)
    model.armature = np.array([joint.armature for joint in config.joints])
    return Robot(
        name=config.name,
        folder=folder,
        model=model,
        joint_names=names,
        own_names=tuple(joint.name for joint in config.joints),
        limits=limits,
        base=prefix + config.base,
        end_effector=config.end_effector,
        postures={name: _constant(posture) for name, posture in config.postures.items()},
        hold=HoldGains(_constant(config.hold.stiffness), _constant(config.hold.damping)),
        effort={str(mode): meaning for mode, meaning in config.effort.items()},
        drivers=config.drivers,
        urdf_xml=urdf_xml,
        scene=folder / config.scene,
        model_hash=_model_hash(model, limits, config),
    )


def robot_urdf(name: str, **xacro_args: str) -> str:
    """Return the URDF of robot `name` as XML, expanded with `xacro_args` (`mode`, `prefix`, `driver`, ...)."""
    folder = _folder(name)
    return _expand(folder / load(RobotConfig, folder / "robot.yaml").urdf, xacro_args)


def _folder(name: str) -> Path:
    root, names = share_directory() / "urdf", robot_names()
    if name not in names:
        raise ConfigError(root, "robot", name, f"must be one of {', '.join(names) or '(there are none)'}")
    return root / name


def _expand(file: Path, arguments: Mapping[str, str]) -> str:
    """Run xacro on `file`; unlike xacro itself, refuse arguments that the file does not declare."""
    try:
        declared = [tag.get("name", "") for tag in ET.parse(file).iter("{http://www.ros.org/wiki/xacro}arg")]
        unknown = [key for key in arguments if key not in declared]
        urdf = "" if unknown else str(xacro.process_file(str(file), mappings=dict(arguments)).toprettyxml(indent="  "))
    except Exception as error:  # xacro raises whatever the evaluated expression raises
        raise ConfigError(file, "(xacro)", dict(arguments), str(error).split("\n")[0].strip()) from error
    if unknown:
        raise ConfigError(file, "(xacro)", unknown, f"unknown xacro arguments; known here: {', '.join(declared)}")
    return urdf


def _constant(values: ArrayLike) -> Array:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _check_config(config: RobotConfig, file: Path) -> None:
    """Refuse what pydantic cannot see: lists that do not fit the joints, limits the wrong way round, missing files."""
    lists = {f"postures.{name}": posture for name, posture in config.postures.items()}
    lists |= {"hold.stiffness": config.hold.stiffness, "hold.damping": config.hold.damping}
    for key, values in lists.items():
        if (n := len(config.joints)) != len(values):
            raise ConfigError(file, key, list(values), f"must have {n} numbers, one per joint; found {len(values)}")
    if "nominal" not in config.postures:
        raise ConfigError(file, "postures", sorted(config.postures), "must contain a posture `nominal`")
    for i, joint in enumerate(config.joints):
        if not joint.position[0] < joint.position[1]:
            raise ConfigError(file, f"joints.{i}.position", joint.position, "must be [lower, upper], lower < upper")
    for key, name in {"urdf": config.urdf, "scene": config.scene}.items():
        if not (file.parent / name).is_file():
            raise ConfigError(file, key, name, f"must name a file in {file.parent}")


def _check_model(model: pinocchio.Model, names: tuple[str, ...], limits: Limits, tip: str, urdf: Path) -> None:
    """Refuse a URDF that describes another machine than robot.yaml."""
    if (found := tuple(model.names)[1:]) != names:
        hint = "robot.yaml must list every moving joint of the URDF in pinocchio's order"
        raise ModelMismatchError(f"{urdf}: joints", ", ".join(names), ", ".join(found), hint)
    urdf_limits = model.lowerPositionLimit, model.upperPositionLimit, model.upperVelocityLimit, model.upperEffortLimit
    for (key, expected), given in zip(vars(limits).items(), urdf_limits, strict=True):
        for i in np.flatnonzero(np.abs(expected - given) > 1e-6):  # rounding of degrees, nothing else
            what = f"{urdf}: limit {key} of {names[i]}"
            raise ModelMismatchError(what, expected[i], given[i], "robot.yaml and the URDF must agree")
    if not model.existFrame(tip):
        links = ", ".join(frame.name for frame in model.frames if frame.type == pinocchio.FrameType.BODY)
        raise ModelMismatchError(f"{urdf}: end_effector of robot.yaml", tip, "no such link", f"there are {links}")


def _model_hash(model: pinocchio.Model, limits: Limits, config: RobotConfig) -> str:
    """Return the SHA-256 of what motion depends on: kinematics, inertia, armature, limits and end effector.

    Kinematics are the joint Jacobian and all placements at the neutral configuration, rounded to 1e-9, so that
    neither the prefix nor visuals, ros2_control or the way the URDF is written change the hash.
    """
    data, tip = model.createData(), model.getFrameId(config.end_effector)
    jacobian = pinocchio.computeJointJacobians(model, data, pinocchio.neutral(model))
    placements = [placement.homogeneous for placement in (*data.oMi, pinocchio.updateFramePlacement(model, data, tip))]
    inertias = [inertia.toDynamicParameters() for inertia in model.inertias]
    ranges = [limits.position_lower, limits.position_upper, limits.velocity, limits.effort, model.armature]
    numbers = [(np.round(values, 9) + 0.0).tolist() for values in (jacobian, *placements, *inertias, *ranges)]
    content = [[joint.name for joint in config.joints], config.end_effector, numbers]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
