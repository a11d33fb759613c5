"""mailbox.py: only the newest record, never a torn one, whatever happens to the other process."""

from __future__ import annotations

import gc
import os
import signal
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.planning.mailbox import SLOTS, Mailbox, Record

WORDS = 500  # 4 kB, the size of a plan
RECORD = np.dtype([("number", "i8"), ("words", "i8", WORDS), ("checksum", "u4"), ("odd", "?")])
EXCHANGES = 100_000
KILLS = 20


def record(number: int) -> Record:
    filled = np.zeros((), RECORD)
    filled["number"], filled["words"] = number, np.arange(WORDS) + number
    filled["checksum"] = zlib.crc32(filled["words"].tobytes())
    filled["odd"] = number % 2
    return filled


def whole(taken: Record) -> bool:
    """True if every part of the record belongs to the same number."""
    number = int(taken["number"])
    intact = zlib.crc32(taken["words"].tobytes()) == int(taken["checksum"])
    return intact and int(taken["words"][0]) == number and bool(taken["odd"]) == bool(number % 2)


def other_process(work: Callable[[], None]) -> int:
    """Fork a process that does `work` and return its id."""
    if pid := os.fork():
        return pid
    try:
        work()
    finally:
        os._exit(0)


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@given(posts=st.lists(st.integers(0, 3), max_size=20))
def test_it_gives_the_newest_once(posts: list[int]) -> None:
    """After each burst of posts one take gives the last of them, the next one nothing."""
    box, number = Mailbox(RECORD), 0
    for burst in posts:
        for _ in range(burst):
            number += 1
            box.post(record(number))
        taken = box.take()
        assert (taken is None) == (burst == 0)
        if taken is not None:
            assert taken.tobytes() == record(number).tobytes()
        assert box.take() is None
    box.close()


def test_more_posts_than_slots() -> None:
    box = Mailbox(RECORD)
    for number in range(3 * SLOTS + 1):
        box.post(record(number))
    taken = box.take()
    assert taken is not None
    assert int(taken["number"]) == 3 * SLOTS
    box.close()


def test_a_taken_record_is_a_copy() -> None:
    box = Mailbox(RECORD)
    box.post(record(1))
    taken = box.take()
    for number in range(2, 2 + SLOTS):
        box.post(record(number))
    assert taken is not None
    assert taken.tobytes() == record(1).tobytes()
    box.close()


def test_both_ends_see_the_same_memory() -> None:
    mine = Mailbox(RECORD)
    theirs = Mailbox(RECORD, os.dup(mine.fd))
    theirs.post(record(5))
    taken = mine.take()
    assert taken is not None
    assert int(taken["number"]) == 5
    mine.close()
    theirs.post(record(6))  # the other end being gone disturbs nobody
    theirs.close()


def test_ends_that_disagree_on_the_record_are_refused() -> None:
    box = Mailbox(RECORD)
    with pytest.raises(ValueError, match=r"mailbox of \d+ bytes"):
        Mailbox(np.dtype([("number", "i8")]), box.fd)
    box.close()


def test_numbers_lie_on_words_of_their_own() -> None:
    """Only aligned words are read and written in one piece."""
    box = Mailbox(RECORD)
    assert RECORD.itemsize % 8  # the case that needs care
    assert box._newest.flags.aligned
    assert box._slots["number"].flags.aligned
    box.close()


def test_a_reader_disturbed_while_it_copies_takes_the_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer laps the reader in the middle of its copy."""
    box = Mailbox(RECORD)
    box.post(record(1))

    class Disturbed:
        """The slots, whose first copy is overtaken by a full round of posts."""

        def __init__(self, slots: np.ndarray) -> None:
            self.slots, self.lapped = slots, False

        def __getitem__(self, index: int | slice) -> object:
            slot = self.slots[index]
            if isinstance(index, slice) or self.lapped:
                return slot
            self.lapped = True
            torn = slot.copy()
            for number in range(2, 2 + SLOTS):
                box.post(record(number))
            torn["number"] = slot["number"]
            return torn

    monkeypatch.setattr(box, "_slots", Disturbed(box._slots))
    taken = box.take()
    assert taken is not None
    assert int(taken["number"]) == 1 + SLOTS
    assert whole(taken)
    monkeypatch.undo()
    box.close()


def test_no_torn_record_while_writers_are_killed() -> None:
    """A hundred thousand posts by processes that are killed in the middle of posting."""
    box = Mailbox(RECORD)
    newest = takes = 0

    def keep_posting() -> None:
        number = int(box._newest[0])  # of posts so far, by whichever process
        while number < EXCHANGES + 1:
            number += 1
            box.post(record(number))

    for life in range(1, KILLS + 1):
        writer = other_process(keep_posting)
        while newest < life * EXCHANGES // KILLS:
            if (taken := box.take()) is None:
                continue
            assert whole(taken)
            assert int(taken["number"]) > newest
            newest, takes = int(taken["number"]), takes + 1
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        if (left := box.take()) is not None:  # what a killed writer leaves is whole as well
            assert whole(left)
            newest = int(left["number"])
    assert newest >= EXCHANGES
    assert takes > KILLS
    box.close()


def test_a_killed_reader_does_not_stop_the_writer() -> None:
    box = Mailbox(RECORD)

    def keep_taking() -> None:
        while True:
            box.take()

    reader = other_process(keep_taking)
    for number in range(1, 1001):
        box.post(record(number))
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    box.post(record(1001))
    taken = box.take()
    assert taken is not None
    assert int(taken["number"]) == 1001
    box.close()


def test_closing_gives_everything_back() -> None:
    before = descriptors()
    for number in range(200):
        box = Mailbox(RECORD)
        box.post(record(number))
        assert box.take() is not None
        box.close()
        box.close()  # again is harmless
    assert descriptors() == before
