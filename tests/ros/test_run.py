"""`dpvp run` as a user types it, and the whole path in lock-step through the nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dpvp.cli.demo import DemoArgs, campaign, cases
from dpvp.cli.run import REPORTED
from dpvp.record.mcap import read_messages
from dpvp.scenario import load_scenario
from unlearned import UNLEARNED

ENVIRONMENT = dict(os.environ) | {"ROS_DOMAIN_ID": "95", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def dpvp(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dpvp", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        **more,
    )


def nodes_running() -> str:
    """Processes of dpvp in our ROS domain."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            command = (environ.parent / "cmdline").read_bytes()
            if b"dpvp." in command and b"ROS_DOMAIN_ID=95" in environ.read_bytes():
                found.append(command.decode().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)


def test_run_reaches_and_leaves_what_it_promises(tmp_path: Path) -> None:
    result = dpvp("run", "kuka_reach", "--headless", "--json", "out.json", "--runs", "runs", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert tuple(report) == REPORTED
    assert report["success"] is True
    assert report["final_error"] < 0.01
    assert report["final_speed_rad_s"] < 0.05
    assert set(report["plan_ms"]) == set(report["state_age_ms"]) == {"p50", "p99"}
    run_dir = Path(report["run_dir"])
    assert {"scenario.yaml", "metrics.json", "run.mcap", "run.png"} <= {file.name for file in run_dir.iterdir()}
    assert load_scenario(str(run_dir / "scenario.yaml")).config == load_scenario("kuka_reach").config
    topics = {topic for topic, _, _ in read_messages(run_dir / "run.mcap")}
    assert {"/joint_states", "/control", "/mpc_node/plan", "/mpc_node/active_goal", "/diagnostics"} <= topics
    assert nodes_running() == ""


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
    assert dpvp("--help").returncode == 0
    assert all(verb in dpvp("--help").stdout for verb in ("run", "demo", "bench", "check", "report", "replay", "video"))
    assert {"--goal", "--headless", "--json"} <= set(re.findall(r"--[a-z]+", dpvp("run", "--help").stdout))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_runs_leave_no_process(sign: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dpvp", "run", "kuka_reach", "--headless", "--goal", "0.5", "-0.3", "0.4"]
    run = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while nodes_running().count("dpvp.planning.server") == 0 and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1.0)
    run.send_signal(sign)
    _, said = run.communicate(timeout=30)
    if sign is not signal.SIGKILL:
        assert run.returncode == 130, said
        assert "Traceback" not in said
    end = time.monotonic() + 20
    while nodes_running() and time.monotonic() < end:
        time.sleep(0.2)
    assert nodes_running() == ""


@pytest.mark.parametrize(("overrides", "within"), [(UNLEARNED, 8.0), ((), 20.0)], ids=["unlearned", "learned"])
def test_lock_step_reaches_random_starts_and_goals(
    overrides: tuple[str, ...], within: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "95")
    scenario = load_scenario("kuka_reach", overrides)
    scenario.save(tmp_path / "reach.yaml")
    tries = cases(scenario, DemoArgs(starts=2, goals=2, seed=3))
    outcomes = campaign(str(tmp_path / "reach.yaml"), tries, tmp_path, Console(quiet=True))
    assert [outcome.success for outcome in outcomes] == [True] * 4
    assert max(outcome.reached_at for outcome in outcomes) < within
    logged = [json.loads(line) for line in next(tmp_path.glob("*/campaign.jsonl")).read_text().splitlines()]
    assert [line["error"] for line in logged] == [outcome.error for outcome in outcomes]


def test_the_leg_follows_its_path_in_lock_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goals are numbers on the topic, and move with the plant's clock, which every node reads for itself."""
    monkeypatch.setenv("ROS_DOMAIN_ID", "95")
    tries = cases(load_scenario("leg_track"), DemoArgs(starts=1, goals=1, seed=3))
    outcomes = campaign("leg_track", tries, tmp_path, Console(quiet=True))
    assert [outcome.success for outcome in outcomes] == [True] * 2
    assert max(outcome.error for outcome in outcomes) < 0.003


def test_a_run_in_lock_step_is_recorded_replayed_and_shown(tmp_path: Path) -> None:
    """Every message that a replay and a video need is in the recording, although the plant waits."""
    result = dpvp("run", "leg_track", "--headless", "--lock-step", "--runs", ".", "--json", "out.json", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["success"] is True
    assert max(report["state_age_ms"].values()) < 1e-3
    replayed = dpvp("replay", report["run_dir"], "--json", "replay.json", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    figures = json.loads((tmp_path / "replay.json").read_text())
    assert figures["equal"] == figures["compared"] > 300
    assert figures["unknown_start"] == 0
    shown = dpvp("video", report["run_dir"], "--out", "leg.gif", "--seconds", "0.4", "--size", "64x48", cwd=tmp_path)
    if "no OpenGL" in shown.stderr:
        pytest.skip(shown.stderr)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "leg.gif: 10 pictures of 64x48" in shown.stdout


def test_lock_step_gives_the_same_result_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "95")
    tries = cases(load_scenario("kuka_reach"), DemoArgs(starts=1, goals=0, seed=4))
    first, second = (campaign("kuka_reach", tries, tmp_path / str(i), Console(quiet=True))[0] for i in range(2))
    assert np.isclose(first.reached_at, second.reached_at, atol=0.05)
