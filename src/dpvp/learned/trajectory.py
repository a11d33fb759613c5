"""Trajectory: the head `trajectory` of an artifact, (xs, us) = τ(x, goal)."""

from __future__ import annotations

import numpy as np

from dpvp.errors import ConfigError
from dpvp.learned.artifact import Artifact
from dpvp.learned.contract import FILE
from dpvp.learned.graph import Evaluation
from dpvp.plan import Array


class Trajectory:
    """A learned prediction of plans; not for two threads at once."""

    def __init__(self, artifact: Artifact, horizon: int) -> None:
        """Read the head `trajectory` of `artifact`, for plans of `horizon` nodes.

        Raises:
            ConfigError: it has none, or its predictions are shorter.
        """
        self._ask = Evaluation(artifact.graph("trajectory"), ("x", "goal"), ("xs", "us"))
        self._ranges, self._horizon = artifact.ranges, horizon
        if artifact.contract.horizon < horizon:
            raise ConfigError(
                artifact.folder / FILE,
                "horizon",
                artifact.contract.horizon,
                f"must be at least the planner's {horizon}",
            )

    def __call__(self, x: Array, goal: Array) -> tuple[Array, Array] | None:
        """Return states (T+1, nx), the first of them `x`, and controls (T, nu), Nm; predicted and not simulated.

        None where there was no training data.
        """
        if not self._ranges.inside(x, goal):
            return None
        xs, us = self._ask(x, goal)
        states = np.array(xs[: self._horizon + 1], dtype=np.float64)
        states[0] = x
        return states, np.array(us[: self._horizon], dtype=np.float64)
