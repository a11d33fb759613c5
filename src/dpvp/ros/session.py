"""A session: the nodes of a scenario on this machine with a pilot beside them; what run, demo and bench share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from dpvp.environment import require_messages, require_pins
from dpvp.errors import EnvironmentProblem
from dpvp.ros.bringup import Bringup
from dpvp.ros.local import LocalProcesses, own, ros_environment
from dpvp.ros.pilot import Pilot
from dpvp.ros.processes import bringup_processes
from dpvp.ros.security import ENCLAVES, PILOT, enforced, secured, security_environment
from dpvp.scenario import Scenario


@dataclass(frozen=True)
class Session:
    """Running nodes and the pilot that talks to them."""

    pilot: Pilot
    processes: LocalProcesses


@contextmanager
def session(scenario: Scenario, bringup: Bringup, run_dir: Path) -> Iterator[Session]:
    """Start the nodes of `scenario` and end them when the block ends.

    Raises:
        EnvironmentProblem: pins or messages are wrong, another dpvp runs in the same ROS domain, or a node ended.
    """
    require_pins()
    require_messages()
    os.environ.update(ros_environment())  # read when the graph is joined
    keystore = bringup.security or enforced(os.environ)
    os.environ.update(security_environment(keystore))
    words = ["--ros-args", "--enclave", f"{ENCLAVES}/{PILOT}"] if keystore else []
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    running: list[LocalProcesses] = []

    def watch() -> None:
        if running and (name := running[0].ended()):
            raise EnvironmentProblem(f"{name} ended by itself; it said:\n{running[0].last_words(name)}")

    try:
        pilot = Pilot(scenario, watch)
        pilot.require_alone()
        specs = bringup_processes(scenario, bringup, run_dir)
        with LocalProcesses(secured(own(specs), keystore), run_dir) as processes:
            running.append(processes)
            pilot.wait_ready()
            yield Session(pilot, processes)
            running.clear()
        pilot.close()
    finally:
        rclpy.try_shutdown()
