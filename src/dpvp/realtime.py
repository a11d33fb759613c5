"""What a process of ours does for its own timing, as far as Python goes, and what it was not permitted to do.

A loop in Python is soft real time: interpreter, messages and solver allocate memory. What disturbs it most can be had
out of its way all the same: ordinary processes that want the processor, the garbage collector, page faults. Nothing
here fails: every measure says whether it took, and where not, why and how to permit it.

Ranks are priorities of SCHED_FIFO, below those of ros2_control's manager (50 and more), which serves the robot.
Among ours, who is needed more often and for shorter goes first (Liu and Layland, J. ACM 20(1), 1973): the simulated
plant, without whose clock nothing goes on; the supervisor, which must be able to act when what it watches spins; the
estimator, whose state the loop waits for; the loop; at last the solver, which computes for milliseconds at a time.
Recorder and view get none.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import math
import os
import resource
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from dpvp.kernel import isolated_cores, process_field

REALTIME = "DPVP_REALTIME"  # in the environment of a process that shall: its role
SOLVER = "solver"
RANKS = {"world_node": 45, "supervisor_node": 42, "estimator_node": 40, "mpc_node": 38, SOLVER: 32}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LIMITS = (
    "put '<user> - rtprio 49' and '<user> - memlock unlimited' into /etc/security/limits.d/dpvp.conf and log in again; "
    "in a container: --cap-add SYS_NICE --ulimit rtprio=49 --ulimit memlock=-1"
)
GROUP = "this cgroup has no real-time budget: write one to cpu.rt_runtime_us, or boot a kernel without RT_GROUP_SCHED"
CORES_TO_SHARE_OUT = 4  # with fewer, a process that may not leave its core waits while another core idles
SPIN_LIMIT = 1  # s that a process may compute at its rank without once waiting; then it loses it
HANG_LIMIT = 5  # s after which the kernel kills it, should it be too far gone to notice the first
HEAP_RESERVE = 16 * 2**20  # bytes

_MCL_CURRENT, _MCL_FUTURE = 1, 2  # <sys/mman.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_PR_SET_TIMERSLACK = 29  # <linux/prctl.h>


@dataclass(frozen=True)
class Measure:
    """One thing done for the timing of this process, or not.

    Attributes:
        name: what it is about.
        done: whether it took.
        found: what is so now, or why it did not take.
        remedy: how to permit it; empty where it took or where nothing is amiss.
    """

    name: str
    done: bool
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line for a log."""
        return f"{self.name}: {self.found}" + (f"; {self.remedy}" if self.remedy else "")


def realtime(role: str) -> dict[str, str]:
    """Return what to add to the environment of a process that shall take the measures for `role`; {} for no such role.

    Libraries read the number of their threads when they are loaded, hence from here.
    """
    return {REALTIME: role, **ONE_THREAD} if role in RANKS else {}


def settle(logger: logging.Logger, role: str = "") -> None:
    """Take the measures that the environment asks for, if it does, and log which of them took.

    To be called once all is built and has run once.

    Args:
        logger: takes one line of information, and a warning for each measure that did not take.
        role: one of `RANKS`; empty: the one that the environment names.
    """
    if not (asked := os.environ.get(REALTIME, "")):
        return
    measures = take_measures(role or asked)
    logger.info("real time: " + "; ".join(str(measure) for measure in measures if measure.done))
    for measure in measures:
        if not measure.done:
            logger.warning(f"real time: {measure}")


def take_measures(role: str) -> list[Measure]:
    """Take all measures for a process of `role`, one of `RANKS`."""
    return [_threads(), _garbage(), _memory(), _heap(), _timers(), _cores(role), _rank(role)]


def highest_priority() -> float:
    """Return the highest priority of SCHED_FIFO that this process may take; 0: none."""
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    return math.inf if _capable("CAP_SYS_NICE") or limit == resource.RLIM_INFINITY else limit


def lockable_memory() -> float:
    """Return how much memory this process may lock, bytes."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return math.inf if _capable("CAP_IPC_LOCK") or limit == resource.RLIM_INFINITY else limit


def _threads() -> Measure:
    """Who is not told otherwise takes the number of OpenMP."""
    omp = os.environ.get("OMP_NUM_THREADS", "not set")
    wrong = [f"{name} is {found}" for name in ONE_THREAD if (found := os.environ.get(name, omp)) != "1"]
    remedy = f"start with {' '.join(f'{name}=1' for name in ONE_THREAD)}"
    return Measure("threads", not wrong, ", ".join(wrong) or "one for the maths", remedy if wrong else "")


def _garbage() -> Measure:
    """What is there stays; what comes is freed when its last user lets go, since our loops make no cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()
    return Measure("garbage collector", True, f"off, {gc.get_freeze_count()} objects kept")


def _memory() -> Measure:
    """Keep every page in memory.

    With a limit that does not end at once, what is allocated later would: then rather none at all.
    """
    limit = lockable_memory()
    if limit < math.inf:
        return Measure("memory", False, f"not locked, RLIMIT_MEMLOCK is {limit / 2**20:g} MiB", LIMITS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        return Measure("memory", False, f"not locked, {os.strerror(ctypes.get_errno())}", LIMITS)
    return Measure("memory", True, f"locked, {process_field('VmRSS')} used")


def _heap() -> Measure:
    """Let malloc keep what it has had, and have a reserve before the loop needs it."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return Measure("heap", False, "this C library has no mallopt")
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    reserve = libc.malloc(HEAP_RESERVE)
    if reserve is None:
        return Measure("heap", False, f"no {HEAP_RESERVE / 2**20:g} MiB left", "free memory on this machine")
    ctypes.memset(reserve, 1, HEAP_RESERVE)
    libc.free(reserve)
    return Measure("heap", True, f"never shrinks, {HEAP_RESERVE / 2**20:g} MiB in reserve")


def _timers() -> Measure:
    """Sleep to the microsecond; ordinary processes may be woken 50 us late. At a rank this is so anyway."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    return Measure("timers", not failed, os.strerror(ctypes.get_errno()) if failed else "slack 1 ns")


def _cores(role: str) -> Measure:
    allowed, isolated = os.sched_getaffinity(0), isolated_cores()
    wanted = cores_for(role, allowed, isolated)
    if wanted == allowed:
        few = len(allowed | isolated) < CORES_TO_SHARE_OUT
        return Measure("cores", True, f"any of {len(allowed)}" + (", too few to share them out" if few else ""))
    try:
        _all_threads(lambda thread: os.sched_setaffinity(thread, wanted))
    except OSError as error:
        return Measure("cores", False, f"{sorted(wanted)}: {error.strerror}", "allow these cores to this cpuset")
    return Measure("cores", True, f"{sorted(wanted)}")


def cores_for(role: str, allowed: Collection[int], isolated: Collection[int] = ()) -> set[int]:
    """Return the cores for a process of `role`: one for the solver alone and one for the plant, if there are enough.

    Args:
        role: one of `RANKS`.
        allowed: cores on which the kernel lets it run now.
        isolated: cores kept free of other work by `isolcpus`; the solver comes first to them, then the plant.
    """
    cores = sorted(set(allowed) - set(isolated)) + sorted(isolated)
    if len(cores) < CORES_TO_SHARE_OUT:
        return set(allowed)
    solver, plant = cores[-1], cores[-2]
    rest = set(allowed) - set(isolated) - {solver, plant}
    return {SOLVER: {solver}, "world_node": {plant}}.get(role, rest or set(allowed))


def _rank(role: str) -> Measure:
    """Go before all ordinary processes, but never for long without a rest."""
    priority = RANKS[role]
    if role == SOLVER and len(os.sched_getaffinity(0) | isolated_cores()) < 2:
        return Measure("rank", False, "none on the only core, of which a solver would leave nothing to others")
    _watch_for_spinning()
    # children start as ordinary processes: a solver that is started anew builds its problem for seconds
    policy, parameters = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority)
    try:
        _all_threads(lambda thread: os.sched_setscheduler(thread, policy, parameters))
    except OSError as error:
        step_back()
        highest = highest_priority()
        why = f"SCHED_FIFO {priority}: {error.strerror}, at most {highest:g} is permitted"
        return Measure("rank", False, why, GROUP if highest >= priority else LIMITS)
    return Measure("rank", True, f"SCHED_FIFO {priority}")


def _watch_for_spinning() -> None:
    """A process at a rank that never waits starves the machine: the kernel tells us, and in the end stops us."""

    def told(*_: object) -> None:
        step_back()
        # written at once: the interpreter may be anywhere, inside logging too
        os.write(2, f"computed for {SPIN_LIMIT} s without a rest: gives up its real-time rank\n".encode())

    signal.signal(signal.SIGXCPU, told)
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    wanted = HANG_LIMIT * 1_000_000
    hard = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_RTTIME, (min(SPIN_LIMIT * 1_000_000, hard), hard))


def step_back() -> None:
    """Be an ordinary process again, in all threads."""
    policy = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK  # who may not take a rank may not take this flag away either
    _all_threads(lambda thread: os.sched_setscheduler(thread, policy, os.sched_param(0)))


def _all_threads(do: Callable[[int], None]) -> None:
    """Do something to every thread: those that receive messages have to keep up with the one that uses them."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            do(int(thread.name))


def _capable(capability: str) -> bool:
    number = {"CAP_IPC_LOCK": 14, "CAP_SYS_NICE": 23}[capability]  # <linux/capability.h>
    return bool(int(process_field("CapEff") or "0", 16) >> number & 1)
