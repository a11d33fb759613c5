"""The three published nets, with separate parameters, in double precision, drawn as PyTorch does by default."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dpvp_training.systems.dpvp.paper.config import Activation, Layers


class Mlp(nn.Module):
    """Hidden layers and a linear one at the end."""

    def __init__(self, inputs: int, hidden: Layers, outputs: int, generator: torch.Generator) -> None:
        """Draw the weights from ±1/√inputs of their layer."""
        super().__init__()
        sizes = [inputs, *(width for width, _ in hidden), outputs]
        self.activations: tuple[Activation, ...] = tuple(activation for _, activation in hidden)
        self.layers = nn.ModuleList(
            nn.Linear(rows, columns, dtype=torch.float64) for rows, columns in itertools.pairwise(sizes)
        )
        for layer in self.linears:
            bound = 1.0 / math.sqrt(layer.in_features)
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers, in order."""
        return [cast("nn.Linear", layer) for layer in self.layers]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, outputs) for (B, inputs)."""
        *hidden, last = self.linears
        for layer, activation in zip(hidden, self.activations, strict=True):
            inputs = activate(activation, layer(inputs))
        outputs: Tensor = last(inputs)
        return outputs


class ResidualValue(Mlp):
    """V = Σ r_j²; calling it gives r."""

    def value(self, inputs: Tensor) -> Tensor:
        """Return V (B,) for what the net sees (B, ns)."""
        residuals: Tensor = self(inputs)
        return residuals.square().sum(-1)


class TrajectoryNet(nn.Module):
    """States or controls of all nodes at once, predicted independently of each other."""

    def __init__(self, mlp: Mlp, nodes: int, *, scale: float = 1.0, quaternion: Sequence[int] = ()) -> None:
        """Read the outputs of `mlp` as (nodes, n), times `scale`; entries of a quaternion are brought to length one."""
        super().__init__()
        self.mlp, self._nodes, self._scale, self._quaternion = mlp, nodes, scale, list(quaternion)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, nodes, n) for states (B, nx)."""
        outputs: Tensor = self._scale * self.mlp(x).unflatten(-1, (self._nodes, -1))
        if not self._quaternion:
            return outputs
        first, end = self._quaternion[0], self._quaternion[-1] + 1
        part = outputs[..., first:end]
        part = part / part.square().sum(-1, keepdim=True).sqrt()
        return torch.cat([outputs[..., :first], part, outputs[..., end:]], dim=-1)


def activate(activation: Activation, z: Tensor) -> Tensor:
    """Return the activation of z."""
    if activation == "elu":
        return torch.nn.functional.elu(z)
    return torch.relu(z) if activation == "relu" else torch.tanh(z)


def parameter_count(net: nn.Module) -> int:
    """Return how many numbers a net has to learn."""
    return sum(parameter.numel() for parameter in net.parameters())
