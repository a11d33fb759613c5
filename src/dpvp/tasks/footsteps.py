"""Footsteps: where the base goes by a command, where feet land for it, and how they get there.

The base is to go on at its speed of now, which `acceleration` brings to the commanded one. A foot that lands at time t
is put where it stands half of its stance before the base has passed it, and beyond by what catches a base that is too
fast (M. Raibert, "Legged robots that balance", 1986, ch. 2; the second gain is that of the capture point,
sqrt(height / g), at most):

    p = base(t) + R(yaw(t)) (place of the leg) + stance/2 v(t) + gain (v(t) - v_command)

From where it is, a foot swings to p along 3s² - 2s³ and rises by 16 s² (1 - s)² of the clearance; both begin and end
without speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpvp.plan import Array
from dpvp.tasks.gait import Gait, Schedule


@dataclass(frozen=True, eq=False)
class BasePath:
    """Where the base is to go over a floor.

    Attributes:
        times: (m,) s from now.
        places: (m, 2) in the world, m.
        yaws: (m,) rad.
        speeds: (m, 2) forwards and to the left, m/s.
    """

    times: Array
    places: Array
    yaws: Array
    speeds: Array

    @classmethod
    def of(cls, place: Array, yaw: float, speed: Array, command: Array, acceleration: float, times: Array) -> BasePath:
        """Go on from `place` (2,), m, and `yaw`, rad, at `speed` (2,), which becomes the commanded one.

        Args:
            place: of the base in the world, m.
            yaw: of the base, rad.
            speed: forwards and to the left, m/s.
            command: (3,) speed forwards and to the left, m/s, and rate of turn, rad/s.
            acceleration: by which each speed changes, m/s².
            times: (m,) from now on in equal steps, s.
        """
        excess = speed - command[:2]
        speeds = command[:2] + np.sign(excess) * np.maximum(np.abs(excess) - acceleration * times[:, None], 0.0)
        yaws = yaw + command[2] * times
        steps = np.diff(times)[:, None] * turned(speeds[:-1], yaws[:-1])
        return cls(times, place + np.vstack([np.zeros(2), np.cumsum(steps, axis=0)]), yaws, speeds)

    def at(self, times: Array) -> BasePath:
        """Return the path at other `times` (m,), s; beyond its end it stands."""
        columns = [*self.places.T, self.yaws, *self.speeds.T]
        x, y, yaws, *speeds = [np.interp(times, self.times, column) for column in columns]
        return BasePath(times, np.stack([x, y], axis=1), yaws, np.stack(speeds, axis=1))


def turned(vectors: Array, yaws: Array) -> Array:
    """Return vectors (m, 2) of a frame that has turned by `yaws` (m,), rad, in the axes of the world."""
    c, s = np.cos(yaws), np.sin(yaws)
    return np.stack([c * vectors[:, 0] - s * vectors[:, 1], s * vectors[:, 0] + c * vectors[:, 1]], axis=1)


@dataclass(frozen=True, eq=False)
class Footsteps:
    """Where feet land and how they swing.

    Attributes:
        gait: how they take turns.
        hips: (n, 2) places of the feet under a base that stands, in its frame, m.
        gain: by which feet land further the faster the base is than it should be, s.
    """

    gait: Gait
    hips: Array
    gain: float

    def landings(self, path: BasePath, command: Array, feet: NDArray[np.integer]) -> Array:
        """Return where the feet with numbers `feet` (m,) land for the base on `path` (m,): (m, 2), m."""
        hips = self.hips[feet]
        around = np.stack([-hips[:, 1], hips[:, 0]], axis=1)  # velocity of a hip where the base turns by 1 rad/s
        ahead = 0.5 * self.gait.stance * (path.speeds + command[2] * around)
        return path.places + turned(hips + ahead + self.gain * (path.speeds - command[:2]), path.yaws)

    def targets(self, schedule: Schedule, path: BasePath, command: Array, feet: Array, floor: float) -> Array:
        """Return the places (T+1, n, 3), m, of feet that are at `feet` (n, 3), m, now; NaN where they are free to be.

        Args:
            schedule: which feet stand and swing.
            path: of the base, beyond the touchdown of the last swing.
            command: (3,) m/s, m/s, rad/s.
            feet: (n, 3) in the world.
            floor: height of feet that stand, m.
        """
        targets = np.full((*schedule.stands.shape, 3), np.nan)
        here, behind = feet[:, :2].copy(), _eased(schedule.progress[0] * ~schedule.stands[0])
        for number in range(int(schedule.swing.max()) + 1):
            nodes, foot = np.nonzero(schedule.swing == number)
            ends = self.landings(path.at(schedule.touchdown[nodes, foot]), command, foot)
            s = schedule.progress[nodes, foot]
            share = (_eased(s) - behind[foot]) / np.maximum(1.0 - behind[foot], 1e-6)
            targets[nodes, foot, :2] = here[foot] + share[:, None] * (ends - here[foot])
            targets[nodes, foot, 2] = floor + self.gait.clearance * 16.0 * (s * (1.0 - s)) ** 2
            here[foot], behind[foot] = ends, 0.0
        return targets


def _eased(s: Array) -> Array:
    return s * s * (3.0 - 2.0 * s)
