"""Takes the plant away from the planner, and gives it back, through ros2_control's controller manager.

Nothing here waits: `work` sends what is due and takes what was answered. What is asked is asked again until it is seen
to be so, through refusals, silence and restarts of the manager.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rclpy.client import Client
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.task import Future

from dpvp.ros.controllers import MANAGER, Succession
from dpvp.ros.messages import (
    ConfigureController,
    ListControllers,
    LoadController,
    SwitchController,
    UnloadController,
)

SWITCH_TIMEOUT = Duration(seconds=0.5)  # that the manager may take to switch
ANSWER = 1.0  # s to wait for an answer to what only looks or switches
ANSWER_MAKING = 10.0  # s, of what makes or removes a controller
RETRY_DAMPING, RETRY_FEEDBACK = 0.1, 1.0  # s after an attempt that failed: to damp is urgent, to make anew is dear
VERIFY = 1.0  # s between looks whether the plant still damps

_Steps = Generator[Any, Any, None]  # yields a request, is sent the response or None; or yields seconds to wait


class Charge(Enum):
    """In whose charge the plant is to be."""

    DAMPING = "what damps, instead of the feedback law"
    FEEDBACK = "the feedback law"


@dataclass(frozen=True)
class _Service:
    """One service of the manager: its client, and how long it may take, s."""

    client: Client
    patience: float


@dataclass(frozen=True)
class _Call:
    """A request on its way: for which steps, and when it counts as lost."""

    steps: _Steps
    service: _Service
    request: Any
    answer: Future
    until: float


class ControllerManager:
    """A client that hands the plant from the feedback law to what damps, and back.

    Attributes:
        asked: who is to be in charge; None while nothing has been asked.
        confirmed: whether the manager said that it is so when it was asked last.
        refusal: why the last attempt failed; empty when all is as asked.
    """

    def __init__(
        self, node: Node, names: Succession | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Become a client of `controller_manager` in the namespace of `node`; it may come and go.

        Args:
            node: whose executor serves the answers.
            names: of the controllers; those of dpvp's own files if left out.
            clock: steady time, s.
        """
        self._node, self._names, self._clock = node, names or Succession(), clock
        self._services = {
            kind.Request: _Service(node.create_client(kind, f"{MANAGER}/{name}"), patience)
            for kind, name, patience in (
                (SwitchController, "switch_controller", ANSWER),
                (ListControllers, "list_controllers", ANSWER),
                (LoadController, "load_controller", ANSWER_MAKING),
                (UnloadController, "unload_controller", ANSWER_MAKING),
                (ConfigureController, "configure_controller", ANSWER_MAKING),
            )
        }
        self.asked: Charge | None = None
        self.confirmed = False
        self.refusal = ""
        self._steps: _Steps | None = None
        self._call: _Call | None = None
        self._due = -math.inf

    def damp(self) -> None:
        """Let what damps take over from the chain at once, and see to it from now on that it stays so."""
        if self.asked is Charge.DAMPING:
            return
        self._forget_call()
        self._begin(Charge.DAMPING, self._to_damping())

    def restore(self) -> None:
        """Make the controllers of the chain anew and let them take over from what damps; then leave them alone.

        Anew, because the stock feedback law goes on with the last command of its life when it is only activated again.
        Where the chain is in charge already there is nothing to do. A request that is under way is waited for: it could
        take effect later than what is asked now.
        """
        if self.asked is Charge.FEEDBACK and self._steps is not None:
            return
        self._begin(Charge.FEEDBACK, self._to_feedback())

    def work(self) -> float:
        """Go on with what was asked; return the seconds until there is something to do, unless an answer comes."""
        while self._steps is not None:
            call, now = self._call, self._clock()
            due = self._due if call is None else -math.inf if call.answer.done() else call.until
            if now < due:
                return due - now
            answer = None if call is None else self._finish(call)
            self._advance(self._steps, answer if call is not None and call.steps is self._steps else None)
        return math.inf

    def close(self) -> None:
        """Disconnect; nothing can be asked any more."""
        self._forget_call()
        self._steps = None
        for service in self._services.values():
            self._node.destroy_client(service.client)

    def _begin(self, charge: Charge, steps: _Steps) -> None:
        self.asked, self.confirmed, self.refusal = charge, False, ""
        self._steps, self._due = steps, -math.inf
        self.work()

    def _advance(self, steps: _Steps, answer: Any) -> None:
        """Let the steps go on with the answer to their last request, and do what they want next."""
        self._due = -math.inf
        try:
            wanted = steps.send(answer)
        except StopIteration:
            self._steps = None
            return
        if isinstance(wanted, float):
            self._due = self._clock() + wanted
            return
        service = self._services[type(wanted)]
        if service.client.service_is_ready():
            until = self._clock() + service.patience
            self._call = _Call(steps, service, wanted, service.client.call_async(wanted), until)
        else:
            self.refusal = f"there is no service {service.client.srv_name}"

    def _finish(self, call: _Call) -> Any:
        """Return the response to a request that was granted; None, with the reason in `refusal`, for any other."""
        name = call.service.client.srv_name
        if not call.answer.done():
            self._forget_call()
            self.refusal = f"{name} does not answer within {call.service.patience:g} s"
            return None
        self._call = None
        response = call.answer.result()
        if getattr(response, "ok", True):
            return response
        reason = getattr(response, "message", "") or f"'{call.request.name}'; the manager's log says why"
        self.refusal = f"{name} refuses: {reason}"
        return None

    def _forget_call(self) -> None:
        if self._call is not None:
            self._call.service.client.remove_pending_request(self._call.answer)
            self._call = None

    def _confirm(self) -> None:
        self.confirmed, self.refusal = True, ""

    def _to_damping(self) -> _Steps:
        """Switch without a question first; after that, what the states of the controllers say is missing."""
        chain, fallbacks = self._names.chain, self._names.fallbacks
        if (yield _switch(fallbacks, chain)) is not None:
            self._confirm()
            yield VERIFY
        while True:
            states = yield from self._states()
            switch = None if states is None else self._missing(states)
            if states is not None and (switch is None or (yield switch) is not None):
                self._confirm()
                yield VERIFY
            else:
                self.confirmed = False
                yield RETRY_DAMPING

    def _to_feedback(self) -> _Steps:
        """Look, make anew, look again, until the chain is in charge."""
        chain, fallbacks = self._names.chain, self._names.fallbacks
        while True:
            states = yield from self._states()
            if states is not None and _active(states, chain) == chain and not _active(states, fallbacks):
                self._confirm()
                return
            if states is None or not (yield from self._make_anew(states)):
                yield RETRY_FEEDBACK

    def _make_anew(self, states: Mapping[str, str]) -> Generator[Any, Any, bool]:
        """Damp, remove the chain and make it again, and let it take over; whether all of that was granted."""
        chain, fallbacks = self._names.chain, self._names.fallbacks
        damp = self._missing(states)
        # who feeds another goes before that one, and comes after it
        requests = [UnloadController.Request(name=name) for name in reversed(chain) if name in states]
        for name in chain:
            requests += [LoadController.Request(name=name), ConfigureController.Request(name=name)]
        for request in (*([] if damp is None else [damp]), *requests, _switch(chain, fallbacks)):
            if (yield request) is None:
                return False
        return True

    def _missing(self, states: Mapping[str, str]) -> SwitchController.Request | None:
        """Return the switch that is missing for the plant to damp; None if it damps."""
        damping = _active(states, self._names.fallbacks)
        on = tuple(name for name in self._names.fallbacks if name not in damping)
        off = _active(states, self._names.chain)
        return _switch(on, off) if on or off else None

    def _states(self) -> Generator[Any, Any, dict[str, str] | None]:
        """Ask for the states of all controllers, by name."""
        response = yield ListControllers.Request()
        return None if response is None else {each.name: each.state for each in response.controller}


def _active(states: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if states.get(name) == "active")


def _switch(on: Sequence[str], off: Sequence[str]) -> SwitchController.Request:
    """Return a request that is granted as a whole or not at all: never may the chain go and nothing come."""
    return SwitchController.Request(
        activate_controllers=list(on),
        deactivate_controllers=list(off),
        strictness=SwitchController.Request.STRICT,
        activate_asap=True,
        timeout=SWITCH_TIMEOUT.to_msg(),
    )
