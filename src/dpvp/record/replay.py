"""Replay: what the solver was asked in a run, asked again, and what comes out otherwise.

A plan depends on those before it. Asked in the same order, from where the solver began afresh, the same planner gives
the same plans bit for bit: the iterations that were done are recorded, so that it does not matter how long they take.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.errors import ConfigError, MessageError
from dpvp.plan import Array
from dpvp.planning.planner import Budget
from dpvp.planning.sequence import PlanSequence
from dpvp.planning.solved import Outcome, Recorded, from_sections
from dpvp.record.recording import read_messages
from dpvp.robot import Robot
from dpvp.scenario import PlannerConfig, Scenario

SOLVED = "mpc_node/solved"


@dataclass(frozen=True)
class Span:
    """Which plans are compared: those from `since` to `until`, s after the first ask, and `most` of them."""

    since: float = 0.0
    until: float = math.inf
    most: int = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Replayed:
    """One ask of a run and what became of it.

    Attributes:
        t: s after the first ask of the run.
        recorded: the ask and its answer.
        outcome: of the replay; None where there was no answer, or the plan before it is not known.
        differs: names of what is not the same bit for bit in the two outcomes.
    """

    t: float
    recorded: Recorded
    outcome: Outcome | None = None
    differs: tuple[str, ...] = ()

    @property
    def control_difference(self) -> Array:
        """Differences of the first controls, (nu,), Nm; NaN where there is nothing to compare."""
        before = self.recorded.outcome
        if before is None or self.outcome is None:
            return np.full(0 if before is None else before.plan.us.shape[1], math.nan)
        return np.asarray(self.outcome.plan.us[0] - before.plan.us[0])


def read_solved(file: Path, robot: Robot) -> list[Recorded]:
    """Return what the solver of `robot` was asked and answered in a recording, in order.

    Raises:
        ConfigError: there is no such recording, or nothing of that in it.
        MessageError: it is of another robot, or was written by another version.
    """
    found = list[Recorded]()
    for _, _, message in read_messages(file, lambda topic: topic.endswith(f"/{SOLVED}")):
        found.append(recorded_of(message, robot))
    if not found:
        raise ConfigError(file.parent, "run", file.name, f"has no /{SOLVED}: there is nothing to ask again")
    return found


def recorded_of(message: Any, robot: Robot) -> Recorded:
    """Return what is in a message of `mpc_node/solved`, decoded; raises `MessageError` if it is none."""
    dims, numbers = message.layout.dim, np.array(message.data, dtype=np.float64)
    sizes = [int(dim.size) for dim in dims]
    if sum(sizes) != len(numbers):
        raise MessageError(f"solved: {len(numbers)} numbers, of which the layout knows {sum(sizes)}")
    parts = np.split(numbers, np.cumsum(sizes)[:-1]) if sizes else []
    sections = [(str(dim.label), part) for dim, part in zip(dims, parts, strict=True)]
    return from_sections(sections, robot.nx, robot.nu, robot.ndx)


def budgets(before: PlannerConfig, after: PlannerConfig) -> Budget | None:
    """Return the budget of plans of `after`; None: as many iterations as were recorded of `before`."""
    same = all(getattr(before, key) == getattr(after, key) for key in ("kind", "iterations", "budget"))
    return None if same else Budget(after.iterations, after.budget)


def replay(
    asked: Sequence[Recorded], scenario: Scenario, budget: Budget | None = None, span: Span = Span()
) -> Iterator[Replayed]:
    """Ask the planner of `scenario` what was `asked` and yield what comes of the asks in `span`.

    Asks before the span are asked too, from where the solver last began afresh.

    Args:
        asked: in the order of the run.
        scenario: that of the run or another of the same robot and task.
        budget: of every plan; None: as many iterations as were done in the run.
        span: what to compare.

    Raises:
        ConfigError: the scenario cannot plan.
        ArtifactError: its artifact does not fit.
    """
    first, last = bounds(asked, span)
    begin = next((i for i in range(first, 0, -1) if asked[i].ask.fresh), 0) if first < last else last
    sequence, known = None, (0, 0)  # the solver and the number of the ask that may follow
    for i in range(begin, last):
        recorded, ask = asked[i], asked[i].ask
        t = ask.t - asked[0].ask.t
        if recorded.outcome is None or not (ask.fresh or (sequence and (ask.solver, ask.number) == known)):
            known = (0, 0)
            if i >= first:
                yield Replayed(t, recorded)
            continue
        if sequence is None or ask.solver != asked[i - 1].ask.solver or not ask.number:
            sequence = PlanSequence(scenario)
        known = (ask.solver, ask.number + 1)
        its = budget or Budget(recorded.outcome.plan.iterations)
        plan = sequence.plan(ask.x, ask.goal, ask.t, fresh=ask.fresh, plain=ask.plain, budget=its)
        outcome = Outcome.of(plan)
        if i >= first:
            yield Replayed(t, recorded, outcome, outcome.differences(recorded.outcome))


def bounds(asked: Sequence[Recorded], span: Span) -> tuple[int, int]:
    """Return the index of the first ask in `span` and that after the last one.

    Raises:
        ConfigError: there is none.
    """
    times = [recorded.ask.t - asked[0].ask.t for recorded in asked]
    inside = [i for i, t in enumerate(times) if span.since <= t <= span.until][: span.most]
    if not inside:
        found = f"must hold a plan: the run has them from 0 to {max(times):.2f} s"
        raise ConfigError("--from, --to", "span", f"{span.since:g} to {span.until:g} s", found)
    return inside[0], inside[-1] + 1


def summary(results: Sequence[Replayed]) -> dict[str, Any]:
    """Return what came of a replay: how many plans differ, how much, which one first, and how both did."""
    compared = [result for result in results if result.outcome is not None]
    differing = [result for result in compared if result.differs]
    apart = [float(np.abs(result.control_difference).max()) for result in compared]
    before = [result.recorded.outcome for result in compared if result.recorded.outcome is not None]
    return {
        "asked": len(results),
        "compared": len(compared),
        "equal": len(compared) - len(differing),
        "differing": len(differing),
        "unanswered": sum(result.recorded.outcome is None for result in results),
        "unknown_start": sum(r.outcome is None and r.recorded.outcome is not None for r in results),
        "what_differs": dict(Counter(name for result in differing for name in result.differs).most_common()),
        "first_control_difference_nm": {"p50": _percentile(apart, 50), "max": max(apart, default=math.nan)},
        "first_difference": _described(differing[0]) if differing else None,
        "recorded": _planned(before),
        "replayed": _planned([result.outcome for result in compared if result.outcome is not None]),
    }


def _described(result: Replayed) -> dict[str, Any]:
    before, after = result.recorded.outcome, result.outcome
    assert before is not None
    assert after is not None
    return {
        "t_s": result.t,
        "number": result.recorded.ask.number,
        "differs": list(result.differs),
        "first_control_difference_nm": result.control_difference.tolist(),
        "cost": [before.plan.cost, after.plan.cost],
        "status": [before.plan.status.name, after.plan.status.name],
        "iterations": [before.plan.iterations, after.plan.iterations],
    }


def _planned(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    plans = [outcome.plan for outcome in outcomes]
    milliseconds = [1e3 * plan.timings.total for plan in plans]
    return {
        "cost": {"p50": _percentile([plan.cost for plan in plans], 50)},
        "iterations": {"mean": float(np.mean([plan.iterations for plan in plans])) if plans else math.nan},
        "status": dict(Counter(plan.status.name for plan in plans).most_common()),
        "guess": dict(Counter(plan.guess for plan in plans).most_common()),
        "advice": dict(Counter(key for plan in plans for key in plan.advice.keys).most_common()),
        "plan_ms": {"p50": _percentile(milliseconds, 50), "p99": _percentile(milliseconds, 99)},
    }


def _percentile(values: Sequence[float], percent: float) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.percentile(finite, percent)) if finite else math.nan
