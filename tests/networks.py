"""Small networks whose answers are known, for other processes of the tests to import."""

from __future__ import annotations

import os
import signal

import torch
from torch import Tensor, nn


class LinearPolicy(nn.Module):
    """u = of_x x + of_goal goal."""

    def __init__(self, nx: int, goal: int, nu: int, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.of_x = nn.Parameter(torch.randn(nu, nx, generator=generator, dtype=dtype))
        self.of_goal = nn.Parameter(torch.randn(nu, goal, generator=generator, dtype=dtype))

    def forward(self, x: Tensor, goal: Tensor) -> Tensor:
        return x @ self.of_x.T + goal @ self.of_goal.T


class BlindValue(nn.Module):
    """r = matrix f: it sees nothing of x, and its Jacobians are constant."""

    def __init__(self, nx: int, nf: int, nr: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.matrix = nn.Parameter(torch.randn(nr, nf, generator=generator, dtype=torch.float64))
        self.register_buffer("none", torch.zeros(nr, nx, dtype=torch.float64))

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return f @ self.matrix.T, self.get_buffer("none"), self.matrix


class CurvedValue(nn.Module):
    """r = tanh(matrix [x; f])."""

    def __init__(self, nx: int, nf: int, nr: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.sizes = [nx, nf]
        self.matrix = nn.Parameter(0.3 * torch.randn(nr, nx + nf, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r = torch.tanh(torch.cat([x, f], dim=1) @ self.matrix.T)
        r_x, r_f = torch.split((1.0 - r.square()).T * self.matrix, self.sizes, dim=1)
        return r, r_x, r_f


class Fickle(nn.Module):
    """Multiplies by how often it was called: a graph cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Branching(nn.Module):
    """Decides by the values of its input, which cannot be exported."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0.0 else -x


class Deadly(nn.Module):
    """Takes its process down."""

    def forward(self, x: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGSEGV)
        return x
