"""Stage: the nodes of a scenario as processes that may be killed, stopped and started again one by one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dpvp.bench.faults.memory import alive
from dpvp.bench.faults.witness import Witness
from dpvp.errors import EnvironmentProblem
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Steered

PATIENCE = 60.0  # s that nodes may take to start
BACK = 20.0  # s in which plans have to be followed again
GOAL_SECONDS = 2.0


class Stage:
    """Running nodes, somebody who steers them, and a witness.

    Attributes:
        scenario: what runs, from the file in `run_dir`.
        run_dir: folder of the run.
        witness: hears what they say.
        pilot: steers, and waits.
        others: say what operators and others say.
    """

    def __init__(self, scenario: Scenario, run_dir: Path, seed: int) -> None:
        """Start all nodes, and let the robot move; the graph is joined already. Use `staged`."""
        from dpvp.ros.bringup import Bringup
        from dpvp.ros.bystander import Bystander
        from dpvp.ros.local import LocalProcesses
        from dpvp.ros.pilot import Pilot
        from dpvp.ros.processes import bringup_processes

        self.scenario, self.run_dir = scenario, run_dir
        bringup = Bringup(plant="dpvp", start="false")
        self._specs = {
            spec.name: spec for spec in bringup_processes(scenario, bringup, run_dir) if spec.package == "dpvp"
        }
        self._rng, self._next_goal = np.random.default_rng(seed), 0.0
        self._start = LocalProcesses
        self._running: dict[str, LocalProcesses] = {}
        self._solvers: set[int] = set()
        self.pilot = Pilot(scenario, lambda: None)
        self.pilot.require_alone()
        self.witness = Witness(scenario)
        self.others = Bystander(self.pilot, scenario, self.witness)
        for name in self._specs:
            self.start(name)
        self.pilot.wait_ready()
        self.come_back()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return tuple(self._specs)

    def pid(self, name: str) -> int:
        """Return the id of a node's process, or of the `solver`."""
        if name == "solver":
            return int(self.pilot.loop["solver_pid"])
        return self._running[name].pid(name)

    def start(self, name: str) -> None:
        """Start a node, anew if it was there before."""
        if name in self._running:
            self._running.pop(name).close()
        if name == "record_node" and (self.run_dir / "run.mcap").exists():
            shutil.move(self.run_dir / "run.mcap", self.run_dir / f"run_{time.monotonic_ns()}.mcap")
        self._running[name] = self._start([self._specs[name]], self.run_dir)

    def ended(self) -> list[str]:
        """Return the nodes whose processes are over."""
        return [name for name, running in self._running.items() if running.ended()]

    def spin(self, seconds: float) -> None:
        """Let time pass, with new goals now and then."""
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0.0:
            self._move()
            self.pilot.wait(min(0.02, rest))
            if "solver_pid" in self.pilot.loop:
                self._solvers.add(self.pid("solver"))

    def come_back(self) -> bool:
        """Do what an operator does: reset the supervisor, ask for tracking; False if plans are not followed again."""
        end = time.monotonic() + BACK
        while time.monotonic() < end:
            if self.witness.tracking:
                return True
            if self.witness.allowed.startswith("FAULT"):
                self.others.ask("supervisor_node/reset")
            elif self.witness.state == "HOLD" and self.witness.reason == "ASKED":
                self.others.ask("mpc_node/start")
            self.spin(0.2)
        return False

    def close(self) -> list[int]:
        """End everything and return the ids of processes that are still there."""
        pids = [running.pid(name) for name, running in self._running.items()] + sorted(self._solvers)
        for name in reversed(self._specs):
            if name in self._running:
                self._running.pop(name).close()
        self.pilot.close()
        time.sleep(0.5)
        return [pid for pid in pids if alive(pid)]

    def orphaned(self) -> list[int]:
        """Return solvers that outlived the loop that started them."""
        current = self.pid("solver") if "solver_pid" in self.pilot.loop else 0
        return [pid for pid in self._solvers if pid != current and alive(pid)]

    def _move(self) -> None:
        """Send another goal when it is time for it; who walks keeps its velocity."""
        task, now = self.scenario.task, time.monotonic()
        if isinstance(task, Steered) or now < self._next_goal:
            return
        self._next_goal = now + GOAL_SECONDS
        self.others.say_goal(task.sample_goal(self._rng))


@contextmanager
def staged(name: str, runs: Path, seed: int, overrides: tuple[str, ...] = ()) -> Iterator[Stage]:
    """Run the nodes of the scenario `name` in a folder below `runs`; all are ended when the block ends.

    Raises:
        EnvironmentProblem: a process outlived the block.
    """
    from dpvp.ros.bystander import ros_graph

    draft = load_scenario(name, overrides)
    run_dir = new_run_dir(draft, runs)
    with ros_graph():
        stage = Stage(resolved(draft, run_dir), run_dir, seed)
        try:
            yield stage
        finally:
            left = stage.close()
        if left:
            raise EnvironmentProblem(f"processes {left} outlived the run in {run_dir}")
