"""Description of the machine that measurements were made on: no figure means anything without it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from dpvp import __version__, kernel
from dpvp.pins import SOLVER_PACKAGES, installed_version


@dataclass(frozen=True)
class Machine:
    """What times depend on.

    Attributes:
        processor: its name.
        cores: those that this process may use.
        memory_gib: installed memory.
        kernel: release, with PREEMPT_RT where the kernel says so.
        governor: of the first core; empty where the frequency cannot be set.
        load: processes that wanted to run during the last minute; anything near `cores` spoils the times.
        python: version of the interpreter.
        versions: those of dpvp and of the solver packages.
    """

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    governor: str
    load: float
    python: str
    versions: dict[str, str]


def describe_machine() -> Machine:
    """Look at the machine and the installation, now."""
    versions = {name: installed_version(name) or "missing" for name in SOLVER_PACKAGES}
    real_time = " PREEMPT_RT" if kernel.is_real_time() else ""
    return Machine(
        processor=_field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        kernel=platform.release() + real_time,
        governor=kernel.governor(),
        load=round(os.getloadavg()[0], 2),
        python=platform.python_version(),
        versions={"dpvp": __version__, **versions},
    )


def _field(file: Path, name: str) -> str:
    """Return what follows `name :` on its first line in `file`; empty if there is none."""
    lines = (line.partition(":") for line in _text(file).splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
