"""Task: what is wanted of a robot, as the rest of dpvp sees it. One file per task beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import crocoddyl
import numpy as np
from numpy.typing import ArrayLike

from dpvp.plan import Array
from dpvp.robot import Robot
from dpvp.tasks.ocp import Ocp


@dataclass(frozen=True)
class TerminalWeights:
    """Quadratic terminal cost in the task's own residuals; both zero is no terminal cost at all.

    Attributes:
        goal: weight of ½‖goal residual‖² (for a reach 1/m²).
        velocity: weight of ½‖q̇‖², s²/rad².
    """

    goal: float = 0.0
    velocity: float = 0.0


class Task(Protocol):
    """A goal, its costs and its measure of success, on one robot.

    The goal is an array of `goal_size` numbers; everything that takes one takes it checked by `check_goal`.
    """

    kind: str
    robot: Robot
    dt: float
    goal_size: int

    def ocp(
        self,
        horizon: int,
        terminal: TerminalWeights | crocoddyl.ActionModelAbstract,
        *,
        hard_limits: bool = False,
    ) -> Ocp:
        """Build the optimal control problem over `horizon` nodes.

        A terminal given as a crocoddyl model must have a method `aim(goal)`. `hard_limits` adds the robot's torque,
        velocity and position limits as constraints for the solvers that keep them.
        """
        ...

    def terminal_model(self, weights: TerminalWeights) -> tuple[crocoddyl.ActionModelAbstract, Any]:
        """Return a stand-alone quadratic terminal model and the residual whose `reference` is its goal.

        It is what `ocp` makes of `weights`, without constraints; for terminals that fall back to it.
        """
        ...

    def check_goal(self, goal: ArrayLike) -> Array:
        """Return the goal as float64 or raise `GoalError` with the reason."""
        ...

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return the goal residual e and its Jacobian with respect to x (ne, ndx)."""
        ...

    def error(self, x: Array, goal: Array) -> float:
        """Distance of the (nx,) state from the goal, in the unit of the task (m for a reach)."""
        ...

    def reached(self, x: Array, goal: Array) -> bool:
        """True where the task's success criterion holds in state `x`."""
        ...

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Draw an (nx,) start state."""
        ...

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Draw a goal that `check_goal` accepts."""
        ...
