"""Episodes: starts, what is predicted for them, and their solutions (steps 0, 1, 3 and 4)."""

from __future__ import annotations

import functools

import numpy as np
import torch
from rich.progress import Progress

from dpvp.errors import ConfigError
from dpvp.plan import Array
from dpvp_training.core.executor import Executor
from dpvp_training.core.run import Arrays, RunFolder
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.paper.config import PaperConfig
from dpvp_training.systems.dpvp.paper.nets import TrajectoryNet
from dpvp_training.systems.dpvp.paper.solve import Ask, Solved, Sweep, solve
from dpvp_training.systems.dpvp.stages import Stages

TRUTH = 0  # the episode of the held-out starts


class Episodes:
    """Solves the episodes of a run, each a stage.

    Its arrays are x (n, nx), v (n,), v_x (n, ndx), xs (n, T, nx) without the start and us (n, T, nu) of the starts that
    are kept, and iterations (N,) and converged (N,) of all.
    """

    def __init__(
        self, name: str, config: PaperConfig, folder: RunFolder, stages: Stages, executor: Executor, progress: Progress
    ) -> None:
        """Load the problem `name`."""
        self._name, self._config, self._folder = name, config, folder
        self._stages, self._executor, self._progress = stages, executor, progress
        self._task = load_problem(name, config.problem).task

    def truth(self) -> Arrays:
        """Solve what values are assessed by: held-out starts, over a long horizon without a terminal cost."""
        asks = [Ask(start) for start in self.fresh(TRUTH, self._config.held_out)]
        return self._episode("truth", asks, self._sweep(self._config.truth, None))

    def first(self) -> Arrays:
        """Solve episode 1 (step 1)."""
        asks = [Ask(start) for start in self.fresh(1, self._config.starts)]
        return self._episode(stage_of(1), asks, self._sweep(self._config.horizon, None))

    def later(self, k: int, starts: Array, nets: tuple[TrajectoryNet, TrajectoryNet]) -> Arrays:
        """Solve episode k from what the nets predict, horizons ended by the value of the one before (steps 3, 4)."""
        return self._episode(stage_of(k), predicted(starts, *nets), self._sweep(self._config.horizon, k - 1))

    def starts(self, k: int, before: Arrays) -> Array:
        """Draw the starts of episode k from fresh ones and the one before (step 3)."""
        return next_starts(self.fresh(k, self._config.fresh), before["xs"], self._config, self._rng(k, 1))

    def fresh(self, k: int, count: int) -> Array:
        """Draw starts (count, nx) of episode k (step 0); they depend on nothing else."""
        rng = self._rng(k, 0)
        starts = [self._task.sample_start(rng) for _ in range(count)]
        return np.reshape(starts, (count, self._task.robot.nx))

    def _rng(self, k: int, use: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, k, use])

    def _sweep(self, horizon: int, value: int | None) -> Sweep:
        config = self._config
        file = None if value is None else self._folder.path / "data" / f"value-{value:02d}.npz"
        activations = tuple(activation for _, activation in config.nets.value)
        return Sweep(self._name, config.problem, horizon, config.iterations, config.approach, file, activations)

    def _episode(self, stage: str, asks: list[Ask], sweep: Sweep) -> Arrays:
        arrays = self._stages.arrays(stage, lambda: self._solved(stage, asks, sweep))
        figures = {"iterations": arrays["iterations"].mean(), "converged": arrays["converged"].mean()}
        figures["rejected"] = 1.0 - len(arrays["v"]) / len(asks)
        self._stages.finish(stage, {f"charts/{name}": float(figure) for name, figure in figures.items()})
        return arrays

    def _solved(self, stage: str, asks: list[Ask], sweep: Sweep) -> Arrays:
        bar = self._progress.add_task(f"{stage}: solving", total=len(asks))
        answers: dict[int, Solved] = {}
        for index, answer in self._executor.map(functools.partial(solve, sweep), asks):
            if answer is not None:
                answers[index] = answer
            mean = np.mean([solved.iterations for solved in answers.values()]) if answers else np.nan
            self._progress.update(bar, advance=1, description=f"{stage}: {mean:.1f} iterations a solve")
        ordered = [(asks[i].start, answers[i]) for i in sorted(answers)]
        kept = [(start, solved) for start, solved in ordered if good(solved, self._config.reject)]
        if not kept:
            least = min((solved.cost for _, solved in ordered), default=np.nan)
            text = f"leaves out all {len(asks)} starts of {stage}, the best of which costs {least:.3g}: allow more"
            raise ConfigError("--preset paper", "reject", self._config.reject, text)
        return {
            "x": np.array([start for start, _ in kept]),
            "v": np.array([solved.cost for _, solved in kept]),
            "v_x": np.array([solved.gradient for _, solved in kept]),
            "xs": np.array([solved.xs for _, solved in kept]),
            "us": np.array([solved.us for _, solved in kept]),
            "iterations": np.array([solved.iterations for _, solved in ordered]),
            "converged": np.array([solved.converged for _, solved in ordered]),
        }


def stage_of(k: int) -> str:
    """Name of the stage in which episode k is solved."""
    return f"episode-{k:02d}"


def next_starts(fresh: Array, xs: Array, config: PaperConfig, rng: np.random.Generator) -> Array:
    """Mix the starts of an episode from the second on (step 3).

    Args:
        fresh: (F, nx) new starts.
        xs: (n, T, nx) trajectories of the episode before, without their starts.
        config: says how many trajectories are chosen at most, and how many starts an episode has.
        rng: chooses and shuffles.

    Returns:
        Fresh starts and the states at nodes T/2 and T/4 of the chosen trajectories, shuffled and cut to an episode.
    """
    chosen = rng.choice(len(xs), min(config.chosen, len(xs)), replace=False)
    horizon = xs.shape[1]
    on_the_way = [xs[chosen, node - 1] for node in (horizon // 2, horizon // 4)]
    return np.asarray(rng.permutation(np.concatenate([fresh, *on_the_way]))[: config.starts])


def predicted(starts: Array, states: TrajectoryNet, controls: TrajectoryNet) -> list[Ask]:
    """Put to each start (n, nx) the trajectory that the nets predict; it begins at the start and is not simulated."""
    with torch.no_grad():
        xs, us = (net(torch.from_numpy(starts)).numpy() for net in (states, controls))
    xs = np.concatenate([starts[:, None], xs], axis=1)
    return [Ask(start, (x, u)) for start, x, u in zip(starts, xs, us, strict=True)]


def good(solved: Solved, reject: float | None) -> bool:
    """Say whether a solution becomes data: by its cost, as published, or by its convergence."""
    return solved.converged if reject is None else solved.cost <= reject
