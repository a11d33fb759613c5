"""The published algorithm from its first start to the artifact; for its steps see the package."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpvp.config import read_yaml, validate
from dpvp.tasks.task import TerminalWeights
from dpvp_training.core.executor import Executor, make_executor
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import Arrays, RunFolder
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.paper.artifact import Learned, write_learned
from dpvp_training.systems.dpvp.paper.assess import Assessment, assess, labels_of
from dpvp_training.systems.dpvp.paper.config import PaperConfig, load_paper_config
from dpvp_training.systems.dpvp.paper.episodes import Episodes
from dpvp_training.systems.dpvp.paper.fit import PublishedFit, SobolevLoss, TrajectoryLoss
from dpvp_training.systems.dpvp.paper.nets import Mlp, ResidualValue, TrajectoryNet
from dpvp_training.systems.dpvp.stages import Stages

if TYPE_CHECKING:
    from dpvp_training.systems.dpvp.cli import TrainArgs

SYSTEM = "dpvp"
VALUE, STATES, CONTROLS = range(3)  # nets, as their generators are numbered

TrajectoryNets = tuple[TrajectoryNet, TrajectoryNet]  # of states and of controls


def train(args: TrainArgs, words: list[str]) -> int:
    """Train, or go on training; exit code 0 when the artifact is there."""
    console = Console(stderr=True)
    if args.resume is None:
        config = load_paper_config(args.task, args.set)
    else:
        file = args.resume / "config.yaml"
        config = validate(PaperConfig, read_yaml(file), file)
    spec = RunSpec(SYSTEM, args.task, config, ("dpvp", "train", SYSTEM, *words))
    folder = RunFolder.create(args.runs, spec) if args.resume is None else RunFolder.open(args.resume, spec)
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        folder,
        make_executor(args.executor, args.workers, args.address) as executor,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        console.print(f"{args.task}: training as published in {folder.path}")
        artifact = PaperTraining(args.task, config, folder, executor, progress).run()
    if args.out is not None:
        shutil.copytree(artifact, args.out, dirs_exist_ok=True)
    console.print(f"artifact: {args.out or artifact}")
    return 0


class PaperTraining:
    """One run in its folder; `run` does what is left to do of it."""

    def __init__(
        self, name: str, config: PaperConfig, folder: RunFolder, executor: Executor, progress: Progress
    ) -> None:
        """Load the problem `name`."""
        self._config, self._folder = config, folder
        self._stages = Stages(folder, progress, config.record_every, config.checkpoint_every)
        self._episodes = Episodes(name, config, folder, self._stages, executor, progress)
        self._problem = load_problem(name, config.problem)

    def run(self) -> Path:
        """Train, or go on training; return the folder of the artifact."""
        last, episodes = self._config.episodes, self._episodes
        truth = episodes.truth()
        first = episode = episodes.first()
        value = self._fit_value(1, episode, None)
        nets = self._fit_trajectories(1, episode, None)
        figures = [self._assess(1, value, None, truth)]
        starts = [episode["x"]]
        for k in range(2, last + 1):
            episode = episodes.later(k, episodes.starts(k, episode), nets)
            before, value = value, self._fit_value(k, episode, value)
            figures.append(self._assess(k, value, before, truth))
            starts.append(episode["x"])
        episode = episodes.later(last + 1, episodes.fresh(last + 1, self._config.starts), nets)
        nets = self._fit_trajectories(last + 1, episode, nets)
        learned = Learned(
            value=value,
            states=nets[0],
            controls=nets[1],
            starts=np.concatenate([*starts, episode["x"]]),
            figures=(figures[0], figures[-1]),
            iterations=(float(first["iterations"].mean()), float(episode["iterations"].mean())),
        )
        return write_learned(self._folder.path / "artifact", self._problem, learned, self._config)

    def _fit_value(self, k: int, episode: Arrays, before: ResidualValue | None) -> ResidualValue:
        """Fit the value to an episode (step 2), from where it was `before`."""
        config, generator = self._config, self._generator(k, VALUE)
        labels = labels_of(self._problem.task, self._problem.goal, episode)
        net = ResidualValue(labels.s.shape[1], config.nets.value, config.nets.residuals, generator)
        if before is not None:
            net.load_state_dict(before.state_dict())
        fit = PublishedFit(net, SobolevLoss(net, labels, config.fit), len(labels.v), config.fit, generator)
        self._stages.fit(f"value-{k:02d}", fit, config.fit.epochs)
        return net

    def _fit_trajectories(self, k: int, episode: Arrays, before: TrajectoryNets | None) -> TrajectoryNets:
        """Fit the nets of states and controls to an episode (steps 2 and 4), from where they were `before`."""
        nets, config = self._new_trajectories(k), self._config.fit
        for i, (name, wanted) in enumerate((("states", episode["xs"]), ("controls", episode["us"]))):
            if before is not None:
                nets[i].load_state_dict(before[i].state_dict())
            loss = TrajectoryLoss(nets[i], episode["x"], wanted, name)
            fit = PublishedFit(nets[i], loss, len(wanted), config, self._generator(k, (STATES, CONTROLS)[i]))
            self._stages.fit(f"{name}-{k:02d}", fit, config.epochs)
        return nets

    def _new_trajectories(self, k: int) -> TrajectoryNets:
        nets, nodes, robot = self._config.nets, self._config.horizon, self._problem.task.robot
        states = Mlp(robot.nx, nets.states, nodes * robot.nx, self._generator(k, STATES))
        controls = Mlp(robot.nx, nets.controls, nodes * robot.nu, self._generator(k, CONTROLS))
        quaternion: range | tuple[()] = ()
        if robot.nx != robot.ndx:  # the state at rest at the origin is all zeros but for the last entry of a quaternion
            model, _ = self._problem.task.terminal_model(TerminalWeights())
            (scalar,) = np.flatnonzero(model.state.zero())
            quaternion = range(int(scalar) - 3, int(scalar) + 1)
        return TrajectoryNet(states, nodes, quaternion=quaternion), TrajectoryNet(
            controls, nodes, scale=nets.max_action
        )

    def _assess(self, k: int, value: ResidualValue, before: ResidualValue | None, truth: Arrays) -> Assessment:
        """Compare V_k with the truth on the held-out starts, and with V_{k-1}."""
        found = assess(value, before, labels_of(self._problem.task, self._problem.goal, truth))
        figures = {f"charts/{name}": figure for name, figure in asdict(found).items() if not math.isnan(figure)}
        self._stages.finish(f"assessment-{k:02d}", figures)
        return found

    def _generator(self, k: int, which: int) -> torch.Generator:
        return torch.Generator().manual_seed(
            int(np.random.SeedSequence([self._config.seed, k, which]).generate_state(1)[0])
        )
