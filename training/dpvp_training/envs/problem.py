"""Problem: a task together with what learning needs of it in torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from dpvp.plan import Array
from dpvp.tasks.task import Task


class Geometry(nn.Module, ABC):
    """What a task knows of its machine, in torch: differentiable, exportable, and without anything to train.

    Attributes:
        ends: the task is done where its residual and what has to rest vanish, and the feed-forward keeps it there.
        anywhere: entries of the state whose values in the data say nothing of where a policy may be asked, and how far
            from zero they may be: the place of a base, m, and its orientation, of which features have what matters.
    """

    ends: bool = True
    anywhere: Mapping[int, float] = MappingProxyType({})

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
