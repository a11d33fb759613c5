"""Checkpoints: all that a run needs to go on, in files that are whole or absent, whatever happens to the process."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from dpvp.errors import DpvpError, EnvironmentProblem

KEPT = 2  # numbered checkpoints: the newest and, should that one be damaged, the one before

_logger = logging.getLogger(__name__)


class CheckpointError(DpvpError):
    """A checkpoint that cannot be read, or a state that cannot be kept in one."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run between two steps.

    Attributes:
        step: steps that are done.
        state: state dicts of networks and optimisers, states of generators, counters: tensors, numbers, texts, and
            dicts, lists and tuples of these.
        elapsed: time that the run has taken so far, s.
        metrics: length of metrics.jsonl, bytes.
    """

    step: int
    state: dict[str, Any]
    elapsed: float
    metrics: int


class Checkpoints:
    """The folder `checkpoints/` of a run: numbered ones, of which the last two are kept, and named ones."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which exists."""
        self._folder = folder

    def save(self, checkpoint: Checkpoint, name: str = "") -> Path:
        """Write a checkpoint, under its step or under `name`, and return its file.

        Raises:
            CheckpointError: the state holds more than `Checkpoint` allows.
            EnvironmentProblem: it cannot be written; all earlier checkpoints are as they were.
        """
        file = self._folder / f"{name or format(checkpoint.step, '08d')}.pt"
        _check_plain(file, "state", checkpoint.state)
        buffer = io.BytesIO()  # torch.save would hide why a file cannot be written
        torch.save(vars(checkpoint), buffer)
        with written(file) as stream:
            stream.write(buffer.getbuffer())
        for old in self._numbered()[:-KEPT]:
            old.unlink()
        return file

    def load(self, name: str) -> Checkpoint:
        """Read a named checkpoint.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        return _read(self._folder / f"{name}.pt")

    def newest(self) -> Checkpoint | None:
        """Read the newest numbered checkpoint that is intact, None where there was never one; put damaged ones aside.

        Raises:
            CheckpointError: there are some, and all are damaged.
        """
        files = self._numbered()
        for file in reversed(files):
            if (checkpoint := _read_or_put_aside(file)) is not None:
                return checkpoint
        if files:
            raise CheckpointError(f"{self._folder}: no checkpoint is intact; start a new run")
        return None

    def _numbered(self) -> list[Path]:
        return sorted(file for file in self._folder.glob("*.pt") if file.stem.isdigit())


@contextlib.contextmanager
def written(file: Path) -> Iterator[BinaryIO]:
    """Give a stream whose content becomes `file` at the end, at once and durably, or not at all.

    Raises:
        EnvironmentProblem: see `writable`.
    """
    part = file.with_name(f"{file.name}.part")
    with writable(file):
        try:
            with part.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)
            _sync_folder(file.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writable(file: Path) -> Iterator[None]:
    """Say what could not be written, and why, where the block fails to write `file`.

    Raises:
        EnvironmentProblem: naming the file, the reason and the bytes that are free.
    """
    try:
        yield
    except OSError as error:
        there = next((folder for folder in file.absolute().parents if folder.is_dir()), Path("/"))
        free = shutil.disk_usage(there).free
        raise EnvironmentProblem(
            f"{file}: cannot be written ({error.strerror or error}); {free} bytes are free in {there}. What was "
            "written before is intact: make room or permit writing, then resume"
        ) from None


def _check_plain(file: Path, key: str, value: object) -> None:
    """Refuse what `torch.load(weights_only=True)` would refuse when the run is to go on."""
    if type(value) in (dict, OrderedDict):
        for name, entry in cast(dict[object, object], value).items():
            _check_plain(file, f"{key}.{name}", entry)
    elif type(value) in (list, tuple):
        for i, entry in enumerate(cast(list[object], value)):
            _check_plain(file, f"{key}.{i}", entry)
    elif not isinstance(value, torch.Tensor) and type(value) not in (int, float, bool, str, type(None)):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CheckpointError(f"{file}: {key} is a {kind}: only tensors, numbers and texts can be kept")


def _read_or_put_aside(file: Path) -> Checkpoint | None:
    try:
        return _read(file)
    except CheckpointError as error:
        _logger.warning("%s; going back to the checkpoint before", error)
        file.rename(file.with_name(f"{file.name}.damaged"))
        return None


def _read(file: Path) -> Checkpoint:
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()  # torch.load does not look at checksums
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        return Checkpoint(**torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        raise CheckpointError(f"{file}: cannot be read ({_line(error)})") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
