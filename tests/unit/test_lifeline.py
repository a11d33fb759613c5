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
NODE = """
import sys, time
from dpvp.ros.node import run_node
def make():
    print("making", flush=True)
    time.sleep(60)
sys.exit(run_node(make, []))
"""
SPINNING = """
import sys
from rclpy.node import Node
from dpvp.ros.node import run_node
class Spinning(Node):
    def spin_some(self, executor):
        print("spinning", flush=True)
        executor.spin_once(timeout_sec=0.01)
sys.exit(run_node(lambda: Spinning("spinning"), []))
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


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_still_being_made_ends_too(sign: signal.Signals) -> None:
    """A solver may take a minute to be ready; nobody waits for it who does not want it any more."""
    node = subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    assert node.stdout.readline() == "making\n"
    node.send_signal(sign)
    assert node.wait(timeout=30) == 0


@pytest.mark.parametrize("said", ["making\n", "spinning\n"])
def test_signals_that_come_all_at_once_end_a_node_as_one_does(said: str) -> None:
    """The death of a parent and the Ctrl-C that killed it come together; so did a node once hang for ever."""
    program = NODE if said == "making\n" else SPINNING
    for _ in range(3):
        node = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert node.stdout is not None
        assert node.stdout.readline() == said
        for sign in 200 * [signal.SIGINT, signal.SIGTERM]:
            node.send_signal(sign)
        node.stdout.close()
        assert node.wait(timeout=30) is not None


@pytest.mark.parametrize("environment", [{}, lifeline()])
def test_everybody_else_lives(environment: dict[str, str]) -> None:
    words = [sys.executable, "-c", CHILD.replace("60", "0.1")]
    child = subprocess.run(words, env=os.environ | environment, timeout=30, check=False, capture_output=True)
    assert (child.returncode, child.stdout) == (0, b"held\n")


def ends(watch: int) -> bool:
    """Say whether the process behind a pidfd ends within 20 s."""
    return bool(select.select([watch], [], [], 20.0)[0])
