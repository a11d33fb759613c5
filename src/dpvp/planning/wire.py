"""How states, goals and plans lie in the mailboxes between the loop and the solver process."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from dpvp.plan import Advice, Plan, PlanStatus, Timings, Verdict
from dpvp.planning.mailbox import Record
from dpvp.scenario import GuessName

STATUSES = list(PlanStatus)
VERDICTS = (None, *Verdict)
GUESSES = get_args(GuessName)
READY, LOOK = b"r", b"l"  # what the two sides say on their socket


def state_layout(nx: int) -> np.dtype[Any]:
    """Layout of a state: its time (s), the state (nx,), whether to forget the previous plan and what was learned."""
    return np.dtype([("t", "f8"), ("x", "f8", nx), ("fresh", "?"), ("plain", "?")])


def goal_layout(size: int) -> np.dtype[Any]:
    """Layout of a goal of `size` numbers."""
    return np.dtype([("goal", "f8", size)])


def plan_layout(horizon: int, nx: int, nu: int, ndx: int) -> np.dtype[Any]:
    """Layout of a Plan."""
    return np.dtype(
        [
            ("t0", "f8"),
            ("dt", "f8"),
            ("first_dt", "f8"),
            ("xs", "f8", (horizon + 1, nx)),
            ("us", "f8", (horizon, nu)),
            ("gains", "f8", (horizon, nu, ndx)),
            ("cost", "f8"),
            ("guess_cost", "f8"),
            ("guess", "u1"),
            ("status", "u1"),
            ("iterations", "u4"),
            ("timings", "f8", 3),
            ("value", "u1"),
            ("policy_refused", "?"),
            ("bellman", "f8"),
        ]
    )


def plan_to_record(plan: Plan, layout: np.dtype[Any]) -> Record:
    """Write a plan into a record of `plan_layout`."""
    record = np.zeros((), layout)
    for key in ("t0", "dt", "first_dt", "xs", "us", "gains", "cost", "guess_cost", "iterations"):
        record[key] = getattr(plan, key)
    record["guess"] = GUESSES.index(plan.guess)
    record["status"] = STATUSES.index(plan.status)
    record["timings"] = plan.timings.guess, plan.timings.solve, plan.timings.check
    record["value"] = VERDICTS.index(plan.advice.value)
    record["policy_refused"] = plan.advice.policy_refused
    record["bellman"] = plan.advice.bellman
    return record


def record_to_plan(record: Record) -> Plan:
    """Read a plan from a record of `plan_layout`."""
    return Plan(
        t0=float(record["t0"]),
        dt=float(record["dt"]),
        xs=record["xs"],
        us=record["us"],
        gains=record["gains"],
        cost=float(record["cost"]),
        guess_cost=float(record["guess_cost"]),
        guess=GUESSES[int(record["guess"])],
        status=STATUSES[int(record["status"])],
        iterations=int(record["iterations"]),
        timings=Timings(*map(float, record["timings"])),
        first_dt=float(record["first_dt"]),
        advice=Advice(VERDICTS[int(record["value"])], bool(record["policy_refused"]), float(record["bellman"])),
    )
