"""Nets that several systems share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class EnsembleMlp(nn.Module):
    """Members of the same shape, tanh between their layers, evaluated together by batched products.

    Tanh and nothing with a kink: value functions are matched in their first and second derivatives.
    """

    def __init__(
        self, members: int, sizes: Sequence[int], generator: torch.Generator, *, last_gain: float = 1.0
    ) -> None:
        """Draw the weights.

        Args:
            members: number of nets.
            sizes: of the input, of every hidden layer and of the output.
            generator: of the weights, so that members differ and runs can be repeated.
            last_gain: scale of the last layer; small ones start close to a constant.
        """
        super().__init__()
        self.members = members
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (rows, columns) in enumerate(itertools.pairwise(sizes)):
            gain = last_gain if layer == len(sizes) - 2 else 1.0
            weight = torch.randn(members, rows, columns, generator=generator) * (gain / math.sqrt(rows))
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, columns)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (members, B, out) for (members, B, in)."""
        return self.outputs(self.hidden(inputs)[-1])

    def hidden(self, inputs: Tensor) -> list[Tensor]:
        """Return the activations (members, B, width) of the hidden layers for (members, B, in)."""
        activations: list[Tensor] = []
        for weight, bias in zip(list(self.weights)[:-1], list(self.biases)[:-1], strict=True):
            inputs = torch.tanh(torch.baddbmm(bias, inputs, weight))
            activations.append(inputs)
        return activations

    def outputs(self, last: Tensor) -> Tensor:
        """Return the outputs (members, B, out) for the last hidden activations (members, B, width)."""
        outputs: Tensor = torch.baddbmm(self.biases[-1], last, self.weights[-1])
        return outputs
