"""Fits of the published algorithm (step 2): Adam at a constant rate, and Sobolev regression of the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dpvp.plan import Array
from dpvp_training.core.fit import TOTAL, Losses
from dpvp_training.systems.dpvp.paper.config import PaperFitConfig
from dpvp_training.systems.dpvp.paper.nets import ResidualValue, TrajectoryNet

VALUE = "value"  # the loss that an early stop looks at


@dataclass(frozen=True, eq=False)
class Labels:
    """Starts of an episode and what their solutions say of them.

    Attributes:
        s: (N, ns) what the net sees; `s_x` (N, ns, ndx) its derivative.
        v: (N,) cost; `v_x` (N, ndx) its gradient.
    """

    s: Array
    s_x: Array
    v: Array
    v_x: Array


class SobolevLoss:
    """½ mse(V, v) + ½ mse(V', v'), the gradient V' by back-propagation through which the loss goes a second time.

    The second mean is over the entries of the gradient, too: each counts for 1/ndx of the value.
    """

    def __init__(self, net: ResidualValue, labels: Labels, config: PaperFitConfig) -> None:
        """Take the data as tensors."""
        self._net, self._config = net, config
        self._s, self._s_x, self._v, self._v_x = (
            torch.as_tensor(array) for array in (labels.s, labels.s_x, labels.v, labels.v_x)
        )

    def __call__(self, rows: Tensor) -> Losses:
        """Return `value`, `gradient` and `total` of rows (B,)."""
        s = self._s[rows].requires_grad_()
        values = self._net.value(s)
        (slope,) = torch.autograd.grad(values.sum(), s, create_graph=True)
        gradient = torch.bmm(slope[:, None], self._s_x[rows])[:, 0]
        losses = {
            VALUE: (values - self._v[rows]).square().mean(),
            "gradient": (gradient - self._v_x[rows]).square().mean(),
        }
        losses[TOTAL] = self._config.value * losses[VALUE] + self._config.gradient * losses["gradient"]
        return losses


class TrajectoryLoss:
    """Mean squared error of all entries at all nodes."""

    def __init__(self, net: TrajectoryNet, starts: Array, wanted: Array, name: str) -> None:
        """Fit `wanted` (N, T, n) to the starts (N, nx); `name` is what the loss is recorded under."""
        self._net, self._x, self._wanted = net, torch.as_tensor(starts), torch.as_tensor(wanted)
        self._name = name

    def __call__(self, rows: Tensor) -> Losses:
        """Return the loss of rows (B,), which is the total, too."""
        loss = (self._net(self._x[rows]) - self._wanted[rows]).square().mean()
        return {self._name: loss, TOTAL: loss}


class PublishedFit:
    """Fits `net` by epochs; one that was saved and loaded goes on as if nothing had happened.

    Attributes:
        net: what is trained.
        done: epochs so far.
        finished: whether all are done, or the errors of the value are small enough.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[[Tensor], Losses],
        rows: int,
        config: PaperFitConfig,
        generator: torch.Generator,
    ) -> None:
        """Start; `generator` gives the order of the rows."""
        self.net, self._loss, self._rows, self._config, self._generator = net, loss, rows, config, generator
        self._optimiser = torch.optim.Adam(net.parameters(), lr=config.rate)
        self._batch = max(1, int(config.batch_share * rows + 1e-9))
        self.done, self.finished = 0, False

    def epoch(self) -> dict[str, float]:
        """Go through all rows once, the last batch being what is left of them, and return the mean losses."""
        sums: dict[str, float] = {}
        for rows in torch.split(torch.randperm(self._rows, generator=self._generator), self._batch):
            losses = self._loss(rows)
            self._optimiser.zero_grad(set_to_none=True)
            losses[TOTAL].backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + len(rows) * float(value.detach())
        self.done += 1
        self.finished = self.done >= self._config.epochs or (VALUE in sums and sums[VALUE] <= self._config.stop)
        return {name: value / self._rows for name, value in sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "done": self.done,
            "finished": self.finished,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.net.load_state_dict(state["net"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self.done, self.finished = int(state["done"]), bool(state["finished"])
