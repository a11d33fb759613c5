"""The command line before anything starts: what it explains and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commandline import dpvp


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nothing_such"), "must be one of kuka_reach"),
        (("run", "kuka_reach", "--headless", "--goal", "2", "0", "1"), "goal x = 2.000 m is outside the workspace"),
        (("run", "kuka_reach", "--headless", "--goal", "nan", "0", "1"), "holds NaN or infinity"),
        (("run", "kuka_reach", "--set", "planner.horizn=3"), "unknown key; known here: budget, guesses, horizon"),
        (("run", "kuka_reach", "--set", "planner.horizon=-3"), "planner.horizon = -3"),
        (("fly",), "no verb 'fly'"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = dpvp(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_help_names_every_verb_and_option() -> None:
    overview = dpvp("--help")
    assert overview.returncode == 0
    assert all(verb in overview.stdout for verb in ("run", "demo", "bench", "check", "report", "replay", "video"))
    assert {"--goal", "--headless", "--json"} <= set(re.findall(r"--[a-z]+", dpvp("run", "--help").stdout))
