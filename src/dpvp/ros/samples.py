"""One message of every kind that the nodes exchange, for those who try readers on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist
from std_msgs.msg import Float64

from dpvp.control.guard import hold_command
from dpvp.record.feed import LOOP_STATUS
from dpvp.ros.convert import control_message, fill_pose, goal_message, sensor_message, stamp_of
from dpvp.ros.messages import Contact
from dpvp.scenario import Scenario


def samples(scenario: Scenario, t: float) -> Iterator[tuple[str, Any]]:
    """Yield topics and messages as they are at plant time `t`, s, while the robot of `scenario` moves a little."""
    robot, x = scenario.robot, scenario.robot.at_rest()
    q, v = x[: robot.nq], x[robot.nq :] + 0.1
    sensor = sensor_message(robot, t, q, v, np.ones(robot.nu))
    yield "/sensor", sensor
    yield "/joint_states", sensor.joint_state
    if robot.floating:
        fill_pose(sensor.base_pose, q[:7])
        sensor.base_twist = Twist()
        sensor.contacts = [Contact(name=foot, active=True) for foot in robot.feet]
        yield "/estimator_node/sensor", sensor
    command = hold_command(robot, x, t, t + 1.0)
    yield "/control", control_message(robot, command, stamp_of(t), stamp_of(t))
    goal = np.array(scenario.goal)
    yield "/mpc_node/active_goal", goal_message(goal, scenario.task, robot.base, stamp_of(t))
    yield "/mpc_node/plan_ms", Float64(data=2.0)
    yield "/world_node/state_age_ms", Float64(data=3.0)
    values = [KeyValue(key="missed_share", value="0.01"), KeyValue(key="periods", value="100")]
    status = DiagnosticStatus(name=LOOP_STATUS, message="HOLD: as asked", values=values)
    yield "/diagnostics", DiagnosticArray(status=[status])
