"""The whole path in lock-step through the nodes: no machine is too slow or too busy for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from commandline import dpvp
from dpvp.cli.demo import DemoArgs, Outcome, campaign, cases
from dpvp.scenario import load_scenario
from unlearned import UNLEARNED

DOMAIN = 96


@pytest.fixture(scope="module", autouse=True)
def _domain() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
        yield


def tried(name: str, args: DemoArgs, folder: Path) -> list[Outcome]:
    """Try starts and goals of the scenario `name` in a session of their own."""
    return campaign(name, cases(load_scenario(name), args), folder, Console(quiet=True))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Outcome], Path]:
    """A start and a goal with what was learned, and the folder of the runs."""
    folder = tmp_path_factory.mktemp("learned")
    return tried("kuka_reach", DemoArgs(starts=1, goals=1, seed=3), folder), folder


def test_a_random_start_and_a_random_goal_are_reached(learned: tuple[list[Outcome], Path]) -> None:
    outcomes, folder = learned
    assert [outcome.kind for outcome in outcomes] == ["random start", "random goal"]
    assert [outcome.success for outcome in outcomes] == [True] * 2
    assert max(outcome.reached_at for outcome in outcomes) < 20.0
    logged = [json.loads(line) for line in next(folder.glob("*/campaign.jsonl")).read_text().splitlines()]
    assert [line["error"] for line in logged] == [outcome.error for outcome in outcomes]


def test_the_same_comes_out_twice(learned: tuple[list[Outcome], Path], tmp_path: Path) -> None:
    """Other processes, the same start and goal."""
    (first, _), _ = learned
    again = tried("kuka_reach", DemoArgs(starts=1, goals=0, seed=3), tmp_path)[0]
    assert (again.start, again.goal) == (first.start, first.goal)
    assert np.isclose(first.reached_at, again.reached_at, atol=0.05)


def test_they_are_reached_without_anything_learned(tmp_path: Path) -> None:
    load_scenario("kuka_reach", UNLEARNED).save(tmp_path / "reach.yaml")
    outcomes = tried(str(tmp_path / "reach.yaml"), DemoArgs(starts=1, goals=1, seed=3), tmp_path)
    assert [outcome.success for outcome in outcomes] == [True] * 2
    assert max(outcome.reached_at for outcome in outcomes) < 8.0


def test_the_leg_follows_its_path(tmp_path: Path) -> None:
    """Goals are numbers on the topic, and move with the plant's clock, which every node reads for itself."""
    outcomes = tried("leg_track", DemoArgs(starts=1, goals=1, seed=3), tmp_path)
    assert [outcome.success for outcome in outcomes] == [True] * 2
    assert max(outcome.error for outcome in outcomes) < 0.003


def test_a_run_is_recorded_replayed_and_shown(tmp_path: Path) -> None:
    """Every message that a replay and a video need is in the recording, although the plant waits."""
    words = ("--headless", "--lock-step", "--runs", ".", "--json", "out.json", "--set", "run.settle=0.5")
    result = dpvp("run", "leg_track", *words, cwd=tmp_path, domain=DOMAIN)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["success"] is True
    assert max(report["state_age_ms"].values()) < 1e-3
    replayed = dpvp("replay", report["run_dir"], "--json", "replay.json", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    figures = json.loads((tmp_path / "replay.json").read_text())
    assert figures["equal"] == figures["compared"] > 100
    assert figures["unknown_start"] == 0
    shown = dpvp("video", report["run_dir"], "--out", "leg.gif", "--seconds", "0.4", "--size", "64x48", cwd=tmp_path)
    if "no OpenGL" in shown.stderr:
        pytest.skip(shown.stderr)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "leg.gif: 10 pictures of 64x48" in shown.stdout
