"""Executor: one function over many items, in processes of their own, on this machine or on a cluster.

What comes out depends on the function and the items alone, not on how many workers there are or which of them is first:
answers come as they are ready, each with the index of its item, and whatever is random comes with the item as a seed. A
process stays for all items that it is given, so that a function may keep what is expensive in a `functools.lru_cache`.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

import joblib
from joblib.externals import loky

from dpvp.errors import EnvironmentProblem

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_ATTEMPTS = 2  # at an item that takes its process down
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_logger = logging.getLogger(__name__)


class Executor(ABC):
    """Where a function is mapped over items; a context manager, at whose end all worker processes end."""

    def __enter__(self) -> Executor:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers, whatever they are at."""
        self.close()

    @abstractmethod
    def map(self, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[tuple[int, ResultT | None]]:
        """Yield (index of the item, what `function` returns for it) as answers become ready.

        None stands for an item that has taken its process down with it, and again when it was tried once more. What
        `function` raises is raised here and ends the map. Function, items and results travel between processes: they
        must be picklable, and the module of the function importable over there.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers."""


def make_executor(kind: Literal["local", "ray"], workers: int | None = None, address: str | None = None) -> Executor:
    """Return an executor: `local` or `ray`.

    Args:
        kind: processes of this machine, or the nodes of a Ray cluster.
        workers: items at work at a time; as many as there are cores where it is absent.
        address: of the head of the cluster, such as 10.0.0.1:6379; without one, Ray starts here.

    Raises:
        EnvironmentProblem: Ray is not installed, or its cluster does not answer.
    """
    return LocalExecutor(workers) if kind == "local" else RayExecutor(workers, address)


class LocalExecutor(Executor):
    """Processes of this machine: joblib's loky, one thread each."""

    def __init__(self, workers: int | None = None) -> None:
        """Start nothing yet."""
        self._workers = workers or joblib.cpu_count()

    def map(self, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[tuple[int, ResultT | None]]:
        """See `Executor.map`."""
        waiting = dict(enumerate(items))
        while waiting:
            started: list[int] = []
            try:
                for index, result in self._run(_calls(function, waiting, started)):
                    del waiting[index]
                    yield index, result
            except BrokenProcessPool:
                # all workers are gone with the one that died, and nobody says of which item: each alone will tell
                for index in [index for index in started if index in waiting]:
                    yield index, self._alone(function, index, waiting.pop(index))

    def close(self) -> None:
        """End the workers."""
        # the one that joblib has used last, whatever it was made with
        loky.get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)

    def _alone(self, function: Callable[[ItemT], ResultT], index: int, item: ItemT) -> ResultT | None:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(BrokenProcessPool):
                ((_, result),) = self._run(_calls(function, {index: item}, []))
                return cast("ResultT", result)
        _warn_of(index, item)
        return None

    def _run(self, calls: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        # joblib takes one job for a reason to stay in this process: two, of which one waits, keep it away from here
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            parallel = joblib.Parallel(
                n_jobs=max(2, self._workers),
                return_as="generator_unordered",
                pre_dispatch=1 if self._workers == 1 else 2 * self._workers,
                batch_size=1,
                max_nbytes=None,  # arrays travel as they are, not as read-only maps of files
                initializer=_begin,
            )
        answers: Iterator[tuple[int, Any]] = parallel(calls)
        return answers


class RayExecutor(Executor):
    """The nodes of a Ray cluster, one core per item.

    joblib has a backend for Ray, but it gives results only when all are there, and loses them all with one worker. So
    this uses Ray's own tasks.
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        """Connect to the cluster.

        Raises:
            EnvironmentProblem: Ray is not installed, or its cluster does not answer.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise EnvironmentProblem("Ray is not installed: pip install 'dpvp_training[cluster]', with -c") from None
        if address:
            _check_answers(address)  # Ray itself would try for minutes
        alone = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address=address or "local", logging_level=logging.WARNING, log_to_driver=False, **alone)
        except ConnectionError as error:
            hint = "a cluster with a token wants it here, too: RAY_AUTH_MODE=token and ~/.ray/auth_token"
            raise EnvironmentProblem(f"no Ray cluster answers at {address} ({error}); {hint}") from None
        self._ray, self._workers = ray, workers

    def map(self, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[tuple[int, ResultT | None]]:
        """See `Executor.map`."""
        ray = self._ray
        deaths = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
        task = ray.remote(num_cpus=1, max_retries=_ATTEMPTS - 1)(_call)
        shared = ray.put(function)
        waiting = iter(enumerate(items))
        running: dict[Any, int] = {}
        try:
            while True:
                for index, item in itertools.islice(waiting, self._room() - len(running)):
                    running[task.remote(shared, item)] = index
                if not running:
                    return
                (ready, *_), _ = ray.wait(list(running))
                index = running.pop(ready)
                try:
                    result = ray.get(ready)
                except deaths:
                    _warn_of(index, items[index])
                    result = None
                yield index, result
        finally:
            for reference in running if ray.is_initialized() else ():
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster, and end it where it was started here."""
        self._ray.shutdown()

    def _room(self) -> int:
        """Items that may be on their way: enough for every core of the cluster to find the next one waiting."""
        return self._workers or max(2, 2 * int(self._ray.cluster_resources().get("CPU", 1)))


def _calls(function: Callable[[ItemT], Any], waiting: dict[int, ItemT], started: list[int]) -> Iterator[Any]:
    """Yield joblib's calls for the items in `waiting`, and note in `started` which it has taken."""
    for index in list(waiting):
        started.append(index)
        yield joblib.delayed(_indexed)(function, index, waiting[index])


def _indexed(function: Callable[[ItemT], ResultT], index: int, item: ItemT) -> tuple[int, ResultT]:
    return index, function(item)


def _call(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    return function(item)


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except (OSError, ValueError) as error:
        hint = "it must be host:port of the head of a running cluster"
        raise EnvironmentProblem(f"no Ray cluster answers at {address} ({error}); {hint}") from None


def _begin() -> None:
    """Prepare a worker: Ctrl-C is for the main process, and nobody outlives that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _warn_of(index: int, item: object) -> None:
    _logger.warning("item %d has taken its process down twice and is left out: %.200r", index, item)
