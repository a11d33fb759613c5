"""Pictures of the arm itself: a run as MuJoCo sees it, as one still with the way it came, and as an animation.

Needs OpenGL without a screen: EGL (`apt install libegl1 libgl1-mesa-dri`) or OSMesa (`libosmesa6`), see MUJOCO_GL.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpvp.errors import EnvironmentProblem
from dpvp.plan import Array
from dpvp.robot import Robot

Picture = NDArray[np.uint8]  # (height, width, 3)
SEEN, HULLS = 2, 3  # geometry groups of the scene: what is looked at, and what collides
GHOST = 0.42  # opacity of the earliest posture of a still; later ones are more solid
CAMERA = "side"


class ArmRenderer:
    """Renders postures of a robot in its scene, each with the place (3,), m, of the goal at that time."""

    def __init__(self, robot: Robot, width: int = 960, height: int = 720) -> None:
        """Open an OpenGL context without a window.

        Raises:
            EnvironmentProblem: there is no OpenGL to be had.
        """
        import mujoco

        from dpvp.worlds.mujoco import MujocoWorld

        self._mujoco, self._world = mujoco, MujocoWorld(robot)
        self._still = np.zeros(robot.nv)
        try:
            _leave_out_the_screen()
            self._renderer = mujoco.Renderer(self._world.model, height, width)
        except Exception as error:  # whatever the driver raises
            raise EnvironmentProblem(
                f"no OpenGL without a screen ({error}): apt install libegl1 libgl1-mesa-dri, or libosmesa6 and "
                "MUJOCO_GL=osmesa"
            ) from error

    def posture(self, q: Array, place: Array, *, arm: bool = True) -> Picture:
        """Return a picture of the posture `q` (n,), rad; with `arm` False of the scene without it."""
        self._world.reset(q, self._still)
        self._world.show_goal(place)
        self._mujoco.mj_forward(self._world.model, self._world.data)
        option = self._mujoco.MjvOption()
        option.geomgroup[HULLS] = 0
        option.geomgroup[SEEN] = arm
        self._renderer.update_scene(self._world.data, camera=CAMERA, scene_option=option)
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


def save_animation(pictures: list[Picture], file: Path, fps: float) -> None:
    """Write pictures as an animated GIF that repeats, its last picture shown a little longer."""
    frames = [Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=96) for picture in pictures]
    each = round(1000 / fps)
    durations = [each] * (len(frames) - 1) + [1500]
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)
