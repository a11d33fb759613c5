"""Starts of walks, from nothing to an artifact. What is done is on disk: a run that is resumed does what is left."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpvp.config import read_yaml, validate
from dpvp.scenario import load_scenario
from dpvp.tasks.walk import WalkTask
from dpvp_training.core.executor import Executor, make_executor
from dpvp_training.core.fit import Fit, FitConfig
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import Arrays, RunFolder
from dpvp_training.systems.dpvp.stages import Stages
from dpvp_training.systems.dpvp.walks.config import WalksConfig, load_walks_config
from dpvp_training.systems.dpvp.walks.finish import finish
from dpvp_training.systems.dpvp.walks.label import Answer, Study, label
from dpvp_training.systems.dpvp.walks.mirror import Mirror
from dpvp_training.systems.dpvp.walks.nets import PathLoss, PathNet
from dpvp_training.systems.dpvp.walks.paths import Paths
from dpvp_training.systems.dpvp.walks.view import View

if TYPE_CHECKING:
    from dpvp_training.systems.dpvp.cli import TrainArgs

SYSTEM = "dpvp"


def train(args: TrainArgs, words: list[str]) -> int:
    """Train, or go on training; exit code 0 when the artifact is there."""
    console = Console(stderr=True)
    if args.resume is None:
        config = load_walks_config(args.task, args.set)
    else:
        file = args.resume / "config.yaml"
        config = validate(WalksConfig, read_yaml(file), file)
    spec = RunSpec(SYSTEM, args.task, config, ("dpvp", "train", SYSTEM, *words))
    folder = RunFolder.create(args.runs, spec) if args.resume is None else RunFolder.open(args.resume, spec)
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        folder,
        make_executor(args.executor, args.workers, args.address) as executor,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        console.print(f"{args.task}: training in {folder.path}")
        training = WalkTraining(args.task, config, folder, executor, progress)
        artifact = finish(folder, args.task, config, training.run(), executor, progress, args.out)
    console.print(f"artifact: {artifact}")
    return 0


class WalkTraining:
    """One run in its folder; `run` does what is left to do of it."""

    def __init__(
        self, name: str, config: WalksConfig, folder: RunFolder, executor: Executor, progress: Progress
    ) -> None:
        """Take the scenario `name`."""
        self._name, self._config, self._folder = name, config, folder
        self._executor, self._progress = executor, progress
        self._stages = Stages(folder, progress, 1, config.checkpoint_every)

    def run(self) -> tuple[PathNet, Paths, Paths]:
        """Label and fit; return the net, what it was fitted to and what was held out."""
        config, last = self._config, self._config.label.outings
        held = max(1, round(config.held_out * last))
        chunks = range(0, last, config.label.chunk)
        parts = [self._label(first, min(first + config.label.chunk, last)) for first in chunks]
        paths = Paths.joined([part for part, _ in parts])
        outing = np.concatenate([outing for _, outing in parts])
        fitted, held_out = paths.take(outing >= held), paths.take(outing < held)
        task, generator = load_scenario(self._name, config.problem).task, torch.Generator().manual_seed(config.seed)
        assert isinstance(task, WalkTask)
        fitted = Paths.joined([fitted, Mirror(task)(fitted)])
        net = PathNet(View(task), fitted, config.hidden, generator)
        how = FitConfig(epochs=config.epochs, batch=config.batch, rate=config.rate, average=0.0)
        fit = Fit(net, PathLoss(net, fitted), len(fitted), 1, how, generator)
        self._stages.fit("trajectory", fit, config.epochs)
        return net, fitted, held_out

    def _label(self, first: int, last: int) -> tuple[Paths, NDArray[np.int_]]:
        """Solve what outings `first` to `last` meet, or read what was solved before."""
        name = f"label-{first:05d}"
        arrays = self._stages.arrays(name, lambda: self._solved(first, last))
        good = arrays["iterations"] >= 0
        figures = {"iterations": float(arrays["iterations"][good].mean()), "converged": float(good.mean())}
        self._stages.finish(name, {f"charts/{key}": figure for key, figure in figures.items()})
        return Paths.of(arrays), arrays["outing"]

    def _solved(self, first: int, last: int) -> Arrays:
        study = Study(self._name, self._config.problem, self._config.label)
        seeds = [(self._config.seed, 1, k) for k in range(first, last)]
        bar, answers = self._progress.add_task(f"outings from {first}", total=len(seeds)), dict[int, Answer]()
        for index, answer in self._executor.map(functools.partial(label, study), seeds):
            self._progress.advance(bar)
            if answer is not None:
                answers[index] = answer
        good = [(k, answers[k].paths) for k in sorted(answers)]
        found = [(k, paths) for k, paths in good if paths is not None]
        arrays: Arrays = dict(Paths.joined([paths for _, paths in found]).arrays())
        arrays["outing"] = np.concatenate([np.full(len(paths), first + k) for k, paths in found])
        arrays["iterations"] = np.concatenate([answers[k].iterations for k in sorted(answers)])
        return arrays
