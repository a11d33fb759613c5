"""`dpvp train dpvp`: words of the command line become a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpvp.config import read_yaml, validate
from dpvp_training.core.executor import make_executor
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import RunFolder
from dpvp_training.systems.dpvp.config import DpvpConfig, load_config
from dpvp_training.systems.dpvp.walks import train_walks, walks

SYSTEM = "dpvp"


@dataclass(frozen=True)
class TrainArgs:
    """Learn value and policy from a trajectory optimiser."""

    task: str = "kuka_reach"
    """Benchmark system, scenario, or path of a scenario file."""
    preset: Literal["dpvp", "paper"] = "dpvp"
    """dpvp: own mode; paper: the published algorithm with its constants."""
    executor: Literal["local", "ray"] = "local"
    """Where problems are solved: processes of this machine, or a Ray cluster."""
    workers: int | None = None
    """Problems solved at a time; as many as there are cores by default."""
    address: str | None = None
    """Of the head of the Ray cluster, host:port; without it Ray starts here."""
    resume: Path | None = None
    """Folder of a run to go on with; task and configuration are those of the run."""
    runs: Path = Path("runs/train")
    """Folder in which the run's own folder is made."""
    out: Path | None = None
    """Folder to which the artifact is copied when it is done."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default_factory=tuple)
    """Change the configuration: dotted.key=value, may be given more than once."""


def main(words: list[str]) -> int:
    """Train; exit code 0 when the artifact is there."""
    args = tyro.cli(TrainArgs, args=words, prog="dpvp train dpvp", description=TrainArgs.__doc__)
    torch.set_num_threads(1)  # nets are small: two threads gain little, and on busy cores lose a factor of ten
    if args.preset == "paper":
        from dpvp_training.systems.dpvp.paper import train_paper

        return train_paper(args, words)
    if walks(args.task):
        return train_walks(args, words)
    return _train(args, words)


def _train(args: TrainArgs, words: list[str]) -> int:
    from dpvp_training.systems.dpvp.finish import finish
    from dpvp_training.systems.dpvp.train import Training

    console = Console(stderr=True)
    task, config = args.task, load_config(args.task, args.set)
    if args.resume is not None:
        file = args.resume / "config.yaml"
        config = validate(DpvpConfig, read_yaml(file), file)
    spec = RunSpec(SYSTEM, task, config, ("dpvp", "train", SYSTEM, *words))
    folder = RunFolder.create(args.runs, spec) if args.resume is None else RunFolder.open(args.resume, spec)
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        folder,
        make_executor(args.executor, args.workers, args.address) as executor,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        console.print(f"{task}: training in {folder.path}")
        artifact = Training(task, config, folder, executor, progress).run()
        finish(folder, task, config, artifact, executor, progress, args.out)
    console.print(f"artifact: {args.out or artifact}")
    return 0
