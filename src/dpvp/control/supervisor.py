"""Supervisor: watches the plant and the loop from a process of its own, and says what the loop may do at most.

Mild causes make the loop hold until they are over; what is far beyond a limit, lasts, or happens again and again takes
the plant from the loop: it damps until someone resets the supervisor.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable

from dpvp.control.gate import Ruling
from dpvp.control.guard import CommandGuard, hold_command, posture_to_hold
from dpvp.control.monitors import MEMORY, Finding, PlantMonitor, begun_anew, worst
from dpvp.control.states import LoopState, Reaction, Reason
from dpvp.errors import MessageError, SafetyError
from dpvp.plan import Array, Command, State
from dpvp.scenario import SafetyConfig, Scenario

logger = logging.getLogger(__name__)

COMMANDING = (LoopState.HOLD, LoopState.TRACK)
MOMENTS = (Reason.STATE_JUMPED,)  # are over at once, and count only when they come again


class Supervisor:
    """What it hears comes in through methods; `judge` says what follows.

    Attributes:
        ruling: the newest.
        counters: how often each reason came up.
    """

    def __init__(self, scenario: Scenario, *, waits: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the robot of `scenario`; where plant and loop wait for each other (`waits`), silence means nothing."""
        loop, feedback, never = scenario.config.loop, scenario.config.feedback, math.inf
        self._robot, self._safety = scenario.robot, scenario.config.safety
        self._state_timeout = never if waits else loop.sensor_timeout
        self._command_timeout = never if waits else feedback.command_timeout or never
        self._lost = never if waits else feedback.damping_timeout or never
        self._clock, self._waits, self._period = clock, waits, 1.0 / scenario.config.rates.plan
        self._monitor = PlantMonitor(self._robot, self._safety)
        self._guard = CommandGuard(self._robot, self._safety, scenario.config.rates.command_period)
        self._excursions = _Excursions(self._safety)
        self.ruling = Ruling(LoopState.HOLD, Reason.NO_STATE)
        self.counters: Counter[Reason] = Counter()
        self._fault: Ruling | None = None
        self._pressed, self._loop = False, LoopState.IDLE
        self._state: State | None = None
        self._command: Command | None = None
        self._state_at = self._command_at = -math.inf
        self._since = -math.inf  # time of the plant when the state last jumped: commands from before mean another place
        self._found: Finding | None = None
        self._anchor: Array | None = None

    def sense(self, state: State, effort: Array | None) -> None:
        """Take a measured state and (nu,) torques, Nm; one of a time that was seen is no news."""
        if self._state is not None and state.t == self._state.t:
            return
        if self._state is not None and self._is_apart(self._state, state):
            self._monitor.reset()
            self._command, self._since = None, state.t
        self._state, self._state_at = state, self._clock()
        found = worst(self._monitor.look(state.t, state.x, effort, self._command_of(state)))
        if found is not None and found.reason is Reason.STATE_JUMPED:
            self._command, self._since = None, state.t
        if found is not None and (self._found is None or found.share > self._found.share):
            self._found = found

    def _is_apart(self, before: State, state: State) -> bool:
        """Return whether two states are not to be compared: none was seen for long, or it is another simulation."""
        unseen = self._clock() - self._state_at > MEMORY
        return unseen or (self._waits and begun_anew(state.t - before.t, self._period))

    def _command_of(self, state: State) -> Command | None:
        """Return what is in force in `state`: what has expired the plant follows no more."""
        if self._command is None or state.t - self._command.t > self._command_timeout:
            return None
        return self._command

    def hear(self, command: Command) -> None:
        """Take a command of the loop as it went to the plant; one that the plant will refuse makes the loop hold."""
        try:
            self._guard.check(command)
        except MessageError as error:
            self.refuse(error)
            return
        self._command_at = self._clock()
        if command.t >= self._since:
            self._command = command

    def refuse(self, error: MessageError) -> None:
        """Take that a command of the loop cannot be used."""
        self._command_at = self._clock()
        self._note(Finding(Reason.COMMAND_UNSOUND, 1.0, str(error)))

    def doubt(self, error: MessageError) -> None:
        """Take that a state cannot be used: it is no news, so that more of them count as silence."""
        self.counters[Reason.STATE_UNSOUND] += 1
        logger.debug(f"{Reason.STATE_UNSOUND.text}: {error}")

    def expect(self, state: LoopState) -> None:
        """Take what the loop says of itself: one that holds or tracks is not to be silent."""
        if state in COMMANDING and self._loop not in COMMANDING:
            self._command_at = self._clock()
        self._loop = state

    def press(self, *, pressed: bool) -> None:
        """Press or release the emergency stop."""
        self._pressed = pressed

    def stop(self) -> None:
        """Stop as an emergency stop does that is pressed and released."""
        self._fault = self._fault or Ruling(LoopState.FAULT, Reason.ESTOP, "by service")

    def reset(self) -> None:
        """Leave FAULT.

        Raises:
            SafetyError: what caused it is not over.
        """
        if self._fault is None:
            return
        fault, self._fault, self._found, self._command = self._fault, None, None, None
        self._excursions = _Excursions(self._safety)
        self._monitor.reset()
        now = self._judged()
        if now.state is LoopState.FAULT or now.reason in (Reason.NO_STATE, Reason.STALE_STATE):
            self._fault = fault
            raise SafetyError(f"it stays a fault ({fault.text}): {now.text}")
        logger.info("the fault is over: the loop holds until it is asked to track")

    def judge(self) -> Ruling:
        """Return what the loop may do at most from now on."""
        before, self.ruling = self.ruling, self._judged()
        if self.ruling.state is LoopState.FAULT:
            self._fault = self.ruling
        if (before.state, before.reason) != (self.ruling.state, self.ruling.reason):
            self.counters[self.ruling.reason] += 1
            level = logging.INFO if self.ruling.reason is Reason.ASKED else logging.WARNING
            logger.log(level, f"{self.ruling.state.name}: {self.ruling.text}")
        return self.ruling

    def hold(self) -> Command | None:
        """Return the command that holds the robot in place of a loop that fell silent; None if that is not so."""
        if self.ruling.reason is not Reason.COMMANDS_STOPPED or self._state is None:
            self._anchor = None
            return None
        if self._anchor is None:
            self._anchor = posture_to_hold(self._robot, self._state.x, tracking=self._loop is LoopState.TRACK)
        return hold_command(self._robot, self._anchor, self._state.t, self._state.t + self._command_timeout)

    def _judged(self) -> Ruling:
        if self._fault is not None:
            return self._fault
        if self._pressed:
            return Ruling(LoopState.FAULT, Reason.ESTOP)
        found, self._found = self._found, None
        return self._beyond(found) or self._restless() or self._silent() or Ruling()

    def _beyond(self, found: Finding | None) -> Ruling | None:
        """Return what follows from a limit that was left since the last judgement."""
        if found is None:
            return None
        if found.reason.reaction is Reaction.DAMP:
            return Ruling(LoopState.FAULT, found.reason, found.detail)
        if found.reason not in MOMENTS and found.share >= self._safety.hard:
            return Ruling(LoopState.FAULT, Reason.TOO_FAR, f"{found.reason.text}: {found.detail}")
        self._note(found)
        return None

    def _note(self, found: Finding) -> None:
        if found.reason in MOMENTS:
            self.counters[found.reason] += 1
            logger.warning(f"{found.reason.text}: {found.detail}")
        self._excursions.note(found, self._clock())

    def _restless(self) -> Ruling | None:
        """Return what follows from limits that were left a short time ago."""
        now, last = self._clock(), self._excursions.last
        if last is not None and self._excursions.too_often(now):
            return Ruling(LoopState.FAULT, Reason.TOO_OFTEN, f"{last.reason.text}: {last.detail}")
        if (held := self._excursions.holds(now)) is not None:
            return Ruling(LoopState.HOLD, held.reason, held.detail)
        return None

    def _silent(self) -> Ruling | None:
        """Return what follows from what has not come for too long."""
        if self._state is None:
            return Ruling(LoopState.HOLD, Reason.NO_STATE)
        now = self._clock()
        age, silent = now - self._state_at, now - self._command_at if self._loop in COMMANDING else 0.0
        if age > self._lost:
            return Ruling(LoopState.FAULT, Reason.STATE_LOST)
        if silent > self._lost:
            return Ruling(LoopState.FAULT, Reason.COMMANDS_LOST)
        if age > self._state_timeout:
            return Ruling(LoopState.HOLD, Reason.STALE_STATE)
        return Ruling(LoopState.HOLD, Reason.COMMANDS_STOPPED) if silent > self._command_timeout else None


class _Excursions:
    """When limits were left; for as long as that lasts, or comes again before all was calm, it counts once.

    Attributes:
        last: the newest finding.
    """

    def __init__(self, safety: SafetyConfig) -> None:
        """Remember none."""
        self._calm, self._window = safety.calm, safety.strike_window
        self._strikes: deque[float] = deque(maxlen=safety.strikes)
        self._holding: tuple[float, Finding] | None = None
        self.last: Finding | None = None

    def note(self, found: Finding, now: float) -> None:
        """Take that a limit was left at time `now`, s."""
        self.last = found
        if found.reason in MOMENTS:
            self._strikes.append(now)
            return
        if self.holds(now) is None:
            self._strikes.append(now)
        self._holding = (now, found)

    def holds(self, now: float) -> Finding | None:
        """Return what makes the robot hold, None if all has been calm for long enough."""
        return None if self._holding is None or now - self._holding[0] >= self._calm else self._holding[1]

    def too_often(self, now: float) -> bool:
        """Return whether limits were left too often of late."""
        return len(self._strikes) == self._strikes.maxlen and now - self._strikes[0] <= self._window
