"""The values that travel round the loop: State in, Plan between, Command out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

QUATERNION = slice(3, 7)  # of a base that floats, in a state
SAME_TIME = 1e-6  # s; seconds since 1970 in a float come in steps of a quarter of this


class PlanStatus(Enum):
    """What we found in a plan, checked by us and not taken from the solver; the text says what to try next."""

    OK = "finite, dynamically consistent, within limits and not worse than its guess"
    NOT_FINITE = "holds NaN or infinity; look at the state and goal that were given and at the cost weights"
    GAPS_OPEN = "is not dynamically consistent; give the solver more iterations or a shorter horizon"
    OUT_OF_LIMITS = "leaves the robot's limits soon; use planner csqp, or raise the limit weight of the task"
    WORSE_THAN_GUESS = "costs more than the guess it started from; the problem may be badly scaled"

    @property
    def usable(self) -> bool:
        """True if a robot may follow the plan."""
        return self is PlanStatus.OK


class Verdict(Enum):
    """What became of the learned value where a plan ends; the text says why and what to try next."""

    USED = "the learned value speaks for what comes after the horizon"
    BLENDED = "the learned value speaks in part: the plan ends at the edge of what it knows"
    OUT_OF_RANGE = "the plan ends in a state beyond the training data; plan further or train on more states"
    GOAL_OUT_OF_RANGE = "the goal is beyond the training data; choose another or train on more goals"
    DROPPED = "the loop doubts what was learned and plans without it for a while"
    DISAGREEMENT = "the members of the value contradict each other; train longer or on more data around here"


@dataclass(frozen=True)
class Advice:
    """What became of the learned parts' advice in a plan.

    Attributes:
        value: on the learned value as terminal cost; None where there is none.
        policy_refused: the policy would have had to be asked outside its training data, so it gave no guess.
        bellman: |V(x) - cost of the plan| / (V(x) + floor), where the value speaks for both ends of the plan; else NaN.
    """

    value: Verdict | None = None
    policy_refused: bool = False
    bellman: float = field(default=math.nan, compare=False)

    @property
    def keys(self) -> list[str]:
        """What counters call it: value_used, value_blended, value_refused_<why>, policy_refused."""
        keys = ["policy_refused"] if self.policy_refused else []
        if self.value is not None:
            refused = "" if self.value in (Verdict.USED, Verdict.BLENDED) else "refused_"
            keys.append(f"value_{refused}{self.value.name.lower()}")
        return keys


@dataclass(frozen=True)
class Timings:
    """Where the time of one plan went, each in seconds."""

    guess: float = 0.0
    solve: float = 0.0
    check: float = 0.0

    @property
    def total(self) -> float:
        """Seconds from the state's arrival in the planner to the finished plan."""
        return self.guess + self.solve + self.check


@dataclass(frozen=True)
class State:
    """A measured state.

    Attributes:
        t: when it was measured, s.
        x: (nx,) [rad, rad/s], in the robot's joint order.
        mark: whatever the one who measured wants to have back with the answer, such as an exact time stamp.
    """

    t: float
    x: Array
    mark: object = None


@dataclass(frozen=True)
class Command:
    """One linear feedback law, `u = u0 + K (x0 ⊖ x)`, and the time until which it may be applied.

    Attributes:
        t: time of the state that `x0` stands for, s.
        x0: (nx,) state the law is linearised about, [rad, rad/s].
        u0: (nu,) feed-forward, total joint torque including gravity, Nm.
        gain: (nu, ndx) K, first nv columns Nm/rad, last nv columns Nm s/rad; positive signs stabilise.
        valid_until: time after which whoever applies the law has to fall back to holding, s.
        stands: which feet are to stand meanwhile; none where there are no feet.
    """

    t: float
    x0: Array
    u0: Array
    gain: Array
    valid_until: float
    stands: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A trajectory with its feedback gains and how it came about.

    Arrays are owned by the plan and read-only. Interpolation is linear in the coordinates of the state, which is exact
    to first order; where `ndx` is one less than `nx`, the state begins with the place of a base and its orientation, a
    quaternion, which keeps its length.

    Attributes:
        t0: time of `xs[0]`, s.
        dt: length of one node, s.
        xs: (T+1, nx) states, [rad, rad/s].
        us: (T, nu) joint torques, Nm.
        gains: (T, nu, ndx) Riccati gains in the sign of `Command.gain`, Nm/rad and Nm s/rad.
        cost: objective of the plan; `guess_cost` that of the rolled-out guess it started from.
        guess: name of the guess that won.
        status: result of our own checks.
        iterations: solver iterations done.
        timings: where the time went.
        advice: what became of the learned parts' advice.
        first_dt: length of node 0 where it is not `dt`, s; else 0.
    """

    t0: float
    dt: float
    xs: Array
    us: Array
    gains: Array
    cost: float
    guess_cost: float
    guess: str
    status: PlanStatus
    iterations: int
    timings: Timings = Timings()
    advice: Advice = Advice()
    first_dt: float = 0.0

    def __post_init__(self) -> None:
        """Take copies: solvers hand out views that their next solve overwrites."""
        for name in ("xs", "us", "gains"):
            object.__setattr__(self, name, _owned(getattr(self, name)))

    @property
    def horizon(self) -> int:
        """Number of control nodes T."""
        return len(self.us)

    @property
    def end(self) -> float:
        """Time of the last state, s."""
        return self.t0 + self._span(self.first_dt)

    def after(self, spent: Timings) -> Plan:
        """Return the plan with what was `spent` on earlier attempts at it booked too."""
        mine = self.timings
        total = Timings(mine.guess + spent.guess, mine.solve + spent.solve, mine.check + spent.check)
        return replace(self, timings=total)

    def told(self, guess_seconds: float, advice: Advice) -> Plan:
        """Return the plan with what its planner cannot know: the time that its guess took, s, and the advice."""
        mine = self.timings
        return replace(self, timings=Timings(guess_seconds, mine.solve, mine.check), advice=advice)

    def at(self, t: float) -> Array:
        """Return the (nx,) state planned for time `t`, s; clamped to the first and last state."""
        return self._state(self._position(t))

    def shifted(self, t: float, first_dt: float = 0.0) -> tuple[Array, Array, Array]:
        """Read the plan anew from time `t` on, s, on a grid whose first node has length `first_dt`, s; `dt` if 0.

        Returns:
            xs (T+1, nx), us (T, nu), gains (T, nu, ndx): states interpolated, controls and gains of the node that is
            under way where each new node begins, and in the middle of a first node of a length of its own; beyond the
            end the last ones are repeated.
        """
        after = (first_dt or self.dt) + self.dt * np.arange(self.horizon)
        positions = np.array([self._position(t), *(self._position(t + seconds) for seconds in after)])
        positions = positions.clip(0.0, self.horizon)
        nodes = positions.astype(int)
        ratios = (positions - nodes)[:, None]
        xs = self._between(self.xs[nodes], self.xs[(nodes + 1).clip(0, self.horizon)], ratios)
        if first_dt:
            nodes[0] = self._node(self._position(t + 0.5 * first_dt))
        nodes = nodes[:-1].clip(0, self.horizon - 1)
        return xs, self.us[nodes], self.gains[nodes]

    def command(self, t: float, valid_for: float) -> Command:
        """Return the feedback law for time `t`, valid for another `valid_for` seconds.

        At `t = t0` it is exactly `xs[0]`, `us[0]`, `gains[0]`.
        """
        node = self._node(self._position(t))
        return Command(t, self.at(t), self.us[node].copy(), self.gains[node].copy(), t + valid_for)

    def _span(self, first_dt: float) -> float:
        """Return the length of T nodes of which the first has length `first_dt`, s; `dt` if 0."""
        return self.horizon * self.dt if first_dt == 0.0 else first_dt + (self.horizon - 1) * self.dt

    def _position(self, t: float) -> float:
        """Time `t` in nodes since `t0`; one that is a node up to rounding is that node."""
        since, first = t - self.t0, self.first_dt or self.dt
        length = first if since < first else self.dt
        position = 1.0 + (since - first) / length
        nearest = round(position)
        return float(nearest) if abs(position - nearest) * length < SAME_TIME else position

    def _state(self, position: float) -> Array:
        """Return the (nx,) state `position` nodes after `t0`."""
        position = min(max(position, 0.0), float(self.horizon))
        node = min(int(position), self.horizon - 1)
        ratio = position - node
        if ratio in (0.0, 1.0):
            return np.array(self.xs[node + int(ratio)])
        return self._between(self.xs[node], self.xs[node + 1], ratio)

    def _between(self, before: Array, after: Array, ratio: float | Array) -> Array:
        """Return states (..., nx) at `ratio` (..., 1) of the way from one to the other."""
        xs = np.asarray((1.0 - ratio) * before + ratio * after)
        if self.gains.shape[2] < self.xs.shape[1]:
            start, end = before[..., QUATERNION], after[..., QUATERNION]
            near = np.where((start * end).sum(axis=-1, keepdims=True) < 0.0, -end, end)  # q and -q turn the same way
            turn = (1.0 - ratio) * start + ratio * near
            xs[..., QUATERNION] = turn / np.linalg.norm(turn, axis=-1, keepdims=True)
        return xs

    def _node(self, position: float) -> int:
        """Return the control node under way `position` nodes after `t0`."""
        return min(max(int(position), 0), self.horizon - 1)


def _owned(values: ArrayLike) -> Array:
    """Return a read-only copy, or `values` itself where it is one: a plan that changes in a number keeps its arrays."""
    if isinstance(values, np.ndarray) and values.dtype == np.float64:
        flags = values.flags
        if flags.owndata and not flags.writeable:
            return values
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
