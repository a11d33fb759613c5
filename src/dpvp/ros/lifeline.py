"""A child that must not outlive the one who started it, not even when that one is killed."""

from __future__ import annotations

import ctypes
import os
import signal

DIE_WITH_PARENT = "DPVP_DIE_WITH_PARENT"  # in the environment of a child that shall: the process that starts it
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def lifeline() -> dict[str, str]:
    """Return what to add to the environment of a child that must not outlive this process."""
    return {DIE_WITH_PARENT: str(os.getpid())}


def hold_lifeline() -> None:
    """Ask the kernel for SIGINT when the parent dies, if the environment says so; then nodes end in good order."""
    parent = os.environ.pop(DIE_WITH_PARENT, "")
    if not parent:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != int(parent):  # it died while we were starting, and the kernel will not tell of it any more
        os.kill(os.getpid(), signal.SIGINT)
