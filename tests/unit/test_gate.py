"""gate.py: which state the loop may be in, and why."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from dpvp.control.gate import Decision, Health, Ruling, decide
from dpvp.control.states import LoopState, Reaction, Reason
from dpvp.scenario import LoopConfig

IDLE, HOLD, TRACK, FAULT = LoopState
LIMITS = LoopConfig(sensor_timeout=0.05, plan_timeout=0.1)
NEVER = float("inf")
WELL = Health(state_age=0.001, plan_age=0.01, goal_set=True, solver_ready=True, solver_restarted=False)
CASES = [
    # asked, what is wrong, state, reason, is the solver asked
    (IDLE, {}, IDLE, Reason.ASKED, False),
    (IDLE, {"state_age": NEVER, "solver_ready": False}, IDLE, Reason.ASKED, False),
    (HOLD, {}, HOLD, Reason.ASKED, False),
    (HOLD, {"state_age": NEVER}, IDLE, Reason.NO_STATE, False),
    (HOLD, {"state_age": 0.06}, HOLD, Reason.STALE_STATE, False),
    (HOLD, {"plan_age": NEVER, "goal_set": False, "solver_ready": False}, HOLD, Reason.ASKED, False),
    (TRACK, {}, TRACK, Reason.ASKED, True),
    (TRACK, {"solver_restarted": True}, TRACK, Reason.ASKED, True),
    (TRACK, {"state_age": 0.05, "plan_age": 0.1}, TRACK, Reason.ASKED, True),
    (TRACK, {"state_age": NEVER}, IDLE, Reason.NO_STATE, False),
    (TRACK, {"state_age": 0.0501}, HOLD, Reason.STALE_STATE, False),
    (TRACK, {"solver_ready": False}, HOLD, Reason.SOLVER_STARTING, False),
    (TRACK, {"solver_ready": False, "solver_restarted": True}, HOLD, Reason.SOLVER_LOST, False),
    (TRACK, {"goal_set": False}, HOLD, Reason.NO_GOAL, False),
    (TRACK, {"plan_age": 0.1001}, HOLD, Reason.NO_PLAN, True),
    (TRACK, {"plan_age": NEVER}, HOLD, Reason.NO_PLAN, True),
    (TRACK, {"plan_age": 0.2, "rejecting": True}, HOLD, Reason.PLANS_REJECTED, True),
    (TRACK, {"learned_doubted": True}, TRACK, Reason.LEARNED_DOUBTED, True),
    (TRACK, {"ruling_age": 0.51}, HOLD, Reason.SUPERVISOR_LOST, False),
    (TRACK, {"ruling_age": NEVER}, HOLD, Reason.NO_SUPERVISOR, False),
    (TRACK, {"ruling": Ruling(HOLD, Reason.VELOCITY)}, HOLD, Reason.VELOCITY, False),
    (HOLD, {"ruling": Ruling(HOLD, Reason.VELOCITY)}, HOLD, Reason.VELOCITY, False),
    (TRACK, {"ruling": Ruling(FAULT, Reason.ESTOP)}, FAULT, Reason.ESTOP, False),
    (IDLE, {"ruling": Ruling(FAULT, Reason.ESTOP)}, FAULT, Reason.ESTOP, False),
    (IDLE, {"ruling_age": NEVER}, IDLE, Reason.ASKED, False),
    # of several faults the one nearest to the arm is named
    (TRACK, {"state_age": 0.06, "solver_ready": False, "goal_set": False}, HOLD, Reason.STALE_STATE, False),
    (TRACK, {"solver_ready": False, "goal_set": False, "plan_age": NEVER}, HOLD, Reason.SOLVER_STARTING, False),
    (TRACK, {"goal_set": False, "plan_age": NEVER}, HOLD, Reason.NO_GOAL, False),
    (TRACK, {"state_age": 0.06, "ruling": Ruling(FAULT, Reason.ESTOP)}, FAULT, Reason.ESTOP, False),
    (TRACK, {"ruling_age": 0.51, "ruling": Ruling(HOLD, Reason.SPEED)}, HOLD, Reason.SUPERVISOR_LOST, False),
]


@pytest.mark.parametrize(("asked", "wrong", "state", "reason", "solve"), CASES)
def test_table(asked: LoopState, wrong: dict[str, float], state: LoopState, reason: Reason, solve: bool) -> None:
    assert decide(asked, replace(WELL, **wrong), LIMITS) == Decision(state, reason, solve)  # type: ignore[arg-type]


AGES = (0.0, 0.05, 0.06, NEVER)
EVERY_HEALTH = [
    Health(*values, ruling=ruling, ruling_age=ruling_age)
    for ruling in (Ruling(), Ruling(HOLD, Reason.TRACKING), Ruling(FAULT, Reason.TOO_FAR))
    for ruling_age in (0.0, 0.6)
    for values in itertools.product(AGES, (0.0, 0.1, 0.2, NEVER), (True, False), (True, False), (True, False))
]


@pytest.mark.parametrize("asked", [IDLE, HOLD, TRACK])
def test_what_holds_in_every_case(asked: LoopState) -> None:
    for health in EVERY_HEALTH:
        found = decide(asked, health, LIMITS)
        fresh = health.state_age <= LIMITS.sensor_timeout
        allowed = health.ruling.state is TRACK and health.ruling_age <= LIMITS.supervisor_timeout
        could_plan = asked is TRACK and fresh and allowed and health.goal_set and health.solver_ready
        assert (found.state is FAULT) == (health.ruling.state is FAULT), health
        if found.state is TRACK:
            assert could_plan, health
            assert health.plan_age <= LIMITS.plan_timeout, health
        assert found.solve == could_plan, health  # from a state that is true, towards what is wanted
        if found.state is IDLE:
            assert asked is IDLE or health.state_age == NEVER, health
        if found.reason is Reason.ASKED:
            assert found.state is asked, health


def test_limits_are_those_of_the_scenario() -> None:
    patient = LoopConfig(sensor_timeout=1.0, plan_timeout=1.0)
    tired = replace(WELL, state_age=0.5, plan_age=0.5)
    assert decide(TRACK, tired, patient).state is TRACK
    assert decide(TRACK, tired, LIMITS).state is HOLD


@pytest.mark.parametrize("text", [*(s.value for s in (*LoopState, *Reaction)), *(r.text for r in Reason)])
def test_people_can_read_it(text: str) -> None:
    assert len(text) > 5
