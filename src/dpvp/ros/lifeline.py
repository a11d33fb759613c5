"""A child that must not outlive the one who started it, not even when that one is killed."""

from __future__ import annotations

import ctypes
import os
import signal

DIE_WITH_PARENT = "DPVP_DIE_WITH_PARENT"  # set to 1 in the environment of a child that shall
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def hold_lifeline() -> None:
    """Ask the kernel for SIGINT when the parent dies, if the environment says so; then nodes end in good order."""
    if os.environ.pop(DIE_WITH_PARENT, "") == "1":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
