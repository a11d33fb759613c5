"""Course: where the robot is to go, from a goal or a commanded velocity to the arrival."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import ArrayLike

from dpvp.errors import GoalError
from dpvp.plan import Array, State
from dpvp.tasks.task import Steered, Task

logger = logging.getLogger(__name__)


class Course:
    """The goal in force and, where the task takes velocities, the one that is being taken up.

    Attributes:
        goal: in the task's units, as it is at time 0 of the plant; None before the first one.
    """

    def __init__(self, task: Task, period: float) -> None:
        """Lead nowhere yet; plans begin every `period`, s."""
        self._task, self._period = task, period
        self._walk = task if isinstance(task, Steered) else None
        self.goal: Array | None = None
        self._velocity: Array | None = None
        self._taken_up_at = -math.inf
        self._reached = False

    def aim(self, goal: ArrayLike) -> Array:
        """Set the goal, checked; raises `GoalError` and keeps the old goal if it is refused."""
        self.goal = self._task.check_goal(goal)
        self._reached, self._velocity = False, None
        return self.goal

    def steer(self, command: ArrayLike, state: State | None) -> None:
        """Go on from `state` at another velocity: (3,) forwards and to the left, m/s, and turn, rad/s.

        Raises:
            GoalError: the task refuses it, takes none, or no state has arrived yet; the old one stays.
        """
        if self._walk is None:
            raise GoalError(f"task {self._task.kind} takes no velocities: set a goal")
        if state is None or self.goal is None:
            raise GoalError("a velocity needs a state to start from, and none has arrived yet")
        self._walk.commanded(self.goal, command, state.x, state.t)
        self._velocity = np.array(command, dtype=np.float64)

    def take_up(self, state: State) -> Array:
        """Return the goal of a plan from `state`, nearer to the commanded velocity than that of the plan before it.

        Plans that go on from the one before like no leaps.
        """
        assert self.goal is not None
        if self._velocity is not None and self._walk is not None:
            passed, self._taken_up_at = state.t - self._taken_up_at, state.t
            passed = min(max(passed, 0.0), self._period)
            self.goal = self._walk.towards(self.goal, self._velocity, state.x, state.t, passed)
        return self.goal

    def stop(self, state: State | None) -> None:
        """Let who has to hold take up its commanded velocity anew: plans from a stand like no leaps either."""
        if self._velocity is not None and self._walk is not None and self.goal is not None and state is not None:
            self.goal = self._walk.commanded(self.goal, np.zeros_like(self._velocity), state.x, state.t)

    def stands(self, state: State) -> tuple[bool, ...]:
        """Return which feet are to stand in `state`: none where there are none."""
        if self._walk is None or self.goal is None:
            return ()
        return self._walk.stands(state.x, self._task.later(self.goal, state.t))

    def error(self, state: State | None) -> float | None:
        """Return how far `state` is from the goal, in the task's unit for that; None while either is missing."""
        if state is None or self.goal is None:
            return None
        return self._task.error(state.x, self._task.later(self.goal, state.t))

    def note_arrival(self, state: State) -> None:
        """Say once per goal that it is reached."""
        if self._reached or self.goal is None or not self._task.reached(state.x, self._task.later(self.goal, state.t)):
            return
        self._reached = True
        logger.info(f"goal reached: {1e3 * (self.error(state) or 0.0):.1f} m{self._task.error_unit} away")
