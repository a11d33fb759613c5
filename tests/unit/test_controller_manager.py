"""ros/controller_manager.py with managers that are away, refuse, hang, die and come back; no messages are sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("controller_manager_msgs", reason="make msgs")

from rclpy.task import Future

from dpvp.control.controllers import Controller, ControllerPhase, Controllers
from dpvp.errors import SwitchError
from dpvp.ros.controller_manager import Charge, ControllerManager
from dpvp.ros.controllers import Succession
from dpvp.ros.messages import ControllerState, ListControllers, SwitchController

NAMES = Succession()
LAW, FEED, DAMPER = *NAMES.chain, *NAMES.fallbacks
KNOWN = (
    Controller(LAW, "package/Law", ("hip/effort",), (f"{LAW}/hip/position",), (DAMPER,)),
    Controller(FEED, "package/Feed", (f"{LAW}/hip/position",), (), (DAMPER,)),
    Controller(DAMPER, "package/Damper", ("hip/effort",)),
)


class Manager:
    """A controller manager, the node of its client and the time, in one."""

    def __init__(self) -> None:
        self.controllers = Controllers(KNOWN, NAMES.chain)
        self.present, self.hangs, self.refuses = True, False, ""
        self.now = 0.0
        self.log: list[str] = []
        self.waiting: list[Callable[[], None]] = []
        self.client = ControllerManager(self, NAMES, clock=lambda: self.now)

    def create_client(self, kind: Any, name: str) -> Any:
        """What a node offers: here, a client that is answered at once."""
        what = name.rpartition("/")[2].removesuffix("_controller")
        return SimpleNamespace(
            srv_name=name,
            service_is_ready=lambda: self.present,
            call_async=lambda request: self.call(kind, what, request),
            remove_pending_request=lambda future: None,
        )

    def call(self, kind: Any, what: str, request: Any) -> Future:
        """Answer a request: at once, or when it does not hang any more."""
        future = Future()
        self.waiting.append(lambda: future.set_result(self.answer(kind, what, request)))
        if not self.hangs:
            self.catch_up()
        return future

    def catch_up(self) -> None:
        """Do what was asked while it hung."""
        for answer in self.waiting:
            answer()
        self.waiting.clear()

    def answer(self, kind: Any, what: str, request: Any) -> Any:
        response = kind.Response()
        if kind is ListControllers:
            states = self.controllers.phases.items()
            response.controller = [ControllerState(name=name, state=phase.value) for name, phase in states]
            return response
        self.log.append(what if kind is SwitchController else f"{what} {request.name}")
        try:
            if self.refuses:
                raise SwitchError(self.refuses)
            if kind is SwitchController:
                assert request.strictness == SwitchController.Request.STRICT
                self.controllers.switch(request.activate_controllers, request.deactivate_controllers, strict=True)
            else:
                getattr(self.controllers, what)(request.name)
            response.ok = True
        except SwitchError as error:
            response.ok = False
            if kind is SwitchController:
                response.message = str(error)
        return response

    def live(self, seconds: float) -> None:
        """Let time pass; the client works whenever it wants to."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + max(self.client.work(), 1e-3))

    def active(self) -> list[str]:
        return [name for name, phase in self.controllers.phases.items() if phase is ControllerPhase.ACTIVE]


@pytest.fixture
def manager() -> Manager:
    return Manager()


def test_one_request_takes_the_plant_away(manager: Manager) -> None:
    client = manager.client
    assert (client.asked, client.work()) == (None, math.inf)
    client.damp()
    client.work()
    assert manager.log == ["switch"]
    assert manager.active() == [DAMPER]
    assert (client.asked, client.confirmed, client.refusal) == (Charge.DAMPING, True, "")
    client.damp()
    manager.live(5.0)
    assert manager.log == ["switch"]  # looking is enough


def test_the_chain_comes_back_as_new_controllers(manager: Manager) -> None:
    client = manager.client
    client.damp()
    client.work()
    client.restore()
    assert client.work() == math.inf
    assert manager.log[1:] == [
        f"unload {FEED}",
        f"unload {LAW}",
        f"load {LAW}",
        f"configure {LAW}",
        f"load {FEED}",
        f"configure {FEED}",
        "switch",
    ]
    assert manager.active() == [LAW, FEED]
    assert (client.asked, client.confirmed, client.refusal) == (Charge.FEEDBACK, True, "")


def test_what_is_in_charge_already_is_left_alone(manager: Manager) -> None:
    manager.client.restore()
    manager.client.work()
    assert manager.client.confirmed
    assert manager.log == []


@pytest.mark.parametrize("fell", [[], [DAMPER]])
def test_what_fell_by_itself_is_taken_up_as_it_is(manager: Manager, fell: list[str]) -> None:
    """As after a NaN: the manager has stopped the chain, with or without its fallback."""
    manager.controllers.switch(fell, [LAW, FEED], strict=True)
    manager.client.damp()
    manager.live(1.0)
    assert manager.active() == [DAMPER]
    assert (manager.client.confirmed, manager.client.refusal) == (True, "")
    manager.controllers.switch([], [DAMPER], strict=True)
    manager.client.restore()
    manager.live(1.0)
    assert manager.active() == [LAW, FEED]


def test_it_is_asked_again_ten_times_a_second_until_it_grants(manager: Manager) -> None:
    client = manager.client
    manager.refuses = "hardware is not ready"
    client.damp()
    manager.live(1.0)
    assert 8 <= len(manager.log) <= 12
    assert not client.confirmed
    assert client.refusal == "controller_manager/switch_controller refuses: hardware is not ready"
    manager.refuses = ""
    manager.live(0.2)
    assert client.confirmed
    assert manager.active() == [DAMPER]


def test_without_anything_that_damps_the_chain_stays(manager: Manager) -> None:
    """Damped by nothing is worse than driven: the manager must not be asked for half of it."""
    manager.controllers.unload(DAMPER)
    manager.client.damp()
    manager.live(1.0)
    assert manager.active() == [LAW, FEED]
    assert "no such controller" in manager.client.refusal


def test_a_manager_that_is_away_is_asked_when_it_comes(manager: Manager) -> None:
    client = manager.client
    manager.present = False
    client.damp()
    assert 0.0 < client.work() <= 0.1
    assert client.refusal.startswith("there is no service controller_manager/")
    manager.live(3.0)
    assert manager.log == []
    manager.present = True
    manager.live(0.2)
    assert client.confirmed


def test_a_manager_that_dies_and_begins_anew_is_taken_over_again(manager: Manager) -> None:
    client = manager.client
    client.damp()
    client.work()
    manager.present = False
    manager.live(1.5)
    assert not client.confirmed
    manager.controllers, manager.present = Controllers(KNOWN, NAMES.chain), True
    manager.live(1.5)
    assert client.confirmed
    assert manager.active() == [DAMPER]


def test_an_answer_that_does_not_come_is_given_up(manager: Manager) -> None:
    client = manager.client
    manager.hangs = True
    client.damp()
    assert 0.9 < client.work() <= 1.0
    manager.live(1.1)
    assert client.refusal.endswith("does not answer within 1 s")
    assert not client.confirmed
    manager.hangs = False
    manager.catch_up()
    manager.live(2.0)
    assert client.confirmed


def test_damping_does_not_wait_for_what_is_being_restored(manager: Manager) -> None:
    client = manager.client
    client.damp()
    client.work()
    manager.hangs = True
    client.restore()
    client.damp()
    assert len(manager.waiting) == 2
    manager.catch_up()
    manager.hangs = False
    manager.live(0.5)
    assert client.confirmed
    assert manager.active() == [DAMPER]


def test_restoring_waits_for_what_would_take_effect_after_it(manager: Manager) -> None:
    """Else it would see the chain in charge, be content, and then lose it."""
    client = manager.client
    manager.hangs = True
    client.damp()
    client.restore()
    assert len(manager.waiting) == 1
    manager.hangs = False
    manager.catch_up()
    manager.live(0.1)
    assert f"load {LAW}" in manager.log
    assert manager.active() == [LAW, FEED]
    assert client.confirmed
