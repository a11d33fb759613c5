"""A campaign: many inputs of one format through worker processes, of which each may die of what it reads."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpvp.bench.fuzz.worker import FORMATS, draw
from dpvp.ros.lifeline import lifeline

PATIENCE = 120.0  # s without a word from a worker, on a machine that has other things to do as well
BATCH = 2000  # inputs of one process: what it leaks ends with it


@dataclass
class Tally:
    """What has come of the inputs of one format so far; `slowest` in s of the processor."""

    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Inputs read."""
        return self.refused + self.accepted + len(self.failures)


class Campaign:
    """Reads `count` inputs of the format `name`; those that break something are kept in `folder`."""

    def __init__(self, name: str, count: int, seed: int, limit: float, folder: Path) -> None:
        """Start nothing yet; `limit` is the time of the processor for one input, s."""
        self.name, self.count, self.tally = name, count, Tally()
        self._seed, self._limit, self._folder = seed, limit, folder

    def run(self, tell: Callable[[Tally], None]) -> Tally:
        """Read them all, calling `tell` after each."""
        while self.tally.done < self.count:
            before = self.tally.done
            broken, words = self._batch(min(self.count, before + BATCH), tell)
            if broken is not None:
                self._fail(broken, "died", words)
                tell(self.tally)
            elif self.tally.done == before:
                raise RuntimeError(f"the worker for {self.name} does not even start: {words}")
        return self.tally

    def _batch(self, end: int, tell: Callable[[Tally], None]) -> tuple[int | None, str]:
        """Let a new process go on to `end`; return the input that took it down, if any, and its last words."""
        words = [sys.executable, "-X", "faulthandler", "-m", "dpvp.bench.fuzz.worker", self.name]
        words += map(str, (self._seed, self.tally.done, end, self._limit))
        log = self._folder / f"{self.name}.log"
        with log.open("wb") as said:
            environment = dict(os.environ) | lifeline()
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, env=environment)
            try:
                current = self._listen(process, tell)
            finally:
                process.kill()
                process.wait()
        return current, log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def _listen(self, process: subprocess.Popen[bytes], tell: Callable[[Tally], None]) -> int | None:
        """Take what the worker says until it ends or is silent for too long; return the input it was at."""
        assert process.stdout is not None
        current: int | None = None
        with selectors.DefaultSelector() as selector, process.stdout as stream:
            selector.register(stream, selectors.EVENT_READ)
            os.set_blocking(stream.fileno(), False)
            rest, heard = b"", time.monotonic()
            while selector.select(PATIENCE):
                part = stream.read()
                if not part:
                    return current
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    if "index" in said:
                        current = said["index"]
                    else:
                        self._take(current, said)
                        current = None
                    tell(self.tally)
                heard = time.monotonic()
        assert time.monotonic() - heard >= PATIENCE
        return current

    def _take(self, index: int | None, said: dict[str, Any]) -> None:
        assert index is not None
        self.tally.slowest = max(self.tally.slowest, said["seconds"])
        if said["outcome"] in ("refused", "accepted"):
            setattr(self.tally, said["outcome"], getattr(self.tally, said["outcome"]) + 1)
        else:
            self._fail(index, said["outcome"], said["text"])

    def _fail(self, index: int, how: str, text: str) -> None:
        kind = FORMATS[self.name]()
        file = self._folder / f"{self.name}_{self._seed}_{index}{kind.suffix}"
        file.write_bytes(draw(kind, self.name, self._seed, index))
        with contextlib.suppress(OSError):
            file.with_suffix(f"{kind.suffix}.why").write_text(f"{how}\n{text}", encoding="utf-8")
        self.tally.failures.append({"index": index, "how": how, "file": file.name, "text": text[-500:]})
