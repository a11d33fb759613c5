"""mpc_node over real DDS, against a plant that the test plays: what it refuses, and that nothing moves then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from dpvp.ros.convert import message_matrix
from dpvp.ros.local import LocalProcesses
from dpvp.ros.messages import Control, Sensor
from dpvp.scenario import load_scenario
from rosgraph import Bench, FakePlant, graph

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, FakePlant, LocalProcesses, Path]]:
    folder = tmp_path_factory.mktemp("mpc")
    # a slow machine must not make the loop hold: what is tested is not speed
    overrides = ("planner.budget=1.0", "loop.plan_timeout=2.0", "loop.sensor_timeout=0.5", "loop.solver_timeout=5.0")
    with graph(load_scenario("kuka_reach", overrides), folder, ("mpc_node",)) as (bench, processes):
        yield bench, FakePlant(bench), processes, folder


@pytest.fixture
def held(running: tuple[Bench, FakePlant, LocalProcesses, Path]) -> tuple[Bench, FakePlant, Path]:
    """The node holding a healthy plant."""
    bench, plant, _, folder = running
    plant.change = lambda message: None
    ask(bench, plant, "hold")
    assert bench.until(lambda: bench.loop.get("reason") == "ASKED", plant.send), bench.loop
    assert bench.until(lambda: bench.loop.get("state") == "HOLD", plant.send), bench.loop
    bench.controls.clear()
    return bench, plant, folder


def ask(bench: Bench, plant: FakePlant, service: str) -> Trigger.Response:
    client = bench.node.create_client(Trigger, f"mpc_node/{service}")
    assert bench.until(client.service_is_ready, plant.send)
    future = client.call_async(Trigger.Request())
    assert bench.until(future.done, plant.send)
    return future.result()


def is_hold(bench: Bench, control: Control) -> bool:
    """True if a Control keeps the nominal posture: that x0, no velocity, gravity, the robot's hold gains."""
    robot = bench.scenario.robot
    gain = message_matrix(control.feedback_gain, "gain", (robot.nu, robot.ndx))
    initial = control.initial_state.joint_state
    return (
        np.allclose(initial.position, robot.nominal)
        and np.allclose(initial.velocity, 0)
        and np.allclose(control.feedforward.data, robot.gravity(robot.nominal))
        and np.allclose(gain, np.hstack([np.diag(robot.hold.stiffness), np.diag(robot.hold.damping)]))
    )


def log(folder: Path) -> str:
    return (folder / "mpc_node.log").read_text(encoding="utf-8")


def test_holds_when_active_and_not_asked_to_track(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held
    assert bench.until(lambda: len(bench.controls) > 20, plant.send)
    assert all(is_hold(bench, control) for control in bench.controls)


def test_control_answers_the_state_it_was_planned_from(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held
    sent: dict[tuple[int, int], list[float]] = {}

    def remember(message: Sensor) -> None:
        message.joint_state.velocity = np.random.default_rng(len(sent)).uniform(-0.01, 0.01, 7)
        stamp = message.header.stamp
        sent[stamp.sec, stamp.nanosec] = list(message.joint_state.position) + list(message.joint_state.velocity)

    plant.change = remember
    assert ask(bench, plant, "start").success
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)
    bench.controls.clear()
    assert bench.until(lambda: len(bench.controls) > 10, plant.send)
    for control in bench.controls:
        stamp = control.initial_state.header.stamp
        joints = control.initial_state.joint_state
        assert sent[stamp.sec, stamp.nanosec] == list(joints.position) + list(joints.velocity)
        assert tuple(joints.name) == bench.scenario.robot.joint_names
        gain = message_matrix(control.feedback_gain, "gain", (7, 14))
        assert np.all(np.isfinite(gain))
        assert np.abs(gain).max() > 1.0


def swap_names(message: Sensor) -> None:
    names = list(message.joint_state.name)
    message.joint_state.name = [names[1], names[0], *names[2:]]


def other_names(message: Sensor) -> None:
    message.joint_state.name = [f"joint_{i}" for i in range(1, 8)]


def nan_position(message: Sensor) -> None:
    message.joint_state.position[2] = float("nan")


def nan_velocity(message: Sensor) -> None:
    message.joint_state.velocity[6] = float("nan")


def short(message: Sensor) -> None:
    message.joint_state.velocity = [0.0] * 6


def long_under_way(message: Sensor) -> None:
    message.header.stamp.sec -= 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (long_under_way, "old by this node's clock"),
        (swap_names, "in another order"),
        (other_names, "not those of the robot"),
        (nan_position, "not finite at lbr_A3"),
        (nan_velocity, "not finite at lbr_A7"),
        (short, "7 positions and 6 velocities"),
    ],
)
def test_unusable_states_are_refused_and_nothing_moves(
    held: tuple[Bench, FakePlant, Path], wrong: Callable[[Sensor], None], words: str
) -> None:
    bench, plant, folder = held
    assert ask(bench, plant, "start").success
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)
    before, said = int(bench.loop["bad_states"]), len(log(folder))
    plant.change = wrong
    assert bench.until(lambda: bench.loop.get("reason") == "STALE_STATE", plant.send), bench.loop
    assert int(bench.loop["bad_states"]) > before
    bench.controls.clear()
    assert bench.until(lambda: len(bench.controls) > 5, plant.send)
    assert all(is_hold(bench, control) for control in bench.controls)
    assert bench.until(lambda: words in log(folder)[said:], plant.send)  # said once a second at most


def test_holds_when_states_stop_and_tracks_again_when_they_return(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held
    assert ask(bench, plant, "start").success
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)
    assert bench.until(lambda: bench.loop.get("reason") == "STALE_STATE")
    bench.controls.clear()
    assert bench.until(lambda: len(bench.controls) > 5)
    assert all(is_hold(bench, control) for control in bench.controls)
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)


@pytest.mark.parametrize(
    ("point", "frame", "words"),
    [
        ((0.9, 0.9, 1.2), "", "out of reach of iiwa14 by"),
        ((0.4, 0.2, -0.5), "", "outside the workspace"),
        ((float("nan"), 0.0, 0.5), "", "NaN or infinity"),
        ((0.05, 0.0, 1.0), "", "from the axis of joint 1"),
        ((0.4, 0.2, 0.5), "map", "given in frame 'map'"),
    ],
)
def test_goals_that_cannot_be_are_refused_with_the_reason(
    held: tuple[Bench, FakePlant, Path], point: tuple[float, ...], frame: str, words: str
) -> None:
    bench, plant, folder = held
    said, goals = len(log(folder)), len(bench.goals)
    message = PoseStamped()
    message.header.frame_id = frame
    message.pose.position.x, message.pose.position.y, message.pose.position.z = point
    assert bench.until(lambda: bench.goal.get_subscription_count() > 0, plant.send)
    bench.goal.publish(message)
    assert bench.until(lambda: words in log(folder)[said:], plant.send), log(folder)[said:]
    assert "goal refused, the old one stays" in log(folder)[said:]
    bench.spin(0.2, plant.send)
    assert len(bench.goals) == goals


def test_a_killed_solver_is_replaced_while_the_loop_holds(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, folder = held
    assert ask(bench, plant, "start").success
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)
    before, pid = int(bench.loop["solver_restarts"]), int(bench.loop["solver_pid"])
    os.kill(pid, signal.SIGKILL)
    assert bench.until(lambda: bench.loop.get("reason") == "SOLVER_LOST", plant.send), bench.loop
    bench.controls.clear()
    assert bench.until(lambda: len(bench.controls) > 5, plant.send)
    assert is_hold(bench, bench.controls[0])
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send), bench.loop
    assert int(bench.loop["solver_restarts"]) == before + 1
    assert int(bench.loop["solver_pid"]) != pid
    assert f"solver process {pid} ended: starting another" in log(folder)


def test_a_stopped_solver_counts_as_hung(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, folder = held
    assert ask(bench, plant, "start").success
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)
    pid = int(bench.loop["solver_pid"])
    os.kill(pid, signal.SIGSTOP)
    assert bench.until(lambda: int(bench.loop["solver_pid"]) != pid, plant.send), bench.loop
    assert f"solver process {pid} hangs" in log(folder)
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send), bench.loop


def test_stop_leaves_a_hold_behind_and_falls_silent(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held
    assert ask(bench, plant, "stop").success
    assert bench.until(lambda: bench.loop.get("state") == "IDLE", plant.send)
    bench.controls.clear()
    bench.spin(0.3, plant.send)
    assert bench.controls == []


def test_parameters_are_declared_with_range_and_description(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held
    client = bench.node.create_client(DescribeParameters, "mpc_node/describe_parameters")
    assert bench.until(client.service_is_ready, plant.send)
    future = client.call_async(DescribeParameters.Request(names=["plan_topic_rate", "scenario", "lock_step"]))
    assert bench.until(future.done, plant.send)
    rate, scenario, lock_step = future.result().descriptors
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 1000.0)
    assert "Hz" in rate.description
    assert scenario.description
    assert scenario.read_only
    assert lock_step.description


def test_read_only_parameters_stay(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held
    client = bench.node.create_client(SetParameters, "mpc_node/set_parameters")
    assert bench.until(client.service_is_ready, plant.send)
    change = Parameter("lock_step", value=True).to_parameter_msg()
    future = client.call_async(SetParameters.Request(parameters=[change]))
    assert bench.until(future.done, plant.send)
    result = future.result().results[0]
    assert not result.successful
    assert "read-only" in result.reason


def test_lifecycle_deactivate_holds_and_activate_returns(held: tuple[Bench, FakePlant, Path]) -> None:
    bench, plant, _ = held

    def change(transition: int) -> bool:
        client = bench.node.create_client(ChangeState, "mpc_node/change_state")
        assert bench.until(client.service_is_ready, plant.send)
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        assert bench.until(future.done, plant.send)
        return future.result().success

    assert ask(bench, plant, "start").success
    assert bench.until(lambda: bench.loop.get("state") == "TRACK", plant.send)
    assert change(Transition.TRANSITION_DEACTIVATE)
    bench.spin(0.1, plant.send)
    assert is_hold(bench, bench.controls[-1])
    bench.controls.clear()
    bench.spin(0.3, plant.send)
    assert bench.controls == []
    assert not ask(bench, plant, "start").success
    assert change(Transition.TRANSITION_ACTIVATE)
    state = bench.call(GetState, "mpc_node/get_state", GetState.Request())
    assert state.current_state.label == "active"
    assert bench.until(lambda: bool(bench.controls), plant.send)
    assert is_hold(bench, bench.controls[0])


@pytest.mark.parametrize("after", [0.0, 5.0], ids=["while the solver starts", "running"])
def test_ends_on_sigint_without_orphans(after: float) -> None:
    """Its own graph, since it ends the node; must be the last test of the module that uses `running`."""
    pytest.importorskip("rclpy")
    import subprocess
    import sys

    environment = dict(os.environ) | {"ROS_DOMAIN_ID": "97"}
    node = subprocess.Popen(
        [sys.executable, "-m", "dpvp.ros.mpc_node"], env=environment, stderr=subprocess.PIPE, text=True
    )
    children: list[str] = []
    end = time.monotonic() + 60
    while not children and time.monotonic() < end:
        time.sleep(0.2)
        found = subprocess.run(["pgrep", "-P", str(node.pid)], capture_output=True, text=True, check=False)
        children = found.stdout.split()
    assert children, "the solver process did not start"
    time.sleep(after)
    node.send_signal(signal.SIGINT)
    _, said = node.communicate(timeout=20)
    assert node.returncode == 0, said
    assert "Traceback" not in said
    for child in children:
        assert not Path(f"/proc/{child}").exists()
