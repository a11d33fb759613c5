"""The loop's state: what is asked for, what the health of its parts allows, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dpvp.scenario import LoopConfig


class LoopState(Enum):
    """States of the loop."""

    IDLE = "nothing is commanded"
    HOLD = "keeps the posture with gravity, stiffness and damping"
    TRACK = "follows plans"


class Reason(Enum):
    """Why the loop is in the state it is in."""

    ASKED = "as asked"
    NO_STATE = "no usable state has arrived yet"
    STALE_STATE = "the newest state is too old"
    NO_GOAL = "no goal is set"
    SOLVER_STARTING = "the solver process is starting"
    SOLVER_LOST = "the solver process ended or hung and is started again"
    NO_PLAN = "no usable plan for too long"


@dataclass(frozen=True)
class Health:
    """What the loop knows of its parts; ages in seconds, infinite where there was none yet."""

    state_age: float
    plan_age: float
    goal_set: bool
    solver_ready: bool
    solver_restarted: bool


@dataclass(frozen=True)
class Decision:
    """State of the loop, with the reason and whether the solver is to be asked."""

    state: LoopState
    reason: Reason
    solve: bool


def decide(asked: LoopState, health: Health, limits: LoopConfig) -> Decision:
    """Return the state that `health` allows of the state that is `asked` for.

    A loop that was asked to track goes back to it by itself when what stopped it is over. While it holds for want of
    a plan the solver is still asked for one.
    """
    if asked is LoopState.IDLE:
        return Decision(LoopState.IDLE, Reason.ASKED, solve=False)
    if health.state_age == float("inf"):
        return Decision(LoopState.IDLE, Reason.NO_STATE, solve=False)
    if health.state_age > limits.sensor_timeout:
        return Decision(LoopState.HOLD, Reason.STALE_STATE, solve=False)
    if asked is LoopState.HOLD:
        return Decision(LoopState.HOLD, Reason.ASKED, solve=False)
    if not health.solver_ready:
        lost = Reason.SOLVER_LOST if health.solver_restarted else Reason.SOLVER_STARTING
        return Decision(LoopState.HOLD, lost, solve=False)
    if not health.goal_set:
        return Decision(LoopState.HOLD, Reason.NO_GOAL, solve=False)
    if health.plan_age > limits.plan_timeout:
        return Decision(LoopState.HOLD, Reason.NO_PLAN, solve=True)
    return Decision(LoopState.TRACK, Reason.ASKED, solve=True)
