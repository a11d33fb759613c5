"""What the machine is: kinematics and inertia, joint order, limits, postures, hold gains, who adds gravity.

A robot is a folder with a robot.yaml, `urdf/<name>/` or anywhere else. Loading refuses when it and the URDF describe
different machines.
A base is fixed to the ground or floats; if it floats, configurations begin with its pose and velocities with its twist.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pinocchio
from numpy.typing import ArrayLike, NDArray

from dpvp.description import RobotConfig, expand, read_description, robot_folder, xacro_arguments
from dpvp.errors import ConfigError, MessageError, ModelMismatchError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of the joints; every array is (n,), read-only and in joint order."""

    position_lower: Array  # [rad]
    position_upper: Array  # [rad]
    velocity: Array  # [rad/s], symmetric
    effort: Array  # [Nm], symmetric

    def positions(self, share: float) -> tuple[Array, Array]:
        """Return the lower and upper end, (n,) each, of the middle `share` of every joint's range [rad]."""
        middle = 0.5 * (self.position_lower + self.position_upper)
        half = 0.5 * share * (self.position_upper - self.position_lower)
        return middle - half, middle + half


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

    With a fixed base `q` and `v` are those of the joints, n = nq = nv = nu. With a floating one the joints are their
    last n = nu entries: `q` begins with the position of the base [m] in the world and its orientation, a quaternion
    xyzw, `v` with its linear [m/s] and angular velocity [rad/s] in the frame of the base, as pinocchio has them.
    """

    name: str
    folder: Path
    model: pinocchio.Model  # with armature
    joint_names: tuple[str, ...]
    own_names: tuple[str, ...]  # of the joints as robot.yaml writes them, whatever prefix they go by
    limits: Limits
    base: str  # fixed to the ground, and the frame in which goals are given; or the body that floats
    feet: tuple[str, ...]  # frames on which a floating base stands; none if it is fixed
    imu: str | None  # frame of the IMU of a floating base
    end_effector: str
    postures: Mapping[str, Array]  # each (nq,), read-only; a floating base is level, over the origin, on its feet
    hold: HoldGains
    effort: Mapping[str, str]  # mode -> what an effort command means there: `total` or `over_gravity`
    drivers: Mapping[str, str]  # of mode hardware, the default first -> ROS package of its plugin
    urdf_xml: str
    scene: Path
    model_hash: str  # of kinematics, inertia, armature, limits, end effector and feet; the same for every prefix

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
    def floating(self) -> bool:
        """True if nothing fixes the base to the ground."""
        return bool(self.feet)

    @property
    def nominal(self) -> Array:
        """The posture `nominal`: (nq,), read-only."""
        return self.postures["nominal"]

    def slowed(self, share: float) -> Robot:
        """Return the robot with `share` of its velocity limits; it is still the machine of `model_hash`."""
        return replace(self, limits=replace(self.limits, velocity=_constant(share * self.limits.velocity)))

    def at_rest(self, posture: str = "nominal") -> Array:
        """Return the state (nx,) of standing still in `posture`."""
        return np.concatenate([self.postures[posture], np.zeros(self.nv)])

    def gravity(self, q: ArrayLike) -> Array:
        """Return the efforts (nu,) [Nm] that balance gravity at `q` (nq,); safe to call from several threads.

        A floating base is carried by all of its feet. Of the forces that can do so the smallest are taken (least
        squares); with the feet on a level floor these are vertical.
        """
        data, q = self.model.createData(), np.asarray(q, dtype=np.float64)
        weight = np.array(pinocchio.computeGeneralizedGravity(self.model, data, q))
        if not self.floating:
            return weight
        frames = [self.model.getFrameId(foot) for foot in self.feet]
        world = pinocchio.LOCAL_WORLD_ALIGNED
        rows = [pinocchio.computeFrameJacobian(self.model, data, q, frame, world)[:3] for frame in frames]
        jacobian, base = np.vstack(rows), self.nv - self.nu
        forces = np.linalg.lstsq(jacobian[:, :base].T, weight[:base], rcond=None)[0]
        return np.asarray(weight[base:] - jacobian[:, base:].T @ forces)

    def frame_position(self, q: ArrayLike) -> Array:
        """Return the position (3,) [m] of the end effector in the world at `q` (nq,); safe as `gravity` is."""
        data, frame = self.model.createData(), self.model.getFrameId(self.end_effector)
        pinocchio.forwardKinematics(self.model, data, np.asarray(q, dtype=np.float64))
        return np.array(pinocchio.updateFramePlacement(self.model, data, frame).translation)


class JointMap:
    """The only place where one order of joints becomes another; `names` is the order that comes out."""

    def __init__(self, expected_names: Sequence[str], found_names: Sequence[str]) -> None:
        """Map the order of `found_names` to that of `expected_names`; MessageError unless each is there just once."""
        expected, found = list(expected_names), list(found_names)
        known, given = Counter(expected), Counter(found)  # a message may have a hundred thousand names
        complaints = {
            "missing": [name for name in expected if name not in given],
            "unknown": [name for name in found if name not in known],
            "twice": sorted(name for name, times in (known | given).items() if times > 1),
        }
        if any(complaints.values()):
            text = "; ".join(f"{what}: {', '.join(names[:20])}" for what, names in complaints.items() if names)
            raise MessageError(f"joint names: {text}; expected exactly {', '.join(expected)}")
        self.names = tuple(expected)
        self._index = np.array([found.index(name) for name in expected], dtype=np.intp)

    def reorder(self, values: ArrayLike) -> Array:
        """Return `values` (..., n), whose last axis is in the found order, in the expected order; always a copy."""
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:  # rows of different lengths, or words
            raise MessageError(f"joint values: expected numbers of shape (..., {len(self.names)}): {error}") from None
        if array.ndim == 0 or array.shape[-1] != len(self.names):
            raise MessageError(f"joint values: expected shape (..., {len(self.names)}), found {array.shape}")
        return array[..., self._index]


def load_robot(name: str, prefix: str | None = None, joint_stem: str | None = None) -> Robot:
    """Load the robot in `urdf/<name>/` or, where `name` has a `/`, in that folder; see `load_robot_from`."""
    return load_robot_from(robot_folder(name), prefix, joint_stem)


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
    config = read_description(folder)
    prefix = config.prefix if prefix is None else prefix
    stem = config.joint_stem if joint_stem is None else joint_stem
    names = tuple(prefix + stem + joint.name.removeprefix(config.joint_stem) for joint in config.joints)
    own, known = (config.prefix, config.joint_stem), xacro_arguments(folder / config.urdf)
    asked = zip(("prefix", "joint_stem"), (prefix, stem), own, strict=True)
    # a URDF that takes no names has those of robot.yaml, and no others
    urdf_xml = expand(folder / config.urdf, {key: name for key, name, its in asked if key in known or name != its})
    rows = [(*joint.position, joint.velocity, joint.effort) for joint in config.joints]
    limits = Limits(*map(_constant, zip(*rows, strict=True)))
    frames = _frames(config, prefix)
    feet = tuple(name for key, name in frames.items() if key.startswith("floating.feet"))
    root = [pinocchio.JointModelFreeFlyer()] if config.floating else []
    model = _model(urdf_xml, root, folder / config.urdf)
    _check_joints(model, names, limits, folder / config.urdf)
    _check_frames(model, frames, folder / config.urdf)
    model.armature = np.concatenate([np.zeros(model.nv - len(names)), [joint.armature for joint in config.joints]])
    return Robot(
        name=config.name,
        folder=folder,
        model=model,
        joint_names=names,
        own_names=tuple(joint.name for joint in config.joints),
        limits=limits,
        base=frames["base"],
        feet=feet,
        imu=frames.get("floating.imu"),
        end_effector=config.end_effector,
        postures={name: _posture(config, name) for name in config.postures},
        hold=HoldGains(_constant(config.hold.stiffness), _constant(config.hold.damping)),
        effort={str(mode): meaning for mode, meaning in config.effort.items()},
        drivers=config.drivers,
        urdf_xml=urdf_xml,
        scene=folder / config.scene,
        model_hash=_model_hash(model, limits, config, feet),
    )


def _model(urdf_xml: str, root: Sequence[pinocchio.JointModelFreeFlyer], urdf: Path) -> pinocchio.Model:
    try:
        model = pinocchio.buildModelFromXML(urdf_xml, *root)
    except Exception as error:  # of which kind depends on the parser that finds it
        reason = f"pinocchio must be able to read it: {' '.join(str(error).split())}"
        raise ConfigError(urdf, "(urdf)", urdf.name, reason) from None
    numbers = [inertia.toDynamicParameters() for inertia in model.inertias]
    numbers += [placement.homogeneous for placement in model.jointPlacements]
    if not all(np.isfinite(values).all() for values in numbers):
        raise ConfigError(urdf, "(urdf)", urdf.name, "masses, inertias and origins must be finite numbers")
    return model


def _frames(config: RobotConfig, prefix: str) -> dict[str, str]:
    """Return the frames that robot.yaml names, by its keys."""
    named = {"base": prefix + config.base, "end_effector": config.end_effector}
    if config.floating:
        named |= {f"floating.feet.{i}": prefix + foot for i, foot in enumerate(config.floating.feet)}
        named |= {"floating.imu": prefix + config.floating.imu}
    return named


def _posture(config: RobotConfig, name: str) -> Array:
    pose = (0.0, 0.0, config.floating.heights[name], 0.0, 0.0, 0.0, 1.0) if config.floating else ()
    return _constant((*pose, *config.postures[name]))


def _constant(values: ArrayLike) -> Array:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _check_joints(model: pinocchio.Model, names: tuple[str, ...], limits: Limits, urdf: Path) -> None:
    """Refuse a URDF whose joints are not those of robot.yaml; before them there may be a free-flyer."""
    free = int(model.njoints > 1 and model.joints[1].nv == 6)
    if (found := tuple(model.names)[1 + free :]) != names:
        hint = "robot.yaml must list every moving joint of the URDF in pinocchio's order"
        raise ModelMismatchError(f"{urdf}: joints", ", ".join(names), ", ".join(found), hint)
    urdf_limits = model.lowerPositionLimit, model.upperPositionLimit, model.upperVelocityLimit, model.upperEffortLimit
    for (key, expected), given in zip(vars(limits).items(), urdf_limits, strict=True):
        driven = given[-len(names) :]
        for i in np.flatnonzero(np.abs(expected - driven) > 1e-6):  # rounding of degrees, nothing else
            what = f"{urdf}: limit {key} of {names[i]}"
            raise ModelMismatchError(what, expected[i], driven[i], "robot.yaml and the URDF must agree")


def _check_frames(model: pinocchio.Model, named: Mapping[str, str], urdf: Path) -> None:
    """Refuse a URDF without the frames that robot.yaml names, by their keys, or in which something else floats."""
    links = [frame.name for frame in model.frames if frame.type == pinocchio.FrameType.BODY]
    for key, name in named.items():
        if not model.existFrame(name):
            what = f"{urdf}: {key} of robot.yaml"
            raise ModelMismatchError(what, name, "no such link", f"there are {', '.join(links)}")
    if "floating.imu" in named and links[0] != named["base"]:
        hint = "the base that floats must be the root of the URDF"
        raise ModelMismatchError(f"{urdf}: root link", named["base"], links[0], hint)


def _model_hash(model: pinocchio.Model, limits: Limits, config: RobotConfig, feet: tuple[str, ...]) -> str:
    """Return the SHA-256 of what motion depends on: kinematics, inertia, armature, limits, end effector and feet.

    Kinematics are the joint Jacobian and all placements at the neutral configuration, rounded to 1e-9, so that
    neither the prefix nor visuals, ros2_control or the way the URDF is written change the hash.
    """
    data, frames = model.createData(), [model.getFrameId(name) for name in (config.end_effector, *feet)]
    jacobian = pinocchio.computeJointJacobians(model, data, pinocchio.neutral(model))
    ends = [pinocchio.updateFramePlacement(model, data, frame) for frame in frames]
    placements = [placement.homogeneous for placement in (*data.oMi, *ends)]
    inertias = [inertia.toDynamicParameters() for inertia in model.inertias]
    ranges = [limits.position_lower, limits.position_upper, limits.velocity, limits.effort, model.armature]
    numbers = [(np.round(values, 9) + 0.0).tolist() for values in (jacobian, *placements, *inertias, *ranges)]
    content = [
        [joint.name for joint in config.joints],
        config.end_effector,
        numbers,
        *(config.floating.feet if config.floating else ()),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
