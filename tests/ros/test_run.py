"""`dpvp run` as a user types it, in real time: what it leaves behind, also when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commandline import dpvp, environment
from dpvp.cli.run import REPORTED
from dpvp.record.recording import read_messages
from dpvp.scenario import load_scenario

pytestmark = pytest.mark.alone
DOMAIN = 95


def nodes_running() -> str:
    """Processes of dpvp in our ROS domain."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            command = (environ.parent / "cmdline").read_bytes()
            if b"dpvp." in command and f"ROS_DOMAIN_ID={DOMAIN}\0".encode() in environ.read_bytes():
                found.append(command.decode().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)


def test_run_reaches_and_leaves_what_it_promises(tmp_path: Path) -> None:
    words = ("run", "kuka_reach", "--headless", "--json", "out.json", "--runs", "runs")
    result = dpvp(*words, cwd=tmp_path, domain=DOMAIN)
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


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_runs_leave_no_process(sign: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dpvp", "run", "kuka_reach", "--headless", "--goal", "0.5", "-0.3", "0.4"]
    run = subprocess.Popen(command, env=environment(DOMAIN), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
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
