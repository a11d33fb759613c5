"""RunMetrics against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dpvp.record.metrics import RunMetrics, write_metrics
from dpvp.scenario import Scenario, load_scenario

DT = 0.01  # s between two states


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach", ("run.within=2.0", "run.settle=0.5"))


@pytest.fixture
def metrics(scenario: Scenario) -> RunMetrics:
    return RunMetrics(scenario, Path("runs/x"))


def there(scenario: Scenario) -> np.ndarray:
    """A posture whose end effector is the goal of these tests."""
    return np.array(scenario.config.task.starts.centre)


def goal(scenario: Scenario) -> np.ndarray:
    return scenario.robot.frame_position(there(scenario))


def send(metrics: RunMetrics, q: np.ndarray, begin: float, end: float, speed: float = 0.0) -> None:
    """Send states at rest, or with `speed` on the first joint, from `begin` to just before `end`, s."""
    v = np.zeros(len(q))
    v[0] = speed
    for k in range(round(begin / DT), round(end / DT)):
        metrics.state(k * DT, q, v)


def test_the_goal_is_reached_at_the_first_moment_of_staying(metrics: RunMetrics, scenario: Scenario) -> None:
    far, near = scenario.robot.nominal, there(scenario)
    send(metrics, far, 0.0, 0.2)
    metrics.goal(goal(scenario))  # counts from the state at 0.2 s
    send(metrics, far, 0.2, 0.8)
    send(metrics, near, 0.8, 0.9)  # there for a moment, but it does not stay
    send(metrics, near, 0.9, 1.0, speed=0.051)
    send(metrics, near, 1.0, 1.5)
    send(metrics, near, 1.5, 2.0, speed=0.049)  # slow enough to count
    summary = metrics.summary()
    assert summary["reached_at_s"] == pytest.approx(0.8)
    assert summary["success"] is True
    assert summary["final_error"] == pytest.approx(0.0, abs=1e-12)
    assert summary["final_speed_rad_s"] == pytest.approx(0.049)
    assert summary["duration_s"] == pytest.approx(1.99)
    assert summary["goal"] == goal(scenario).tolist()
    assert (summary["scenario"], summary["run_dir"]) == ("kuka_reach", "runs/x")


@pytest.mark.parametrize(
    ("arrival", "end", "success"),
    [
        (1.00, 1.50, False),  # the state at 1.49 s is the last: 0.49 s of rest
        (1.00, 1.51, True),  # 0.50 s
        (2.00, 2.60, True),
        (2.01, 2.60, False),  # later than `within`
    ],
)
def test_success_is_in_time_and_settled(
    metrics: RunMetrics, scenario: Scenario, arrival: float, end: float, success: bool
) -> None:
    metrics.goal(goal(scenario))
    send(metrics, scenario.robot.nominal, 0.0, arrival)
    send(metrics, there(scenario), arrival, end)
    assert metrics.summary()["reached_at_s"] == pytest.approx(arrival)
    assert metrics.summary()["success"] is success


def test_who_leaves_the_goal_has_not_reached_it(metrics: RunMetrics, scenario: Scenario) -> None:
    metrics.goal(goal(scenario))
    send(metrics, there(scenario), 0.0, 1.0)
    assert metrics.summary()["success"] is True
    send(metrics, scenario.robot.nominal, 1.0, 1.01)
    summary = metrics.summary()
    assert summary["success"] is False
    assert math.isnan(summary["reached_at_s"])
    distance = np.linalg.norm(scenario.robot.frame_position(scenario.robot.nominal) - goal(scenario))
    assert summary["final_error"] == pytest.approx(distance)


def test_every_goal_starts_the_clock_anew(metrics: RunMetrics, scenario: Scenario) -> None:
    metrics.goal(goal(scenario))
    send(metrics, scenario.robot.nominal, 0.0, 3.0)
    metrics.goal(goal(scenario))  # the same again, late: `within` counts from here
    send(metrics, scenario.robot.nominal, 3.0, 4.0)
    send(metrics, there(scenario), 4.0, 5.0)
    assert metrics.summary()["reached_at_s"] == pytest.approx(1.0)
    assert metrics.summary()["success"] is True
    metrics.goal(goal(scenario) + [0.0, 0.0, 0.005])  # half a centimetre up: still within the centimetre
    assert metrics.summary()["success"] is False
    send(metrics, there(scenario), 5.0, 5.6)
    summary = metrics.summary()
    assert summary["reached_at_s"] == pytest.approx(0.0)
    assert summary["success"] is True
    assert summary["final_error"] == pytest.approx(0.005)


def test_news_of_a_goal_may_be_late(metrics: RunMetrics, scenario: Scenario) -> None:
    send(metrics, scenario.robot.nominal, 0.0, 1.0)
    send(metrics, there(scenario), 1.0, 2.0)
    metrics.goal(goal(scenario), stamp=0.4)
    assert metrics.summary()["reached_at_s"] == pytest.approx(0.6)
    assert metrics.summary()["success"] is True
    metrics.goal(goal(scenario), stamp=0.0)  # set before mpc_node knew the time
    send(metrics, there(scenario), 2.0, 2.1)
    assert metrics.summary()["reached_at_s"] == pytest.approx(1.0)


@pytest.mark.parametrize("stamp", [1.79e9, -1e4, math.nan])
def test_a_stamp_of_another_clock_is_not_used(metrics: RunMetrics, scenario: Scenario, stamp: float) -> None:
    send(metrics, scenario.robot.nominal, 0.0, 1.0)
    metrics.goal(goal(scenario), stamp)
    send(metrics, scenario.robot.nominal, 1.0, 1.5)
    send(metrics, there(scenario), 1.5, 2.1)
    assert metrics.summary()["reached_at_s"] == pytest.approx(0.5)


def test_a_plant_that_is_set_back_starts_the_run_anew(metrics: RunMetrics, scenario: Scenario) -> None:
    metrics.goal(goal(scenario))
    send(metrics, there(scenario), 5.0, 6.0)
    send(metrics, scenario.robot.nominal, 0.0, 0.5)
    send(metrics, there(scenario), 0.5, 1.2)
    summary = metrics.summary()
    assert summary["reached_at_s"] == pytest.approx(0.5)
    assert summary["duration_s"] == pytest.approx(1.19)


def test_peaks_are_shares_of_each_joints_limit(metrics: RunMetrics, scenario: Scenario) -> None:
    robot = scenario.robot
    v, effort = np.zeros(robot.nv), np.zeros(robot.nu)
    metrics.state(0.0, robot.nominal, v)
    assert math.isnan(metrics.summary()["peak_effort_share"])  # nothing measured is not nothing applied
    v[6], effort[2] = -0.5 * robot.limits.velocity[6], 0.25 * robot.limits.effort[2]
    metrics.state(0.1, robot.nominal, v, effort)
    v[6], effort[2], effort[0] = 0.1, math.nan, -0.3 * robot.limits.effort[0]
    metrics.state(0.2, robot.nominal, v, effort)
    metrics.state(0.3, robot.nominal, np.zeros(robot.nv), np.zeros(robot.nu))
    summary = metrics.summary()
    assert summary["peak_velocity_share"] == pytest.approx(0.5)
    assert summary["peak_effort_share"] == pytest.approx(0.3)


def test_percentiles_are_those_of_everything_seen(metrics: RunMetrics) -> None:
    for k in range(100, 0, -1):
        metrics.plan_ms(float(k))
        metrics.state_age_ms(2.0 * k)
    # linear between order statistics: position p/100 * 99 of 1, 2, ..., 100
    assert metrics.summary()["plan_ms"] == {"p50": pytest.approx(50.5), "p99": pytest.approx(99.01)}
    assert metrics.summary()["state_age_ms"] == {"p50": pytest.approx(101.0), "p99": pytest.approx(198.02)}


def test_the_loops_own_figures_are_passed_on(metrics: RunMetrics) -> None:
    metrics.loop({"periods": "10", "missed_share": "0.5", "state": "HOLD"})
    metrics.loop({"periods": "812", "missed_share": "0.0025", "state": "TRACK"})
    assert (metrics.summary()["periods"], metrics.summary()["missed_share"]) == (812, 0.0025)
    metrics.loop({"periods": "many"})
    assert math.isnan(metrics.summary()["periods"])
    assert math.isnan(metrics.summary()["missed_share"])


def test_what_is_unknown_is_null_on_disk(metrics: RunMetrics, scenario: Scenario, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    write_metrics(file, metrics.summary())
    empty = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert empty["success"] is False
    assert empty["goal"] is None
    assert empty["plan_ms"] == {"p50": None, "p99": None}
    for key in ("final_error", "final_speed_rad_s", "reached_at_s", "missed_share", "periods", "duration_s"):
        assert empty[key] is None
    metrics.goal(goal(scenario))
    send(metrics, there(scenario), 0.0, 1.0)
    metrics.plan_ms(4.0)
    write_metrics(file, metrics.summary())
    full = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert full["success"] is True
    assert full["plan_ms"] == {"p50": 4.0, "p99": 4.0}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    write_metrics(file, {"periods": 1})
    with pytest.raises(TypeError):
        write_metrics(file, {"periods": object()})
    assert json.loads(file.read_text()) == {"periods": 1}
