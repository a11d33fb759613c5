"""SimulatedSolver: the planner of a scenario that looks like a `SolverProcess`, in simulated time and with faults."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dpvp.bench.faults.fault import Fault
from dpvp.learned.artifact import Artifact, artifact_folder, load_artifact
from dpvp.learned.graph import Graph
from dpvp.plan import Array, Plan
from dpvp.planning.build import Planning, build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario

FIRST_ITERATIONS = 20  # the first plan has no plan before it to improve on
SHARES = (0.3, 0.8)  # of the period that a plan takes
BIRTH = 0.5  # s until a solver that is started again answers; a real one takes some seconds


class Mind:
    """What solvers of one scenario have in common: the problem, which is dear to build, and the fault of the moment.

    Attributes:
        fault: what is wrong now; set by whoever lets time pass.
    """

    def __init__(self, scenario: Scenario, healthy: Fault) -> None:
        """Build the problem; iterations alone bound plans, so that every machine finds the same."""
        self.fault, name = healthy, scenario.config.artifact
        artifact = None if name is None else load_artifact(artifact_folder(name), scenario.robot, scenario.task)
        planning = build_planning(scenario, None if artifact is None else self._spoilt(artifact))
        self._first = replace(planning, budget=Budget(FIRST_ITERATIONS))
        self._planning = replace(planning, budget=Budget(scenario.config.planner.iterations))
        self.period = 1.0 / scenario.config.rates.plan

    def plan(self, x: Array, goal: Array, t: float, previous: Plan | None, *, plain: bool) -> Plan:
        """Plan as the solver process does; see `Planning.plan`."""
        planning: Planning = self._planning if previous is not None else self._first
        return planning.plan(x, goal, t, previous, plain=plain)

    def _spoilt(self, artifact: Artifact) -> Artifact:
        """Return `artifact` with graphs whose outputs pass through the fault of the moment."""
        graphs = {head: Graph(graph.spec, _Session(graph.session, self)) for head, graph in artifact.graphs.items()}
        return replace(artifact, graphs=graphs)


class _Session:
    """An ONNX session whose outputs pass through the fault of the moment."""

    def __init__(self, session: Any, mind: Mind) -> None:
        self._session, self._mind = session, mind

    def io_binding(self) -> Any:
        """Return the binding of the session."""
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        """Run, and spoil what came out where it lies."""
        self._session.run_with_iobinding(binding)
        for value in binding.get_outputs():
            outputs = value.numpy()
            spoilt = self._mind.fault.learned(outputs)
            if spoilt is not outputs:
                value.update_inplace(np.ascontiguousarray(spoilt, dtype=outputs.dtype))


class SimulatedSolver:
    """Answers a posted state with a plan some simulated time later; what it shows is what `SolverProcess` shows.

    Attributes:
        pid: counts the solvers of a run.
        busy_since: when the state under work was posted, s; None while it waits.
    """

    def __init__(
        self, mind: Mind, clock: Callable[[], float], rng: np.random.Generator, pid: int, *, newborn: bool
    ) -> None:
        """Think with `mind` by `clock`; `rng` draws how long plans take. A `newborn` one has first to get ready."""
        self._mind, self._clock, self._rng = mind, clock, rng
        self._ready_at = clock() + BIRTH if newborn else clock()
        self._thought: tuple[float, Plan] | None = None
        self._previous: Plan | None = None
        self.pid, self._dead = pid, False
        self.busy_since: float | None = None

    @property
    def alive(self) -> bool:
        """False once the fault killed it."""
        self._dead = self._dead or not self._mind.fault.solver_lives
        return not self._dead

    @property
    def ready(self) -> bool:
        """True once it answers."""
        return self.alive and self._clock() >= self._ready_at

    def post(self, x: Array, goal: Array, t: float, *, fresh: bool = False, plain: bool = False) -> None:
        """Ask for a plan; see `SolverProcess.post`."""
        if not self.alive:
            return
        now, usual = self._clock(), self._mind.period * self._rng.uniform(*SHARES)
        self.busy_since = now
        takes = self._mind.fault.latency(usual)
        if math.isinf(takes):
            self._thought = None
            return
        self._previous = self._mind.plan(x, goal, t, None if fresh else self._previous, plain=plain)
        self._thought = now + takes, self._mind.fault.plan(self._previous)

    def take(self) -> Plan | None:
        """Return the plan if it is there."""
        if self._thought is None or self._clock() < self._thought[0] or not self.alive:
            return None
        plan, self._thought, self.busy_since = self._thought[1], None, None
        return plan

    def wait(self, timeout: float) -> Plan | None:
        """Return the plan if it is there: simulated time does not pass inside."""
        return self.take()

    def close(self) -> None:
        """End."""
        self._dead = True
