"""What studies share: where results go, the progress bar, and work spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dpvp.bench.machine import describe_machine
from dpvp.errors import EnvironmentProblem
from dpvp.jsonfile import to_json
from dpvp.learned.artifact import artifact_folder
from dpvp_training.core.checkpoint import written
from dpvp_training.core.executor import Executor
from dpvp_training.systems.dpvp.closed_loop import Setting
from dpvp_training.systems.dpvp.config import DpvpConfig, load_config
from dpvp_training.systems.dpvp.label import Ask
from dpvp_training.systems.dpvp.train import draw

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Results:
    """Rows of a study, on disk as soon as they are known; the file is valid JSON after each.

    Attributes:
        content: what the file holds.
    """

    def __init__(self, file: Path, study: str, conditions: Mapping[str, object]) -> None:
        """Write the head: machine, date and how it is measured."""
        self._file = file
        self.content: dict[str, Any] = {
            "study": study,
            "machine": asdict(describe_machine()),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "conditions": dict(conditions),
            "rows": [],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def add(self, row: Mapping[str, object]) -> None:
        """Add a row."""
        self.content["rows"].append(dict(row))
        self._write()

    def set(self, key: str, value: object) -> None:
        """Set something that all rows have in common."""
        self.content[key] = value
        self._write()

    def _write(self) -> None:
        with written(self._file) as stream:
            stream.write(to_json(self.content).encode())


def output(file: Path | None, study: str, task: str) -> Path:
    """Return where results go: `file`, else docs/bench/dpvp/<study>_<task>.json."""
    return file or Path("docs/bench/dpvp") / f"{study}_{task}.json"


def setting_of(task: str, artifact: str | None, steps: int | None) -> tuple[Setting, DpvpConfig]:
    """Return what trials of `task` are made on; its own artifact and the horizon of its first round where not given."""
    config = load_config(task, ())
    return Setting.of(task, config, artifact_folder(artifact or task).resolve(), steps), config


def asks_of(task: Any, goal: Any, count: int, seed: int, *, default: bool) -> list[Ask]:
    """Draw `count` starts and goals: the task's own start box and default goal, or all over its range, at rest."""
    asks = []
    for i in range(count):
        rng = np.random.default_rng([seed, 77, i])
        start, wanted = draw(task, goal, 1.0 if default else 0.0, rng)
        if not default and task.rest:
            start = start.copy()
            start[list(task.rest)] = 0.0
        asks.append(Ask(start, wanted, int(rng.integers(2**31))))
    return asks


def spread(
    executor: Executor, progress: Progress, text: str, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]
) -> list[ResultT]:
    """Return `function` of every item, computed by the executor's processes.

    Raises:
        EnvironmentProblem: an item has taken its process down.
    """
    answers: dict[int, ResultT] = {}
    bar = progress.add_task(text, total=len(items))
    for index, answer in executor.map(function, items):
        if answer is None:
            raise EnvironmentProblem(f"{text}: item {index} has taken its process down")
        answers[index] = answer
        progress.advance(bar)
    return [answers[i] for i in range(len(items))]


def new_progress() -> Progress:
    """Return the progress bar of studies."""
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=Console(stderr=True))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return mean, median, 99th percentile and worst of some numbers."""
    array = np.asarray(values, dtype=np.float64)
    return {
        "mean": float(np.mean(array)),
        "median": float(np.median(array)),
        "p99": float(np.percentile(array, 99)),
        "worst": float(np.max(array)),
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return mean, median and 90th percentile of some numbers; NaN where there are none."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return dict.fromkeys(("mean", "median", "p90"), np.nan)
    return {
        "mean": float(np.mean(array)),
        "median": float(np.median(array)),
        "p90": float(np.percentile(array, 90)),
    }
