"""supervisor_node over real DDS, with a world and an mpc_node: the plant is taken away, and given back when told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from dpvp.control.gate import Ruling
from dpvp.control.states import LoopState, Reason
from dpvp.ros.convert import ruling_of
from dpvp.ros.local import LocalProcesses
from dpvp.ros.node import COMMAND, LATCHED, STREAM
from dpvp.scenario import load_scenario
from rosgraph import PATIENT, Bench, control_for, graph

pytestmark = pytest.mark.alone

IDLE, HOLD, TRACK, FAULT = LoopState


@dataclass
class Scene:
    """World, supervisor and loop, and what a test hears of them."""

    bench: Bench
    processes: LocalProcesses
    rulings: list[Ruling] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        node = self.bench.node
        node.create_subscription(DiagnosticStatus, "supervisor_node/verdict", self._on_verdict, STREAM)
        node.create_subscription(String, "world_node/phase", lambda m: self.phases.append(m.data), LATCHED)
        self.estop = node.create_publisher(Bool, "estop", COMMAND)

    def _on_verdict(self, message: DiagnosticStatus) -> None:
        self.rulings.append(ruling_of(message))

    def press(self, *, pressed: bool) -> None:
        self.estop.publish(Bool(data=pressed))

    def ask(self, name: str) -> tuple[bool, str]:
        response = self.bench.call(Trigger, name, Trigger.Request())
        return response.success, response.message

    def is_so(self, ruling: LoopState, loop: LoopState, each: Callable[[], None] = lambda: None) -> bool:
        """Wait until the supervisor allows `ruling` and the loop says that it is in state `loop`."""
        return self.bench.until(
            lambda: (
                bool(self.rulings) and self.rulings[-1].state is ruling and self.bench.loop.get("state") == loop.name
            ),
            each,
        )

    def tracks(self) -> None:
        """Bring the scene to where all is well."""
        self.press(pressed=False)
        if self.rulings and self.rulings[-1].state is FAULT:
            assert self.bench.until(lambda: self.ask("supervisor_node/reset")[0])
        assert self.bench.until(lambda: bool(self.rulings) and self.rulings[-1].state is TRACK), self.rulings[-1:]
        assert self.bench.until(lambda: self.bench.loop.get("state") in ("HOLD", "TRACK")), self.bench.loop
        assert self.bench.until(lambda: self.ask("mpc_node/start")[0])
        assert self.is_so(TRACK, TRACK), (self.rulings[-1], self.bench.loop)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    robot, folder = load_scenario("kuka_reach").robot, tmp_path_factory.mktemp("trust")
    here = robot.frame_position(robot.nominal).tolist()  # an arm on its way leaves limits by the last command it gets
    scenario = load_scenario("kuka_reach", (*PATIENT, f"task.goal={here}"))
    nodes = ("world_node", "supervisor_node", "mpc_node")
    with graph(scenario, folder, nodes, supervised=True, use_sim_time=True) as (bench, processes):
        yield Scene(bench, processes)


def test_the_emergency_stop_damps_until_it_is_released_and_reset(scene: Scene) -> None:
    scene.tracks()
    scene.press(pressed=True)
    assert scene.is_so(FAULT, FAULT)
    assert scene.bench.loop["reason"] == "ESTOP"
    assert scene.bench.until(lambda: scene.phases[-1] == "DAMPING")
    said = scene.ask("supervisor_node/reset")
    assert said == (False, "it stays a fault (emergency stop): emergency stop")
    done, why = scene.ask("mpc_node/start")
    assert not done
    assert "call supervisor_node/reset" in why
    scene.press(pressed=False)
    scene.bench.spin(0.3)
    assert scene.rulings[-1].state is FAULT  # released is not reset
    del scene.phases[:]
    assert scene.ask("supervisor_node/reset")[0]
    assert scene.is_so(TRACK, HOLD)  # and tracks only when it is asked to
    assert scene.bench.until(lambda: scene.phases[-3:] == ["PD", "BLEND", "FEEDBACK"]), scene.phases
    scene.tracks()


def test_commands_that_nobody_may_send_make_the_loop_hold(scene: Scene) -> None:
    scene.tracks()
    bench = scene.bench
    wrong = control_for(bench.scenario, 0.0)
    wrong.feedforward.data = [float("nan")] * 7

    def send() -> None:
        bench.control.publish(wrong)
        bench.spin(0.02)

    assert scene.is_so(HOLD, HOLD, send)
    assert scene.rulings[-1].reason is Reason.COMMAND_UNSOUND
    assert "NaN" in scene.rulings[-1].detail
    assert scene.is_so(TRACK, TRACK)  # once they have stopped


def test_a_loop_that_stops_is_held_and_then_taken_off(scene: Scene) -> None:
    scene.tracks()
    pid, bench = scene.processes.pid("mpc_node"), scene.bench
    os.kill(pid, signal.SIGSTOP)
    try:
        assert bench.until(lambda: scene.rulings[-1].reason is Reason.COMMANDS_STOPPED)
        del bench.controls[:]
        assert bench.until(lambda: any(c.header.frame_id == "supervisor_node" for c in bench.controls))
        assert bench.until(lambda: scene.rulings[-1].reason is Reason.COMMANDS_LOST)
        assert bench.until(lambda: scene.phases[-1] == "DAMPING")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert scene.is_so(FAULT, FAULT)
    scene.tracks()


def test_without_its_supervisor_the_loop_holds(scene: Scene) -> None:
    scene.tracks()
    pid = scene.processes.pid("supervisor_node")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert scene.bench.until(lambda: scene.bench.loop.get("reason") == "SUPERVISOR_LOST")
        assert scene.bench.loop["state"] == "HOLD"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert scene.bench.until(lambda: scene.bench.loop.get("state") == "TRACK"), scene.rulings[-1]
