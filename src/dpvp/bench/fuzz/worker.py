"""The process that reads the inputs: with limits on time and memory, and saying what it is about before it does it.

One line of JSON for each input on standard output: {"index": ...} before, and {"outcome": ...} after it. A parent that
sees the former without the latter knows what took the process down.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from dpvp.bench.fuzz import files, learned, messages, recordings
from dpvp.bench.fuzz.format import Format
from dpvp.errors import DpvpError

Outcome = Literal["refused", "accepted", "failed", "late"]

FORMATS: dict[str, Callable[[], Format]] = {
    **files.formats(),
    **learned.formats(),
    **recordings.formats(),
    **messages.formats(),
}
MEMORY = 1 << 30  # bytes that reading may take besides what the libraries have


class TookTooLong(BaseException):
    """Raised in the middle of whatever takes too long; no `except Exception` on the way swallows it."""


def draw(kind: Format, name: str, seed: int, index: int) -> bytes:
    """Return input number `index` of the format called `name`: it depends on nothing else but the seed."""
    return kind.mutated(np.random.default_rng([seed, zlib.crc32(name.encode()), index]))


def judge(kind: Format, content: bytes, folder: Path, limit: float) -> tuple[Outcome, str]:
    """Read one input within `limit` seconds of the processor; return what came of it, and where it failed."""
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        kind.read(content, folder)
    except DpvpError as error:
        return "refused", str(error)[:300]
    except TookTooLong:
        return "late", traceback.format_exc(limit=-6)
    except Exception:  # this is what is looked for
        return "failed", traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    return "accepted", ""


def prepare() -> None:
    """Make this process one in which inputs can be judged."""
    logging.disable(logging.CRITICAL)
    np.seterr(all="ignore")
    signal.signal(signal.SIGPROF, on_alarm)


def limit_memory() -> None:
    """Let this process have `MEMORY` more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def on_alarm(*_: object) -> None:
    """End what takes too long."""
    raise TookTooLong


def work(name: str, seed: int, begin: int, end: int, limit: float) -> None:
    """Read the inputs from `begin` to before `end`, telling of each on standard output."""
    # what libraries print must not come between the lines
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    prepare()
    kind = FORMATS[name]()
    with tempfile.TemporaryDirectory(prefix=f"fuzz_{name}_") as folder:
        os.chdir(folder)
        for index in range(begin, end):
            content = draw(kind, name, seed, index)
            if index == begin:  # all libraries are loaded
                limit_memory()
            lines.write(json.dumps({"index": index}) + "\n")
            start = time.process_time()
            outcome, text = judge(kind, content, Path(folder), limit)
            took = time.process_time() - start
            lines.write(json.dumps({"outcome": outcome, "text": text, "seconds": round(took, 3)}) + "\n")


if __name__ == "__main__":
    first, second, third = map(int, sys.argv[2:5])
    work(sys.argv[1], first, second, third, float(sys.argv[5]))
