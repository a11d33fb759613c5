"""Shadow mode over real DDS: the loop plans beside whoever moves the robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from std_srvs.srv import Trigger

from dpvp.ros.messages import Control
from dpvp.ros.node import STREAM
from dpvp.scenario import load_scenario
from rosgraph import PATIENT, graph

pytestmark = pytest.mark.alone


def test_in_the_shadow_nothing_is_commanded(tmp_path: Path) -> None:
    """Plans are made and said, and the plant goes on holding itself: neither loop nor supervisor touches it."""
    scenario, nodes = load_scenario("kuka_reach", PATIENT), ("world_node", "supervisor_node", "mpc_node")
    with graph(scenario, tmp_path, nodes, supervised=True, shadow=True, use_sim_time=True) as (bench, _):
        shadows: list[Control] = []
        bench.node.create_subscription(Control, "mpc_node/shadow_control", shadows.append, STREAM)
        assert bench.until(lambda: bench.loop.get("state") == "HOLD"), bench.loop
        assert bench.call(Trigger, "mpc_node/start", Trigger.Request()).success
        assert bench.until(lambda: bench.loop.get("state") == "TRACK" and len(shadows) > 20), bench.loop
        bench.spin(1.5)
        assert not bench.controls
        assert "shadow" in bench.loop
        assert bench.world["phase"] == "PD"
        assert np.abs(np.array(bench.joints[-1].position) - scenario.robot.nominal).max() < 0.01
        moves = [
            np.abs(message.feedforward.data - scenario.robot.gravity(scenario.robot.nominal)).max()
            for message in shadows
        ]
        assert max(moves) > 1.0  # Nm: it would have moved the arm
