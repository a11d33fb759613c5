"""realtime.py: what it says of a process is so, with permission and without, and nothing else is disturbed.

Each test asks a process of its own: this one keeps its collector and its place among the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.realtime import CORES_TO_SHARE_OUT, RANKS, SOLVER, cores_for, realtime

PRELUDE = """
import ctypes, gc, json, logging, os, resource, signal, subprocess, sys, threading, time
from dpvp.kernel import process_field
from dpvp import realtime
FIFO = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
def forbid():
    for which in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(which, (0, 0))
    if os.getuid() == 0:
        os.setuid(65534)  # and with it go the capabilities
def policies():
    return [os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")]
def measured():
    return {measure.name: [measure.done, measure.found, measure.remedy] for measure in realtime.take_measures(ROLE)}
"""
MANAGER = 50  # lowest priority of ros2_control's manager


def asked(code: str, role: str = "mpc_node", **environment: str) -> Any:
    """Run `code` after the prelude and return what it prints, as JSON."""
    program = f"ROLE = {role!r}\n{PRELUDE}\n{code}"
    given = os.environ | realtime(role) | environment
    done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_it_says_is_so() -> None:
    said, found = asked(
        "said = measured()\n"
        "slack = ctypes.CDLL(None).prctl(30, 0, 0, 0, 0)\n"
        "found = [process_field('VmLck') != '0 kB', not gc.isenabled(), gc.get_freeze_count() > 1000, slack,"
        "         policies(), FIFO, os.sched_getparam(0).sched_priority]\n"
        "print(json.dumps([said, found]))"
    )
    locked, collector_off, frozen, slack, policies, fifo, priority = found
    assert list(said) == ["threads", "garbage collector", "memory", "heap", "timers", "cores", "rank"]
    assert (said["memory"][0], said["garbage collector"][0]) == (locked, collector_off and frozen)
    assert said["rank"][0] == (set(policies) == {fifo} and priority == RANKS["mpc_node"])
    assert said["timers"][0] == (slack <= 1)
    assert all(done or remedy for done, _, remedy in said.values())


def test_without_permission_it_runs_and_says_how_to_permit_it() -> None:
    said, policies, locked = asked(
        "forbid()\nsaid = measured()\nprint(json.dumps([said, policies(), process_field('VmLck')]))"
    )
    assert {name for name, (done, *_) in said.items() if not done} == {"memory", "rank"}
    assert set(policies) <= {0, os.SCHED_RESET_ON_FORK}
    assert locked == "0 kB"
    for name, words in (("memory", ("RLIMIT_MEMLOCK is 0 MiB", "memlock unlimited")), ("rank", ("38", "rtprio"))):
        assert all(word in " ".join(said[name][1:]) for word in (*words, "/etc/security/limits.d/", "--ulimit"))


def test_a_limit_of_memory_that_ends_some_day_is_not_used() -> None:
    """mlockall would take it now, and allocations would fail when it is used up."""
    done, found, _ = asked(
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**20, 2**20))\n"
        "realtime._capable = lambda name: False\n"
        "print(json.dumps(measured()['memory']))"
    )
    assert not done
    assert "RLIMIT_MEMLOCK is 1 MiB" in found


def test_threads_that_were_not_limited_are_told() -> None:
    done, found, remedy = asked("print(json.dumps(measured()['threads']))", OMP_NUM_THREADS="4")
    assert (done, found) == (False, "OMP_NUM_THREADS is 4")
    assert "OMP_NUM_THREADS=1" in remedy


def test_children_are_ordinary_processes() -> None:
    """A solver that is started anew, inherits no rank and no locked memory."""
    child = "import os; print(os.sched_getscheduler(0))"
    assert asked(f"measured()\nprint(int(subprocess.check_output([sys.executable, '-c', {child!r}])))") == 0


def test_who_spins_steps_back_with_all_threads() -> None:
    """The kernel's word for it is SIGXCPU."""
    before, after, limits = asked(
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "measured()\n"
        "before = policies()\n"
        "signal.raise_signal(signal.SIGXCPU)\n"
        "print(json.dumps([before, policies(), resource.getrlimit(resource.RLIMIT_RTTIME)]))"
    )
    assert len(before) == len(after) == 2
    assert set(after) <= {0, os.SCHED_RESET_ON_FORK}
    if set(before) == {os.SCHED_FIFO | os.SCHED_RESET_ON_FORK}:
        assert limits == [1_000_000, 5_000_000]


@pytest.mark.parametrize("role", ["", "mpc_node"])
def test_only_who_is_asked_settles_and_says_so(role: str) -> None:
    lines = asked(
        "lines = []\n"
        "class Say(logging.Handler):\n"
        "    def emit(self, record): lines.append([record.levelname, record.getMessage()])\n"
        "logging.getLogger('dpvp').addHandler(Say())\n"
        "logging.getLogger('dpvp').setLevel(logging.INFO)\n"
        "forbid()\n"
        "realtime.settle(logging.getLogger('dpvp.test'), 'solver')\n"
        "print(json.dumps([lines, gc.isenabled()]))",
        DPVP_REALTIME=role,
    )
    if not role:
        assert lines == [[], True]
        return
    (first, *warnings), enabled = lines
    assert first[0] == "INFO"
    assert "garbage collector: off" in first[1]
    assert [level for level, _ in warnings] == ["WARNING", "WARNING"]
    assert f"SCHED_FIFO {RANKS[SOLVER]}" in warnings[1][1]
    assert not enabled


def test_ranks_lie_below_the_manager_of_the_robot_and_solve_last() -> None:
    order = ["world_node", "supervisor_node", "estimator_node", "mpc_node", SOLVER]
    assert sorted(RANKS, key=RANKS.__getitem__, reverse=True) == order
    assert min(RANKS.values()) >= 30
    assert max(RANKS.values()) < MANAGER


def test_who_has_no_role_gets_no_environment() -> None:
    assert realtime("record_node") == {}
    assert realtime("mpc_node")["OMP_NUM_THREADS"] == "1"


cores = st.sets(st.integers(0, 63), min_size=1, max_size=12)


@given(cores, st.sets(st.integers(0, 63), max_size=4))
def test_cores_are_shared_out_where_there_are_enough(allowed: set[int], isolated: set[int]) -> None:
    found = {role: cores_for(role, allowed, isolated) for role in RANKS}
    assert all(chosen and chosen <= allowed | isolated for chosen in found.values())
    if len(allowed | isolated) < CORES_TO_SHARE_OUT:
        assert all(chosen == allowed for chosen in found.values())
        return
    assert len(found[SOLVER]) == len(found["world_node"]) == 1
    assert found[SOLVER] != found["world_node"]
    if isolated:
        assert found[SOLVER] <= isolated


def test_two_cores_are_left_to_all() -> None:
    assert {frozenset(cores_for(role, {0, 1})) for role in RANKS} == {frozenset({0, 1})}


def test_the_rest_keeps_off_the_cores_of_solver_and_plant() -> None:
    assert cores_for("mpc_node", range(8)) == set(range(6))
    assert cores_for("mpc_node", {0, 1}, {2, 3}) == {0, 1}
