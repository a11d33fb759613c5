"""Fit: a net, the loss of a batch of rows, and Adam with a cosine schedule; stops and goes on at any epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dpvp.config import Config

Losses = dict[str, Tensor]
LossOf = Callable[[Tensor, torch.Generator], Losses]
TOTAL = "total"


class FitConfig(Config):
    """How a net is fitted."""

    epochs: int = Field(gt=0)
    batch: int = Field(256, gt=0, description="rows of a step, of each member")
    rate: float = Field(3e-3, gt=0, description="highest learning rate; cosine to nothing after a short warm-up")
    warm_up: int = Field(100, gt=0, description="steps until the rate is reached")
    average: float = Field(
        0.99, ge=0, lt=1, description="memory of the running mean of the weights, which is the result; 0: the last ones"
    )
    clip: float = Field(10.0, gt=0, description="largest norm of the gradient, of each member")


class Fit:
    """Fits `net` by epochs; on a CPU a fit that was saved and loaded goes on bit by bit as if nothing had happened.

    Attributes:
        net: what is trained.
        done: epochs so far.
    """

    def __init__(
        self, net: nn.Module, loss: LossOf, rows: int, members: int, config: FitConfig, generator: torch.Generator
    ) -> None:
        """Start.

        Args:
            net: what is trained.
            loss: takes rows (members, batch) and a generator, returns losses by name; `total` is minimised.
            rows: how many there are.
            members: of an ensemble; each sees the rows in an order of its own.
            config: how.
            generator: of the order of the rows and whatever the loss draws.
        """
        self.net, self._loss, self._rows, self._members = net, loss, rows, members
        self._config, self._generator = config, generator
        self._optimiser = torch.optim.Adam(net.parameters(), lr=config.rate)
        self._mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.average))  # type: ignore[no-untyped-call]
        self._batch = min(config.batch, rows)
        self._steps = rows // self._batch
        self.done = 0

    @property
    def epochs(self) -> int:
        """Epochs that there are to do."""
        return self._config.epochs

    @property
    def finished(self) -> bool:
        """True when all epochs are done."""
        return self.done >= self._config.epochs

    @property
    def result(self) -> dict[str, Tensor]:
        """State dict of the net with the mean of the weights."""
        return dict(self._mean.module.state_dict())

    def epoch(self) -> dict[str, float]:
        """Go through all rows once and return the mean losses."""
        orders = torch.stack([torch.randperm(self._rows, generator=self._generator) for _ in range(self._members)])
        sums: dict[str, float] = {}
        for step in range(self._steps):
            for group in self._optimiser.param_groups:
                group["lr"] = self._rate(self.done * self._steps + step)
            losses = self._loss(orders[:, step * self._batch : (step + 1) * self._batch], self._generator)
            self._optimiser.zero_grad(set_to_none=True)
            losses[TOTAL].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), self._config.clip * self._members)
            self._optimiser.step()
            self._mean.update_parameters(self.net)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
        self.done += 1
        return {name: value / self._steps for name, value in sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""
        return {
            "net": self.net.state_dict(),
            "mean": self._mean.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.net.load_state_dict(state["net"])
        self._mean.load_state_dict(state["mean"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self.done = int(state["done"])

    def _rate(self, step: int) -> float:
        config, total = self._config, self._config.epochs * self._steps
        warm = min(1.0, (step + 1) / config.warm_up)
        return config.rate * warm * (0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total))) + 1e-3)
