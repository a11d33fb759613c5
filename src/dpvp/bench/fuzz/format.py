"""Format: one kind of thing that dpvp reads, how to spoil it and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Format:
    """One kind of input.

    Attributes:
        suffix: of the file in which an input is kept.
        mutated: draws an input.
        read: reads it, with a folder of its own to work in; returns if it is understood, raises `DpvpError` if it is
            refused. Whatever else happens is a defect.
    """

    suffix: str
    mutated: Callable[[np.random.Generator], bytes]
    read: Callable[[bytes, Path], object]
