"""Pictures of the robot itself, as MuJoCo sees it: of a posture, and of the way that an arm came.

Needs OpenGL without a screen: EGL (`apt install libegl1 libgl1-mesa-dri`) or OSMesa (`libosmesa6`), see MUJOCO_GL.
"""

from __future__ import annotations

import importlib
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpvp.errors import EnvironmentProblem
from dpvp.plan import Array
from dpvp.robot import Robot

Picture = NDArray[np.uint8]  # (height, width, 3)
SEEN, HULLS = 2, 3  # groups of the scene's geometry: what is looked at, and what collides
GOALS = 0  # group of its sites
GHOST = 0.42  # opacity of the earliest posture of a still; later ones are more solid
CAMERA = "side"
NO_WAY = np.zeros((0, 3))
WAY, THIN = (0.05, 0.70, 0.32, 1.0), 0.0025  # colour of the goal's way, and half its thickness, m
SHADOW = 8  # points of the shadows' map per point of the picture's width


class RobotRenderer:
    """Renders postures of a robot in its scene, each with the place (3,), m, of the goal at that time.

    A robot whose base floats stays in the picture: camera and lights of its scene go with it.
    """

    def __init__(self, robot: Robot, width: int = 960, height: int = 720) -> None:
        """Open an OpenGL context without a window.

        Raises:
            EnvironmentProblem: there is no OpenGL to be had.
        """
        import mujoco

        from dpvp.worlds.mujoco import MujocoWorld

        self._mujoco, self._world = mujoco, MujocoWorld(robot)
        self._still = np.zeros(robot.nv)
        visual = self._world.model.vis
        visual.global_.offwidth, visual.global_.offheight = width, height
        # without a GPU a shadow finer than the picture is most of the work
        visual.quality.shadowsize = min(visual.quality.shadowsize, SHADOW * width)
        try:
            _leave_out_the_screen()
            self._renderer = mujoco.Renderer(self._world.model, height, width)
        except Exception as error:  # whatever the driver raises
            raise EnvironmentProblem(
                f"no OpenGL without a screen ({error}): apt install libegl1 libgl1-mesa-dri, or libosmesa6 and "
                "MUJOCO_GL=osmesa"
            ) from error

    def posture(self, q: Array, place: Array, *, way: Array = NO_WAY, arm: bool = True) -> Picture:
        """Return a picture of a posture.

        Args:
            q: (nq,) configuration, see `Robot`.
            place: (3,) of the goal, m; NaN, because it is no place: it is not shown.
            way: (M, 3) that the goal is going to take, m; drawn as a line.
            arm: False leaves the robot out.
        """
        self._world.reset(q, self._still)
        option = self._mujoco.MjvOption()
        option.sitegroup[GOALS] = bool(np.isfinite(place).all())
        if option.sitegroup[GOALS]:
            self._world.show_goal(place)
        self._mujoco.mj_forward(self._world.model, self._world.data)
        option.geomgroup[HULLS] = 0
        option.geomgroup[SEEN] = arm
        self._renderer.update_scene(self._world.data, camera=CAMERA, scene_option=option)
        for ends in pairwise(way):
            self._draw(*ends)
        return np.array(self._renderer.render())

    def still(self, qs: Array, place: Array, ghosts: int = 3) -> Picture:
        """Return the last of the postures `qs` (N, n), rad, with `ghosts` earlier ones behind it."""
        empty = self.posture(qs[-1], place, arm=False).astype(float)
        picture = empty.copy()
        # equally far apart on the way, not in time: an arm that has arrived would hide itself
        way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(qs, axis=0), axis=1))])
        moments = np.searchsorted(way, np.linspace(0.0, way[-1], ghosts + 1)).clip(max=len(qs) - 1)
        for index, opacity in zip(moments, np.linspace(GHOST, 1.0, ghosts + 1), strict=True):
            posture = self.posture(qs[index], place).astype(float)
            changed = np.abs(posture - empty).max(axis=2, keepdims=True) > 2.0
            picture = np.where(changed, (1 - opacity) * picture + opacity * posture, picture)
        return picture.astype(np.uint8)

    def _draw(self, begin: Array, end: Array) -> None:
        """Add a piece of a line to what is rendered next, unless it has no length."""
        if not np.linalg.norm(end - begin) > 0.0:  # nor has one with NaN
            return
        scene, capsule = self._renderer.scene, self._mujoco.mjtGeom.mjGEOM_CAPSULE
        piece, zero = scene.geoms[scene.ngeom], np.zeros(3)
        self._mujoco.mjv_initGeom(piece, capsule, zero, zero, np.eye(3).ravel(), np.array(WAY, dtype=np.float32))
        self._mujoco.mjv_connector(piece, capsule, THIN, begin, end)
        scene.ngeom += 1

    def close(self) -> None:
        """Close the context."""
        self._renderer.close()


def _leave_out_the_screen() -> None:
    """Have MuJoCo render with EGL unless MUJOCO_GL says otherwise. It has read that, and chosen, when it was loaded."""
    if "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = "egl"
        for name in [name for name in sys.modules if name.startswith("mujoco.") and name.endswith(".gl_context")]:
            importlib.reload(sys.modules[name])


def save_still(picture: Picture, file: Path) -> None:
    """Write a picture as PNG."""
    Image.fromarray(picture).save(file, optimize=True)
