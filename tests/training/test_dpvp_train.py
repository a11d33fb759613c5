"""`dpvp train dpvp` as it is used: from nothing to an artifact, killed and resumed, refused."""

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

from dpvp.learned.artifact import load_artifact
from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp_training.envs.registry import load_problem

pytestmark = pytest.mark.slow  # minutes on a busy machine: `make test-slow`

TASK = "unicycle"
SMALL = [
    "--task", TASK, "--workers", "2", "--set", "study={scout_horizon: 40, scout_keep: 20, horizon: 20, approach: 20}",
    "--set", "rounds=[{items: 12, epochs: 60}, {items: 8, epochs: 60}]", "--set", "policy.epochs=6",
    "--set", "assessed=2", "--set", "batch=64",
]  # fmt: skip


def start(*words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dpvp", "train", "dpvp", *words]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def train(*words: str) -> str:
    process = start(*words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def run_folder(parent: Path) -> Path:
    (folder,) = parent.iterdir()
    return folder


def figures(folder: Path) -> list[dict[str, float]]:
    """Every line of the metrics but for the time it took."""
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nothing has interrupted."""
    parent = tmp_path_factory.mktemp("whole")
    train(*SMALL, "--runs", str(parent), "--out", str(parent.with_name("artifact")))
    return run_folder(parent)


def test_a_run_ends_with_an_artifact(whole: Path) -> None:
    problem = load_problem(TASK)
    artifact = load_artifact(whole / "artifact", problem.task.robot, problem.task)
    assert set(artifact.graphs) >= {"value", "policy"}
    value, policy = ValueFunction(artifact), Policy(artifact)
    x = problem.task.sample_start(np.random.default_rng(0))
    assert value.value(x, problem.goal).value > 0.0
    assert policy(x, problem.goal).shape == (2,)
    at_goal = np.array(problem.goal)
    assert value.value(at_goal, problem.goal).value == pytest.approx(0.0, abs=1e-12)
    metrics = artifact.contract.metrics
    assert metrics["held_out_gradient_error"].value > 0.0
    assert metrics["closed_loop_cost_ratio_T5"].value < metrics["closed_loop_cost_ratio_T5"].baseline
    assert artifact.contract.training.config["rounds"][0]["items"] == 12  # type: ignore[index,call-overload]
    assert (whole / "artifact" / "command.txt").read_text().startswith("dpvp train dpvp --task unicycle")


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    """kill -9 three times, wherever it hits; metrics, weights and the value are those of the whole run."""
    process = start(*SMALL, "--runs", str(tmp_path))
    for lines in (1, 20, 90):
        wait_for_lines(tmp_path, lines, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = start("--task", TASK, "--resume", str(run_folder(tmp_path)))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert figures(run_folder(tmp_path)) == figures(whole)
    for head in ("value", "policy"):
        mine, theirs = (folder / "artifact" / f"{head}.onnx" for folder in (run_folder(tmp_path), whole))
        assert mine.read_bytes() == theirs.read_bytes()


def wait_for_lines(parent: Path, lines: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200.0
    while time.monotonic() < end and process.poll() is None:
        files = list(parent.glob("*/metrics.jsonl"))
        if files and len(files[0].read_bytes().splitlines()) >= lines:
            return
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "cart_pole"], r"task = 'cart_pole': must be one of cartpole, .*kuka_reach"),
        (["--task", TASK, "--set", "rounds=[]"], r"rounds = \[\]"),
        (["--task", TASK, "--set", "value.nets.width=3"], r"value\.nets.*unknown key; known here: .*net"),
        (["--task", TASK, "--resume", "/nowhere"], r"/nowhere/config\.yaml: \(file\) = 'missing'"),
    ],
)
def test_bad_words_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    process = start(*words, "--runs", str(tmp_path))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.search(message, " ".join(errors.split())), errors


def test_data_of_another_task_are_refused(whole: Path) -> None:
    process = start("--task", "pendulum", "--resume", str(whole))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.search(r"task = 'unicycle': is 'pendulum' now", " ".join(errors.split())), errors
