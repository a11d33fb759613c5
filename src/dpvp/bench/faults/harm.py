"""What is done to running nodes: processes killed, stopped and starved, a full disk, a wrong artifact, a wrong clock."""

# ruff: noqa: E501 (a row of a table is a line)
from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpvp.bench.faults.catalogue import DAMPED, HELD
from dpvp.bench.faults.fault import Fault, Kind, Safe
from dpvp.bench.faults.stage import Stage
from dpvp.learned.contract import FILE

FOLLOW, HOLD, DAMP = Safe
BUSY = "while True: pass"
PATIENCE = 20.0  # s

Harm = Callable[[Stage, float, np.random.Generator], None]  # blocks for about the seconds it is given


@dataclass(frozen=True)
class RealKind(Kind):
    """A kind of fault of running nodes.

    Attributes:
        harm: does it, and undoes it.
        again: nodes that are started again afterwards, as whoever looks after them would.
    """

    harm: Harm = lambda stage, seconds, rng: None
    again: tuple[str, ...] = ()


def pause(name: str) -> Harm:
    """Stop a process by SIGSTOP, and let it go on."""

    def harm(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
        pid = stage.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            stage.spin(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    return harm


def kill(name: str) -> Harm:
    """Kill a process."""

    def harm(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
        os.kill(stage.pid(name), signal.SIGKILL)
        stage.spin(seconds)

    return harm


def hog(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
    """Let processes run that take all the time of all cores."""
    count = 2 * len(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        stage.spin(seconds)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def press(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
    """Press the emergency stop, and release it."""
    stage.others.say_stop(pressed=True)
    stage.spin(seconds)
    stage.others.say_stop(pressed=False)
    stage.spin(0.2)


def fill_disk(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
    """Let the recorder's file grow no further, as on a disk that is full."""
    file, end = stage.run_dir / "run.mcap", time.monotonic() + PATIENCE
    while not file.exists() and time.monotonic() < end:  # it may just have been started again
        stage.spin(0.1)
    size = file.stat().st_size
    resource.prlimit(stage.pid("record_node"), resource.RLIMIT_FSIZE, (size + 1, size + 1))
    stage.spin(seconds)


def turn_clock(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
    """Publish another time on /clock, between the messages of the plant."""
    away, end = float(rng.uniform(1.0, 100.0)), time.monotonic() + seconds
    with stage.others.clock() as say:
        while time.monotonic() < end:
            say(stage.pilot.now + away)
            stage.spin(0.01)


def swap_artifact(stage: Stage, seconds: float, rng: np.random.Generator) -> None:
    """Replace a graph of the artifact while the nodes run, and kill the solver, so that it reads it."""
    with _spoilt_artifact(stage):
        os.kill(stage.pid("solver"), signal.SIGKILL)
        stage.spin(seconds)


@contextmanager
def _spoilt_artifact(stage: Stage) -> Iterator[None]:
    """Exchange a graph of the stage's own copy of the artifact for another of its graphs, or for its contract."""
    folder = Path(str(stage.scenario.config.artifact))
    graph, *others = sorted(folder.glob("*.onnx"))
    kept = graph.with_suffix(".kept")
    shutil.copy(graph, kept)
    shutil.copy(others[-1] if others else folder / FILE, graph)
    try:
        yield
    finally:
        shutil.move(kept, graph)


def _kind(
    name: str, text: str, harm: Harm, lasts: tuple[float, float], safe: Safe, *words: str, **more: object
) -> RealKind:
    return RealKind(name, text, Fault, lasts, safe, words, harm=harm, **more)  # type: ignore[arg-type]


SHORT, LONG = (0.7, 1.5), (2.6, 3.2)  # s
# fmt: off
REAL_KINDS: tuple[RealKind, ...] = (
    _kind("pause_solver", "the solver is stopped (SIGSTOP)", pause("solver"), SHORT, HOLD, *HELD),
    _kind("pause_mpc_node", "the loop is stopped (SIGSTOP)", pause("mpc_node"), SHORT, HOLD, *HELD),
    _kind("pause_mpc_node_long", "the same for longer than the robot may be held", pause("mpc_node"), LONG, DAMP, *DAMPED),
    _kind("pause_supervisor", "the supervisor is stopped (SIGSTOP)", pause("supervisor_node"), SHORT, HOLD, *HELD),
    _kind("pause_world", "the plant is stopped (SIGSTOP)", pause("world_node"), SHORT, FOLLOW, *HELD, ours=False),
    _kind("pause_recorder", "the recorder is stopped (SIGSTOP)", pause("record_node"), SHORT, FOLLOW),
    _kind("kill_solver", "the solver is killed (SIGKILL)", kill("solver"), SHORT, HOLD, *HELD),
    _kind("kill_mpc_node", "the loop is killed (SIGKILL)", kill("mpc_node"), SHORT, HOLD, *HELD, again=("mpc_node",)),
    _kind("kill_mpc_node_long", "the same, and nobody starts it again for long", kill("mpc_node"), LONG, DAMP, *DAMPED, again=("mpc_node",)),
    _kind("kill_supervisor", "the supervisor is killed (SIGKILL)", kill("supervisor_node"), SHORT, HOLD, *HELD, again=("supervisor_node",)),
    _kind("kill_recorder", "the recorder is killed (SIGKILL)", kill("record_node"), SHORT, FOLLOW, again=("record_node",)),
    _kind("stop_pressed", "the operator presses the stop", press, SHORT, DAMP, *DAMPED),
    _kind("cpu_hog", "processes want all the time of all cores", hog, SHORT, FOLLOW),
    _kind("disk_full", "the recorder's disk is full", fill_disk, SHORT, FOLLOW, again=("record_node",)),
    _kind("clock_turned", "somebody else publishes /clock, 1 to 100 s ahead", turn_clock, SHORT, FOLLOW),
    _kind("artifact_swapped", "a graph of the artifact is exchanged, and the solver starts again", swap_artifact, (6.0, 8.0), HOLD, *HELD, learned=True),
)
# fmt: on
