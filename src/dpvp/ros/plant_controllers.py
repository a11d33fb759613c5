"""The controllers of a plant that is none of ros2_control's, behind the services of its controller manager.

So whoever takes the plant away from the planner does the same in simulation as on hardware. The plant damps while the
chain of the feedback law is not active, with the damping controller or with nothing in its place (a real one goes on
with its last torque then, or goes limp: that is the driver's choice).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from dpvp.control.controllers import Controller, ControllerPhase, Controllers
from dpvp.control.feedback import FeedbackLaw
from dpvp.errors import SwitchError
from dpvp.robot import Robot
from dpvp.ros.controllers import FEEDBACK, MANAGER, Succession
from dpvp.ros.controllers_file import TYPES
from dpvp.ros.messages import (
    ConfigureController,
    ControllerState,
    ListControllers,
    LoadController,
    SwitchController,
    UnloadController,
)

NAMES = Succession()


class PlantControllers:
    """Offers the services and lets the law run, damp or begin anew as the controllers say."""

    def __init__(self, node: Node, robot: Robot, law: FeedbackLaw) -> None:
        """Offer the services at `node`; the feedback law is active, and `law` is it."""
        self._law, self._logger = law, node.get_logger()
        self._known = _known(robot)
        self.reset()
        for kind, name in ((LoadController, "load"), (UnloadController, "unload"), (ConfigureController, "configure")):
            change = self._changing(name)
            node.create_service(kind, f"{MANAGER}/{name}_controller", change)
        node.create_service(SwitchController, f"{MANAGER}/switch_controller", self._on_switch)
        node.create_service(ListControllers, f"{MANAGER}/list_controllers", self._on_list)

    def reset(self) -> None:
        """Put everything back to the start: a new law that is active."""
        self._controllers = Controllers(self._known, NAMES.chain)
        self._fresh = False
        self._law.reset()

    @property
    def running(self) -> bool:
        """Whether the feedback law commands the plant."""
        return self._controllers.active(NAMES.chain)

    def _changing(self, name: str) -> Callable[[Any, Any], Any]:
        """Return the callback of the service that does `name` to one controller."""

        def change(request: Any, response: Any) -> Any:
            try:
                getattr(self._controllers, name)(request.name)
            except SwitchError as error:
                self._logger.error(str(error))  # the response has no place for it
                response.ok = False
                return response
            self._fresh |= name == "load" and request.name == FEEDBACK
            response.ok = True
            return response

        return change

    def _on_switch(
        self, request: SwitchController.Request, response: SwitchController.Response
    ) -> SwitchController.Response:
        ran, strict = self.running, request.strictness == SwitchController.Request.STRICT
        try:
            self._controllers.switch(request.activate_controllers, request.deactivate_controllers, strict=strict)
        except SwitchError as error:
            self._logger.error(str(error))
            response.ok, response.message = False, str(error)
            return response
        if self.running != ran:
            self._hand_over()
        response.ok = True
        return response

    def _hand_over(self) -> None:
        if not self.running:
            self._law.damp()
        elif self._fresh:
            self._law.reset()
        else:
            self._law.release()
        self._fresh = self._fresh and not self.running
        active = [name for name, phase in self._controllers.phases.items() if phase is ControllerPhase.ACTIVE]
        self._logger.warning(f"the plant is commanded by {', '.join(active) or 'nobody'}")

    def _on_list(
        self, request: ListControllers.Request, response: ListControllers.Response
    ) -> ListControllers.Response:
        response.controller = [self._state(name, phase) for name, phase in self._controllers.phases.items()]
        return response

    def _state(self, name: str, phase: ControllerPhase) -> ControllerState:
        controller = self._controllers.known[name]
        return ControllerState(
            name=name,
            state=phase.value,
            type=controller.type,
            claimed_interfaces=list(controller.writes) if phase is ControllerPhase.ACTIVE else [],
            required_command_interfaces=list(controller.writes),
            is_chainable=bool(controller.offers),
            reference_interfaces=list(controller.offers),
        )


def _known(robot: Robot) -> tuple[Controller, ...]:
    """Return the controllers of ros2_control that this plant stands for, with what controllers.yaml gives them."""
    efforts = tuple(f"{name}/effort" for name in robot.joint_names)
    states = tuple(
        f"{FEEDBACK}/{name}/{kind}" for kind in ("position", "velocity", "effort") for name in robot.joint_names
    )
    (feedback, estimator), (fallback,) = NAMES.chain, NAMES.fallbacks
    return (
        Controller(feedback, TYPES[feedback], efforts, states, (fallback,)),
        Controller(estimator, TYPES[estimator], states, (), (fallback,)),
        Controller(fallback, TYPES[fallback], efforts),
    )
