"""Rig: plant, loop, solver and supervisor of a scenario in one process and in simulated time, a fault between them.

What the nodes do, in their order and at their rates, without ROS: every machine finds the same.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from dpvp.bench.faults.fault import Case, Fault, Late, Mode
from dpvp.bench.faults.plant import SimulatedPlant, Truth
from dpvp.bench.faults.solver import Mind, SimulatedSolver
from dpvp.bench.faults.supervising import SimulatedSupervisor
from dpvp.control.guard import check_state
from dpvp.control.loop import Answer, MpcLoop
from dpvp.control.states import LoopState, Reason
from dpvp.errors import MessageError
from dpvp.plan import Array, Command, State
from dpvp.scenario import Scenario
from dpvp.tasks.task import Steered
from dpvp.worlds.mujoco import MujocoWorld

T = TypeVar("T")
GOAL_SECONDS = 1.5  # a new goal comes this often, so that there is motion to be disturbed
WELL = 0.2  # s of following plans, after a fault is over, that end a case
SPEED = 0.6  # share of a gait's range that is commanded


@dataclass(frozen=True)
class Event:
    """Something was said of the state of things: `what` at time `t`, s."""

    t: float
    what: str


@dataclass
class Trace:
    """What came of a case.

    Attributes:
        truth: what the plant did.
        events: what was said, in order.
        fell: whether a robot on feet fell.
        back: whether plans are followed in the end.
    """

    truth: Truth
    events: list[Event] = field(default_factory=list)
    fell: bool = False
    back: bool = False


class Link(Generic[T]):
    """Messages under way."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T, bool]] = []
        self._order = itertools.count()

    def send(self, message: T, now: float, arriving: Late[T]) -> None:
        """Send what the fault made of `message`."""
        for late, arrives in arriving:
            heapq.heappush(self._heap, (now + late, next(self._order), arrives, arrives is not message))

    def arrived(self, now: float) -> list[tuple[T, bool]]:
        """Return what arrives now, in order, and whether it is not what was sent."""
        found = []
        while self._heap and self._heap[0][0] <= now + 1e-9:
            _, _, message, spoilt = heapq.heappop(self._heap)
            found.append((message, spoilt))
        return found


class Rig:
    """Runs cases of one scenario, one after the other."""

    def __init__(self, scenario: Scenario) -> None:
        """Build the problem."""
        self.scenario = scenario
        self._healthy = Fault(scenario.robot, np.random.default_rng(0))
        self._mind = Mind(scenario, self._healthy)
        self._world = MujocoWorld(scenario.robot, 1.0 / scenario.config.rates.feedback)

    def run(self, case: Case, make: Callable[[np.random.Generator], Fault], seconds: float) -> Trace:
        """Let `seconds` pass at most with the fault that `make` makes; without one where the case has no onset.

        It ends sooner where plans are followed again for a while.
        """
        run = _Run(self.scenario, self._world, self._mind, case)
        fault, well = make(np.random.default_rng([case.seed, 1])), 0
        for _ in range(round(seconds * self.scenario.config.rates.feedback)):
            self._mind.fault = run.fault = fault if case.lasts(run.plant.t) else self._healthy
            run.step()
            if run.plant.t >= case.end:
                run.come_back()
            well = well + 1 if run.back and run.plant.t >= case.end else 0
            if well >= WELL * self.scenario.config.rates.feedback:
                break
        self._mind.fault = self._healthy
        return run.trace()


class _Run:
    """One case under way.

    Attributes:
        fault: what is wrong now.
    """

    def __init__(self, scenario: Scenario, world: MujocoWorld, mind: Mind, case: Case) -> None:
        task, rng = scenario.task, np.random.default_rng([case.motion, 0])
        self._scenario, self._robot, self._mind, self._rng = scenario, scenario.robot, mind, rng
        self.fault = mind.fault
        self.plant = SimulatedPlant(scenario, world, task.sample_start(rng))
        self._now, self._solvers = 0.0, itertools.count(1)
        self.loop = MpcLoop(
            scenario,
            self._start_solver,  # type: ignore[arg-type]
            supervised=True,
            clock=lambda: self._now,
        )
        self._supervisor = SimulatedSupervisor(scenario, lambda: self._now)
        self._states, self._commands = Link[State](), Link[Command]()
        rates = scenario.config.rates
        self._every = {name: max(1, round(rates.feedback / rate)) for name, rate in (
            ("sensor", rates.sensor), ("plan", rates.plan), ("command", rates.command or rates.plan),
        )}  # fmt: skip
        self._goal_every = round(GOAL_SECONDS * rates.feedback)
        self._steps = 0
        self._newest: State | None = None
        self._trace = Trace(self.plant.truth)
        self._said: dict[str, object] = {}
        self._velocity: Array | None = None  # to be commanded as soon as there is a state
        self._new_goal()
        self.loop.ask(LoopState.TRACK)

    def step(self) -> None:
        """Let one cycle of the plant pass, and what is due beside it."""
        self._now = self.plant.t
        if self._steps % self._every["sensor"] == 0:
            state = self.plant.sensed()
            self._states.send(state, self._now, self.fault.sensor(state))
        for state, _ in self._states.arrived(self._now):
            self._newest = state
            self._supervisor.sense(state)
        if self._steps and self._steps % self._goal_every == 0:
            self._new_goal()
        if self.fault.supervisor_runs:
            self._run_supervisor()
        if self.fault.loop_runs:
            self._run_loop()
        for command, spoilt in self._commands.arrived(self._now):
            self.plant.receive(command, spoilt=spoilt)
            self._supervisor.hear(command)
        self.plant.step(self.fault.force())
        self._listen()
        self._steps += 1

    def trace(self) -> Trace:
        """Return what came of it."""
        self._trace.fell = self.plant.fell()
        self._trace.back = self.back
        return self._trace

    @property
    def back(self) -> bool:
        """Whether plans are followed."""
        return self.loop.decision.state is LoopState.TRACK and self.plant.mode is Mode.TRACK

    def _run_supervisor(self) -> None:
        """Do what supervisor_node does in this moment, and what mpc_node does when it hears of it."""
        self._supervisor.expect(self.loop.decision.state)
        ruling, command = self._supervisor.step(stop=self.fault.stop)
        self.plant.switch(damped=self._supervisor.ruling.state is LoopState.FAULT)
        if command is not None:
            self._commands.send(command, self._now, self.fault.control(command))
        if ruling is None or not self.fault.loop_runs:
            return
        stricter = ruling.state is not LoopState.TRACK and ruling.state is not self.loop.decision.state
        self.loop.obey(ruling)
        if stricter:
            self._publish(self.loop.tick())

    def come_back(self) -> None:
        """Do what an operator does after a fault: reset and ask for tracking again."""
        decision = self.loop.decision
        held = (decision.state, decision.reason) == (LoopState.HOLD, Reason.ASKED)
        if self._supervisor.reset() and held:
            self.loop.ask(LoopState.TRACK)

    def _run_loop(self) -> None:
        """Do what mpc_node does in this moment."""
        if self._steps % self._every["plan"] == 0:
            self._sense()
            self._publish(self.loop.tick())
        self._publish(self.loop.poll())
        if self._scenario.config.rates.command is not None and self._steps % self._every["command"] == 0:
            self._sense()
            self._publish(self.loop.go_on())

    def _sense(self) -> None:
        state, self._newest = self._newest, None
        if state is None:
            return
        try:
            check_state(self._robot, state.x)
            if self._now - state.t > self._scenario.config.loop.sensor_timeout:
                raise MessageError("state is too old")
            self.loop.sense(state)
            if self._velocity is not None:
                self.loop.steer(self._velocity)
                self._velocity = None
        except MessageError as error:
            self.loop.refuse_state(error)

    def _publish(self, answer: Answer | None) -> None:
        if answer is not None:
            self._commands.send(answer.command, self._now, self.fault.control(answer.command))

    def _new_goal(self) -> None:
        """Aim somewhere else; who walks is given a velocity once."""
        task, rng = self._scenario.task, self._rng
        if not isinstance(task, Steered):
            self.loop.course.aim(task.sample_goal(rng))
        elif self.loop.course.goal is None:
            goal = task.sample_goal(rng)
            self._velocity, goal[1:4] = SPEED * goal[1:4], 0.0
            q = self.plant.sensed().x
            goal[4] = 2.0 * np.arctan2(q[5], q[6])  # it stands level
            self.loop.course.aim(goal)

    def _start_solver(self) -> SimulatedSolver:
        number = next(self._solvers)
        rng = np.random.default_rng([number, 2])
        return SimulatedSolver(self._mind, lambda: self._now, rng, number, newborn=number > 1)

    def _listen(self) -> None:
        """Note what changed of what there is to see."""
        counters, decision, ruling = self.loop.counters, self.loop.decision, self._supervisor.ruling
        now: dict[str, object] = {
            "bad_state": counters.bad_states,
            "solver_restart": counters.solver_restarts,
            "rejected": counters.rejected.total(),
            "missed": counters.missed,
            "refused": self.plant.refused,
            "loop": f"{decision.state.name} {decision.reason.name}",
            "withheld": counters.withheld,
            "ruling": f"{ruling.state.name} {ruling.reason.name}",
            "law": "FALLBACK" if self.plant.damped else self.plant.law.phase.name,
        }
        for name, value in now.items():
            if self._said.get(name) != value and self._said:
                text = f"{name}:{value}" if isinstance(value, str) else name
                self._trace.events.append(Event(self._now, text))
        self._said = now
