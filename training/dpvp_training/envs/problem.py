"""Problem: a task together with what learning needs of it in torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from dpvp.plan import Array
from dpvp.tasks.task import Task


class Geometry(nn.Module, ABC):
    """What a task knows of its machine, in torch: differentiable, exportable, and without anything to train."""

    @abstractmethod
    def residual(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return e (B, ne) for states (B, nx) and goals (B, goal): what `Task.residual` returns."""

    def features(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return f (B, nf): what `Task.features` returns, which is the residual unless a task adds to it."""
        return self.residual(x, goal)

    @abstractmethod
    def feedforward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Return the controls (B, nu) to which policies add.

        On the equilibrium manifold they are those that keep to it: what carries the posture of a machine at rest, or
        what takes it along where the goal moves.
        """


@dataclass(frozen=True, eq=False)
class Problem:
    """One thing to learn.

    Attributes:
        name: what the command line calls it.
        task: costs, sampling and success.
        goal: the default goal, in the task's units.
        geometry: float64 unless moved.
    """

    name: str
    task: Task
    goal: Array
    geometry: Geometry
