"""Fidelity mode, `--preset paper`: ∂PVP as it was published, with its constants.

A. Parag, N. Mansard, HAL hal-03674092, with the code release github.com/amitparag/DpVP; after A. Parag et al., "Value
learning from trajectory optimization and Sobolev descent", ICRA 2022. What the modules here refer to as steps:

    0  Starts come uniformly from a box around the solution of the task.
    1  Episode 1: N problems of T nodes without a terminal cost, each solved from its start repeated and the torques
       that carry it. Cost, its gradient and the trajectory of each are the data; what costs too much is left out.
    2  Three separate nets are fitted: value (by Sobolev regression), states and controls of all nodes.
    3  Episodes 2 to K, value iteration: V_k(x) = min Σ l + V_{k-1}(x_T). Starts are fresh ones and states at T/2 and
       T/4 of trajectories of the episode before. Problems begin at what the nets of episode 1 predict; only the value
       is fitted.
    4  N fresh starts are solved with V_K, and the states' and the controls' net are fitted to them once more.

The published problem is the reach of the Kuka arm. Everything is the same on other problems, except that the benchmark
systems, whose long horizons are not solved from a free fall and whose costs are of another size, are solved in two
stages in episode 1 and reject what has not converged; see `load_paper_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpvp_training.systems.dpvp.cli import TrainArgs


def train_paper(args: TrainArgs, words: list[str]) -> int:
    """Train by the published algorithm; exit code 0 when the artifact is there."""
    from dpvp_training.systems.dpvp.paper.train import train  # heavy, and workers import this package

    return train(args, words)
