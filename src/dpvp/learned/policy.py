"""Policy: the head `policy` of an artifact, u = π(x, goal)."""

from __future__ import annotations

import numpy as np

from dpvp.learned.artifact import Artifact
from dpvp.learned.graph import Evaluation
from dpvp.plan import Array


class Policy:
    """A learned feedback policy; not for two threads at once."""

    def __init__(self, artifact: Artifact) -> None:
        """Read the head `policy` of `artifact`.

        Raises:
            ConfigError: it has none.
        """
        self._ask = Evaluation(artifact.graph("policy"), ("x", "goal"), ("u",))
        self._ranges = artifact.ranges

    def __call__(self, x: Array, goal: Array) -> Array:
        """Return the (nu,) total joint torques, Nm, for the (nx,) state `x` and `goal` in the task's units."""
        (u,) = self._ask(x, goal)
        return np.array(u[0], dtype=np.float64)

    def inside(self, x: Array, goal: Array) -> bool:
        """True where the policy has seen training data."""
        return self._ranges.inside(x, goal)
