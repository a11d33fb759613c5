"""What the benchmark systems share: one equilibrium per goal, at which their residual e, and e alone, vanishes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import crocoddyl
import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from dpvp.config import Config
from dpvp.errors import ConfigError, GoalError
from dpvp.plan import Array
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp_training.envs.machine import SystemMachine
from dpvp_training.envs.problem import Geometry


class SystemConfig(Config):
    """Numbers that every system has; boxes are symmetric about zero."""

    costs: Config
    dt: float = Field(gt=0, description="length of a node, s")
    horizon: int = Field(gt=0, description="nodes T for which V_T is within 1 % of the limit, see `SystemTask`")
    approach: int = Field(gt=0, description="nodes of the first of two stages of a solve, see `SystemTask`")
    goal: tuple[float, ...] = Field(description="the default goal")
    goals: tuple[float, ...] = Field(description="goals are drawn from ± this; others are refused")
    states: tuple[float, ...] = Field(description="states are drawn from ± this, in the tangent of the state")
    tolerance: float = Field(gt=0, description="largest ‖e‖ at which the goal counts as reached")
    controls: tuple[float, ...] = Field(
        description="what actions of the environment add at most, either way, to the control at rest; in its unit"
    )


class NodeData(crocoddyl.ActionDataAbstract):  # type: ignore[misc]
    """Data of a node written in Python, with its arrays fetched once: through the bindings each access is slow."""

    def __init__(self, model: crocoddyl.ActionModelAbstract) -> None:
        """Make the arrays of `model` and views of those that nodes fill."""
        super().__init__(model)
        self.next_x, self.f_x, self.f_u = self.xnext, self.Fx, self.Fu
        self.l_x, self.l_u, self.l_xx, self.l_uu = self.Lx, self.Lu, self.Lxx, self.Luu


class SystemTask(ABC):
    """Bring a system to the equilibrium that belongs to the goal.

    A solver that starts at a long `horizon` from a free fall finds poor minima and is slow to leave them. What finds
    good ones is two stages: first `approach` nodes with `TerminalWeights(goal=1.0)`, then the whole horizon from that
    solution with the equilibrium behind it.

    Attributes:
        goal_layout: name and unit of every number of a goal.
        space: the states.
        scaling: W (ne,), scale of the entries of e in the terminal cost.
    """

    kind: str
    error_unit = "1"
    goal_layout: tuple[tuple[str, str], ...]

    def __init__(
        self,
        machine: SystemMachine,
        config: SystemConfig,
        space: crocoddyl.StateAbstract,
        scaling: ArrayLike,
    ) -> None:
        """Check that `config` fits the machine, whose states are those of `space`; `scaling` is W of the terminal cost.

        Raises:
            ConfigError: an array has not as many numbers as the state, the goal or the control.
        """
        self.config, self.dt, self.goal_size = config, config.dt, len(self.goal_layout)
        sizes = {"goal": self.goal_size, "goals": self.goal_size, "states": machine.ndx, "controls": machine.nu}
        for key, size in sizes.items():
            if len(values := getattr(config, key)) != size:
                raise ConfigError(machine.name, key, values, f"needs {size} numbers")
        self.space, self._robot = space, machine
        self.scaling: Array = np.array(scaling, dtype=np.float64)

    @property
    def robot(self) -> SystemMachine:
        """The system."""
        return self._robot

    @property
    def costs(self) -> dict[str, Any]:
        """Weights and limits in the cost of a node; see `Task.costs`."""
        return self.config.costs.model_dump(mode="json")

    @property
    def rest(self) -> tuple[int, ...]:
        """Nothing: the residual says all."""
        return ()

    @property
    def tolerance(self) -> float:
        """Of ‖e‖."""
        return self.config.tolerance

    @property
    def state_bounds(self) -> tuple[Array, Array]:
        """No limits: what there is of them is cost."""
        return np.full(self._robot.ndx, -np.inf), np.full(self._robot.ndx, np.inf)

    def ocp(
        self,
        horizon: int,
        terminal: TerminalWeights | crocoddyl.ActionModelAbstract,
        *,
        hard_limits: bool = False,
    ) -> Ocp:
        """Build the problem; see `Task.ocp`.

        Raises:
            ConfigError: hard limits are asked for, which the systems do not have.
        """
        if hard_limits:
            raise ConfigError(self.robot.name, "hard_limits", True, "limits are costs here: use planner ddp")
        running, aim_running = self._running()
        last = ResidualTerminal(self, terminal.goal) if isinstance(terminal, TerminalWeights) else terminal

        def aim(goal: Array) -> None:
            aim_running(goal)
            last.aim(goal)

        return Ocp(running, last, horizon, self.dt, aim, hold=self._hold)

    def terminal_model(self, weights: TerminalWeights) -> tuple[crocoddyl.ActionModelAbstract, ResidualTerminal]:
        """Return ½ `weights.goal` ‖W e‖², which has the goal as its `reference` itself.

        The residual has the velocities, so `weights.velocity` says nothing new and is not used.
        """
        terminal = ResidualTerminal(self, weights.goal)
        return terminal, terminal

    def later(self, goal: Array, seconds: float) -> Array:
        """Return the goal: it stands still."""
        return goal

    def place(self, goal: Array) -> Array:
        """Return NaN (3,): nobody looks at these machines in space."""
        return np.full(3, np.nan)

    def check_goal(self, goal: ArrayLike) -> Array:
        """Return the goal or raise `GoalError` where it is outside the box that goals are drawn from."""
        numbers = np.array(goal, dtype=np.float64)
        if numbers.shape != (self.goal_size,):
            names = " ".join(name for name, _ in self.goal_layout)
            raise GoalError(f"goal has shape {numbers.shape}: {self.kind} needs {self.goal_size} numbers: {names}")
        for (name, unit), value, most in zip(self.goal_layout, numbers, self.config.goals, strict=True):
            if not abs(value) <= most:
                raise GoalError(f"goal {name} = {value:g} {unit} is outside [{-most:g}, {most:g}] {unit}")
        return numbers

    @abstractmethod
    def geometry(self) -> Geometry:
        """Return what the task knows of the system in torch."""

    @abstractmethod
    def residual(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return e (ne,) and de/dx (ne, ndx)."""

    def observe(self, x: Array, goal: Array) -> Array:
        """Return the residual and nothing more: it says all."""
        return self.residual(x, goal)[0]

    def features(self, x: Array, goal: Array) -> tuple[Array, Array]:
        """Return the residual and its derivative."""
        return self.residual(x, goal)

    def error(self, x: Array, goal: Array) -> float:
        """Distance from the goal: ‖e‖, metres and radians and their rates alike."""
        return float(np.linalg.norm(self.residual(x, goal)[0]))

    def reached(self, x: Array, goal: Array) -> bool:
        """True if `error` is below the tolerance; the residual has the velocities."""
        return self.error(x, goal) < self.tolerance

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Draw from the same box as `sample_state`."""
        return self.sample_state(rng)

    def sample_state(self, rng: np.random.Generator) -> Array:
        """Draw an (nx,) state from the box of the configuration."""
        most = np.array(self.config.states)
        return np.asarray(self.space.integrate(self.space.zero(), rng.uniform(-most, most)))

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Draw a goal from the box of the configuration."""
        most = np.array(self.config.goals)
        return rng.uniform(-most, most)

    @abstractmethod
    def _running(self) -> tuple[crocoddyl.ActionModelAbstract, Callable[[Array], None]]:
        """Make the model of a running node and what sets the goal in it."""

    def _hold(self, x: Array) -> Array:
        """Control (nu,) that carries the (nx,) state at rest: none."""
        return np.zeros(self._robot.nu)


class ResidualTerminal(crocoddyl.ActionModelAbstract):  # type: ignore[misc]
    """Terminal node ½ w ‖W e‖² in the residual of a task, with its Gauss-Newton Hessian.

    Attributes:
        reference: the goal.
    """

    def __init__(self, task: SystemTask, weight: float) -> None:
        """Take residual and scaling W of `task`; its default goal is the goal until `aim` sets another."""
        super().__init__(task.space, task.robot.nu, len(task.scaling))
        self._task, self._weights = task, weight * task.scaling**2
        self.reference = np.array(task.config.goal)

    def aim(self, goal: Array) -> None:
        """Set the goal, in the task's units."""
        self.reference = goal

    def calc(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:
        """Set the cost of the (nx,) state."""
        e, _ = self._task.residual(x, self.reference)
        data.xnext, data.cost = x, 0.5 * float(self._weights @ (e * e))

    def calcDiff(self, data: crocoddyl.ActionDataAbstract, x: Array, u: Array | None = None) -> None:  # noqa: N802
        """Set the gradient (ndx,) and the Gauss-Newton Hessian (ndx, ndx)."""
        e, jacobian = self._task.residual(x, self.reference)
        weighted = self._weights[:, None] * jacobian
        data.Lx, data.Lxx = e @ weighted, jacobian.T @ weighted
