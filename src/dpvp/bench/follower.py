"""What is followed when a plan cannot be, as `dpvp.control.loop` decides it."""

from __future__ import annotations

import numpy as np

from dpvp.control.guard import hold_command
from dpvp.plan import Array, Command, Plan
from dpvp.robot import Robot


class Follower:
    """The newest usable plan is followed until it is too old; then the arm is held.

    Attributes:
        held: number of plans in whose place the arm was held.
        anchor: (nx,) state whose posture is held; None while a plan is followed.
    """

    def __init__(self, robot: Robot, patience: float, lead: float = 0.0) -> None:
        """Follow a usable plan for at most `patience` seconds, `lead` seconds ahead of its state."""
        self._robot, self._patience, self._lead = robot, patience, lead
        self._usable: Plan | None = None
        self.anchor: Array | None = None
        self.held = 0

    def command(self, plan: Plan, x: Array) -> Command:
        """Return what follows from `plan`, which was made from the (nx,) state `x`."""
        if plan.status.usable:
            self._usable = plan
        if self._usable is not None and plan.t0 - self._usable.t0 <= self._patience:
            self.anchor = None
            return self._usable.command(plan.t0 + self._lead, np.inf)
        self.held += 1
        self.anchor = x if self.anchor is None else self.anchor
        return hold_command(self._robot, self.anchor, plan.t0, np.inf)
