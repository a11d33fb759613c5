"""Stages: what of a run is done, so that a resumed one does the rest and leaves what an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from rich.progress import Progress
from torch import nn

from dpvp_training.core.fit import TOTAL
from dpvp_training.core.run import Arrays, RunFolder


class Epochs(Protocol):
    """A fit, such as `PublishedFit` or `dpvp_training.core.fit.Fit`."""

    net: nn.Module
    done: int

    @property
    def finished(self) -> bool:
        """True when all epochs are done."""
        ...

    def epoch(self) -> dict[str, float]:
        """Do one more epoch and return its losses."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        ...


class Stages:
    """The stages of a run by name, done one after the other; the result of each is `data/<name>.npz`."""

    def __init__(self, folder: RunFolder, progress: Progress, record_every: int, checkpoint_every: int) -> None:
        """Go on where the checkpoint of `folder` is; losses are recorded and fits saved every so many epochs."""
        self._folder, self._progress = folder, progress
        self._record_every, self._checkpoint_every = record_every, checkpoint_every
        checkpoint = folder.checkpoint
        self._step = checkpoint.step if checkpoint else 0
        self._passed: list[str] = list(checkpoint.state["passed"]) if checkpoint else []
        self._half_done: dict[str, Any] = checkpoint.state["fits"] if checkpoint else {}

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a stage: those that were saved, else what `make` returns."""
        if not (self._folder.path / "data" / f"{name}.npz").is_file():
            self._folder.save_arrays(name, make())
        return self._folder.load_arrays(name)

    def fit(self, name: str, fit: Epochs, epochs: int) -> None:
        """Fit, go on fitting, or load what was fitted."""
        if name not in self._passed:
            self._run(name, fit, epochs)
            arrays = {key: tensor.numpy() for key, tensor in fit.net.state_dict().items()}
            self._folder.save_arrays(name, arrays)
            self.finish(name, {})
        arrays = self._folder.load_arrays(name)
        fit.net.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})

    def finish(self, name: str, figures: dict[str, float]) -> None:
        """Record the figures of a stage and note that it is done, unless that was noted before."""
        if name in self._passed:
            return
        self._record(figures)
        self._passed.append(name)
        self._folder.save_checkpoint(self._step, {"passed": self._passed, "fits": {}})

    def _run(self, name: str, fit: Epochs, epochs: int) -> None:
        if name in self._half_done:
            fit.load_state_dict(self._half_done[name])
        bar = self._progress.add_task(f"{name}: fitting", total=epochs, completed=fit.done)
        while not fit.finished:
            losses = fit.epoch()
            if fit.finished or fit.done % self._record_every == 0:
                self._record({f"losses/{name}/{key}": value for key, value in losses.items()})
                text = f"{name}: loss {losses[TOTAL]:.2e}"
                self._progress.update(bar, completed=fit.done, description=text)
            if fit.done % self._checkpoint_every == 0:
                state = {"passed": self._passed, "fits": {name: fit.state_dict()}}
                self._folder.save_checkpoint(self._step, state)
        self._progress.update(bar, total=fit.done)

    def _record(self, figures: dict[str, float]) -> None:
        if figures:
            self._step += 1
            self._folder.record(self._step, figures)
