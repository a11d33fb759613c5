"""bench/faults: faults between plant, loop and solver in simulated time, and what is made of what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpvp.bench.faults import campaign
from dpvp.bench.faults.campaign import cases
from dpvp.bench.faults.catalogue import KINDS, kind_named
from dpvp.bench.faults.fault import Case, Fault, Mode, Safe
from dpvp.bench.faults.harm import REAL_KINDS
from dpvp.bench.faults.hazards import HAZARDS, filled, hazard_table
from dpvp.bench.faults.judge import Finding, judge
from dpvp.bench.faults.memory import alive, children, growth, resident
from dpvp.bench.faults.plant import Truth
from dpvp.bench.faults.results import Journal, read_journal, rows, table, totals
from dpvp.bench.faults.rig import Event, Rig, Trace
from dpvp.bench.faults.soak import complaints
from dpvp.scenario import load_scenario

ROOT = Path(__file__).resolve().parents[2]
USUAL = {"position": 0.9, "velocity": 0.9, "torque": 0.5, "asked": 0.5}


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(load_scenario("leg_track", ("rates.plan=100", "loop.lead=0.015")))


def run(rig: Rig, name: str, duration: float, afterwards: float = 2.0) -> tuple[Finding, Trace]:
    kind, case = kind_named(name), Case(name, 0, 3, 0.15, duration)
    trace = rig.run(case, lambda rng: kind.make(rig.scenario.robot, rng), case.end + afterwards)
    return judge("leg_track", 0.01, kind, case, trace, USUAL | {"torque": 1.0}), trace


@pytest.mark.parametrize(
    ("name", "duration", "by"),
    [
        ("state_lost", 0.12, "loop:HOLD STALE_STATE"),
        ("state_nan_brief", 0.01, ""),
        ("state_repeated", 0.1, ""),
        ("command_lost", 0.3, "law:HOLD"),
        ("command_nan", 0.05, "refused"),
        ("command_huge_torque", 0.05, "refused"),
        ("plan_nan_lying", 0.15, "loop:HOLD PLANS_REJECTED"),
        ("solver_hung", 0.2, "loop:HOLD NO_PLAN"),
        ("stop", 0.1, "ruling:FAULT ESTOP"),
    ],
)
def test_a_fault_of_each_channel(rig: Rig, name: str, duration: float, by: str) -> None:
    finding, _ = run(rig, name, duration)
    assert finding.wrong == ()
    assert finding.by == by
    assert finding.back


def test_the_same_fault_does_the_same(rig: Rig) -> None:
    first, second = (run(rig, "state_thinned", 0.1)[1].truth for _ in range(2))
    assert first == second


def test_a_frozen_state_is_seen_before_it_does_harm(rig: Rig) -> None:
    finding, _ = run(rig, "state_frozen", 0.3)
    assert finding.by == "ruling:FAULT STATE_CONTRADICTS"
    assert finding.detected < 0.06


def trace_of(modes: list[Mode], velocity: list[float], events: list[Event], **changes: bool) -> Trace:
    n = len(modes)
    t, zero = array("d", (0.001 * k for k in range(1, n + 1))), array("d", [0.1] * n)
    truth = Truth(
        t, zero, array("d", velocity), zero, zero, array("b", map(list(Mode).index, modes)), array("b", [0] * n)
    )
    return Trace(truth, events, **{"back": True, **changes})


class TestJudge:
    """Who was late, and who crossed a limit."""

    case = Case("state_lost", 0, 0, 0.002, 0.01)

    def verdict(self, trace: Trace) -> Finding:
        return judge("kuka_reach", 0.01, kind_named("state_lost"), self.case, trace, USUAL)

    def test_times(self) -> None:
        modes = [Mode.TRACK] * 30 + [Mode.HOLD] * 10
        finding = self.verdict(trace_of(modes, [0.5] * 40, [Event(0.001, "loop:HOLD A"), Event(0.02, "loop:HOLD B")]))
        assert (finding.by, finding.wrong) == ("loop:HOLD B", ())
        assert finding.detected == pytest.approx(0.018)
        assert finding.periods == pytest.approx(1.1)

    def test_too_late(self) -> None:
        modes = [Mode.TRACK] * 60 + [Mode.DAMP] * 10
        assert self.verdict(trace_of(modes, [0.5] * 70, [Event(0.02, "loop:HOLD B")])).wrong == ("not safe in time",)

    def test_never(self) -> None:
        finding = self.verdict(trace_of([Mode.TRACK] * 40, [0.5] * 40, [Event(0.02, "loop:HOLD B")]))
        assert finding.wrong == ("not safe in time",)
        assert self.verdict(trace_of([Mode.TRACK] * 40, [0.5] * 40, [])).wrong == ("not detected",)

    @pytest.mark.parametrize(("usual", "by_fault"), [(0.9, ("velocity",)), (1.2, ())])
    def test_limits_that_are_left_without_faults_too(self, usual: float, by_fault: tuple[str, ...]) -> None:
        trace = trace_of([Mode.HOLD] * 40, [0.5] * 20 + [1.1] * 20, [Event(0.02, "loop:HOLD B")])
        finding = judge("x", 0.01, kind_named("state_lost"), self.case, trace, USUAL | {"velocity": usual})
        assert finding.crossed == ("velocity",)
        assert finding.crossed_by_fault == by_fault

    def test_what_is_not_ours_is_told_apart(self) -> None:
        trace = trace_of([Mode.TRACK] * 40, [1.1] * 40, [])
        finding = judge("x", 0.01, kind_named("push"), replace(self.case, kind="push"), trace, USUAL)
        assert (finding.crossed, finding.crossed_by_fault, finding.wrong) == (("velocity",), (), ())

    def test_who_does_not_come_back(self) -> None:
        trace = trace_of([Mode.HOLD] * 40, [0.5] * 40, [Event(0.02, "loop:HOLD B")], back=False)
        assert self.verdict(trace).wrong == ("did not come back",)


class TestCases:
    """What is drawn."""

    def test_every_kind_meets_every_scenario_that_it_can(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(campaign, "_learns", lambda name: name == "kuka_reach")
        drawn = list(cases(KINDS, ("kuka_reach", "quadruped_walk"), 2, 0))
        learned = sum(kind.learned for kind in KINDS)
        assert len(drawn) == 2 * (2 * len(KINDS) - learned)
        assert drawn == list(cases(KINDS, ("kuka_reach", "quadruped_walk"), 2, 0))
        for _, case in drawn:
            low, high = kind_named(case.kind).lasts
            assert low <= case.duration <= high

    def test_a_choice_of_kinds_does_not_change_the_others(self) -> None:
        all_of_them = list(cases(KINDS, ("kuka_reach",), 1, 0))
        chosen = list(cases([kind_named("stop")], ("kuka_reach",), 1, 0))
        assert chosen == [(name, case) for name, case in all_of_them if case.kind == "stop"]

    def test_names_are_unique(self) -> None:
        names = [kind.name for kind in (*KINDS, *REAL_KINDS)]
        assert len(set(names)) == len(names)


class TestResults:
    """Files of a campaign."""

    @pytest.fixture
    def finding(self) -> Finding:
        case = Case("stop", 1, 2, 0.3, 0.5)
        return Finding("leg_track", case, 0.0, "ruling:FAULT ESTOP", 0.001, 0.25, USUAL, (), (), 0.0, False, True)

    def test_a_cut_journal_keeps_what_came_before(self, tmp_path: Path, finding: Finding) -> None:
        file = tmp_path / "faults.jsonl"
        journal = Journal(file)
        journal.add(finding)
        journal.add(replace(finding, detected=np.nan))
        with file.open("a", encoding="utf-8") as cut:
            cut.write('{"scenario": "leg_tr')
        first, second = read_journal(file)
        assert (first["kind"], first["by"], second["detected"]) == ("stop", "ruling:FAULT ESTOP", None)

    def test_rows_and_table(self, tmp_path: Path, finding: Finding) -> None:
        bad = replace(
            finding, crossed=("velocity",), crossed_by_fault=("velocity",), wrong=("velocity beyond the limit",)
        )
        journal = Journal(tmp_path / "f.jsonl")
        for each in (finding, bad):
            journal.add(each)
        found = rows(KINDS, read_journal(tmp_path / "f.jsonl"))
        (row,) = found
        assert (row["count"], row["crossings"], row["back"]) == (2, 1, 2)
        assert row["named"] == {"ruling:FAULT ESTOP": 2}
        total = totals(found)
        assert (total["faults"], total["crossings"], total["not_as_wanted"]) == (2, 1, 1)
        machine = {"processor": "a processor", "cores": 2}
        content = {
            "machine": machine,
            "date": "2030-01-01T00",
            "conditions": {},
            "rows": found,
            "real": [],
            "totals": total,
        }
        assert "| stop | the operator presses the stop | 2 | ESTOP 2 | DAMP |" in table(content)


class TestDocument:
    """docs/safety.md says what docs/bench/faults.json says."""

    @pytest.fixture
    def content(self) -> dict[str, Any]:
        return dict(json.loads((ROOT / "docs/bench/faults.json").read_text(encoding="utf-8")))

    def test_the_hazard_table(self, content: dict[str, Any]) -> None:
        text = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
        assert hazard_table(content) in text
        assert filled(text, content) == text

    def test_every_kind_stands_for_a_hazard(self) -> None:
        named = [kind for hazard in HAZARDS for kind in hazard.kinds]
        assert sorted(named) == sorted(kind.name for kind in (*KINDS, *REAL_KINDS))

    def test_the_campaign_was_passed(self, content: dict[str, Any]) -> None:
        total = content["totals"]
        assert total["faults"] >= 500
        rows = (*content["rows"], *content["real"])  # those that follow are told of in docs/safety.md, what is open
        assert [row["kind"] for row in rows if row["crossings"]] == ["cpu_hog"]
        assert total["crossings"] == 1
        assert [row["kind"] for row in rows if (row["safe_periods"]["most"] or 0.0) > 2.0] == ["pause_mpc_node_long"]

    def test_named_tests_exist(self) -> None:
        files = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
        for hazard in HAZARDS:
            for name in hazard.test.split(", "):
                assert name in files or name == "campaign alone"


class TestMemory:
    """Of processes."""

    def test_our_own(self) -> None:
        assert resident(os.getpid()) > 1.0
        assert alive(os.getpid())
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        assert child.pid in children(os.getpid())
        child.kill()
        child.wait()
        assert not alive(child.pid)
        assert np.isnan(resident(child.pid))

    def test_growth_after_the_warm_up(self) -> None:
        t = np.arange(0.0, 1000.0, 2.0)
        mib = 100.0 + 10.0 * (t > 50.0) + 0.001 * t
        found = growth(t, mib, 120.0)
        assert found.grown == pytest.approx(0.79, abs=0.02)
        assert found.slope == pytest.approx(3.6, rel=1e-6)

    def test_who_died_on_the_way(self) -> None:
        t = np.arange(0.0, 100.0)
        assert np.isnan(growth(t, np.full(100, np.nan), 10.0).grown)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({}, []),
            ({"missed_shares": [0.02, 0.5, 0.06]}, []),
            ({"missed_shares": [0.02, 0.02, 0.08]}, ["the share of missed periods drifted from 2.0% to 8.0%"]),
            ({"missed_shares": [0.02, 0.02, np.nan]}, ["the share of missed periods drifted from 2.0% to nan%"]),
            ({"processes": [{"process": "mpc_node", "grown_mib": 5.1}]}, ["mpc_node grew by 5.1 MiB"]),
            ({"orphans": [7]}, ["process 7 outlived the run"]),
            ({"recorded": {"states": 9, "plans": 0}}, ["the recording holds no plans"]),
        ],
    )
    def test_what_is_wrong_with_a_soak_is_said(self, change: dict[str, object], said: list[str]) -> None:
        good = {
            "processes": [{"process": "mpc_node", "grown_mib": 0.4}],
            "missed_shares": [0.02, 0.03, 0.02],
            "recorded": {"states": 9, "plans": 9},
            "orphans": [],
        }
        assert complaints({"rows": [good | change]}) == said


def test_a_healthy_fault_changes_nothing() -> None:
    fault, rng = Fault(load_scenario("leg_track").robot, np.random.default_rng(0)), np.ones(3)
    assert fault.learned(rng) is rng
    assert fault.latency(0.1) == 0.1
    assert next(iter(Safe)).modes == frozenset(Mode)
