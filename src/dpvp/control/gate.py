"""The loop's gate: what is asked for, what the supervisor and the health of the loop's parts allow, and why."""

from __future__ import annotations

from dataclasses import dataclass

from dpvp.control.states import LoopState, Reason
from dpvp.scenario import LoopConfig


@dataclass(frozen=True)
class Ruling:
    """The most that the supervisor allows, with the reason and what exactly was found."""

    state: LoopState = LoopState.TRACK
    reason: Reason = Reason.ASKED
    detail: str = ""

    @property
    def text(self) -> str:
        """The reason for people."""
        return f"{self.reason.text}: {self.detail}" if self.detail else self.reason.text


@dataclass(frozen=True)
class Health:
    """What the loop knows of its parts; ages in seconds, infinite where there was none yet.

    Attributes:
        state_age, plan_age: of the newest state and the newest usable plan.
        goal_set: whether there is a goal.
        solver_ready, solver_restarted: of the solver process.
        rejecting: the newest plan was rejected.
        learned_doubted: plans are made without what was learned, for good reason.
        ruling: of the supervisor; that of a loop without one allows everything.
        ruling_age: of the ruling.
    """

    state_age: float
    plan_age: float
    goal_set: bool
    solver_ready: bool
    solver_restarted: bool
    rejecting: bool = False
    learned_doubted: bool = False
    ruling: Ruling = Ruling()
    ruling_age: float = 0.0


@dataclass(frozen=True)
class Decision:
    """State of the loop, with the reason and whether the solver is to be asked."""

    state: LoopState
    reason: Reason
    solve: bool = False


def decide(asked: LoopState, health: Health, limits: LoopConfig) -> Decision:
    """Return the state that `health` allows of the state that is `asked` for.

    A loop that was asked to track goes back to it by itself when what made it hold is over. While it holds for want of
    a plan the solver is still asked for one.
    """
    if health.ruling.state is LoopState.FAULT:
        return Decision(LoopState.FAULT, health.ruling.reason)
    if asked is LoopState.IDLE:
        return Decision(LoopState.IDLE, Reason.ASKED)
    if health.state_age == float("inf"):
        return Decision(LoopState.IDLE, Reason.NO_STATE)
    if (reason := _why_hold(health, limits)) is not None:
        return Decision(LoopState.HOLD, reason)
    if asked is not LoopState.TRACK:
        return Decision(LoopState.HOLD, Reason.ASKED)
    if (reason := _why_not_plan(health)) is not None:
        return Decision(LoopState.HOLD, reason)
    if health.plan_age > limits.plan_timeout:
        return Decision(LoopState.HOLD, Reason.PLANS_REJECTED if health.rejecting else Reason.NO_PLAN, solve=True)
    return Decision(LoopState.TRACK, Reason.LEARNED_DOUBTED if health.learned_doubted else Reason.ASKED, solve=True)


def _why_hold(health: Health, limits: LoopConfig) -> Reason | None:
    """Return why the loop holds whatever was asked for; of several faults the one nearest to the robot."""
    if health.state_age > limits.sensor_timeout:
        return Reason.STALE_STATE
    if health.ruling_age > limits.supervisor_timeout:
        return Reason.NO_SUPERVISOR if health.ruling_age == float("inf") else Reason.SUPERVISOR_LOST
    if health.ruling.state is not LoopState.TRACK:
        return health.ruling.reason
    return None


def _why_not_plan(health: Health) -> Reason | None:
    """Return what is missing for a plan."""
    if not health.solver_ready:
        return Reason.SOLVER_LOST if health.solver_restarted else Reason.SOLVER_STARTING
    return None if health.goal_set else Reason.NO_GOAL
