"""process.py, server.py: the planner in a process of its own answers as it would here, and ends with its purpose."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.plan import Plan
from dpvp.planning.build import Planning, build_planning
from dpvp.planning.process import SolverProcess
from dpvp.planning.solved import Solved
from dpvp.robot import Robot
from dpvp.scenario import Scenario, load_scenario
from unlearned import UNLEARNED

Array = NDArray[np.float64]
PATIENCE = 60.0  # s; nothing here takes a second on a machine with time
# no clock in the result: as many iterations as allowed, whatever they take
EXACT = ("planner.horizon=8", "planner.iterations=2", "planner.budget=1000")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A scenario with a short horizon, in a file of its own."""
    file = tmp_path_factory.mktemp("scenario") / "small.yaml"
    load_scenario("kuka_reach", (*UNLEARNED, *EXACT)).save(file)
    return load_scenario(str(file))


@contextlib.contextmanager
def started(scenario: Scenario) -> Iterator[SolverProcess]:
    process = SolverProcess(Path(scenario.file), scenario)
    try:
        assert process.wait_ready(PATIENCE)
        yield process
    finally:
        process.close()


@pytest.fixture(scope="module")
def solver(small: Scenario) -> Iterator[SolverProcess]:
    with started(small) as process:
        yield process


@pytest.fixture
def here(small: Scenario, at_rest: Array, goal: Array) -> Planning:
    """The same planner in this process."""
    planning = build_planning(small)
    planning.plan(at_rest, goal, 0.0, None)
    return planning


def answer(solver: SolverProcess, x: Array, goal: Array, t: float, *, fresh: bool = False) -> Plan:
    solver.post(x, goal, t, fresh=fresh)
    plan = solver.wait(PATIENCE)
    assert plan is not None
    return plan


def same(found: Plan, expected: Plan) -> bool:
    """True if both plans are equal bit for bit, apart from the time they took."""
    arrays = all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in ("xs", "us", "gains"))
    names = ("t0", "dt", "cost", "guess_cost", "guess", "status", "iterations")
    return arrays and all(getattr(found, name) == getattr(expected, name) for name in names)


def until(condition: Callable[[], bool]) -> bool:
    """Wait for `condition`; False if it does not come true."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def runs(pid: int) -> bool:
    """True while there is such a process that has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


class TestAnswers:
    """What comes back is what the planner here would say."""

    def test_bit_for_bit(self, solver: SolverProcess, here: Planning, at_rest: Array, goal: Array) -> None:
        previous: Plan | None = None
        rng = np.random.default_rng(0)
        x, guesses = at_rest, []
        for k in range(8):
            t = 0.01 * k
            plan = answer(solver, x, goal, t, fresh=k == 0)
            previous = here.plan(x, goal, t, previous)
            assert same(plan, previous)
            guesses.append(plan.guess)
            assert plan.timings.total > 0.0
            x = plan.at(t + 0.01) + rng.normal(0, 1e-3, 14)
        assert guesses[0] == "hold"
        assert "shift" in guesses  # the server's previous plan is ours

    def test_a_fresh_state_forgets_the_previous_plan(
        self, solver: SolverProcess, here: Planning, at_rest: Array, goal: Array
    ) -> None:
        plan, t = answer(solver, at_rest, goal, 0.0, fresh=True), 0.0
        while plan.guess != "shift":  # it pays to go on with the plan at hand
            t += 0.01
            plan = answer(solver, plan.at(t), goal, t)
            assert t < 0.5
        x = plan.at(t + 0.01)
        assert answer(solver, x, goal, t + 0.01).guess == "shift"
        afresh = answer(solver, x, goal, t + 0.01, fresh=True)
        assert afresh.guess == "hold"
        assert same(afresh, here.plan(x, goal, t + 0.01, None))

    def test_a_new_goal_is_taken_with_the_state(
        self, solver: SolverProcess, here: Planning, robot: Robot, at_rest: Array
    ) -> None:
        elsewhere = robot.frame_position(np.full(7, 0.5))
        plan = answer(solver, at_rest, elsewhere, 0.0, fresh=True)
        assert same(plan, here.plan(at_rest, elsewhere, 0.0, None))

    def test_nonsense_is_answered_and_leaves_nothing_behind(
        self, solver: SolverProcess, here: Planning, at_rest: Array, goal: Array
    ) -> None:
        plan = answer(solver, np.full(14, np.nan), goal, 0.0, fresh=True)
        assert not plan.status.usable
        assert same(answer(solver, at_rest, goal, 0.01, fresh=True), here.plan(at_rest, goal, 0.01, None))

    def test_it_is_busy_until_the_answer_is_taken(self, solver: SolverProcess, at_rest: Array, goal: Array) -> None:
        assert solver.busy_since is None
        solver.post(at_rest, goal, 0.0)
        assert solver.busy_since is not None
        assert solver.wait(PATIENCE) is not None
        assert solver.busy_since is None
        assert solver.take() is None

    def test_the_newest_state_is_answered(self, solver: SolverProcess, at_rest: Array, goal: Array) -> None:
        """Posting faster than the solver thinks loses states, never the last one."""
        for k in range(20):
            solver.post(at_rest, goal, float(k))
        times = []
        while not times or times[-1] != 19.0:
            plan = solver.wait(PATIENCE)
            assert plan is not None
            times.append(plan.t0)
        assert times == sorted(times)


class TestEnds:
    """Whoever goes first, nobody is left behind or left waiting."""

    def test_a_killed_solver_is_noticed(self, small: Scenario, at_rest: Array, goal: Array) -> None:
        before = descriptors()
        with started(small) as process:
            os.kill(process.pid, signal.SIGKILL)
            assert until(lambda: not process.alive)
            assert not process.ready
            process.post(at_rest, goal, 0.0)  # is no error
            assert process.wait(PATIENCE) is None
            assert process.busy_since is not None
        process.close()  # again is harmless
        assert descriptors() == before

    def test_closing_ends_it(self, small: Scenario) -> None:
        with started(small) as process:
            assert runs(process.pid)
        assert not runs(process.pid)

    def test_it_ends_with_the_process_that_started_it(self, small: Scenario) -> None:
        """No orphan, even where the loop had no chance to say goodbye."""
        program = (
            "import sys, pathlib\n"
            "from dpvp.planning.process import SolverProcess\n"
            "from dpvp.scenario import load_scenario\n"
            "first, second = (SolverProcess(pathlib.Path(sys.argv[1]), load_scenario(sys.argv[1])) for _ in range(2))\n"
            "assert first.wait_ready(60) and second.wait_ready(60)\n"
            "print(first.pid, second.pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        loop = subprocess.Popen(
            [sys.executable, "-c", program, small.file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert loop.stdout is not None
        pids = [int(word) for word in loop.stdout.readline().split()]
        try:
            assert len(pids) == 2
            assert all(runs(pid) for pid in pids)
            loop.kill()
            loop.communicate()
            assert until(lambda: not any(runs(pid) for pid in pids))
        finally:
            loop.kill()
            for pid in pids:
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)

    def test_a_scenario_that_cannot_work_ends_it_with_a_message(
        self, small: Scenario, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        broken = tmp_path / "broken.yaml"
        broken.write_text(Path(small.file).read_text(encoding="utf-8").replace("horizon: 8", "horizon: 0"))
        process = SolverProcess(broken, small)
        try:
            assert not process.wait_ready(PATIENCE)
            assert until(lambda: not process.alive)
        finally:
            process.close()
        said = capfd.readouterr().err
        assert "ERROR solver: " in said
        assert "broken.yaml: planner.horizon = 0" in said
        assert "Traceback" not in said


def test_who_listens_hears_every_ask_and_what_became_of_it(small: Scenario, at_rest: Array, goal: Array) -> None:
    heard: list[Solved] = []
    process = SolverProcess(Path(small.file), small, heard.append)
    try:
        assert process.wait_ready(PATIENCE)
        plan = answer(process, at_rest, goal, 1.0, fresh=True)
        process.post(at_rest, goal + 0.01, 1.1)  # and nobody waits for the answer
    finally:
        process.close()
    assert [(one.ask.number, one.ask.t, one.ask.fresh) for one in heard] == [(0, 1.0, True), (1, 1.1, False)]
    assert {one.ask.solver for one in heard} == {process.pid}
    assert np.array_equal(heard[0].ask.x, at_rest)
    assert np.array_equal(heard[1].ask.goal, goal + 0.01)
    assert heard[0].plan is plan
    assert heard[1].plan is None
    assert heard[0].waited >= plan.timings.total
