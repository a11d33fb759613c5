"""kernel.py on machines made up of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dpvp import kernel

Make = Callable[[dict[str, str]], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("version", "files", "model"),
    [
        ("#1 SMP PREEMPT_RT Debian 6.12", {}, "PREEMPT_RT"),
        ("#1 SMP", {"sys/kernel/realtime": "1\n"}, "PREEMPT_RT"),
        ("#1 SMP PREEMPT_DYNAMIC", {"sys/kernel/debug/sched/preempt": "none voluntary (full) lazy\n"}, "full"),
        ("#1 SMP PREEMPT_DYNAMIC", {}, "dynamic?"),
        ("#1 SMP PREEMPT", {}, "full"),
        ("#1 SMP", {}, "voluntary?"),
    ],
)
def test_preemption(make: Make, version: str, files: dict[str, str], model: str) -> None:
    assert kernel.preemption(make(files), version) == model


@pytest.mark.parametrize(("said", "cores"), [("", set()), ("3\n", {3}), ("2-4,7\n", {2, 3, 4, 7})])
def test_isolated_cores(make: Make, said: str, cores: set[int]) -> None:
    assert kernel.isolated_cores(make({"sys/devices/system/cpu/isolated": said})) == cores


@pytest.mark.parametrize(
    ("runtime", "period", "share"), [("950000", "1000000", 0.95), ("-1", "1000000", 1.0), ("0", "1000000", 0.0)]
)
def test_real_time_share(make: Make, runtime: str, period: str, share: float) -> None:
    folder = "proc/sys/kernel/sched_rt"
    root = make({f"{folder}_runtime_us": f"{runtime}\n", f"{folder}_period_us": f"{period}\n"})
    assert kernel.real_time_share(root) == share


@pytest.mark.parametrize(("budget", "found"), [("0", 0), ("950000", 950_000), (None, None)])
def test_the_budget_of_the_cgroup(make: Make, budget: str | None, found: int | None) -> None:
    root = make({"proc/self/cgroup": "3:cpuset:/\n2:cpu,cpuacct:/docker/ab\n0::/\n"})
    if budget is not None:
        make({"sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.rt_runtime_us": f"{budget}\n"})
    assert kernel.group_budget(root) == found


def test_swap(make: Make) -> None:
    table = "Filename Type Size Used Priority\n"
    assert kernel.swap_areas(make({"proc/swaps": table})) == []
    assert kernel.swap_areas(make({"proc/swaps": table + "/dev/sda2 partition 8 0 -2\n"})) == ["/dev/sda2"]


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    """Containers hide files: that is no reason to fail."""
    assert (kernel.governor(tmp_path), kernel.clock_source(tmp_path), kernel.process_field("CapEff", tmp_path)) == (
        "",
        "",
        "",
    )
    assert (kernel.isolated_cores(tmp_path), kernel.swap_areas(tmp_path), kernel.group_budget(tmp_path)) == (
        set(),
        [],
        None,
    )
    assert kernel.real_time_share(tmp_path) == 1.0


def test_this_process() -> None:
    assert int(kernel.process_field("Threads")) >= 1
    assert kernel.process_field("no such field") == ""
