"""Every kind of fault that is injected in simulated time: what it is, and the state that it has to lead to."""

# ruff: noqa: E501 (a row of a table is a line)
from __future__ import annotations

from dpvp.bench.faults import around, commanding, sensing, solving
from dpvp.bench.faults.fault import Kind, Safe

FOLLOW, HOLD, DAMP = Safe
BRIEF, SOME, LONG = (0.004, 0.03), (0.15, 0.5), (0.3, 0.8)  # s
DAMPED = ("ruling:FAULT", "law:DAMPING")  # words of who wants the robot damped
HELD = ("loop:HOLD", "ruling:HOLD", "law:HOLD", *DAMPED)
REFUSED, REJECTED = ("refused", "ruling:HOLD", *DAMPED), ("rejected",)

# fmt: off
KINDS: tuple[Kind, ...] = (
    # states
    Kind("state_lost", "no state arrives", sensing.Lost, SOME, HOLD, HELD),
    Kind("state_thinned", "four of five states are lost", sensing.Thinned, LONG, FOLLOW),
    Kind("state_delayed", "states are 5 to 30 ms late", sensing.Delayed, LONG, FOLLOW),
    Kind("state_overdue", "states are 70 to 300 ms late", sensing.Overdue, SOME, HOLD, HELD),
    Kind("state_reordered", "states overtake each other", sensing.Reordered, LONG, FOLLOW),
    Kind("state_repeated", "states come two or three times", sensing.Repeated, LONG, FOLLOW),
    Kind("state_nan", "a number of the states is NaN", sensing.Wrong, SOME, HOLD, HELD),
    Kind("state_nan_brief", "the same for some milliseconds", sensing.Wrong, BRIEF, FOLLOW),
    Kind("state_infinite", "a number of the states is infinite", sensing.NotFinite, SOME, HOLD, HELD),
    Kind("state_misshapen", "a number of the states is missing", sensing.Misshapen, SOME, HOLD, HELD),
    Kind("state_frozen", "the same state comes with new stamps", sensing.Frozen, LONG, HOLD, HELD),
    Kind("state_jumping", "a joint's position is off by 0.2 to 1 rad", sensing.Jumping, SOME, FOLLOW, HELD),
    Kind("state_flickering", "the same for half of the states", sensing.Flickering, SOME, FOLLOW, HELD),
    Kind("state_spiking", "a joint's velocity is beyond its limit", sensing.Spiking, SOME, HOLD, HELD),
    Kind("clock_ahead", "stamps are 0.1 to 100 s ahead", sensing.ClockAhead, SOME, HOLD, HELD),
    Kind("clock_behind", "stamps are 0.1 to 100 s behind", sensing.ClockBehind, SOME, HOLD, HELD),
    # commands
    Kind("command_lost", "no command arrives", commanding.Lost, (0.3, 0.8), HOLD, HELD),
    Kind("command_lost_long", "the same for longer than the law holds", commanding.Lost, (2.2, 2.6), DAMP, DAMPED),
    Kind("command_thinned", "half of the commands are lost", commanding.Thinned, LONG, FOLLOW),
    Kind("command_delayed", "commands are 5 to 30 ms late", commanding.Delayed, LONG, FOLLOW),
    Kind("command_expired", "commands arrive when their time is over", commanding.Expired, (0.3, 0.8), HOLD, HELD),
    Kind("command_reordered", "commands overtake each other", commanding.Reordered, LONG, FOLLOW),
    Kind("command_repeated", "commands come two or three times", commanding.Repeated, LONG, FOLLOW),
    Kind("command_nan", "a number of the commands is not finite", commanding.Wrong, SOME, FOLLOW, REFUSED),
    Kind("command_misshapen", "a row of the commands is missing", commanding.Misshapen, SOME, FOLLOW, REFUSED),
    Kind("command_huge_torque", "feed-forwards are 2 to 100 times the limits", commanding.HugeTorque, SOME, FOLLOW, REFUSED),
    Kind("command_huge_gain", "gains are a hundred times theirs", commanding.HugeGain, SOME, FOLLOW, REFUSED),
    # plans
    Kind("plan_nan", "the solver diverges and says so", solving.Diverged, SOME, HOLD, HELD),
    Kind("plan_nan_lying", "plans hold NaN and say that they are usable", solving.Lying, SOME, HOLD, HELD),
    Kind("plan_huge", "plans have fifty times the torque", solving.Boasting, SOME, HOLD, HELD),
    Kind("plan_rejected", "no plan passes the check", solving.Rejected, SOME, HOLD, HELD),
    Kind("plan_rejected_some", "every other plan does not pass the check", solving.RejectedNow, LONG, FOLLOW, REJECTED),
    Kind("plan_outdated", "plans are for a state of 0.5 s before", solving.Outdated, SOME, HOLD, HELD),
    Kind("solver_hung", "the solver does not answer", solving.Hung, LONG, HOLD, HELD),
    Kind("solver_slow", "plans take two to five times as long", solving.Slow, LONG, FOLLOW),
    Kind("solver_stuck", "a plan takes 0.25 to 0.6 s", solving.Stuck, LONG, HOLD, HELD),
    Kind("solver_dead", "the solver process is killed", solving.Dead, (0.01, 0.02), HOLD, HELD),
    # what was learned
    Kind("learned_nonsense", "graphs answer with another sign and scale", solving.Nonsense, LONG, FOLLOW, learned=True),
    Kind("learned_noise", "graphs answer with noise", solving.Noise, LONG, FOLLOW, learned=True),
    Kind("learned_nan", "graphs answer with NaN", solving.NotANumber, LONG, FOLLOW, learned=True),
    # around the loop
    Kind("stop", "the operator presses the stop", around.Stop, LONG, DAMP, DAMPED),
    Kind("supervisor_silent", "the supervisor gets no time", around.NoSupervisor, (0.5, 0.9), HOLD, HELD),
    Kind("loop_silent", "the loop gets no time", around.NoLoop, (0.4, 0.9), HOLD, HELD),
    Kind("push", "somebody pushes for 0.2 s", around.Push, (0.2, 0.2), FOLLOW, ours=False),
)
# fmt: on


def kind_named(name: str) -> Kind:
    """Return the kind of this name; KeyError if there is none."""
    return {kind.name: kind for kind in KINDS}[name]
