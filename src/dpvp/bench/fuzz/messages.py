"""What comes over DDS: messages as bytes, through the conversions that the nodes use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.bench.fuzz.format import Format
from dpvp.bench.fuzz.mutation import damaged, odd_number
from dpvp.control.guard import check_command
from dpvp.errors import DpvpError
from dpvp.record.feed import RunFeed
from dpvp.record.metrics import RunMetrics
from dpvp.robot import JointMap
from dpvp.scenario import Scenario, load_scenario

NAMES = ("kuka_reach", "leg_track", "quadruped_walk")
HUGE = 2_000  # numbers, names or messages in an array that nobody expects


def formats() -> dict[str, Callable[[], Format]]:
    """Return what makes each of these formats, by name."""
    return {"messages": _messages}


def _messages() -> Format:
    from dpvp.ros.samples import samples
    from dpvp.ros.wire import encode

    scenarios = [load_scenario(name) for name in NAMES]

    def mutated(rng: np.random.Generator) -> bytes:
        which = int(rng.integers(len(scenarios)))
        of_it = [message for _, message in samples(scenarios[which], 1.0)]
        message = of_it[rng.integers(len(of_it))]
        for _ in range(int(rng.integers(1, 4))):
            _spoil(rng, message)
        content = encode(message)
        return bytes([which]) + (damaged(rng, content) if rng.random() < 0.3 else content)

    def read(content: bytes, where: Path) -> None:
        scenario = scenarios[min(content[0], len(scenarios) - 1)]
        metrics = RunMetrics(scenario, where)
        takers = _takers(scenario, RunFeed(scenario.robot, metrics), content[1:])
        refusals = [error for take in takers if (error := _refused(take)) is not None]
        metrics.summary()
        if len(refusals) == len(takers):
            raise refusals[0]

    return Format(".cdr", mutated, read)


def _refused(take: Callable[[], object]) -> DpvpError | None:
    try:
        take()
    except DpvpError as error:
        return error
    return None


def _takers(scenario: Scenario, feed: RunFeed, raw: bytes) -> list[Callable[[], object]]:
    """Return everything that is done somewhere with bytes that are taken for one kind of message or another."""
    from dpvp.ros.convert import command_of, goal_of, goal_type, state_of
    from dpvp.ros.messages import Control, Sensor
    from dpvp.ros.odometry import contacts_of, measurement_of
    from dpvp.ros.processes import IMU
    from dpvp.ros.record_node import OF_A_BASE, TOPICS
    from dpvp.ros.wire import decode

    robot, task = scenario.robot, scenario.task
    joint_states, diagnostics, imus = TOPICS["joint_states"], TOPICS["/diagnostics"], OF_A_BASE[IMU]

    def control() -> None:
        check_command(robot, command_of(robot, decode(raw, Control), 0.2))

    def goal() -> None:
        task.check_goal(goal_of(decode(raw, goal_type(task)), robot.base))

    def estimate() -> None:
        joints, feet = decode(raw, joint_states), np.ones(len(robot.feet))
        imu = imus()
        imu.header.stamp = joints.header.stamp
        measurement_of(robot.joint_names, imu, joints, feet, 0.01)

    def plan() -> None:
        message = decode(raw, TOPICS["mpc_node/plan"])
        JointMap(robot.joint_names, message.joint_names).reorder([point.positions for point in message.points])

    def fed(topic: str, kind: type) -> Callable[[], object]:
        return lambda: feed.take(topic, decode(raw, kind))

    topics = {"joint_states": joint_states, "estimator_node/sensor": Sensor, "diagnostics": diagnostics}
    topics |= {"mpc_node/active_goal": goal_type(task)}
    return [
        lambda: state_of(robot, decode(raw, Sensor)),
        control,
        goal,
        estimate,
        plan,
        lambda: contacts_of(robot.feet, decode(raw, Sensor).contacts),
        *(fed(topic, kind) for topic, kind in topics.items() if topic in feed.topics),
    ]


def _spoil(rng: np.random.Generator, message: Any) -> None:
    """Put what nobody expects into one field of `message` or of a message in it."""
    names = list(message.get_fields_and_field_types())
    name = names[rng.integers(len(names))]
    value = getattr(message, name)
    if hasattr(value, "get_fields_and_field_types"):
        _spoil(rng, value)
    elif isinstance(value, float):
        setattr(message, name, odd_number(rng))
    elif isinstance(value, bool):
        setattr(message, name, not value)
    elif isinstance(value, int):
        setattr(message, name, int(rng.integers(0, 128)))
    elif isinstance(value, str):
        setattr(message, name, ("", "x", 5000 * "x", "\x1b[2J", "nan", "1e999", "mpc_node: loop")[rng.integers(7)])
    elif isinstance(value, (bytes, np.ndarray)):
        return
    else:
        setattr(message, name, _resized(rng, list(value)))


def _resized(rng: np.random.Generator, values: list[Any]) -> list[Any]:
    match int(rng.integers(5)):
        case 0:
            return values[:-1]
        case 1:
            return values + values
        case 2:
            return (HUGE // max(1, len(values))) * values
        case 3 if values and isinstance(values[0], float):
            values[rng.integers(len(values))] = odd_number(rng)
        case 3 if values and isinstance(values[0], str):
            values = [f"j{i}" for i in range(HUGE)]
        case _ if values and hasattr(values[0], "get_fields_and_field_types"):
            _spoil(rng, values[rng.integers(len(values))])
        case _:
            return values[::-1]
    return values
