"""Functions that other processes of the tests import."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path

import numpy as np


def noisy_sum(item: tuple[int, float]) -> float:
    """A sum of random numbers of a seed, after some seconds."""
    seed, seconds = item
    time.sleep(seconds)
    return float(np.random.default_rng(seed).normal(size=1000).sum())


def number_when_there(item: tuple[int, Path]) -> int:
    """The number of an item, as soon as its file exists."""
    number, file = item
    while not file.exists():
        time.sleep(0.01)
    return number


def meet(item: tuple[Path, int]) -> str:
    """The node of the Ray cluster, as soon as so many items are at work at a time."""
    import ray

    folder, at_a_time = item
    node = str(ray.get_runtime_context().get_node_id())
    (folder / node).touch()
    while len(list(folder.iterdir())) < at_a_time:
        time.sleep(0.01)
    return node


def threads(_: int) -> tuple[str | None, int]:
    """What a worker is told of threads and how many torch takes."""
    import torch

    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


def told_threads(_: int) -> str | None:
    """What a worker is told of threads."""
    return os.environ.get("OMP_NUM_THREADS")


@functools.lru_cache
def _expensive(of: int) -> tuple[int, int]:
    return of, time.monotonic_ns()


def kept(_: int) -> tuple[int, tuple[int, int]]:
    """The id of the process and what it has made once."""
    time.sleep(0.02)
    return os.getpid(), _expensive(1)


def deadly(item: tuple[int, Path]) -> int:
    """The number; 3 dies of a segmentation fault, 5 only where the folder does not say that it has died before."""
    number, folder = item
    with (folder / "attempts").open("a") as attempts:
        attempts.write(f"{number}\n")
    survived = folder / "survived"
    if number == 3 or (number == 5 and not survived.exists()):
        if number == 5:
            survived.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(0.02)
    return number


def refuse(number: int) -> int:
    """Raise for 2."""
    if number == 2:
        raise ValueError("two is refused")
    return number


def endless(folder: Path) -> None:
    """Leave the id of the process in the folder and never end."""
    (folder / str(os.getpid())).touch()
    while True:
        time.sleep(0.1)


def endless_after_the_first(item: tuple[int, Path]) -> None:
    """`endless` but for the first item."""
    number, folder = item
    if number > 0:
        endless(folder)
