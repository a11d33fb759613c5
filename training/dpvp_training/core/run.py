"""The folder of a training run, plain files that outlive every tool: `runs/train/<time>_<system>_<task>/`.

    config.yaml        the resolved configuration
    command.txt        the command line of every start, the first and the resumed ones
    environment.json   system and task; commit, versions and machine of every start
    metrics.jsonl      one line per record: step, time in s, and figures named charts/* and losses/*
    tensorboard/       the same figures, for TensorBoard
    checkpoints/       the last two, and those with a name
    data/              arrays

A run that is resumed goes on from its newest checkpoint, and metrics.jsonl is cut back to what it was then: but for the
time that it took, a run that was interrupted leaves the same figures as one that was not.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp_training.core.checkpoint import Checkpoint, Checkpoints, writable, written
from dpvp_training.core.provenance import RunSpec, check_owner, note_start

Clock = Callable[[], float]
Arrays = dict[str, NDArray[Any]]


class RunFolder:
    """A run on disk, of which this process is the only writer; see the table of this module.

    Attributes:
        path: of the folder.
        checkpoint: what the run goes on from; None at its beginning.
        checkpoints: all of them.
    """

    def __init__(self, path: Path, clock: Clock = time.monotonic) -> None:
        """Go on with the folder at `path` from its newest checkpoint; use `create` or `open`, which write the rest."""
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")
        file = path / "metrics.jsonl"
        with contextlib.ExitStack() as stack, writable(file):
            self._metrics = stack.enter_context(file.open("ab", buffering=0))
            _lock(file, self._metrics.fileno())
            for part in filter(Path.is_file, path.rglob("*.part")):
                part.unlink()
            self.checkpoint = self.checkpoints.newest()
            self._size = self.checkpoint.metrics if self.checkpoint else 0
            if (found := file.stat().st_size) < self._size:
                raise ConfigError(file, "(length)", found, f"the checkpoint knows {self._size} bytes: was it edited?")
            self._metrics.truncate(self._size)
            following = self.checkpoint.step + 1 if self.checkpoint else 0
            self._events = SummaryWriter(str(path / "tensorboard"), purge_step=following, flush_secs=10)
            stack.pop_all()  # from here on it is `close` that closes
        before = self.checkpoint.elapsed if self.checkpoint else 0.0
        self._clock, self._begin = clock, clock() - before

    @classmethod
    def create(cls, parent: Path, spec: RunSpec, clock: Clock = time.monotonic) -> RunFolder:
        """Make a new folder below `parent`; `clock` gives seconds.

        Raises:
            EnvironmentProblem: the folder cannot be written.
        """
        path = _new_folder(parent, f"{datetime.now().astimezone():%Y%m%d-%H%M%S}_{spec.system}_{spec.task}")
        with writable(path):
            for name in ("checkpoints", "data"):
                (path / name).mkdir()
            (path / "metrics.jsonl").touch()
        note_start(path, spec)
        return cls(path, clock)

    @classmethod
    def open(cls, path: Path, spec: RunSpec, *, free: Collection[str] = (), clock: Clock = time.monotonic) -> RunFolder:
        """Resume the run at `path`.

        Args:
            path: of a folder that `create` made.
            spec: of the run; must be that of the folder.
            free: dotted keys of the configuration that may have changed, such as the number of workers.
            clock: gives seconds.

        Raises:
            ConfigError: the folder is that of another system, task or configuration, or of no run at all.
            CheckpointError: it has checkpoints, and all are damaged.
            EnvironmentProblem: the folder cannot be written, or another process writes it.
        """
        check_owner(path, spec, free)
        folder = cls(path.resolve(), clock)
        note_start(path, spec)
        return folder

    def __enter__(self) -> RunFolder:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; what went wrong first is what is told."""
        try:
            self.close()
        except EnvironmentProblem:
            if error is None:
                raise

    def close(self) -> None:
        """Write what TensorBoard still has to get and let go of the folder."""
        with contextlib.closing(self._metrics), writable(self.path / "tensorboard"):
            self._events.close()

    def record(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a line to metrics.jsonl; what is not finite becomes null there.

        Raises:
            EnvironmentProblem: it cannot be written; all earlier lines are whole.
        """
        plain = {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}
        line = {"step": step, "time": round(self._elapsed(), 3), **plain}
        self._append(json.dumps(line).encode() + b"\n")
        with writable(self.path / "tensorboard"):
            for name, value in figures.items():
                self._events.add_scalar(name, value, step)

    def save_checkpoint(self, step: int, state: Mapping[str, Any], name: str = "") -> Path:
        """Write a checkpoint after `step` steps; one with a `name` is kept, but no run goes on from it.

        Raises:
            CheckpointError: `state` holds more than `Checkpoint` allows.
            EnvironmentProblem: it cannot be written; the earlier ones are as they were.
        """
        with writable(self.path / "metrics.jsonl"):
            os.fsync(self._metrics.fileno())  # a checkpoint counts on the lines before it
        return self.checkpoints.save(Checkpoint(step, dict(state), self._elapsed(), self._size), name)

    def save_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write arrays to `data/<name>.npz`, in place of what was there, and return the file.

        Raises:
            EnvironmentProblem: it cannot be written; what was there is as it was.
        """
        file = self.path / "data" / f"{name}.npz"
        with written(file) as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # its keyword `allow_pickle` is not meant here
        return file

    def load_arrays(self, name: str) -> Arrays:
        """Read what `save_arrays` wrote.

        Raises:
            EnvironmentProblem: it is missing or damaged.
        """
        file = self.path / "data" / f"{name}.npz"
        try:
            with np.load(file, allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise EnvironmentProblem(f"{file}: cannot be read ({error}); the run needs these data") from None

    def _elapsed(self) -> float:
        return self._clock() - self._begin

    def _append(self, line: bytes) -> None:
        with writable(self.path / "metrics.jsonl"):
            try:
                rest = line
                while rest:
                    rest = rest[self._metrics.write(rest) :]
            except OSError:
                self._metrics.truncate(self._size)  # leaves no half line
                raise
            self._size += len(line)


def generator_state(generator: np.random.Generator | torch.Generator) -> Any:
    """Return the state of a generator as a checkpoint can hold it; children it has yet to spawn are no part of it."""
    return generator.get_state() if isinstance(generator, torch.Generator) else generator.bit_generator.state


def restore_generator(generator: np.random.Generator | torch.Generator, state: Any) -> None:
    """Make `generator` go on from what `generator_state` returned."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def _new_folder(parent: Path, stem: str) -> Path:
    with writable(parent):
        for attempt in range(100):
            path = parent / (stem if attempt == 0 else f"{stem}-{attempt}")
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
                return path.resolve()
    raise EnvironmentProblem(f"{parent}: holds a hundred runs of this second already")


def _lock(file: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however that ends
    except BlockingIOError:
        raise EnvironmentProblem(f"{file}: another process writes this run; end that one first") from None
