"""Mailbox: the newest record of a fixed layout, in memory that two processes share. Older records are lost on purpose.

One process posts, one takes. Neither ever waits for the other, and a process killed in the middle of either leaves the
other undisturbed: records are written to slots in turn, and the number of the newest complete one is set last.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = NDArray[np.void]  # shape (), structured
SLOTS = 4  # a reader is disturbed only if this many records are posted while it copies one


class Mailbox:
    """Latest-only exchange of records of `dtype`.

    Attributes:
        fd: file descriptor of the shared memory, to be handed to the other process.
    """

    def __init__(self, dtype: np.dtype[Any], fd: int | None = None) -> None:
        """Make the memory, or map that of `fd`, which another process made with the same `dtype`."""
        self._dtype = np.dtype(dtype)
        # aligned: a number that straddles two cache lines could be read half written
        slot = np.dtype([("number", np.uint64), ("record", self._dtype)], align=True)
        size = 8 + SLOTS * slot.itemsize
        self.fd = os.memfd_create("dpvp-mailbox", 0) if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        elif os.fstat(self.fd).st_size != size:
            raise ValueError(f"mailbox of {os.fstat(self.fd).st_size} bytes: a record of {dtype} needs {size}")
        self._memory = mmap.mmap(self.fd, size)
        self._newest = np.frombuffer(self._memory, np.uint64, 1, 0)
        self._slots = np.frombuffer(self._memory, slot, SLOTS, 8)
        self._taken = 0

    def post(self, record: Record) -> None:
        """Make `record` the newest one."""
        number = int(self._newest[0]) + 1
        slot = self._slots[number % SLOTS : number % SLOTS + 1]
        slot["number"] = 0  # not to be read from here on
        slot["record"] = record
        slot["number"] = number
        self._newest[0] = number

    def take(self) -> Record | None:
        """Return a copy of the newest record, or None if it was taken before."""
        while (number := int(self._newest[0])) != self._taken:
            slot = self._slots[number % SLOTS]
            record = slot["record"].copy()
            if int(slot["number"]) == number:  # nobody wrote into it meanwhile
                self._taken = number
                return np.asarray(record)
        return None

    def close(self) -> None:
        """Release the memory; the mailbox cannot be used afterwards. Closing again does nothing."""
        if self._memory.closed:
            return
        del self._newest, self._slots
        self._memory.close()
        os.close(self.fd)
