"""Paths: solved problems of walks from their first node to their last, as seen from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpvp.plan import Array


@dataclass(frozen=True, eq=False)
class Paths:
    """N solutions of T nodes; single precision where nobody needs more.

    Attributes:
        x: (N, nx) states that they start from.
        goal: (N, goal) goals there.
        steps: (N, T, ndx) where nodes 1 to T are in the tangent of the start: `x ⊕ steps[t]`. So they are in the frame
            of the base, wherever it is.
        us: (N, T, nu) controls, Nm.
        cost: (N,) of the whole.
    """

    x: Array
    goal: Array
    steps: NDArray[np.float32]
    us: NDArray[np.float32]
    cost: Array

    def __len__(self) -> int:
        """Number of solutions."""
        return len(self.cost)

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Return the arrays by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.floating]]) -> Paths:
        """Make paths of what `arrays` returned."""
        content: dict[str, Any] = {field.name: arrays[field.name] for field in fields(cls)}
        return cls(**content)

    @classmethod
    def joined(cls, parts: Sequence[Paths]) -> Paths:
        """Put several together; at least one."""
        return cls.of({key: np.concatenate([part.arrays()[key] for part in parts]) for key in parts[0].arrays()})

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Paths:
        """Return some of them."""
        return Paths.of({key: array[index] for key, array in self.arrays().items()})
