"""Faults of the solver and of what was learned: plans that are wrong, late or never come."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np

from dpvp.bench.faults.fault import Fault
from dpvp.plan import Array, Plan, PlanStatus


class Diverged(Fault):
    """Plans hold NaN, and say so."""

    def plan(self, plan: Plan) -> Plan:
        """Return NaN."""
        nan = np.full_like(plan.us, np.nan)
        return replace(plan, us=nan, status=PlanStatus.NOT_FINITE)


class Lying(Fault):
    """Plans hold NaN and say that they are usable."""

    def plan(self, plan: Plan) -> Plan:
        """Return NaN."""
        return replace(plan, gains=np.full_like(plan.gains, np.nan), status=PlanStatus.OK)


class Boasting(Fault):
    """Plans have fifty times the torque and say that they are usable."""

    def plan(self, plan: Plan) -> Plan:
        """Return them so."""
        return replace(plan, us=50.0 * plan.us, status=PlanStatus.OK)


class Rejected(Fault):
    """No plan passes the check."""

    @cached_property
    def status(self) -> PlanStatus:
        """What the check says of all."""
        bad = [status for status in PlanStatus if not status.usable]
        return bad[int(self.rng.integers(len(bad)))]

    def plan(self, plan: Plan) -> Plan:
        """Return the plan, rejected."""
        return replace(plan, status=self.status)


class RejectedNow(Rejected):
    """Every other plan does not pass the check."""

    turn = False

    def plan(self, plan: Plan) -> Plan:
        """Return the plan, rejected or not."""
        self.turn = not self.turn
        return super().plan(plan) if self.turn else plan


class Outdated(Fault):
    """Plans are for a state of half a second before."""

    def plan(self, plan: Plan) -> Plan:
        """Return the plan with another time."""
        return replace(plan, t0=plan.t0 - 0.5)


class Hung(Fault):
    """The solver never answers."""

    def latency(self, seconds: float) -> float:
        """Return infinity."""
        return math.inf


class Slow(Fault):
    """Plans take two to five times as long."""

    def latency(self, seconds: float) -> float:
        """Return more."""
        return float(self.rng.uniform(2.0, 5.0)) * seconds


class Stuck(Fault):
    """One plan takes a fifth of a second or more."""

    def latency(self, seconds: float) -> float:
        """Return more."""
        return float(self.rng.uniform(0.25, 0.6))


class Dead(Fault):
    """The solver process is killed."""

    solver_lives = False


class Nonsense(Fault):
    """The graphs of the artifact answer with other numbers: another sign, another scale."""

    @cached_property
    def factor(self) -> float:
        """By which outputs are multiplied."""
        return float(self.rng.choice([-1.0, 1.0]) * np.exp(self.rng.uniform(0.0, np.log(100.0))))

    def learned(self, outputs: Array) -> Array:
        """Return them so."""
        return np.asarray(self.factor * outputs)


class Noise(Fault):
    """The graphs of the artifact answer with noise."""

    def learned(self, outputs: Array) -> Array:
        """Return noise of the size of the outputs."""
        size = 1.0 + float(np.abs(outputs).max())
        return np.asarray(self.rng.normal(0.0, size, outputs.shape))


class NotANumber(Fault):
    """The graphs of the artifact answer with NaN."""

    def learned(self, outputs: Array) -> Array:
        """Return NaN."""
        return np.full_like(outputs, np.nan)
