"""Faults of running nodes, as `make faults` injects them: one process that hangs and a stop, on a robot that moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpvp.bench.faults.harm import REAL_KINDS
from dpvp.bench.faults.real import run_real

pytestmark = pytest.mark.alone


def test_nodes_survive_what_is_done_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the safe state is reached, that plans are followed again, that no process is left; not how fast."""
    monkeypatch.setenv("ROS_DOMAIN_ID", "94")
    kinds = [kind for kind in REAL_KINDS if kind.name in ("pause_solver", "kill_supervisor", "stop_pressed")]
    found = list(run_real("kuka_reach", kinds, 1, tmp_path, 0))
    assert [finding.case.kind for finding in found] == [kind.name for kind in kinds]
    for finding in found:
        assert finding.by, finding.case.kind
        assert finding.safe_after >= 0.0, finding.case.kind
        assert finding.back, finding.case.kind
        assert not finding.crossed_by_fault
        assert not any("outlived" in text for text in finding.wrong)
