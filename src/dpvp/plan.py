"""The values that travel round the loop: State in, Plan between, Command out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

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
    """

    t: float
    x0: Array
    u0: Array
    gain: Array
    valid_until: float


@dataclass(frozen=True)
class Plan:
    """A trajectory with its feedback gains and how it came about.

    Arrays are owned by the plan and read-only. Interpolation is linear in the coordinates of the state, which is exact
    to first order for revolute and prismatic joints.

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
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        """Take copies: solvers hand out views that their next solve overwrites."""
        for name in ("xs", "us", "gains"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def horizon(self) -> int:
        """Number of control nodes T."""
        return len(self.us)

    @property
    def end(self) -> float:
        """Time of the last state, s."""
        return self.t0 + self.horizon * self.dt

    def after(self, spent: Timings) -> Plan:
        """Return the plan with what was `spent` on earlier attempts at it booked too."""
        mine = self.timings
        total = Timings(mine.guess + spent.guess, mine.solve + spent.solve, mine.check + spent.check)
        return replace(self, timings=total)

    def with_guess_time(self, seconds: float) -> Plan:
        """Return the plan with `seconds` booked as the time that its guess took."""
        return replace(self, timings=replace(self.timings, guess=seconds))

    def at(self, t: float) -> Array:
        """Return the (nx,) state planned for time `t`, s; clamped to the first and last state."""
        return self._state(self._position(t))

    def shifted(self, t: float) -> tuple[Array, Array, Array]:
        """Read the plan anew on its own grid from time `t` on, s.

        Returns:
            xs (T+1, nx), us (T, nu), gains (T, nu, ndx): states interpolated, controls and gains of the node that is
            under way at each new node; beyond the end the last ones are repeated.
        """
        positions = self._position(t) + np.arange(self.horizon + 1)
        xs = np.stack([self._state(position) for position in positions])
        nodes = [self._node(position) for position in positions[:-1]]
        return xs, self.us[nodes], self.gains[nodes]

    def command(self, t: float, valid_for: float) -> Command:
        """Return the feedback law for time `t`, valid for another `valid_for` seconds.

        At `t = t0` it is exactly `xs[0]`, `us[0]`, `gains[0]`.
        """
        node = self._node(self._position(t))
        return Command(t, self.at(t), self.us[node].copy(), self.gains[node].copy(), t + valid_for)

    def _position(self, t: float) -> float:
        """Time `t` in nodes since `t0`; one that is a node up to rounding is that node."""
        position = (t - self.t0) / self.dt
        nearest = round(position)
        return float(nearest) if abs(position - nearest) * self.dt < SAME_TIME else position

    def _state(self, position: float) -> Array:
        """Return the (nx,) state `position` nodes after `t0`."""
        position = min(max(position, 0.0), float(self.horizon))
        node = min(int(position), self.horizon - 1)
        ratio = position - node
        if ratio in (0.0, 1.0):
            return np.array(self.xs[node + int(ratio)])
        return np.asarray((1.0 - ratio) * self.xs[node] + ratio * self.xs[node + 1])

    def _node(self, position: float) -> int:
        """Return the control node under way `position` nodes after `t0`."""
        return min(max(int(position), 0), self.horizon - 1)
