"""`dpvp run --realtime`: nodes and solver do for their timing what they may, say so, and tell how long things take."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dpvp.control.latency import STAGES, Histogram
from dpvp.realtime import RANKS, SOLVER
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.ros.bringup import Bringup
from dpvp.ros.session import Session, session
from dpvp.scenario import Scenario, load_scenario
from unlearned import UNLEARNED

pytestmark = pytest.mark.alone

SETTINGS = (*UNLEARNED, "rates.feedback=500", "rates.sensor=250", "rates.plan=20")  # for any machine


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    """Nodes that follow plans in real time, and the folder of their logs."""
    runs = tmp_path_factory.mktemp("runs")
    draft: Scenario = load_scenario("kuka_reach", SETTINGS)
    run_dir = new_run_dir(draft, runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", "63")
        bringup = Bringup(plant="dpvp", start="false", record=False, realtime=True)
        with session(resolved(draft, run_dir), bringup, run_dir) as running:
            running.pilot.aim(np.array(draft.goal))
            running.pilot.ask("mpc_node/start")
            yield running, run_dir


def rank_of(pid: int) -> int:
    """Return the priority of a process; 0: it is an ordinary one."""
    ordinary = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
    return 0 if ordinary else os.sched_getparam(pid).sched_priority


def ranks_said(log: Path, role: str) -> list[int]:
    """Return the ranks that the log says processes of `role` have taken, 0 for each that was refused."""
    rank = RANKS[role]
    words = re.findall(rf"rank: SCHED_FIFO {rank}(:?)", log.read_text(encoding="utf-8"))
    return [0 if refused else rank for refused in words]


def test_every_process_has_the_rank_that_it_says(nodes: tuple[Session, Path]) -> None:
    running, run_dir = nodes
    pids = {name: running.processes.pid(name) for name in ("world_node", "mpc_node")}
    for role, pid in (pids | {SOLVER: int(running.pilot.loop["solver_pid"])}).items():
        log = run_dir / f"{'mpc_node' if role == SOLVER else role}.log"
        assert ranks_said(log, role) == [rank_of(pid)], log.read_text(encoding="utf-8")


def test_every_stage_is_timed(nodes: tuple[Session, Path]) -> None:
    running, _ = nodes
    running.pilot.wait(2.0)
    report = running.pilot.loop
    found = {stage: Histogram.parse(report[f"latency_{stage}_histogram"]) for stage in STAGES}
    assert all(histogram.count > 0 for histogram in found.values())
    assert found["solve"].count == found["guess"].count == found["check"].count == int(report["plans"])
    whole, state = (float(report[f"latency_{stage}_ms_p50"]) for stage in ("whole", "state"))
    assert 0.0 <= state < whole


def test_the_loop_rests(nodes: tuple[Session, Path]) -> None:
    """Who computes for a second without a rest says so and loses its rank; without a rank the kernel does not watch."""
    running, run_dir = nodes
    running.pilot.wait(2.0)
    assert "without a rest" not in (run_dir / "mpc_node.log").read_text(encoding="utf-8")


def test_a_solver_started_anew_takes_its_rank_anew(nodes: tuple[Session, Path]) -> None:
    running, run_dir = nodes
    before = running.pilot.loop["solver_pid"]
    os.kill(int(before), signal.SIGKILL)
    for _ in range(600):
        running.pilot.wait(0.1)
        if running.pilot.loop["solver_pid"] != before and len(ranks_said(run_dir / "mpc_node.log", SOLVER)) == 2:
            break
    pid = int(running.pilot.loop["solver_pid"])
    assert ranks_said(run_dir / "mpc_node.log", SOLVER)[1] == rank_of(pid)
