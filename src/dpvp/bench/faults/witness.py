"""Witness: a node that hears what plant, loop and supervisor say, and when; beside real nodes the judge believes it."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from dpvp.bench.faults.fault import Mode
from dpvp.bench.faults.plant import Truth
from dpvp.bench.faults.rig import Event, Trace
from dpvp.scenario import Scenario

if TYPE_CHECKING:
    from rclpy.node import Node

PHASES = {"PD": Mode.HOLD, "HOLD": Mode.HOLD, "DAMPING": Mode.DAMP}


class Witness:
    """Takes times on this machine's monotonic clock, as messages arrive.

    Attributes:
        state, reason: of the loop, as it said last.
        ruling: state that the supervisor allows, as it said last.
        phase: of the law at the plant.
        heard: when a state of the plant arrived last, s.
    """

    def __init__(self, node: Node, scenario: Scenario) -> None:
        """Subscribe with `node`, which somebody else spins."""
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String

        from dpvp.ros.messages import Control
        from dpvp.ros.node import LATCHED, STREAM
        from dpvp.ros.record_node import ANY_OFFER

        self._robot = scenario.robot
        limits = self._robot.limits
        self._middle = 0.5 * (limits.position_upper + limits.position_lower)
        self._half = 0.5 * (limits.position_upper - limits.position_lower)
        self._stiff = np.diag(self._robot.hold.stiffness)
        self.state = self.reason = self.ruling = self.phase = ""
        self.heard, self._holds = -np.inf, False
        self._order: dict[str, int] | None = None
        self.begin()
        node.create_subscription(JointState, "joint_states", self._on_joints, ANY_OFFER)
        node.create_subscription(Control, "control", self._on_control, STREAM)
        node.create_subscription(String, "world_node/phase", self._on_phase, LATCHED)
        node.create_subscription(DiagnosticStatus, "supervisor_node/verdict", self._on_verdict, ANY_OFFER)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, ANY_OFFER)

    def begin(self) -> None:
        """Forget what was heard before; times count from now on."""
        self._began = time.monotonic()
        truth = Truth(array("d"), array("d"), array("d"), array("d"), array("d"), array("b"), array("b"))
        self.trace = Trace(truth)

    @property
    def now(self) -> float:
        """Time since `begin`, s."""
        return time.monotonic() - self._began

    @property
    def mode(self) -> Mode:
        """What the law at the plant does."""
        return PHASES.get(self.phase, Mode.HOLD if self._holds else Mode.TRACK)

    @property
    def tracking(self) -> bool:
        """Whether plans are followed."""
        return self.state == "TRACK" and self.mode is Mode.TRACK

    def note(self, what: str) -> None:
        """Write down what was said."""
        self.trace.events.append(Event(self.now, what))
        self._sample()

    def _sample(self) -> None:
        truth = self.trace.truth
        for values in (truth.position, truth.velocity, truth.torque, truth.asked):
            values.append(values[-1] if values else 0.0)
        truth.t.append(self.now)
        truth.mode.append(list(Mode).index(self.mode))
        truth.spoilt.append(0)

    def _on_joints(self, message: Any) -> None:
        if self._order is None:
            self._order = {name: place for place, name in enumerate(message.name)}
        places, limits = [self._order[name] for name in self._robot.joint_names], self._robot.limits
        q, v, effort = (np.array(part)[places] for part in (message.position, message.velocity, message.effort))
        self.heard = time.monotonic()
        self._sample()
        truth = self.trace.truth
        truth.position[-1] = float((np.abs(q - self._middle) / self._half).max())
        truth.velocity[-1] = float((np.abs(v) / limits.velocity).max())
        truth.torque[-1] = truth.asked[-1] = float((np.abs(effort) / limits.effort).max())

    def _on_control(self, message: Any) -> None:
        gain, n = np.array(message.feedback_gain.data), self._robot.nu
        held = gain.size == 2 * n * n and np.array_equal(gain.reshape(n, 2 * n)[:, :n], self._stiff)
        if held is not self._holds:
            self._holds = bool(held)
            self._sample()

    def _on_phase(self, message: Any) -> None:
        if message.data != self.phase:
            self.phase = message.data
            self.note(f"law:{self.phase}")

    def _on_verdict(self, message: Any) -> None:
        said = {item.key: item.value for item in message.values}
        ruling = f"{said.get('state', '')} {said.get('reason', '')}"
        if ruling != self.ruling:
            self.ruling = ruling
            self.note(f"ruling:{ruling}")

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name != "mpc_node: loop":
                continue
            said = {item.key: item.value for item in status.values}
            if (said["state"], said["reason"]) != (self.state, self.reason):
                self.state, self.reason = said["state"], said["reason"]
                self.note(f"loop:{self.state} {self.reason}")
