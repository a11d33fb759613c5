"""What supervisor_node does with a `Supervisor`, in simulated time: listen, judge, tell the loop, take its plant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dpvp.control.gate import Ruling
from dpvp.control.guard import check_state
from dpvp.control.states import LoopState
from dpvp.control.supervisor import Supervisor
from dpvp.errors import MessageError, SafetyError
from dpvp.plan import Array, Command, State
from dpvp.scenario import Scenario

RATE = 100.0  # judgements a second
SAY_EVERY = 0.05  # s between two verdicts that say the same
RETRY = 0.1  # s between two attempts of the operator to reset


class SimulatedSupervisor:
    """A supervisor with its topics; `step` is called every cycle of the plant.

    Attributes:
        ruling: as it was said last.
    """

    def __init__(self, scenario: Scenario, clock: Callable[[], float]) -> None:
        """Watch the robot of `scenario` by `clock`."""
        self._robot, self._clock = scenario.robot, clock
        self._supervisor = Supervisor(scenario, clock=clock)
        self._state: State | None = None
        self._command: Command | None = None
        self._said_at = self._tried_at = -np.inf
        self._every, self._steps = max(1, round(scenario.config.rates.feedback / RATE)), 0
        self._stopped = False
        self.ruling = Ruling(LoopState.HOLD)

    def sense(self, state: State) -> None:
        """Take a state that arrived, with the torques (nu,), Nm, as its mark."""
        self._state = state

    def hear(self, command: Command) -> None:
        """Take a command that arrived."""
        self._command = command

    def expect(self, state: LoopState) -> None:
        """Take what the loop says of itself."""
        self._supervisor.expect(state)

    def step(self, *, stop: bool) -> tuple[Ruling | None, Command | None]:
        """Return the verdict, if there is one to say now, and the command that holds in place of a silent loop."""
        pressed, self._stopped = stop is not self._stopped, stop
        self._steps += 1
        if pressed:
            self._supervisor.press(pressed=stop)
        elif self._steps % self._every:
            return None, None
        self._look()
        ruling, now = self._supervisor.judge(), self._clock()
        news = ruling != self.ruling or now - self._said_at >= SAY_EVERY
        if news:
            self.ruling, self._said_at = ruling, now
        return ruling if news else None, self._supervisor.hold()

    def reset(self) -> bool:
        """Do what an operator does who wants the robot back; True as soon as that is done."""
        now = self._clock()
        if self.ruling.state is not LoopState.FAULT:
            return True
        if now - self._tried_at < RETRY:
            return False
        self._tried_at = now
        self._look()
        try:
            self._supervisor.reset()
        except SafetyError:
            return False
        return True

    def _look(self) -> None:
        (state, self._state), (command, self._command) = (self._state, None), (self._command, None)
        if state is not None:
            try:
                effort = state.mark
                assert isinstance(effort, np.ndarray)
                self._supervisor.sense(State(state.t, check_state(self._robot, state.x)), _measured(effort))
            except MessageError as error:
                self._supervisor.doubt(error)
        if command is not None:
            self._supervisor.hear(command)


def _measured(effort: Array) -> Array | None:
    return effort if bool(np.isfinite(effort).all()) else None
