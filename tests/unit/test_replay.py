"""A recorded run asked again: the same plans bit for bit, or told where they are not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="serialises messages with ROS")

from std_msgs.msg import Float64MultiArray

from dpvp.cli.replay import ReplayArgs
from dpvp.cli.replay import replay as replay_verb
from dpvp.errors import ConfigError, DpvpError, MessageError
from dpvp.plan import Advice, Plan, PlanStatus, Timings, Verdict
from dpvp.planning.planner import Budget
from dpvp.planning.sequence import PlanSequence
from dpvp.planning.solved import Ask, Outcome, Solved, from_sections, to_sections
from dpvp.record.replay import Span, budgets, read_solved, replay, summary
from dpvp.scenario import Scenario, load_scenario
from handmade import random_value, write_artifact
from recordings import Recording

PERIOD = 0.004  # s
LEG = (
    "artifact=null",
    "planner.terminal={kind: quadratic, goal: 10.0, velocity: 0.01}",
    "planner.guesses=[hold, shift]",
)
PLANS = 24


@pytest.fixture(scope="module")
def leg() -> Scenario:
    return load_scenario("leg_track", (*LEG, "planner.iterations=4"))


def driven(scenario: Scenario, iterations: Iterable[int], fresh: tuple[int, ...] = (0,)) -> list[Solved]:
    """Ask as the loop does, the plant doing what was planned and a little else; plans are cut after `iterations`."""
    sequence, rng, goal = PlanSequence(scenario), np.random.default_rng(5), np.array(scenario.goal)
    x, solved = scenario.task.sample_start(rng), list[Solved]()
    for number, most in enumerate(iterations):
        t = 3.0 + PERIOD * number
        plan = sequence.plan(x, goal, t, fresh=number in fresh, budget=Budget(most))
        solved.append(Solved(Ask(4711, number, x, goal, t, number in fresh), 0.002, plan))
        x = plan.at(t + PERIOD) + 1e-3 * rng.normal(size=scenario.robot.nx)
    return solved


@pytest.fixture(scope="module")
def solved(leg: Scenario) -> list[Solved]:
    """Iterations are cut as by the clock, and halfway the loop begins afresh."""
    return driven(leg, np.random.default_rng(1).integers(1, 5, PLANS), fresh=(0, 12))


def recorded(folder: Path, scenario: Scenario, solved: Iterable[Solved]) -> Path:
    with Recording(folder, scenario) as recording:
        recording.goal(scenario.goal)
        for one in solved:
            recording.solved(one)
    return folder


@pytest.fixture(scope="module")
def run(leg: Scenario, solved: list[Solved], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("runs") / "run", leg, solved)


def test_what_was_solved_comes_back_from_the_recording(run: Path, leg: Scenario, solved: list[Solved]) -> None:
    back = read_solved(run / "run.mcap", leg.robot)
    assert len(back) == PLANS
    for one, again in zip(solved, back, strict=True):
        for key in ("solver", "number", "t", "fresh"):
            assert getattr(again.ask, key) == getattr(one.ask, key)
        assert again.ask.x.tobytes() == one.ask.x.tobytes()
        assert again.ask.goal.tobytes() == one.ask.goal.tobytes()
        assert again.outcome is not None
        assert again.outcome.differences(Outcome.of(one.plan)) == ()
        assert again.outcome.plan.gains.tobytes() == one.plan.gains[:1].tobytes()
        assert again.outcome.plan.timings == one.plan.timings
        assert again.waited == one.waited


def test_plans_come_out_bit_for_bit_with_as_many_iterations_as_were_done(run: Path, leg: Scenario) -> None:
    asked = read_solved(run / "run.mcap", leg.robot)
    assert len({one.outcome.plan.iterations for one in asked}) > 1  # else nothing was cut
    results = list(replay(asked, leg))
    assert [result.differs for result in results] == [()] * PLANS
    found = summary(results)
    assert (found["compared"], found["equal"], found["differing"], found["first_difference"]) == (PLANS, PLANS, 0, None)
    assert found["first_control_difference_nm"] == {"p50": 0.0, "max": 0.0}
    assert found["recorded"]["cost"] == found["replayed"]["cost"]


def test_the_same_questions_without_their_iterations_have_other_answers(run: Path, leg: Scenario) -> None:
    asked = read_solved(run / "run.mcap", leg.robot)
    assert any(result.differs for result in replay(asked, leg, Budget(1)))


def test_a_span_is_replayed_from_where_the_solver_began_afresh(run: Path, leg: Scenario) -> None:
    asked = read_solved(run / "run.mcap", leg.robot)
    results = list(replay(asked, leg, span=Span(since=15.5 * PERIOD, until=20.5 * PERIOD)))
    assert [result.recorded.ask.number for result in results] == [16, 17, 18, 19, 20]
    assert all(result.outcome is not None and not result.differs for result in results)
    assert len(list(replay(asked, leg, span=Span(most=3)))) == 3
    with pytest.raises(ConfigError, match=r"must hold a plan: the run has them from 0 to 0\.09 s"):
        list(replay(asked, leg, span=Span(since=9.0)))


def test_after_a_gap_nothing_is_claimed_until_the_solver_begins_afresh(run: Path, leg: Scenario) -> None:
    asked = read_solved(run / "run.mcap", leg.robot)
    results = list(replay([*asked[:5], *asked[6:]], leg))
    assert [result.outcome is None for result in results] == [False] * 5 + [True] * 6 + [False] * 12
    assert not any(result.differs for result in results)
    assert summary(results)["unknown_start"] == 6


def test_an_ask_without_an_answer_is_told_and_the_next_solver_begins_anew(leg: Scenario, solved: list[Solved]) -> None:
    def back(one: Solved, solver: int) -> object:
        ask = replace(one.ask, solver=solver)
        return from_sections(to_sections(replace(one, ask=ask)), leg.robot.nx, leg.robot.nu, leg.robot.ndx)

    lost = replace(solved[3], plan=None)
    asked = [*(back(one, 1) for one in [*solved[:3], lost]), *(back(one, 2) for one in solved[:4])]
    results = list(replay(asked, leg))
    assert [result.outcome is None for result in results] == [False] * 3 + [True] + [False] * 4
    assert not any(result.differs for result in results)
    assert summary(results)["unanswered"] == 1


def test_another_horizon_or_planner_is_seen_from_the_first_plan_on(run: Path, leg: Scenario) -> None:
    asked = read_solved(run / "run.mcap", leg.robot)
    for change in ("planner.horizon=6", "planner.terminal.goal=11.0", "planner.kind=csqp"):
        other = load_scenario(str(run / "scenario.yaml"), (change,))
        found = summary(list(replay(asked, other, budgets(leg.config.planner, other.config.planner))))
        assert found["differing"] == PLANS, change
        assert found["first_difference"]["number"] == 0
        assert found["first_control_difference_nm"]["max"] > 0.0


def test_another_artifact_under_the_same_name_is_seen(tmp_path: Path) -> None:
    base = load_scenario("kuka_reach")
    for name, seed in (("a", 1), ("b", 2)):
        write_artifact(tmp_path / name, base.robot, base.task, value=random_value(seed))
    overrides = ("planner.kind=ddp", "planner.horizon=4", "planner.guesses=[hold, shift]", f"artifact={tmp_path / 'a'}")
    scenario = load_scenario("kuka_reach", overrides)
    solved = driven(scenario, [1] * 4)
    assert solved[0].plan is not None
    assert solved[0].plan.advice.value is Verdict.USED
    run = recorded(tmp_path / "run", scenario, solved)
    asked = read_solved(run / "run.mcap", scenario.robot)
    assert not any(result.differs for result in replay(asked, scenario))
    assert replay_verb(ReplayArgs(run)) == 0
    assert replay_verb(ReplayArgs(run, artifact=str(tmp_path / "b"))) == 1
    for file in (tmp_path / "b").iterdir():
        file.replace(tmp_path / "a" / file.name)
    assert replay_verb(ReplayArgs(run)) == 1


def test_the_command_writes_figures_and_a_picture(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"json": tmp_path / "out.json", "png": tmp_path / "out.png"}
    assert replay_verb(ReplayArgs(run, quick=True, **files)) == 0
    assert "all 24 plans are the same, bit for bit" in capsys.readouterr().out
    assert replay_verb(ReplayArgs(run, set=("planner.iterations=1",), **files)) == 1
    said, figures = capsys.readouterr().out, json.loads(files["json"].read_text())
    assert f"{figures['differing']} of 24 plans differ" in said
    assert figures["changed"] == ["planner.iterations=1"]
    assert figures["replayed"]["iterations"]["mean"] == 1.0 < figures["recorded"]["iterations"]["mean"]
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_a_scenario_of_another_task_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="must keep the robot and the goal"):
        replay_verb(ReplayArgs(run, set=("robot.prefix=other_",)))


def test_a_run_without_what_was_solved_is_refused(tmp_path: Path, leg: Scenario) -> None:
    recorded(tmp_path / "run", leg, [])
    with pytest.raises(ConfigError, match="has no /mpc_node/solved"):
        replay_verb(ReplayArgs(tmp_path / "run"))


def test_numbers_of_another_robot_or_layout_are_refused(leg: Scenario, solved: list[Solved], tmp_path: Path) -> None:
    sizes = (leg.robot.nx, leg.robot.nu, leg.robot.ndx)
    sections = to_sections(solved[0])
    with pytest.raises(MessageError, match="x has 4 numbers: needs 14"):
        from_sections(sections, 14, 7, 14)
    for left_out in ("ask", "x", "goal", "xs", "us[Nm]", "gain", "status OK"):
        rest = [section for section in sections if section[0].split(" t[s]")[0].split(" solver")[0] != left_out]
        assert len(rest) == len(sections) - 1
        with pytest.raises(MessageError, match=r"missing|unknown|none of ours"):
            from_sections(rest, *sizes)
    rng = np.random.default_rng(0)
    for k in range(200):  # anything may be called that
        shuffled = [(name, part[: rng.integers(0, len(part) + 1)]) for name, part in sections if rng.random() < 0.9]
        if rng.random() < 0.5:
            shuffled = [(name, np.full_like(part, np.nan)) for name, part in shuffled]
        try:
            from_sections(shuffled, *sizes)
        except MessageError:
            continue
        assert [name for name, _ in shuffled][:3] == [name for name, _ in sections][:3], k
    with Recording(tmp_path / "run", leg) as recording:
        recording.write("/mpc_node/solved", Float64MultiArray(data=[1.0, 2.0]))
    with pytest.raises(MessageError, match="2 numbers, of which the layout knows 0"):
        read_solved(tmp_path / "run" / "run.mcap", leg.robot)


def test_recordings_with_wrong_bytes_are_refused_or_read_in_part(run: Path, leg: Scenario, tmp_path: Path) -> None:
    content, rng = (run / "run.mcap").read_bytes(), np.random.default_rng(7)
    whole = [one.ask.number for one in read_solved(run / "run.mcap", leg.robot)]
    file = tmp_path / "torn.mcap"
    for _ in range(120):
        torn = bytearray(content[: rng.integers(1, len(content) + 1)])
        for _ in range(rng.integers(0, 4)):
            torn[rng.integers(0, len(torn))] = rng.integers(0, 256)
        file.write_bytes(torn)
        try:
            found = [one.ask.number for one in read_solved(file, leg.robot)]
        except DpvpError:
            continue
        assert found == whole[: len(found)]


def test_every_word_of_a_plan_survives(leg: Scenario, solved: list[Solved]) -> None:
    sizes = (leg.robot.nx, leg.robot.nu, leg.robot.ndx)
    plan = solved[1].plan
    assert plan is not None
    for status in PlanStatus:
        for value in (None, *Verdict):
            for refused in (False, True):
                told = replace(plan, status=status, advice=Advice(value, refused), cost=np.inf, guess="policy")
                back = from_sections(to_sections(Solved(solved[1].ask, 0.0, told)), *sizes)
                assert back.outcome is not None
                assert back.outcome.differences(Outcome.of(told)) == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"xs": np.nextafter}, "xs"),
        ({"us": np.nextafter}, "us"),
        ({"gains": np.nextafter}, "gains"),
        ({"cost": 1.0}, "cost"),
        ({"guess": "policy"}, "guess"),
        ({"status": PlanStatus.GAPS_OPEN}, "status"),
        ({"iterations": 9}, "iterations"),
        ({"advice": Advice(policy_refused=True)}, "advice"),
    ],
)
def test_the_last_bit_of_anything_counts(change: dict[str, object], named: str, solved: list[Solved]) -> None:
    plan = solved[2].plan
    assert isinstance(plan, Plan)
    ((key, value),) = change.items()
    if value is np.nextafter:
        array = getattr(plan, key).copy()
        array.flat[-1] = np.nextafter(array.flat[-1], np.inf)
        value = array
    assert Outcome.of(plan).differences(Outcome.of(replace(plan, **{key: value}))) == (named,)
    assert Outcome.of(plan).differences(Outcome.of(replace(plan, timings=Timings(1.0, 2.0, 3.0)))) == ()
