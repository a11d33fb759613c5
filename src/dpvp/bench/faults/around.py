"""Faults of what is around the loop: the operator's stop, processes that get no time, a push."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dpvp.bench.faults.fault import Fault
from dpvp.plan import Array

STRENGTH = {True: 60.0, False: 20.0}  # N, the largest push on a base that floats, on an end effector


class Stop(Fault):
    """The operator presses the stop."""

    stop = True


class NoSupervisor(Fault):
    """The supervisor gets no time."""

    supervisor_runs = False


class NoLoop(Fault):
    """The loop gets no time."""

    loop_runs = False


class Push(Fault):
    """Somebody pushes the robot."""

    @cached_property
    def _force(self) -> Array:
        direction = self.rng.normal(size=3)
        strength = STRENGTH[self.robot.floating] * self.rng.uniform(0.3, 1.0)
        return np.asarray(strength * direction / np.linalg.norm(direction))

    def force(self) -> Array:
        """Return the force (3,), N."""
        return self._force
