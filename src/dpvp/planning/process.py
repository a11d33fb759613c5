"""SolverProcess: the planner in a process of its own, because crocoddyl's bindings hold the interpreter's lock.

The two sides share three latest-only mailboxes (state, goal, plan) and a socket on which one byte says "look". When
either side dies, the other notices by the closed socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dpvp.plan import Array, Plan
from dpvp.planning.mailbox import Mailbox
from dpvp.planning.solved import Ask, Solved
from dpvp.planning.wire import LOOK, READY, goal_layout, plan_layout, record_to_plan, state_layout
from dpvp.scenario import Scenario


class SolverProcess:
    """A running solver: post a state, take a plan. Complete after construction; `close` ends it.

    Attributes:
        pid: process id of the solver.
        busy_since: when the state under work was posted (monotonic s), None while the solver waits.
    """

    def __init__(
        self, scenario_file: Path, scenario: Scenario, tell: Callable[[Solved], object] = lambda solved: None
    ) -> None:
        """Start the process on the resolved scenario in `scenario_file`; returns before it is ready.

        `tell` is called with every ask and its plan when that is taken, or when the process is ended without one.
        """
        robot = scenario.robot
        self._states = Mailbox(state_layout(robot.nx))
        self._goals = Mailbox(goal_layout(scenario.task.goal_size))
        self._plans = Mailbox(plan_layout(scenario.config.planner.horizon, robot.nx, robot.nu, robot.ndx))
        self._socket, theirs = socket.socketpair()
        fds = [self._states.fd, self._goals.fd, self._plans.fd, theirs.fileno()]
        command = [sys.executable, "-m", "dpvp.planning.server", str(scenario_file), *map(str, fds)]
        # a session of its own: Ctrl-C is for the loop, which then closes the socket
        self._process = subprocess.Popen(
            command, pass_fds=fds, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True
        )
        theirs.close()
        self._socket.setblocking(False)
        self._ready, self._tell = False, tell
        self._ask: Ask | None = None  # that is not answered yet
        self._asked = 0
        self.pid = self._process.pid
        self.busy_since: float | None = None

    @property
    def alive(self) -> bool:
        """False once the process has ended, for whatever reason."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """True once the solver has built its problem and answers."""
        self._listen()
        return self._ready and self.alive

    def wait_ready(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for `ready`."""
        end = time.monotonic() + timeout
        while self.alive and not self.ready and time.monotonic() < end:
            select.select([self._socket], [], [], 0.1)
        return self.ready

    def post(self, x: Array, goal: Array, t: float, *, fresh: bool = False, plain: bool = False) -> None:
        """Ask for a plan from the (nx,) state `x` of time `t`, s.

        `fresh` forgets the previous plan, `plain` plans without what was learned.
        """
        wanted = np.zeros((), goal_layout(len(goal)))
        wanted["goal"] = goal
        self._goals.post(wanted)
        state = np.zeros((), state_layout(len(x)))
        state["t"], state["x"], state["fresh"], state["plain"] = t, x, fresh, plain
        self._states.post(state)
        self.busy_since = time.monotonic()
        self._ask = Ask(self.pid, self._asked, np.array(x), np.array(goal), t, fresh, plain)
        self._asked += 1
        with contextlib.suppress(OSError):  # a dead solver is seen by `alive`
            self._socket.send(LOOK)

    def take(self) -> Plan | None:
        """Return the newest plan that was not taken before, or None."""
        self._listen()
        record = self._plans.take()
        if record is None:
            return None
        plan = record_to_plan(record)
        self._told(plan)
        self.busy_since = None
        return plan

    def wait(self, timeout: float) -> Plan | None:
        """Wait at most `timeout` seconds for a plan."""
        end = time.monotonic() + timeout
        while (plan := self.take()) is None and self.alive and (rest := end - time.monotonic()) > 0:
            select.select([self._socket], [], [], rest)
        return plan

    def close(self) -> None:
        """End the process and release what it shared."""
        self._process.kill()
        self._process.wait()
        self._told(None)
        self._socket.close()
        for mailbox in (self._states, self._goals, self._plans):
            mailbox.close()

    def _told(self, plan: Plan | None) -> None:
        """Tell what became of the last ask, once."""
        ask, self._ask = self._ask, None
        if ask is not None and self.busy_since is not None:
            self._tell(Solved(ask, time.monotonic() - self.busy_since, plan))

    def _listen(self) -> None:
        try:
            said = self._socket.recv(4096)
        except (BlockingIOError, ConnectionResetError):
            return
        self._ready = self._ready or READY in said
