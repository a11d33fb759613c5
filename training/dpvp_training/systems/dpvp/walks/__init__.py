"""Starts of walks: a net that says how the plan of a walk will look, learned from plans that have converged.

    1  Outings in MuJoCo (`dpvp_training.envs.outing`) are a source of states: commands change, somebody pushes, and the
       floor is uneven. At some plans the problem is solved until it has converged, from the state there and from one
       a little off it; and from robots that stand somewhere.
    2  A net is fitted to the solutions: from features of the state and the goal to the states of all nodes, as seen
       from the first, and the controls.
    3  It becomes the head `trajectory` of an artifact.

There is no value: a walk costs for ever, so that none is zero anywhere, which is what those of the own mode rest on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpvp.scenario import load_scenario, scenario_names
from dpvp.tasks.walk import WalkTask

if TYPE_CHECKING:
    from dpvp_training.systems.dpvp.cli import TrainArgs


def walks(task: str) -> bool:
    """Return whether the scenario `task`, a name or a path, is a walk."""
    known = task in scenario_names() or task.endswith((".yaml", ".yml"))
    return known and load_scenario(task).task.kind == WalkTask.kind


def train_walks(args: TrainArgs, words: list[str]) -> int:
    """Train; exit code 0 when the artifact is there."""
    from dpvp_training.systems.dpvp.walks.train import train  # heavy, and workers import this package

    return train(args, words)
