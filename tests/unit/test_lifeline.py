"""Children end with the process that started them, whenever that dies."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from dpvp.ros.lifeline import DIE_WITH_PARENT, lifeline

CHILD = """
import time
from dpvp.ros.lifeline import hold_lifeline
hold_lifeline()
print("held", flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
from dpvp.ros.lifeline import lifeline
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | lifeline(), stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_parent_takes_its_child_along() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    watch = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    assert ends(watch)


def test_a_parent_that_died_before_the_child_was_ready() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    orphan = os.environ | {DIE_WITH_PARENT: str(gone.pid)}
    child = subprocess.run([sys.executable, "-c", CHILD], env=orphan, timeout=30, check=False, capture_output=True)
    assert child.returncode == -signal.SIGINT


@pytest.mark.parametrize("environment", [{}, lifeline()])
def test_everybody_else_lives(environment: dict[str, str]) -> None:
    words = [sys.executable, "-c", CHILD.replace("60", "0.1")]
    child = subprocess.run(words, env=os.environ | environment, timeout=30, check=False, capture_output=True)
    assert (child.returncode, child.stdout) == (0, b"held\n")


def ends(watch: int) -> bool:
    """Say whether the process behind a pidfd ends within 20 s."""
    return bool(select.select([watch], [], [], 20.0)[0])
