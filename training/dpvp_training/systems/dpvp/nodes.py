"""Nodes: what solved problems say about single states. Every node of every solve is one; nothing is thrown away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpvp.plan import Array


@dataclass(frozen=True, eq=False)
class Nodes:
    """N labelled states; single precision where nobody needs more.

    Attributes:
        x: (N, nx) states.
        goal: (N, goal) goals.
        f: (N, nf) features of the task; `f_x` (N, nf, ndx) their derivative.
        v: (N,) cost to go.
        v_x: (N, ndx) its gradient.
        v_xx: (N, ndx, ndx) its Hessian, as the backward pass has it.
        u: (N, nu) optimal controls.
        gain: (N, nu, ndx) Riccati gains K, u = u* - K δx.
        q_uu: (N, nu, nu) curvature of the action value in u: what a wrong control costs.
    """

    x: Array
    goal: Array
    f: Array
    f_x: NDArray[np.float32]
    v: Array
    v_x: Array
    v_xx: NDArray[np.float32]
    u: Array
    gain: NDArray[np.float32]
    q_uu: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.v)

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Return the arrays by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.floating]]) -> Nodes:
        """Make nodes of what `arrays` returned."""
        content: dict[str, Any] = {field.name: arrays[field.name] for field in fields(cls)}
        return cls(**content)

    @classmethod
    def joined(cls, parts: Sequence[Nodes]) -> Nodes:
        """Put several together; at least one."""
        return cls.of({key: np.concatenate([part.arrays()[key] for part in parts]) for key in parts[0].arrays()})

    def take(self, index: NDArray[np.integer] | slice) -> Nodes:
        """Return some of them."""
        return Nodes.of({key: array[index] for key, array in self.arrays().items()})
