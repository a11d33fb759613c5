"""The executor: same answers wherever they are computed, and processes that die, are interrupted or left behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.cluster_utils import Cluster

import picklable
from dpvp.errors import EnvironmentProblem
from dpvp_training.core.executor import Executor, make_executor

pytestmark = pytest.mark.slow  # minutes on a busy machine: `make test-slow`

ITEMS = [(seed, 0.05 * (seed % 3)) for seed in range(12)]
EXPECTED = {i: picklable.noisy_sum((seed, 0.0)) for i, (seed, _) in enumerate(ITEMS)}


@pytest.fixture(scope="module")
def local() -> Iterator[Executor]:
    with make_executor("local", workers=2) as executor:
        yield executor


class TestLocal:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_answers_do_not_depend_on_the_number_of_workers(self, workers: int) -> None:
        with make_executor("local", workers=workers) as executor:
            answers = list(executor.map(picklable.noisy_sum, ITEMS))
        assert len(answers) == len(ITEMS)
        assert dict(answers) == EXPECTED

    @settings(max_examples=10)
    @given(items=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 0.01)), max_size=8))
    def test_every_item_has_one_answer(self, local: Executor, items: list[tuple[int, float]]) -> None:
        answers = list(local.map(picklable.noisy_sum, items))
        assert sorted(index for index, _ in answers) == list(range(len(items)))
        assert all(result == picklable.noisy_sum((items[index][0], 0.0)) for index, result in answers)

    def test_answers_come_as_they_are_ready(self, local: Executor, tmp_path: Path) -> None:
        file = tmp_path / "go"
        answers = local.map(picklable.number_when_there, [(0, file), (1, tmp_path), (2, tmp_path)])
        assert sorted([next(answers), next(answers)]) == [(1, 1), (2, 2)]
        file.touch()
        assert list(answers) == [(0, 0)]

    def test_workers_have_one_thread(self, local: Executor) -> None:
        assert {result for _, result in local.map(picklable.threads, range(4))} == {("1", 1)}

    def test_one_worker_is_another_process_too(self) -> None:
        with make_executor("local", workers=1) as executor:
            assert os.getpid() not in {result[0] for _, result in executor.map(picklable.kept, range(4)) if result}

    def test_a_process_keeps_what_it_has_made(self, local: Executor) -> None:
        found = [result for _ in range(2) for _, result in local.map(picklable.kept, range(6))]
        made = {pid: {what for p, what in found if p == pid} for pid, _ in found}
        assert all(len(several) == 1 for several in made.values())
        assert len(made) <= 2

    def test_what_the_function_raises_ends_the_map(self, local: Executor) -> None:
        with pytest.raises(ValueError, match="two is refused"):
            list(local.map(picklable.refuse, range(5)))
        assert dict(local.map(picklable.noisy_sum, ITEMS[:2])) == {i: EXPECTED[i] for i in (0, 1)}

    @pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
    def test_a_map_may_be_left(self, local: Executor, tmp_path: Path) -> None:
        never = tmp_path / "never"
        for _ in local.map(picklable.number_when_there, [(0, tmp_path), (1, never), (2, never)]):
            break
        assert dict(local.map(picklable.noisy_sum, ITEMS[:2])) == {i: EXPECTED[i] for i in (0, 1)}

    @pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
    def test_whoever_fails_leaves_no_worker_behind(self, tmp_path: Path) -> None:
        def fail() -> None:
            with make_executor("local", workers=2) as executor:
                for _ in executor.map(picklable.endless_after_the_first, [(0, tmp_path), (1, tmp_path), (2, tmp_path)]):
                    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
                    raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert not any(is_alive(int(file.name)) for file in tmp_path.iterdir())

    @pytest.mark.parametrize("workers", [1, 2])
    def test_an_item_that_kills_its_process_is_left_out(
        self, workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with make_executor("local", workers=workers) as executor, caplog.at_level(logging.WARNING):
            answers = list(executor.map(picklable.deadly, [(number, tmp_path) for number in range(9)]))
        assert sorted(answers) == [(number, None if number == 3 else number) for number in range(9)]
        assert "item 3 has taken its process down twice and is left out: (3, " in caplog.text
        assert (tmp_path / "attempts").read_text().split().count("3") <= 3


# Maps an endless function over two items.
ENDLESS = """
import sys
from pathlib import Path
import picklable
from dpvp_training.core.executor import make_executor
with make_executor("local", workers=2) as executor:
    list(executor.map(picklable.endless, [Path(sys.argv[1])] * 2))
"""


def path_of_tests() -> str:
    return os.pathsep.join([str(Path(picklable.__file__).parent), os.environ.get("PYTHONPATH", "")])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_main_process(end: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": path_of_tests()}
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        pids = [int(file.name) for file in tmp_path.iterdir()]
        assert all(map(is_alive, pids))
        process.send_signal(end)
        process.wait(60)
        wait_until(lambda: not any(map(is_alive, pids)))
        assert process.stderr is not None
        words = process.stderr.read()
    if end == signal.SIGINT:
        assert words.rstrip().endswith("KeyboardInterrupt")
        assert words.count("Traceback") == 1  # that of the main process


@pytest.fixture(scope="module")
def _alone() -> Iterator[None]:
    """Nothing is sent anywhere, and no token of this machine's user is asked for or made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path_of_tests())  # what a node's workers import has to be there
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def cluster(_alone: None) -> Iterator[str]:
    """The address of a cluster of two nodes with a core each, both on this machine."""
    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = Cluster()
    for arguments in ({**size, "include_dashboard": False}, size):
        add_node(nodes, arguments)
    yield nodes.address
    nodes.shutdown()


def add_node(nodes: Cluster, arguments: dict[str, Any], attempts: int = 3) -> None:
    """Start a node; Ray gives up after 30 s, which a loaded machine may need for once."""
    try:
        nodes.add_node(**arguments)
    except Exception:
        if attempts == 1:
            raise
        add_node(nodes, arguments, attempts - 1)


@pytest.fixture
def remote(cluster: str) -> Iterator[Executor]:
    with make_executor("ray", address=cluster) as executor:
        yield executor


class TestRay:
    def test_answers_are_those_of_one_machine(self, remote: Executor, local: Executor) -> None:
        answers = dict(remote.map(picklable.noisy_sum, ITEMS))
        assert answers == dict(local.map(picklable.noisy_sum, ITEMS)) == EXPECTED

    def test_both_nodes_work(self, remote: Executor, tmp_path: Path) -> None:
        found = {result for _, result in remote.map(picklable.meet, [(tmp_path, 2)] * 2)}
        assert found == {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        assert len(found) == 2

    def test_answers_come_as_they_are_ready(self, remote: Executor, tmp_path: Path) -> None:
        file = tmp_path / "go"
        answers = remote.map(picklable.number_when_there, [(0, file), (1, tmp_path), (2, tmp_path)])
        assert sorted([next(answers), next(answers)]) == [(1, 1), (2, 2)]
        file.touch()
        assert list(answers) == [(0, 0)]

    def test_a_map_may_be_left(self, remote: Executor, tmp_path: Path) -> None:
        never = tmp_path / "never"
        for _ in remote.map(picklable.number_when_there, [(0, tmp_path), (1, never), (2, never)]):
            break
        assert dict(remote.map(picklable.noisy_sum, ITEMS[:2])) == {i: EXPECTED[i] for i in (0, 1)}

    def test_workers_have_one_thread(self, remote: Executor) -> None:
        assert {result for _, result in remote.map(picklable.told_threads, range(4))} == {"1"}

    def test_an_item_that_kills_its_process_is_left_out(
        self, remote: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            answers = list(remote.map(picklable.deadly, [(number, tmp_path) for number in range(7)]))
        assert sorted(answers) == [(number, None if number == 3 else number) for number in range(7)]
        assert "item 3 has taken its process down twice and is left out" in caplog.text
        attempts = (tmp_path / "attempts").read_text().split()
        assert (attempts.count("3"), attempts.count("5")) == (2, 2)

    def test_what_the_function_raises_ends_the_map(self, remote: Executor) -> None:
        with pytest.raises(ValueError, match="two is refused"):
            list(remote.map(picklable.refuse, range(4)))
        assert dict(remote.map(picklable.noisy_sum, ITEMS[:2])) == {i: EXPECTED[i] for i in (0, 1)}

    def test_no_cluster_is_an_environment_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for address in ("127.0.0.1:9", "127.0.0.1", "127.0.0.1:head"):
            with pytest.raises(EnvironmentProblem, match=rf"no Ray cluster answers at {address} \(.*must be host:port"):
                make_executor("ray", address=address)

        def refuse(**_: object) -> None:
            raise ConnectionError("not with this token")

        monkeypatch.setattr(ray, "init", refuse)
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(
                EnvironmentProblem, match=r"\(not with this token\); a cluster with a token wants it here, too"
            ):
                make_executor("ray", address=address)

    @pytest.mark.usefixtures("_alone")
    def test_without_an_address_it_starts_here(self) -> None:
        with make_executor("ray", workers=1) as executor:
            assert dict(executor.map(picklable.noisy_sum, ITEMS[:2])) == {i: EXPECTED[i] for i in (0, 1)}
            assert ray.cluster_resources()["CPU"] == 1
        assert not ray.is_initialized()


def test_without_ray_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentProblem, match="Ray is not installed"):
        make_executor("ray")
