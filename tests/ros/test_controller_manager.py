"""ControllerManager over real DDS, with a world that it takes from the planner and gives back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dpvp.ros.controller_manager import Charge, ControllerManager
from dpvp.ros.controllers import Succession
from dpvp.ros.convert import seconds
from dpvp.ros.messages import ListControllers, LoadController, Sensor, SwitchController
from dpvp.ros.node import LATCHED, STREAM
from dpvp.scenario import load_scenario
from rosgraph import Bench, control_for, graph

pytestmark = pytest.mark.alone

STRICT = SwitchController.Request.STRICT
CHAIN, FALLBACKS = list(Succession().chain), list(Succession().fallbacks)


class Plant:
    """A running world that waits for controls, and the manager's client, in the eyes of a test."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.manager = ControllerManager(bench.node)
        self.phases: list[str] = []
        self.t = 0.0
        self.answers = True
        bench.node.create_subscription(String, "world_node/phase", lambda m: self.phases.append(m.data), LATCHED)
        bench.node.create_subscription(Sensor, "sensor", self._on_sensor, STREAM)

    def _on_sensor(self, message: Sensor) -> None:
        """Answer, as a planner does that is told of nothing."""
        self.t = seconds(message.header.stamp)
        if self.answers:
            self.bench.control.publish(control_for(self.bench.scenario, self.t))

    @property
    def phase(self) -> str:
        return self.phases[-1] if self.phases else ""

    def becomes(self, phase: str) -> bool:
        return self.bench.until(lambda: self.phase == phase, self.manager.work)

    def settles(self) -> bool:
        """Whether what was asked of the manager comes to be confirmed."""
        return self.bench.until(lambda: self.manager.confirmed, self.manager.work)

    def states(self) -> dict[str, str]:
        listed = self.bench.call(ListControllers, "controller_manager/list_controllers", ListControllers.Request())
        return {each.name: each.state for each in listed.controller}

    def switch(self, on: list[str], off: list[str]) -> SwitchController.Response:
        request = SwitchController.Request(activate_controllers=on, deactivate_controllers=off, strictness=STRICT)
        return self.bench.call(SwitchController, "controller_manager/switch_controller", request)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """In lock-step: time would stand still if a world that damps waited for controls."""
    with graph(load_scenario("kuka_reach"), tmp_path_factory.mktemp("world"), ("world_node",), lock_step=True) as (
        bench,
        _,
    ):
        plant = Plant(bench)
        assert plant.becomes("FEEDBACK")
        yield plant


def test_the_plant_is_taken_away_and_given_back(plant: Plant) -> None:
    manager, bench = plant.manager, plant.bench
    manager.damp()
    assert plant.settles()
    assert plant.becomes("DAMPING")
    assert plant.states() == {CHAIN[0]: "inactive", CHAIN[1]: "inactive", FALLBACKS[0]: "active"}
    # whatever arrives, and whether anything does
    for plant.answers in (True, False):
        began = plant.t
        assert bench.until(lambda began=began: plant.t > began + 0.3, manager.work)
        assert plant.phase == "DAMPING"
    manager.restore()
    assert plant.settles()
    assert (manager.asked, manager.refusal) == (Charge.FEEDBACK, "")
    assert plant.states() == {CHAIN[0]: "active", CHAIN[1]: "active", FALLBACKS[0]: "inactive"}
    assert plant.becomes("PD")  # a new law, which knows of no command
    plant.answers = True
    assert plant.becomes("FEEDBACK")


def test_refusals_are_those_of_the_stock_manager(plant: Plant) -> None:
    assert plant.switch(FALLBACKS, []).message == (
        "'lbr_A1/effort' would be commanded by 'linear_feedback_controller' and 'damping_controller'"
    )
    assert "no such controller" in plant.switch(["other"], CHAIN).message
    load = LoadController.Request(name=CHAIN[0])
    assert not plant.bench.call(LoadController, "controller_manager/load_controller", load).ok
    assert plant.phase == "FEEDBACK"


def test_who_puts_the_chain_back_is_contradicted(plant: Plant) -> None:
    """Also: a reset of the world is no way around what the supervisor has asked."""
    plant.manager.damp()
    assert plant.becomes("DAMPING")
    plant.answers = False
    assert plant.bench.call(Trigger, "world_node/reset", Trigger.Request()).success
    assert plant.bench.until(lambda: plant.phase == "PD")
    assert plant.becomes("DAMPING")
