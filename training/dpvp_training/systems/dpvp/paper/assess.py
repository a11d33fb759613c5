"""How good a value is, on held-out starts that were solved over a long horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dpvp.plan import Array
from dpvp.tasks.task import Task
from dpvp_training.core.run import Arrays
from dpvp_training.systems.dpvp.paper.fit import Labels
from dpvp_training.systems.dpvp.paper.nets import ResidualValue
from dpvp_training.systems.dpvp.paper.terminal import seen


@dataclass(frozen=True)
class Assessment:
    """Figures of one value V_k.

    Attributes:
        value_mse: mean of (V_k - v)².
        gradient_error: ‖V_k' - v'‖ / ‖v'‖ over all of them.
        change: ‖V_k - V_{k-1}‖², the sum over all of them; NaN for the first.
    """

    value_mse: float
    gradient_error: float
    change: float


def labels_of(task: Task, goal: Array, episode: Arrays) -> Labels:
    """Return what the value of an episode is fitted to."""
    s, s_x = zip(*(seen(task, x, goal) for x in episode["x"]), strict=True)
    return Labels(np.array(s), np.array(s_x), episode["v"], episode["v_x"])


def assess(net: ResidualValue, before: ResidualValue | None, truth: Labels) -> Assessment:
    """Compare V_k with the truth, and with V_{k-1}."""
    s = torch.tensor(truth.s, requires_grad=True)
    values = net.value(s)
    (slope,) = torch.autograd.grad(values.sum(), s)
    gradient = np.einsum("ns,nsx->nx", slope.numpy(), truth.s_x)
    found = values.detach().numpy()
    change = np.nan if before is None else float(np.sum((found - before.value(s).detach().numpy()) ** 2))
    error = float(np.linalg.norm(gradient - truth.v_x) / np.linalg.norm(truth.v_x))
    return Assessment(float(np.mean((found - truth.v) ** 2)), error, change)
