"""What nets are matched with: values, gradients, curvature and feedback gains, each in units of the cost.

Errors are weighed by what they cost. With a metric H of the curvature of V (the mean of the data's Hessians), a wrong
gradient δ moves the minimum so far that ½ δᵀ H⁻¹ δ is lost; divided by V itself it is a share, and a value, a gradient
and a Hessian of the same relative error count about the same, near the goal as far from it. Without the metric the
light joints of an arm are never learnt: their share of the gradient is small, that of the control is not.

Where two optima meet, gradients jump and Hessians are large: errors above one count by their size and no longer by its
square (`robust`), and Hessians above the mean relative to themselves, so that such states do not rule the fit.

W. M. Czarnecki et al., "Sobolev training for neural networks", NIPS 2017; second order as in arXiv 2606.23827, gains as
in Q. Le Lidec et al., arXiv 2209.09006.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpvp.plan import Array

LEAST_SHARE = 1e-9  # of the trace: what has less, as the turn of a last joint, no cost depends on, and it has no say
LEAST_CORRELATION = 0.03  # eigenvalues of the scaled metric below are raised to it: flat directions are not steep walls


def metric_of(hessians: Array) -> Array:
    """Return the lower factor L (n, n), H = L Lᵀ, of the mean of positive semi-definite matrices (N, n, n)."""
    mean = np.mean(np.asarray(hessians, dtype=np.float64), axis=0)
    costs = np.diag(mean)
    # a direction without a cost is made as stiff as can be: errors in it would otherwise count for more than all others
    scale = np.sqrt(np.where(costs > LEAST_SHARE * np.trace(mean), costs, np.trace(mean) / LEAST_SHARE))
    values, vectors = np.linalg.eigh(mean / np.outer(scale, scale))
    correlation = (vectors * np.maximum(values, LEAST_CORRELATION)) @ vectors.T
    return np.asarray(scale[:, None] * np.linalg.cholesky(correlation))


def robust(squares: Tensor) -> Tensor:
    """Return squared errors as they are where small, and about twice their root where large (pseudo-Huber)."""
    return 2.0 * squares / ((1.0 + squares).sqrt() + 1.0)


@dataclass(frozen=True, eq=False)
class Relative:
    """How errors become shares.

    Attributes:
        floor: cost below which errors are absolute.
        whiten: L⁻ᵀ (n, n), so that rows `gradient @ whiten` are in units of √cost.
    """

    floor: float
    whiten: Tensor

    @classmethod
    def of(cls, values: Array, hessians: Array, floor: float) -> Relative:
        """Make it from the data's values (N,) and Hessians (N, n, n); `floor` is a share of the mean value."""
        factor = np.linalg.inv(metric_of(hessians)).T
        return cls(floor * float(np.mean(values)), torch.as_tensor(factor, dtype=torch.float32))

    def value(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Squared relative error of values (..., B)."""
        return robust(((found - wanted) / (wanted + self.floor)).pow(2)).mean()

    def gradient(self, found: Tensor, wanted: Tensor, values: Tensor) -> Tensor:
        """Share of the value that a wrong gradient (..., B, n) loses, times two."""
        return robust(((found - wanted) @ self.whiten).pow(2).sum(-1) / (values + self.floor)).mean()

    def curvature(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Squared error of Hessian-vector products (..., B, n) along `directions`, per entry."""
        error, size = (((a @ self.whiten).pow(2).mean(-1)) for a in (found - wanted, wanted))
        return robust(error / size.clamp(min=1.0)).mean()

    def directions(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw directions (*shape, n) of unit variance in the metric."""
        n = len(self.whiten)
        return torch.randn(*shape, n, generator=generator) @ self.whiten.T
