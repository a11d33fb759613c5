"""`dpvp bench`: what it measures, that it survives what it measures, and that nothing is made up."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import crocoddyl
import numpy as np
import pytest

from dpvp.bench.closed_loop import CRASHED, ClosedLoop, Trial, closed_loop_row
from dpvp.bench.machine import describe_machine
from dpvp.bench.rates import _Counters, rate_cases
from dpvp.bench.reference import ReferenceSolver, reference_row
from dpvp.bench.results import Results
from dpvp.bench.variants import LEARNED_UP_TO, Variant, rate_variants, variants
from dpvp.bench.worker import Worker
from dpvp.cli.bench import FULL, QUICK, Extent, draw_starts, measure
from dpvp.plan import Plan, PlanStatus
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import TerminalWeights
from dpvp.view.bench_plot import draw_bench, draw_disturbance
from handmade import quadratic_value, reaching_policy, write_artifact
from unlearned import UNLEARNED

ROW_KEYS = {
    "planner",
    "horizon",
    "terminal",
    "guess",
    "iterations_mean",
    "solve_ms",
    "cost_ratio",
    "success_rate",
}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach", UNLEARNED)


@pytest.fixture(scope="module")
def learned(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """The scenario with an artifact whose value is its quadratic terminal cost, and which it does not use itself."""
    robot, weights = scenario.robot, scenario.config.planner.terminal
    folder = write_artifact(
        tmp_path_factory.mktemp("artifact"),
        robot,
        scenario.task,
        value=quadratic_value(weights.goal, weights.velocity),
        policy=reaching_policy(robot, robot.nominal),
    )
    return load_scenario("kuka_reach", (*UNLEARNED, f"artifact={folder}"))


def strict(file: Path) -> dict[str, Any]:
    """Read JSON as strict readers do, which know neither NaN nor Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(file.read_text(), parse_constant=refuse)


def test_a_small_bench_measures_everything(scenario: Scenario, tmp_path: Path) -> None:
    file, png = tmp_path / "results" / "bench.json", tmp_path / "bench.png"
    assert measure(scenario, Extent((5,), 1, 12, rate_seconds=0.0), 3, file, png, tmp_path) == 0
    content = strict(file)
    assert {"machine", "date", "scenario", "rows", "rates"} <= set(content)
    assert content["rates"] == []
    reference, *rows = content["rows"]
    assert all(set(row) >= ROW_KEYS for row in content["rows"])
    ways = [tuple(row[key] for key in ("planner", "horizon", "terminal", "guess")) for row in rows]
    assert ways == [(p, 5, t, "shift") for p in ("ddp", "csqp") for t in ("zero", "quadratic")]
    assert content["conditions"]["artifact"] is None
    assert (reference["label"], reference["horizon"], reference["converged"]) == ("reference", 12, 2)
    assert reference["cost_ratio"]["mean"] == pytest.approx(1.0, abs=1e-9)
    for row in rows:
        assert row["starts"] == len(row["cost_ratios"]) == 2
        assert sum(row["statuses"].values()) == 24
        assert sum(row["guesses"].values()) == 24
        assert row["advice"] == {}
        assert row["iterations_mean"] >= 1.0
        assert row["solve_ms"]["p99"] >= row["solve_ms"]["p50"] > 0.0
        # what is optimal for the whole trial cannot be beaten, except by what finds another valley
        assert row["cost_ratio"]["worst"] >= row["cost_ratio"]["mean"] >= 0.98
    assert png.stat().st_size > 30_000


def test_one_look_is_a_part_of_the_whole() -> None:
    assert set(QUICK.horizons) < set(FULL.horizons) == {3, 5, 10, 20, 50, 100}
    assert (QUICK.starts, FULL.starts, QUICK.steps, FULL.steps) == (3, 20, 200, 200)
    assert 0.0 < QUICK.rate_seconds < FULL.rate_seconds


def test_starts_depend_on_the_seed_alone(scenario: Scenario) -> None:
    once, again, other = (np.stack(draw_starts(scenario, 3, seed)) for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert np.array_equal(once[0], np.concatenate([scenario.robot.nominal, np.zeros(scenario.robot.nv)]))
    assert not np.any(np.all(once[1:] == other[1:], axis=1))


def test_the_reference_has_converged_by_the_solvers_own_criterion(scenario: Scenario) -> None:
    start, goal = draw_starts(scenario, 1, 0)[1], np.array(scenario.goal)
    reference = ReferenceSolver(scenario).solve(start, goal)
    assert reference.converged
    assert reference.replayed == pytest.approx(reference.cost, rel=1e-9)
    ocp = scenario.task.ocp(200, TerminalWeights())
    ocp.aim(start, goal)
    solver = crocoddyl.SolverFDDP(ocp.problem)
    assert solver.solve(list(reference.xs), list(reference.us), 1, True)
    assert solver.stop < solver.th_stop
    assert solver.cost == pytest.approx(reference.cost, rel=1e-9)
    assert reference_row([reference])["cost_ratio"]["worst"] >= 0.98


def test_a_long_horizon_comes_close_to_the_optimum(scenario: Scenario) -> None:
    start, goal, steps = draw_starts(scenario, 1, 0)[1], np.array(scenario.goal), 40
    way = Variant("ddp", steps, "zero", "shift").of(scenario.config)
    optimum = ReferenceSolver(scenario, steps).solve(start, goal).cost
    trial = ClosedLoop(Scenario("long", way)).run(start, goal, steps)
    assert 0.98 <= trial.cost / optimum < 1.3
    assert trial.us.shape == (steps, scenario.robot.nu)


def test_variants_take_their_weights_from_the_scenario(scenario: Scenario) -> None:
    config = scenario.config
    planner = Variant("ddp", 17, "quadratic", "shift").of(config).planner
    assert (planner.kind, planner.horizon, planner.guesses, planner.iterations) == ("ddp", 17, ("hold", "shift"), 1)
    assert planner.terminal == config.planner.terminal
    assert Variant("csqp", 17, "zero", "hold").of(config).planner.terminal.weights == TerminalWeights()


def test_what_tells_nothing_is_left_out(scenario: Scenario, learned: Scenario) -> None:
    plain, full = (list(variants(s.config, FULL.horizons)) for s in (scenario, learned))
    assert len(set(plain)) == len(plain) == 2 * 2 * 6 + 3
    assert [way.horizon for way in plain if way.guess == "hold"] == [10, 20, 50]
    assert set(plain) < set(full)
    more = [way for way in full if way not in plain]
    assert len(more) == 2 * 4 * 3  # value with shift and policy, and the policy with a quadratic end
    assert max(way.horizon for way in more) == LEARNED_UP_TO
    for way in more:  # beside each, the same horizon without what was learned
        assert Variant(way.planner, way.horizon, "quadratic", "shift") in plain
        assert Variant(way.planner, way.horizon, "zero", "shift") in plain


def test_a_value_needs_a_fallback_and_a_head(scenario: Scenario, learned: Scenario, tmp_path: Path) -> None:
    bare = learned.config.model_copy(update={"planner": scenario.config.planner.model_copy(update={"terminal": {}})})
    bare = type(bare).model_validate(bare.model_dump(warnings=False))
    assert {way.terminal for way in variants(bare, (10,))} == {"zero"}
    assert {way.guess for way in variants(bare, (10,))} == {"hold", "shift", "policy"}
    policy = reaching_policy(scenario.robot, scenario.robot.nominal)
    folder = write_artifact(tmp_path / "policy", scenario.robot, scenario.task, policy=policy)
    config = scenario.config.model_copy(update={"artifact": str(folder)})
    assert {way.terminal for way in variants(config, (10,))} == {"zero", "quadratic"}
    assert rate_variants(config) == rate_variants(scenario.config)


def test_learned_rows_are_measured_and_say_what_became_of_the_advice(learned: Scenario, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert measure(learned, Extent((4,), 0, 10, rate_seconds=0.0), 3, file, tmp_path / "bench.png", tmp_path) == 0
    content = strict(file)
    assert set(content["conditions"]["artifact"]["sha256"]) == {"value", "residual", "policy"}
    rows = {tuple(row[key] for key in ("planner", "terminal", "guess")): row for row in content["rows"][1:]}
    for planner in ("ddp", "csqp"):
        value, quadratic = (rows[planner, terminal, "shift"] for terminal in ("value", "quadratic"))
        assert value["advice"] == {"value_used": 10}
        assert value["cost_ratio"]["mean"] == pytest.approx(quadratic["cost_ratio"]["mean"], rel=1e-3)
        assert sum(rows[planner, "value", "policy"]["guesses"].values()) == 10


class Script:
    """Stands for a planner: its plans keep the arm and have the statuses that the script says."""

    def __init__(self, scenario: Scenario, statuses: list[PlanStatus]) -> None:
        self._robot, self._statuses, self._dt = scenario.robot, statuses, scenario.task.dt

    def plan(self, x: np.ndarray, goal: np.ndarray, t: float, previous: Plan | None) -> Plan:
        status = self._statuses[round(t / self._dt)]
        us = np.tile(self._robot.gravity(x[: self._robot.nq]), (10, 1))
        gains = np.zeros((10, self._robot.nu, self._robot.ndx))
        return Plan(t, self._dt, np.tile(x, (11, 1)), us, gains, 1.0, 1.0, "hold", status, 1)


def scripted(scenario: Scenario, statuses: list[PlanStatus]) -> Trial:
    loop = ClosedLoop(scenario)
    loop._planning = loop._first = Script(scenario, statuses)
    return loop.run(draw_starts(scenario, 0, 0)[0], np.array(scenario.goal), len(statuses))


def test_unusable_plans_are_bridged_as_the_loop_does_it(scenario: Scenario) -> None:
    ok, bad = PlanStatus.OK, PlanStatus.OUT_OF_LIMITS
    patient = math.floor(scenario.config.loop.plan_timeout / scenario.task.dt)
    assert scripted(scenario, [bad] * 5).held == 5
    trial = scripted(scenario, [ok] + [bad] * 10 + [ok] + [bad] * patient)
    assert trial.held == 10 - patient
    assert trial.statuses == {"OK": 2, "OUT_OF_LIMITS": 10 + patient}


def test_held_arms_come_to_rest(scenario: Scenario) -> None:
    robot, rng = scenario.robot, np.random.default_rng(0)
    loop = ClosedLoop(scenario)
    loop._planning = loop._first = Script(scenario, [PlanStatus.NOT_FINITE] * 200)
    for _ in range(5):
        start = scenario.task.sample_start(rng)
        start[robot.nq :] = rng.uniform(-0.8, 0.8, robot.nv)
        trial = loop.run(start, np.array(scenario.goal))
        assert trial.held == 200
        assert trial.peak_velocity < 1.0
        assert np.abs(np.diff(trial.us[-2:], axis=0)).max() < 1e-6


def test_what_is_not_finite_is_null_and_no_success(tmp_path: Path) -> None:
    good = Trial(1.1, reached=True, plan_ms=np.ones(3), iterations=np.ones(3), statuses={"OK": 3})
    way = Variant("csqp", 50, "zero", "hold")
    file = tmp_path / "bench.json"
    results = Results(file, "example", {})
    results.add_row(closed_loop_row(way, [good, CRASHED], [1.0, 1.0]))
    assert results.content["rows"][0]["cost_ratio"]["mean"] == math.inf
    row = strict(file)["rows"][0]
    assert row["cost_ratio"] == {"mean": None, "worst": None}
    assert row["cost_ratios"] == [pytest.approx(1.1), None]
    assert row["success_rate"] == 0.5
    assert row["statuses"] == {"OK": 3, "CRASHED": 1}
    results.add_row(closed_loop_row(way, [CRASHED], [np.inf]))
    assert strict(file)["rows"][1]["solve_ms"] == {"p50": None, "p99": None}
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_a_crash_costs_one_call(tmp_path: Path) -> None:
    with Worker(tmp_path / "log") as worker:
        first = worker.call(os.getpid)
        assert worker.call(os.abort) is None
        second = worker.call(os.getpid)
    assert len({first, second, os.getpid(), None}) == 4


def test_rates_leave_time_for_messages(scenario: Scenario) -> None:
    cases = list(rate_cases(scenario.config, (Variant("ddp", 20, "zero", "shift"),)))
    found = [(case.hz, case.label, case.config.planner.horizon, case.config.rates.plan) for case in cases]
    own = scenario.config.planner.horizon
    assert found[0] == (100.0, "peer rate", own, 100.0)
    assert found[1:] == [(hz, "peer rate" if hz == 100.0 else "", 20, hz) for hz in (100.0, 250.0, 500.0, 1000.0)]
    for case in cases:
        assert case.config.planner.budget == pytest.approx(0.7 / case.hz)
        assert case.config.planner.iterations == scenario.config.planner.iterations


def test_rates_of_short_learned_horizons_are_compared_with_a_long_one(scenario: Scenario, learned: Scenario) -> None:
    ways = rate_variants(learned.config)
    assert {(w.planner, w.horizon, w.terminal) for w in ways} == {
        ("csqp", 5, "value"),
        ("csqp", 10, "value"),
        ("ddp", 5, "value"),
        ("csqp", 100, "quadratic"),
    }
    assert set(rate_variants(learned.config, few=True)) < set(ways)
    assert {(w.horizon, w.terminal) for w in rate_variants(scenario.config)} == {(10, "quadratic"), (100, "quadratic")}


def test_counters_are_those_of_a_new_report() -> None:
    old = {"periods": "1", "missed": "1", "missed_asleep": "0", "plans": "1"}
    new = {
        "periods": "100",
        "missed": "3",
        "missed_asleep": "2",
        "plans": "97",
        "rejected_not_finite": "2",
        "rejected_gaps_open": "1",
    }
    new |= {"value_used": "90", "value_refused_out_of_range": "7"}
    pilot = SimpleNamespace(loop=old)
    pilot.wait = lambda duration: setattr(pilot, "loop", new)
    counters = _Counters.read(pilot)
    assert (counters.periods, counters.missed, counters.plans, counters.rejected) == (100, 3, 97, 3)
    assert counters.advice == {"value_used": 90, "value_refused_out_of_range": 7}


def test_the_machine_is_named() -> None:
    machine = describe_machine()
    assert machine.processor
    assert machine.cores >= 1
    assert machine.memory_gib > 0.1
    assert machine.versions["crocoddyl"] == "3.2.1"


def example() -> dict[str, Any]:
    def row(way: Variant, ratio: float | None, ms: float | None, success: float = 1.0) -> dict[str, Any]:
        figures = {"solve_ms": {"p50": ms, "p99": ms}, "cost_ratio": {"mean": ratio, "worst": ratio}}
        names = {key: getattr(way, key) for key in ("planner", "horizon", "terminal", "guess")}
        return {**names, **figures, "success_rate": success, "label": ""}

    zero = Variant("ddp", 10, "zero", "shift")
    rate = {"planner": "csqp", "horizon": 30, "terminal": "quadratic", "label": "", "holding_share": 0.0}
    rate["solve_ms"] = {"p50": 2.0, "p99": 3.0}
    return {
        "scenario": "example",
        "machine": {"processor": "imaginary", "cores": 4},
        "rows": [
            row(zero, 2.0, 0.5, 0.5),
            row(replace(zero, horizon=50), 1.01, 3.0),
            row(replace(zero, planner="csqp", guess="hold"), None, 0.7, 0.0),
            row(replace(zero, planner="csqp", terminal="quadratic", guess="policy"), 1.2, 0.8),
            row(replace(zero, planner="csqp", terminal="value", guess="policy", horizon=3), 1.0, 0.6),
        ],
        "rates": [
            {**rate, "hz": 100.0, "missed_share": 0.001, "label": "peer rate"},
            {**rate, "hz": 250.0, "missed_share": 0.1, "holding_share": 0.3},
            {**rate, "hz": 1000.0, "terminal": "value", "horizon": 5, "missed_share": 0.0004},
            {**rate, "hz": 500.0, "missed_share": None, "solve_ms": {"p50": None, "p99": None}},
        ],
    }


@pytest.mark.parametrize("missing", ["nothing", "rates", "rows", "both"])
def test_the_picture_can_be_drawn_of_whatever_was_measured(tmp_path: Path, missing: str) -> None:
    content = example()
    for part in ("rows", "rates"):
        if missing in (part, "both"):
            content[part] = []
    draw_bench(content, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["bench.png"]


@pytest.mark.parametrize("missing", ["nothing", "pushes", "errors"])
def test_disturbances_can_be_drawn(tmp_path: Path, missing: str) -> None:
    push = {"at": 1.0, "duration": 0.1, "force": [1.0, 0.0, 0.0]}
    rows: list[dict[str, Any]] = []
    if missing != "pushes":
        rows += [{"way": w, "t": [0.0, 1.0, 2.0], "error": [0.0, 0.2, 0.0], "pushes": [push]} for w in "ab"]
    summary = []
    if missing != "errors":
        rows += [{"way": w, "case": "c", "final_error": e} for w in "ab" for e in (0.001, 0.02, math.inf)]
        summary = [{"way": w, "case": "c", "success_rate": 0.3} for w in "ab"]
    conditions = {"task": "example", "plan_hz": 100.0, "plan_delay": 0.01, "count": 3}
    draw_disturbance({"rows": rows, "summary": summary, "conditions": conditions}, tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["study.png"]
