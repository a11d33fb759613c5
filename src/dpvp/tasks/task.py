"""Task: what is wanted of a robot, as the rest of dpvp sees it. One file per task beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import crocoddyl
import numpy as np
from numpy.typing import ArrayLike

from dpvp.plan import Array
from dpvp.tasks.ocp import Ocp


class Machine(Protocol):
    """What tasks, planners and artifacts need to know of a robot.

    `dpvp.robot.Robot` is one; benchmark systems such as the cart-pole, which nobody drives through ROS, are others.
    """

    @property
    def name(self) -> str:
        """What an artifact calls it."""
        ...

    @property
    def model_hash(self) -> str:
        """SHA-256 of everything that its motion depends on."""
        ...

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names of its joints or coordinates, in order, whatever prefix it goes by."""
        ...

    @property
    def nx(self) -> int:
        """Length of a state."""
        ...

    @property
    def ndx(self) -> int:
        """Length of a difference of two states."""
        ...

    @property
    def nv(self) -> int:
        """Length of a velocity."""
        ...

    @property
    def nu(self) -> int:
        """Length of a control."""
        ...


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

    The goal is an array of `goal_size` numbers, of which `goal_layout` has names and units; everything that takes one
    takes it checked by `check_goal`. Distances from it are in `error_unit`.
    """

    kind: str
    dt: float
    goal_size: int
    goal_layout: tuple[tuple[str, str], ...]
    error_unit: str

    @property
    def robot(self) -> Machine:
        """The machine that has to do it."""
        ...

    @property
    def costs(self) -> Mapping[str, Any]:
        """What the cost of a node is made of, as plain YAML: a value learned under other costs is of no use."""
        ...

    @property
    def rest(self) -> tuple[int, ...]:
        """Entries of the tangent of the state that vanish, as the goal residual does, where the task is done.

        The velocities of a reach. None where the residual alone says all. With the residual they span the whole
        equilibrium manifold, on which every value function is zero.
        """
        ...

    @property
    def tolerance(self) -> float:
        """Largest `error` at which the goal can count as reached."""
        ...

    @property
    def state_bounds(self) -> tuple[Array, Array]:
        """Hard limits of the state, lower and upper, (ndx,) each; infinite where there are none."""
        ...

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

    def later(self, goal: Array, seconds: float) -> Array:
        """Return what `goal` has become `seconds` later: the same, where goals stand still.

        A goal that is set is as it is at the zero of the plant's clock, so that all who know the time agree on it.
        """
        ...

    def place(self, goal: Array) -> Array:
        """Return where the goal is to be shown: (3,) in the base frame, m; NaN where it is no place."""
        ...

    def check_goal(self, goal: ArrayLike) -> Array:
        """Return the goal as float64 or raise `GoalError` with the reason."""
        ...

    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return the goal residual e and its Jacobian with respect to x (ne, ndx)."""
        ...

    def observe(self, x: Array, goal: Array) -> Array:
        """Return the features f (nf,) alone, for the price of no derivatives."""
        ...

    def features(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return what learned values see besides the state, and its derivative.

        The goal residual comes first. A task may add geometry on which its costs depend: knowing that Jacobian, a net
        needs a fraction of the data.

        Returns:
            f (nf,) and df/dx (nf, ndx).
        """
        ...

    def error(self, x: Array, goal: Array) -> float:
        """Distance of the (nx,) state from the goal, in `error_unit`."""
        ...

    def reached(self, x: Array, goal: Array) -> bool:
        """True where the task's success criterion holds in state `x`."""
        ...

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Draw an (nx,) start state."""
        ...

    def sample_state(self, rng: np.random.Generator) -> Array:
        """Draw an (nx,) state from all over the range in which the machine does its work, for learning."""
        ...

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Draw a goal that `check_goal` accepts."""
        ...


@runtime_checkable
class Steered(Protocol):
    """What a task on feet has besides: it takes velocities while it lasts, and knows who stands."""

    def stands(self, x: Array, goal: Array) -> tuple[bool, ...]:
        """Return which of the robot's feet are to stand in state `x`, the goal being as it is then."""
        ...

    def commanded(self, goal: Array, command: ArrayLike, x: Array, t: float) -> Array:
        """Return the goal, as at time 0, of who goes on at another velocity from where it is.

        Args:
            goal: in force so far, as at time 0.
            command: (3,) speed forwards and to the left, m/s, and rate of turn, rad/s.
            x: (nx,) state of time `t`, s: its heading is where a new turn begins.
            t: s.

        Raises:
            GoalError: the velocity is outside the range of the gait, or not finite.
        """
        ...

    def towards(self, goal: Array, command: ArrayLike, x: Array, t: float, seconds: float) -> Array:
        """Return what `commanded` does, for as much of the change as the robot takes up in `seconds`."""
        ...
