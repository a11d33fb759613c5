"""The study of disturbances, at its smallest: what it writes, that all ways meet the same, and what success is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro

from dpvp.bench.worker import Job
from dpvp.errors import DpvpError
from dpvp.scenario import Scenario
from dpvp_training.systems.dpvp.bench import disturbance
from dpvp_training.systems.dpvp.bench.disturbance import Args, run, summaries
from handmade import quadratic_value, reaching_policy, write_artifact

pytestmark = pytest.mark.slow  # minutes on a busy machine: `make test-slow`


@pytest.fixture(scope="module")
def artifact(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What has learned the quadratic end of the scenario by heart.

    Cost and gradient are the same, the Gauss-Newton Hessian is not: the value sees e from the first link, where it
    turns with joint 1. Plans of one iteration differ by that.
    """
    robot, weights = scenario.robot, scenario.config.planner.terminal
    value = quadratic_value(weights.goal, weights.velocity)
    policy = reaching_policy(robot, np.array(scenario.config.task.starts.centre))
    folder = tmp_path_factory.mktemp("artifact")
    return write_artifact(folder, robot, scenario.task, value=value, policy=policy)


def test_every_way_meets_every_case(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = disturbance._ways
    second = "csqp T=10, quadratic"
    monkeypatch.setattr(disturbance, "_ways", lambda scenario: (own := published(scenario)) | {"again": own[second]})
    words = ["--artifact", str(artifact), "--count", "2", "--pushes", "0", "--workers", "1"]
    words += ["--json", str(tmp_path / "study.json"), "--png", str(tmp_path / "picture.png")]
    words += ["--set", "run.within=0.2", "--set", "run.settle=0.1", "--set", "task.success.error=5.0"]
    assert run(tyro.cli(Args, args=[*words, "--set", "task.success.speed=9.0"])) == 0
    content: dict[str, Any] = json.loads((tmp_path / "study.json").read_text())
    assert content["study"] == "disturbance"
    assert content["conditions"]["artifact"] == str(artifact)
    assert [list(case.values())[1:4] for case in content["conditions"]["cases"].values()] == [
        [0.2, 0.0, 0.2],
        [0.2, 0.2, 0.2],
    ]
    rows = {(row["case"], row["way"], row["number"]): row for row in content["rows"]}
    cases, ways = (list(dict.fromkeys(key[k] for key in rows)) for k in (0, 1))
    assert (len(cases), len(ways), len(rows)) == (2, 4, 16)
    assert all(row["success"] and row["reached_at"] == 0.0 for row in rows.values())
    assert all(sum(row["statuses"].values()) == 30 for row in rows.values())
    learned, same_horizon, _, again = ways
    assert same_horizon == second
    for case in cases:
        assert sum(rows[case, learned, 0]["advice"].values()) == 30
        assert rows[case, same_horizon, 0]["advice"] == {}
        for number in range(2):  # the same start, the same errors and the same noise, to the last digit
            assert rows[case, same_horizon, number]["final_error"] == rows[case, again, number]["final_error"]
    assert rows[cases[0], same_horizon, 0]["final_error"] != rows[cases[1], same_horizon, 0]["final_error"]
    assert [entry["runs"] for entry in content["summary"]] == [2] * 8
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_pushes_throw_every_way_off_as_far(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "AFTER", 0.5)
    monkeypatch.setattr(disturbance, "CALIBRATION", 0.6)
    way = disturbance._ways(scenario)["csqp T=10, quadratic"]
    row = disturbance._pushed(Job.of(scenario, way), (0.2,), None)
    (push,) = row["pushes"]
    assert push["at"] == 0.2
    assert push["peak"] == pytest.approx(disturbance.PEAK, rel=0.1)
    assert push["force"][0] > 30.0
    assert push["force"][1:] == (0.0, 0.0)
    assert math.isnan(push["back_after"])
    assert len(row["t"]) == len(row["error"]) == 70
    assert max(row["error"][:20]) < 1e-3


def test_the_published_pushes_leave_time_to_come_back() -> None:
    assert len(disturbance.PUSH_TIMES) == len(disturbance.DIRECTIONS) == 4
    assert np.diff([*disturbance.PUSH_TIMES, disturbance.PUSH_TIMES[-1] + disturbance.AFTER]).min() > 2.0
    assert np.linalg.norm(disturbance.DIRECTIONS, axis=1) == pytest.approx(np.ones(4))


def test_a_run_that_crashed_is_no_success_and_lost() -> None:
    labels = {"part": "errors", "case": "c", "way": "w"}
    rows = [{**labels, "success": True, "final_error": error} for error in (0.001, 0.002, 0.003)]
    rows += [{**labels, "success": False, "final_error": math.inf}, {"part": "pushes", "way": "w"}]
    (entry,) = summaries(rows)
    assert (entry["runs"], entry["success_rate"], entry["within_1cm"]) == (4, 0.75, 0.75)
    assert entry["final_error"] == {"p10": 0.002, "p50": 0.003, "p90": math.inf, "worst": math.inf}


def test_without_an_artifact_there_is_nothing_to_study(tmp_path: Path) -> None:
    with pytest.raises(DpvpError, match="nowhere"):
        run(Args(artifact=str(tmp_path / "nowhere"), json=tmp_path / "study.json"))
    assert not list(tmp_path.iterdir())
