"""A process of its own for trials: a solver that takes its process down with it costs one trial and not the bench."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from dpvp.bench.closed_loop import STEPS, ClosedLoop, Trial
from dpvp.bench.reference import Reference, ReferenceSolver
from dpvp.bench.variants import Variant
from dpvp.plan import Array
from dpvp.ros.lifeline import hold_lifeline, lifeline
from dpvp.scenario import Scenario, ScenarioConfig

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Calls functions in another process, one at a time, and starts a new one when it dies."""

    def __init__(self, log: Path) -> None:
        """Start nothing yet; what the process says is appended to `log`."""
        self._log, self._pool = log, self._new_pool(log)

    def __enter__(self) -> Worker:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what `function` returns, or None if the process died of it."""
        try:
            return self._pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            self._pool = self._new_pool(self._log)
            return None

    @staticmethod
    def _new_pool(log: Path) -> ProcessPoolExecutor:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when the process loads the solver
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, context, initializer=_begin, initargs=(log, lifeline()))


@dataclass(frozen=True)
class Job:
    """What a worker needs to build a closed loop; hashable and light enough to be sent with every start.

    Attributes:
        name, config, file: of the scenario; `config` is its JSON.
        variant: the way to plan; None is that of the scenario.
        steps: of a trial.
    """

    name: str
    config: str
    file: str
    variant: Variant | None = None
    steps: int = STEPS

    @classmethod
    def of(cls, scenario: Scenario, variant: Variant | None = None, steps: int = STEPS) -> Job:
        """Return the job of planning `scenario` in the way of `variant`."""
        return cls(scenario.name, scenario.config.model_dump_json(), scenario.file, variant, steps)

    def scenario(self) -> Scenario:
        """Build the scenario."""
        config = ScenarioConfig.model_validate_json(self.config)
        return Scenario(self.name, config if self.variant is None else self.variant.of(config), self.file)


def run_trial(job: Job, start: Array, goal: Array) -> Trial:
    """Run the closed loop of `job` from the (nx,) state `start`."""
    return _closed_loop(job).run(start, goal, job.steps)


def solve_reference(job: Job, start: Array, goal: Array) -> Reference:
    """Solve the whole trial from the (nx,) state `start` to convergence."""
    return _reference_solver(job).solve(start, goal)


@functools.lru_cache(maxsize=1)
def _closed_loop(job: Job) -> ClosedLoop:
    loop = ClosedLoop(job.scenario())
    gc.collect()
    gc.freeze()  # as the solver process does
    return loop


@functools.lru_cache(maxsize=1)
def _reference_solver(job: Job) -> ReferenceSolver:
    return ReferenceSolver(job.scenario(), job.steps)


def _begin(log: Path, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ |= environment
    hold_lifeline()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
