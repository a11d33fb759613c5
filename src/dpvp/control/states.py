"""The vocabulary of trust: states of the loop, the reasons for being in one, and what is done about each reason."""

from __future__ import annotations

from enum import Enum


class LoopState(Enum):
    """States of the loop."""

    IDLE = "nothing is commanded"
    HOLD = "keeps the posture with gravity, stiffness and damping"
    TRACK = "follows plans"
    FAULT = "damps until someone resets the supervisor"


class Reaction(Enum):
    """What is done about a reason, the mildest first."""

    NONE = "nothing"
    REJECT = "one message or plan is not used, the one before stays in force"
    PLAIN = "plans are made without what was learned, for a while"
    HOLD = "the posture is held until the cause is over"
    DAMP = "the plant is taken from the loop and damps until someone resets the supervisor"


class Reason(Enum):
    """Why the loop is in the state it is in."""

    ASKED = ("as asked", Reaction.NONE)
    STATE_UNSOUND = ("a state was not finite or misshapen", Reaction.REJECT)
    LEARNED_DOUBTED = ("what was learned contradicts the plans: planning without it", Reaction.PLAIN)
    NO_STATE = ("no usable state has arrived yet", Reaction.HOLD)
    STALE_STATE = ("the newest state is too old", Reaction.HOLD)
    NO_GOAL = ("no goal is set", Reaction.HOLD)
    SOLVER_STARTING = ("the solver process is starting", Reaction.HOLD)
    SOLVER_LOST = ("the solver process ended or hung and is started again", Reaction.HOLD)
    NO_PLAN = ("no plan for too long", Reaction.HOLD)
    PLANS_REJECTED = ("plans were rejected for too long", Reaction.HOLD)
    NO_SUPERVISOR = ("the supervisor has not been heard yet", Reaction.HOLD)
    SUPERVISOR_LOST = ("the supervisor has fallen silent", Reaction.HOLD)
    COMMAND_UNSOUND = ("a command was not finite, misshapen or beyond all bounds", Reaction.HOLD)
    COMMANDS_STOPPED = ("the loop has fallen silent", Reaction.HOLD)
    VELOCITY = ("a joint is too fast", Reaction.HOLD)
    EFFORT = ("a joint's torque is beyond its limit", Reaction.HOLD)
    POSITION = ("a joint is beyond its range", Reaction.HOLD)
    SPEED = ("the end effector is too fast", Reaction.HOLD)
    TRACKING = ("the robot is not where its commands say", Reaction.HOLD)
    STATE_JUMPED = ("the place of the base, or time, jumped", Reaction.HOLD)
    TILT = ("the base is tilted too far", Reaction.DAMP)
    STATE_CONTRADICTS = ("positions and velocities contradict each other", Reaction.DAMP)
    STATE_LOST = ("states stay away", Reaction.DAMP)
    COMMANDS_LOST = ("commands stay away", Reaction.DAMP)
    TOO_FAR = ("far beyond a limit", Reaction.DAMP)
    TOO_OFTEN = ("limits were left again and again", Reaction.DAMP)
    ESTOP = ("emergency stop", Reaction.DAMP)

    def __init__(self, text: str, reaction: Reaction) -> None:
        """Take what people read and what is done."""
        self.text, self.reaction = text, reaction
