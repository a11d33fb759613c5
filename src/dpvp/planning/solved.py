"""Solved: what a solver was asked and what it answered, in numbers from which the same can be asked again."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

import numpy as np

from dpvp.errors import MessageError
from dpvp.plan import Advice, Array, Plan, PlanStatus, Timings, Verdict

_Enum = TypeVar("_Enum", bound=Enum)
Section = tuple[str, Array]  # numbers and what they are: a key, then their names or, where there are none, a word

_ASK = "ask solver[pid] number t[s] fresh plain waited[s]"
_PLAN = "plan t0[s] dt[s] first_dt[s] cost guess_cost iterations guess[s] solve[s] check[s] gains_crc32"
_NOTHING = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Ask:
    """A question to a solver process, which remembers its last plan.

    Attributes:
        solver: process id of the solver.
        number: how many questions it was asked before.
        x: (nx,) the state, [rad, rad/s].
        goal: in the task's units, as it is at time 0.
        t: time of the state, s.
        fresh: the solver was to forget its last plan.
        plain: it was to do without what was learned.
    """

    solver: int
    number: int
    x: Array
    goal: Array
    t: float
    fresh: bool
    plain: bool = False


@dataclass(frozen=True, eq=False)
class Solved:
    """An ask, the seconds that the asker waited, and the plan; None where the solver ended without one."""

    ask: Ask
    waited: float
    plan: Plan | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is kept of a plan: all but the gains of its later nodes, of which there is a checksum.

    Attributes:
        plan: `gains` are those of the first node alone, (1, nu, ndx).
        gains_crc: CRC-32 of the gains of all nodes.
    """

    plan: Plan
    gains_crc: int

    @classmethod
    def of(cls, plan: Plan) -> Outcome:
        """Keep of `plan` what is kept."""
        return cls(replace(plan, gains=plan.gains[:1].copy()), zlib.crc32(plan.gains.tobytes()))

    def differences(self, other: Outcome) -> tuple[str, ...]:
        """Return the names of what is not the same bit for bit; how long things took does not count."""
        mine, others = self.plan, other.plan
        arrays = [name for name in ("xs", "us") if getattr(mine, name).tobytes() != getattr(others, name).tobytes()]
        gains = [] if self.gains_crc == other.gains_crc else ["gains"]
        numbers = ("t0", "dt", "first_dt", "cost", "guess_cost")
        unequal = [
            n for n in numbers if np.float64(getattr(mine, n)).tobytes() != np.float64(getattr(others, n)).tobytes()
        ]
        words = ("guess", "status", "iterations", "advice")
        return (*arrays, *gains, *unequal, *(word for word in words if getattr(mine, word) != getattr(others, word)))


@dataclass(frozen=True, eq=False)
class Recorded:
    """`Solved` as it comes back from a recording; `outcome` is None where the solver ended without a plan."""

    ask: Ask
    waited: float
    outcome: Outcome | None


def to_sections(solved: Solved) -> list[Section]:
    """Return all numbers of `solved` in sections, each with what it is; words are sections without numbers."""
    ask = solved.ask
    asked = np.array([ask.solver, ask.number, ask.t, ask.fresh, ask.plain, solved.waited], dtype=np.float64)
    sections = [(_ASK, asked), ("x", ask.x), ("goal", ask.goal)]
    if solved.plan is None:
        return sections
    outcome = Outcome.of(solved.plan)
    plan, timings = outcome.plan, outcome.plan.timings
    numbers = [plan.t0, plan.dt, plan.first_dt, plan.cost, plan.guess_cost, plan.iterations]
    numbers += [timings.guess, timings.solve, timings.check, outcome.gains_crc]
    words = [f"status {plan.status.name}", f"guess {plan.guess}"]
    if plan.advice.value is not None:
        words.append(f"value {plan.advice.value.name}")
    if plan.advice.policy_refused:
        words.append("policy refused")
    sections += [(_PLAN, np.array(numbers, dtype=np.float64)), *((word, _NOTHING) for word in words)]
    return [*sections, ("xs", plan.xs.ravel()), ("us[Nm]", plan.us.ravel()), ("gain", plan.gains.ravel())]


def from_sections(sections: Sequence[Section], nx: int, nu: int, ndx: int) -> Recorded:
    """Return what `to_sections` was given, of a robot with such sizes.

    Raises:
        MessageError: a section is missing or not of the right size, or a word is none of ours.
    """
    numbers = {label.split("[")[0].split(" ")[0]: values for label, values in sections}
    words = dict(label.split(" ", 1) for label, values in sections if not len(values) and " " in label)
    solver, number, t, fresh, plain, waited = _floats(numbers, "ask", 6)
    if not all(map(math.isfinite, (solver, number))):
        raise MessageError(f"solved: ask: solver {solver} and number {number} must be finite")
    goal = _section(numbers, "goal")
    ask = Ask(int(solver), int(number), _shaped(numbers, "x", (nx,)), goal, t, bool(fresh), bool(plain))
    if "plan" not in numbers:
        return Recorded(ask, waited, None)
    t0, dt, first_dt, cost, guess_cost, iterations, *times, crc = _floats(numbers, "plan", 10)
    horizon = len(_section(numbers, "us")) // nu
    if not (horizon and math.isfinite(iterations) and math.isfinite(crc)):
        raise MessageError(f"solved: a plan of {horizon} nodes, {iterations} iterations, checksum {crc}: none of ours")
    plan = Plan(
        t0=t0,
        dt=dt,
        xs=_shaped(numbers, "xs", (horizon + 1, nx)),
        us=_shaped(numbers, "us", (horizon, nu)),
        gains=_shaped(numbers, "gain", (1, nu, ndx)),
        cost=cost,
        guess_cost=guess_cost,
        guess=words.get("guess", ""),
        status=_member(PlanStatus, words.get("status", "")),
        iterations=int(iterations),
        timings=Timings(*times),
        advice=Advice(_member(Verdict, words["value"]) if "value" in words else None, "policy" in words),
        first_dt=first_dt,
    )
    return Recorded(ask, waited, Outcome(plan, int(crc)))


def _section(numbers: dict[str, Array], key: str) -> Array:
    if key not in numbers:
        raise MessageError(f"solved: {key} is missing; found {', '.join(numbers)}")
    return numbers[key]


def _floats(numbers: dict[str, Array], key: str, size: int) -> list[float]:
    return [float(number) for number in _shaped(numbers, key, (size,))]


def _shaped(numbers: dict[str, Array], key: str, shape: tuple[int, ...]) -> Array:
    found = _section(numbers, key)
    if found.size != math.prod(shape):
        raise MessageError(f"solved: {key} has {found.size} numbers: needs {math.prod(shape)}, {shape}; another robot?")
    return found.reshape(shape)


def _member(kind: type[_Enum], name: str) -> _Enum:
    try:
        return kind[name]
    except KeyError:
        known = ", ".join(member.name for member in kind)
        raise MessageError(f"solved: {kind.__name__} '{name}' is unknown: must be one of {known}") from None
