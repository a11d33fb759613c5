"""A scene.xml from what the folder of an arm says already: its URDF, read by MuJoCo, and robot.yaml."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import mujoco
import numpy as np
import pinocchio

from dpvp.config import load
from dpvp.description import RobotConfig, expand
from dpvp.errors import ConfigError, ModelMismatchError
from dpvp.robot import Robot
from dpvp.worlds.mujoco import load_scene

TOLERANCE = 1e-6  # kg m2, Nm and m by which URDF and scene may differ

# What stands around the arm: floor, light, a camera, and a marker that is moved to the goal.
_STAGE = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.001" integrator="implicitfast"/>
  <statistic center="0 0 0.5" extent="1.2"/>
  <visual>
    <global offwidth="1280" offheight="960" azimuth="-38" elevation="-14" fovy="40"/>
    <headlight ambient="0.3 0.3 0.3" diffuse="0.24 0.24 0.24" specular="0.06 0.06 0.06"/>
    <quality shadowsize="8192"/>
    <rgba haze="0.91 0.93 0.95 1"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.91 0.93 0.95" rgb2="0.7 0.76 0.83"
             width="256" height="1536"/>
    <texture name="tiles" type="2d" builtin="checker" rgb1="0.93 0.93 0.92" rgb2="0.88 0.88 0.88"
             width="512" height="512"/>
    <material name="floor" texture="tiles" texrepeat="2.5 2.5" texuniform="true"/>
  </asset>
  <worldbody>
    <light pos="1.3 -1.6 2.9" dir="-0.4 0.5 -0.85" directional="true" diffuse="0.5 0.49 0.47"/>
    <camera name="side" pos="1.45 -1.78 1.02" xyaxes="0.760 0.650 0 -0.123 0.143 0.982" fovy="40"/>
    <geom name="floor" type="plane" size="0 0 0.05" material="floor"/>
    <body name="goal" mocap="true" pos="0.5 0 0.5">
      <site name="goal" size="0.035" rgba="0.05 0.7 0.32 0.42"/>
    </body>
  </worldbody>
  <actuator/>
  <keyframe/>
</mujoco>
"""


def scene_xml(folder: Path) -> str:
    """Return MJCF of the arm in `folder`: its URDF with armature, motors and postures as robot.yaml has them.

    Motors pass the total joint torque on, clamped. Shapes are the collision shapes of the URDF; they touch the floor
    but not each other, since nobody has said yet which of them always do.

    Raises:
        ConfigError: robot.yaml cannot be used, MuJoCo cannot read the URDF, or the robot is no arm.
        ModelMismatchError: the URDF has other joints than robot.yaml, or no such end effector.
    """
    config = load(RobotConfig, folder / "robot.yaml")
    if config.floating:
        reason = "must be an arm: a scene with feet and an IMU is written by hand, see urdf/go2/scene.xml"
        raise ConfigError(folder / "robot.yaml", "floating", config.floating.feet, reason)
    spec, model = _read(folder / config.urdf, config)
    stage, arm = ET.fromstring(_STAGE), ET.fromstring(spec.to_xml())
    stage.set("model", config.name)
    _part(stage, "asset").extend(arm.iterfind("asset/mesh"))
    _part(stage, "worldbody").extend(_part(arm, "worldbody"))
    _exact(stage, model)
    for mesh in stage.iterfind("asset/mesh"):
        mesh.set("file", os.path.relpath(mesh.get("file", ""), folder.resolve()))
    for geom in stage.iterfind("worldbody/body//geom"):
        geom.attrib.update(group="2", contype="0", conaffinity="1")
        geom.attrib.setdefault("rgba", "0.9 0.9 0.89 1")
    for joint in config.joints:
        name, effort = config.prefix + joint.name, joint.effort
        limits = {"range": _text(joint.position), "armature": _text([joint.armature])}
        _named(stage, "joint", name).attrib.update(limits)
        ET.SubElement(_part(stage, "actuator"), "motor", name=name, joint=name, ctrlrange=_text([-effort, effort]))
    for name, posture in config.postures.items():
        ET.SubElement(_part(stage, "keyframe"), "key", name=name, qpos=_text(posture))
    ET.SubElement(_named(stage, "body", config.end_effector), "site", name=config.end_effector, size="0.004", group="4")
    ET.indent(stage)
    return ET.tostring(stage, encoding="unicode") + "\n"


def check_scene(robot: Robot, count: int = 20) -> None:
    """Compare the scene of an arm with its URDF: order, mass matrix, gravity and tip at `count` random postures.

    Raises:
        ModelMismatchError: they describe different machines, so that a simulation would be of another arm.
    """
    model = load_scene(robot.scene)
    found = tuple(model.joint(i).name for i in range(model.njnt))
    if found != robot.joint_names:
        raise ModelMismatchError(f"{robot.scene}: joints", ", ".join(robot.joint_names), ", ".join(found))
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    mass = np.zeros((robot.nv, robot.nv))
    for _ in range(count):
        q = rng.uniform(robot.limits.position_lower, robot.limits.position_upper)
        data.qpos[:] = q
        mujoco.mj_forward(model, data)
        for row, unit in zip(mass, np.eye(robot.nv), strict=True):
            mujoco.mj_mulM(model, data, row, unit)
        upper = np.triu(pinocchio.crba(robot.model, robot.model.createData(), q))
        pairs = {
            "mass matrix [kg m2]": (upper + np.triu(upper, 1).T, mass),
            "gravity [Nm]": (robot.gravity(q), data.qfrc_bias),
            f"position of {robot.end_effector} [m]": (robot.frame_position(q), data.site(robot.end_effector).xpos),
        }
        for what, (expected, got) in pairs.items():
            worst = np.unravel_index(np.argmax(np.abs(expected - got)), got.shape)
            if abs(expected[worst] - got[worst]) > TOLERANCE:
                place = f"{robot.scene}: {what}, entry {', '.join(str(i + 1) for i in worst)}"
                hint = f"at {np.round(q, 3).tolist()}; expected is the URDF"
                raise ModelMismatchError(place, float(expected[worst]), float(got[worst]), hint)


def _read(urdf: Path, config: RobotConfig) -> tuple[mujoco.MjSpec, mujoco.MjModel]:
    """Return the URDF as MuJoCo reads it, every link a body of its own."""
    text = expand(urdf, {}).replace("file://", "")  # MuJoCo knows no such thing
    try:
        spec = mujoco.MjSpec.from_string(text)
        spec.compiler.fusestatic = False
        model = spec.compile()
    except ValueError as error:
        reason = "MuJoCo must be able to read it; give meshes as STL or OBJ with the whole path, file:///..."
        raise ConfigError(urdf, "(mujoco)", " ".join(str(error).split()), reason) from None
    names = [config.prefix + joint.name for joint in config.joints]
    if (found := [model.joint(i).name for i in range(model.njnt)]) != names:
        hint = "robot.yaml must list every moving joint of the URDF in this order"
        raise ModelMismatchError(f"{urdf}: joints", ", ".join(names), ", ".join(found), hint)
    bodies = [model.body(i).name for i in range(1, model.nbody)]
    if config.end_effector not in bodies:
        what, hint = f"{urdf}: end_effector of robot.yaml", f"there are {', '.join(bodies)}"
        raise ModelMismatchError(what, config.end_effector, "no such link", hint)
    return spec, model


def _exact(stage: ET.Element, model: mujoco.MjModel) -> None:
    """Write the numbers that matter anew: MuJoCo writes six digits."""
    for element in stage.iterfind("worldbody//body[@name]"):
        if element.get("mocap"):
            continue
        body = model.body(element.get("name"))
        element.attrib.update(pos=_text(body.pos), quat=_text(body.quat))
        if (inertial := element.find("inertial")) is not None:
            place = {"pos": _text(body.ipos), "quat": _text(body.iquat)}
            inertial.attrib.update(place | {"mass": _text(body.mass), "diaginertia": _text(body.inertia)})
    for element in stage.iterfind("worldbody//joint"):
        joint = model.joint(element.get("name"))
        element.attrib.pop("actuatorfrcrange", None)  # the motors clamp
        element.attrib.update(pos=_text(joint.pos), axis=_text(joint.axis))


def _part(root: ET.Element, tag: str) -> ET.Element:
    found = root.find(tag)
    assert found is not None, tag
    return found


def _named(root: ET.Element, tag: str, name: str) -> ET.Element:
    return next(element for element in root.iterfind(f"worldbody//{tag}") if element.get("name") == name)


def _text(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
