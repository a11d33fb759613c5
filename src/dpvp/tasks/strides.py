"""Strides: what the nodes of a walk refer to, from the measured state and the command alone.

The floor is where the standing feet are; the way goes on from where the base is. What the plan does not know of, such
as feet that resist turning, keeps speeds a little below what is commanded, since nothing is remembered from plan to
plan. Of a turn nothing is lost: the heading that the goal has by now is still to be reached.

With no speed commanded the robot stands on all feet as soon as it is calm: slow, its heading right and its feet near
their places. Until then it steps on the spot, which is how it recovers from a push.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio
from pydantic import Field

from dpvp.config import Config
from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.footsteps import BasePath, Footsteps, turned
from dpvp.tasks.gait import Flags, Gait, Schedule
from dpvp.tasks.legged import LeggedNode
from dpvp.tasks.legs import Legs


class Calm(Config):
    """When a robot with no speed commanded may stand."""

    command: float = Field(0.02, ge=0, description="commands below are none, m/s and rad/s")
    speed: float = Field(0.25, gt=0, description="largest speed of the base, m/s")
    offset: float = Field(0.08, gt=0, description="largest distance of a foot from its place under the base, m")
    heading: float = Field(0.15, gt=0, description="largest error of the heading, rad")
    lifted: float = Field(0.01, gt=0, description="a foot this high over the floor is in the air, m")


class StridesConfig(Config):
    """How commands become references."""

    acceleration: float = Field(2.0, gt=0, description="by which the base takes up a commanded speed, m/s²")
    catch: float = Field(0.1, ge=0, description="feet land so much further per excess of speed, s")
    straighten: float = Field(2.0, ge=0, description="rate of turn added per error of the heading, 1/s")
    straighten_most: float = Field(0.5, ge=0, description="largest rate of turn added so, rad/s")
    calm: Calm = Calm()


@dataclass(frozen=True, eq=False)
class Reference:
    """What the nodes of a problem refer to.

    Attributes:
        xs: (T+1, nx) states; of the joints the nominal posture, at rest.
        stands: (T+1, n) which feet stand.
        targets: (T+1, n, 3) where feet are to be in the world, m; NaN where they are free.
    """

    xs: Array
    stands: Flags
    targets: Array

    def lead(self, nodes: Sequence[LeggedNode]) -> None:
        """Move the nodes, of which there may be fewer than T + 1."""
        guided = ~np.isnan(self.targets[..., 0])
        rows = zip(nodes, self.xs, self.stands.tolist(), guided.tolist(), self.targets, strict=False)
        for node, *values in rows:
            node.move(*values)


class Strides:
    """Makes references; not for two threads at once."""

    def __init__(self, robot: Robot, legs: Legs, gait: Gait, dt: float, config: StridesConfig) -> None:
        """Make references for nodes of `dt` seconds."""
        self._robot, self._legs, self._gait, self._dt, self._config = robot, legs, gait, dt, config
        self._footsteps = Footsteps(gait, legs.hips, config.catch)

    def stands(self, x: Array, goal: Array) -> Flags:
        """Return which feet (n,) stand in node 0 of a problem from the (nx,) state `x` on."""
        _, _, schedule = self._schedule(x, goal, np.array([0.0, self.first_dt(goal)]))
        return np.asarray(schedule.stands[0])

    def reference(self, x: Array, goal: Array, horizon: int) -> Reference:
        """Return what the nodes of a problem from the (nx,) state `x` on refer to."""
        yaw, speed = heading(x)
        beyond = math.ceil(self._gait.period / self._dt)  # no swing under way at the end lands later
        times = np.concatenate([[0.0], self.first_dt(goal) + self._dt * np.arange(horizon + beyond)])
        feet, floor, schedule = self._schedule(x, goal, times[: horizon + 1])
        command = np.array([*goal[1:3], goal[3] + self._straightening(yaw, goal)])
        path = BasePath.of(x[:2], yaw, speed, command, self._config.acceleration, times)
        targets = self._footsteps.targets(schedule, path, command, feet, floor)
        return Reference(self._states(path, command[2], floor, horizon + 1), schedule.stands, targets)

    def first_dt(self, goal: Array) -> float:
        """Return the length of the first node, s."""
        return self._gait.until_tick(goal[0], self._dt)

    def _schedule(self, x: Array, goal: Array, times: Array) -> tuple[Array, float, Schedule]:
        """Return where the feet are (n, 3) and how high the floor is, m, and who stands from `times`, s, on."""
        feet, (yaw, speed) = self._legs.places(x[: self._robot.nq]), heading(x)
        floor = float(feet[self._gait.stands(goal[:1])[0], 2].mean())
        airborne = feet[:, 2] > floor + self._config.calm.lifted
        still = self._still(feet[:, :2] - x[:2], yaw, speed, goal)
        return feet, floor, self._gait.schedule(goal[0], times, self._dt, airborne, still=still)

    def _states(self, path: BasePath, turn: float, floor: float, count: int) -> Array:
        """Return `count` states (nx,) along `path`, the base turning at `turn` rad/s."""
        xs, v = np.tile(self._robot.at_rest(), (count, 1)), self._robot.nq
        half = 0.5 * path.yaws[:count]
        xs[:, :2], xs[:, 2], xs[:, 5], xs[:, 6] = (
            path.places[:count],
            floor + self._legs.rise,
            np.sin(half),
            np.cos(half),
        )
        xs[:, v : v + 2], xs[:, v + 5] = path.speeds[:count], turn
        return xs

    def _straightening(self, yaw: float, goal: Array) -> float:
        """Return the rate of turn, rad/s, that brings the base from `yaw`, rad, back to its heading."""
        most = self._config.straighten_most
        return float(np.clip(self._config.straighten * wrapped(goal[4] - yaw), -most, most))

    def _still(self, places: Array, yaw: float, speed: Array, goal: Array) -> bool:
        """True if no speed is commanded and the robot is calm, its feet at `places` (n, 2), m, from its base."""
        calm = self._config.calm
        if np.abs(goal[1:4]).max() > calm.command or abs(wrapped(goal[4] - yaw)) > calm.heading:
            return False
        away = turned(places, np.full(len(places), -yaw)) - self._legs.hips
        return bool(np.linalg.norm(speed) < calm.speed and np.linalg.norm(away, axis=1).max() < calm.offset)


def wrapped(angle: float) -> float:
    """Return the angle, rad, within [-π, π)."""
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)


def heading(x: Array) -> tuple[float, Array]:
    """Return the yaw of the base, rad, and its speed over the floor, forwards and to the left, (2,) m/s."""
    rotation = pinocchio.Quaternion(x[3:7]).toRotationMatrix()
    yaw = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    nq = (len(x) + 1) // 2
    over = rotation @ x[nq : nq + 3]
    return yaw, turned(over[None, :2], np.array([-yaw]))[0]
