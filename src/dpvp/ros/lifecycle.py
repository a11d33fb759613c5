"""A lifecycle node around an interface: configured it has one, active it uses it."""

from __future__ import annotations

import traceback
from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

from pydantic import Field
from rclpy.executors import Executor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from dpvp.config import Config
from dpvp.errors import DpvpError, EnvironmentProblem
from dpvp.ros.parameters import declare

IDLE_SPIN = 0.1  # s between looks at the signals while nothing is due


class Interface(Protocol):
    """What a node does, with its topics and services; exists while the node is configured."""

    active: bool

    def activate(self) -> None:
        """Begin to work."""
        ...

    def deactivate(self) -> None:
        """Leave everything in a safe state and fall silent."""
        ...

    def work(self) -> float:
        """Do what is due and return the seconds until something is due again."""
        ...

    def close(self) -> None:
        """Disconnect from the node."""
        ...


class NodeParameters(Config):
    """What the parameters of every such node have in common."""

    autostart: bool = Field(True, description="configure and activate without a lifecycle manager")


ParametersT = TypeVar("ParametersT", bound=NodeParameters)


class InterfaceNode(LifecycleNode, Generic[ParametersT]):
    """Moves an `Interface` through the states of the lifecycle."""

    def __init__(self, name: str, parameters: type[ParametersT]) -> None:
        """Declare the parameters and, with `autostart`, become active.

        Raises:
            ConfigError: a parameter does not fit.
            EnvironmentProblem: autostart failed; the reason was logged.
        """
        super().__init__(name)
        self._interface: Interface | None = None
        self.settings = declare(self, parameters)
        if self.settings.autostart:
            self.start()

    @abstractmethod
    def make(self) -> Interface:
        """Return what the node is to do; raises `DpvpError` if it cannot be done."""

    def start(self) -> None:
        """Configure and activate; raises `EnvironmentProblem` if that fails, the reason being logged."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() is not TransitionCallbackReturn.SUCCESS:
                raise EnvironmentProblem(f"{self.get_name()} could not start; the reason is above")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the interface."""
        try:
            self._interface = self.make()
        except DpvpError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would swallow it and only say that the transition failed
            self.get_logger().fatal(traceback.format_exc())
            raise
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work."""
        assert self._interface is not None
        self._interface.activate()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop safely."""
        assert self._interface is not None
        self._interface.deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Part with the interface."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Part with the interface."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def spin_some(self, executor: Executor) -> None:
        """Work, then serve one event or wait until something is due."""
        executor.spin_once(timeout_sec=IDLE_SPIN if self._interface is None else self._interface.work())

    def destroy_node(self) -> None:
        """Stop safely and part with the interface."""
        if self._interface is not None and self._interface.active:
            self._interface.deactivate()
        self._close()
        super().destroy_node()

    def _close(self) -> None:
        if self._interface is not None:
            self._interface.close()
            self._interface = None
