"""What the kernel of this machine offers to a control loop: read from /proc and /sys, changed nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path("/")


def is_real_time(root: Path = ROOT) -> bool:
    """True if the kernel is preemptible throughout (PREEMPT_RT)."""
    return "PREEMPT_RT" in os.uname().version or text(root, "sys/kernel/realtime") == "1"


def preemption(root: Path = ROOT, version: str | None = None) -> str:
    """Return the kernel's preemption model: PREEMPT_RT, full, lazy, voluntary, none; with a ? where it does not tell.

    Args:
        root: where /proc and /sys are.
        version: as `uname -v` says it; that of this kernel if None.
    """
    version = os.uname().version if version is None else version
    if "PREEMPT_RT" in version or text(root, "sys/kernel/realtime") == "1":
        return "PREEMPT_RT"
    chosen = re.search(r"\((\w+)\)", text(root, "sys/kernel/debug/sched/preempt"))  # for root's eyes only
    if chosen:
        return chosen[1]
    if "PREEMPT_DYNAMIC" in version:
        return "dynamic?"
    return "full" if "PREEMPT" in version else "voluntary?"


def governor(root: Path = ROOT) -> str:
    """Return how the frequency of the first core is chosen; empty where it cannot be set."""
    return text(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def clock_source(root: Path = ROOT) -> str:
    """Return what the kernel reads the time from; empty if it does not say."""
    return text(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")


def swap_areas(root: Path = ROOT) -> list[str]:
    """Return the files and devices to which memory may be swapped out."""
    return [line.split()[0] for line in text(root, "proc/swaps").splitlines()[1:]]


def real_time_share(root: Path = ROOT) -> float:
    """Return the share of every second that real-time processes may use on a core; 1 if nothing stops them."""
    runtime, period = (text(root, f"proc/sys/kernel/sched_rt_{name}_us") for name in ("runtime", "period"))
    return 1.0 if not runtime or int(runtime) < 0 else int(runtime) / int(period or 1_000_000)


def group_budget(root: Path = ROOT) -> int | None:
    """Return the real-time budget of this process's cgroup, us; None where the kernel keeps no such accounts."""
    for line in text(root, "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if "cpu" in controllers.split(","):
            budget = text(root, f"sys/fs/cgroup/{controllers}{group.rstrip('/')}/cpu.rt_runtime_us")
            return int(budget) if budget else None
    return None


def isolated_cores(root: Path = ROOT) -> set[int]:
    """Return the cores that `isolcpus` keeps free of all work that does not ask for them."""
    cores = set[int]()
    for part in filter(None, text(root, "sys/devices/system/cpu/isolated").split(",")):
        first, _, last = part.partition("-")
        cores |= set(range(int(first), int(last or first) + 1))
    return cores


def process_field(name: str, root: Path = ROOT) -> str:
    """Return what the kernel says about this process under `name` in /proc/self/status; empty if nothing."""
    lines = (line.partition(":") for line in text(root, "proc/self/status").splitlines())
    return next((value.strip() for key, _, value in lines if key == name), "")


def text(root: Path, file: str) -> str:
    """Return the text of a file without the white space around it; empty if it cannot be read."""
    try:
        return (root / file).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
