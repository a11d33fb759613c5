"""`dpvp check`: exit code, table, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpvp import cli
from dpvp.cli import check as check_module
from dpvp.environment import Finding, Level

GOOD = Finding("Python", Level.OK, "3.11.7", "3.10 to 3.12")
POOR = Finding("kernel", Level.WARNING, "6.1", "PREEMPT_RT", "boot another kernel")
BAD = Finding("rclpy", Level.FAILED, "[bold]gone[/bold]", "can be imported", "pip install 'dpvp[ros]' " + "x" * 200)


@pytest.mark.parametrize(("findings", "code"), [([GOOD], 0), ([GOOD, POOR], 0), ([GOOD, POOR, BAD], 1)])
def test_only_a_failure_is_a_failure(monkeypatch: pytest.MonkeyPatch, findings: list[Finding], code: int) -> None:
    monkeypatch.setattr(check_module, "examine", lambda: findings)
    assert cli.main(["check"]) == code


def test_the_table_shows_everything_and_commands_stay_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_module, "examine", lambda: [GOOD, POOR, BAD])
    cli.main(["check"])
    shown = capsys.readouterr().out
    assert "3 checked, 1 failed, 1 warnings" in shown
    assert "[bold]gone[/bold]" in shown
    assert BAD.remedy in shown.splitlines()[-2]
    assert "Python:" not in shown


def test_json_holds_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_module, "examine", lambda: [GOOD, BAD])
    file = tmp_path / "new" / "findings.json"
    assert cli.main(["check", "--json", str(file)]) == 1
    rows = json.loads(file.read_text())
    assert [row["level"] for row in rows] == ["ok", "failed"]
    assert rows[1] == {
        "name": "rclpy",
        "level": "failed",
        "found": BAD.found,
        "expected": BAD.expected,
        "remedy": BAD.remedy,
    }
