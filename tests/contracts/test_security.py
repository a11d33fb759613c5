"""The SROS2 policy allows what the nodes do, and nothing else: real nodes are made, and what they join is compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from dpvp.config import share_directory
from dpvp.errors import ConfigError

pytest.importorskip("rclpy", reason="makes nodes")

import rclpy

from dpvp.ros import estimator_node, mpc_node, record_node, supervisor_node, view_node, world_node
from dpvp.ros.local import ros_environment
from dpvp.ros.pilot import Pilot
from dpvp.ros.processes import IMU, ProcessSpec
from dpvp.ros.security import EVERY_NODE, PILOT, RANGE, RIGHTS, Rights, network, policy, secured
from dpvp.scenario import load_scenario

# name, arguments of the whole context: their rights together are all that there are
VARIANTS = {
    "arm": ("kuka_reach", ()),
    "shadow": ("kuka_reach", ("-p", "shadow:=true")),
    "legs": ("quadruped_walk", ()),
    "estimated": ("quadruped_walk", ("-r", "sensor:=estimator_node/sensor", "-r", f"imu:={IMU}")),
    "sensed": ("quadruped_walk", ("-r", f"imu:={IMU}", "-p", "contacts:=sensed")),
}
MADE_BY = {
    "mpc_node": mpc_node.MpcNode,
    "supervisor_node": supervisor_node.SupervisorNode,
    "world_node": world_node.WorldNode,
    "estimator_node": estimator_node.EstimatorNode,
    "record_node": record_node.RecordNode,
    "view_node": view_node.ViewNode,
}
NODES = {
    "arm": ("mpc_node", "supervisor_node", "world_node", "record_node", "view_node", PILOT),
    "shadow": ("mpc_node",),
    "legs": ("world_node", "record_node", "view_node", PILOT),
    "estimated": ("mpc_node", "supervisor_node", "estimator_node"),
    "sensed": ("estimator_node",),
}


@contextmanager
def graph(scenario: str, words: tuple[str, ...], folder: Path) -> Iterator[None]:
    given = ("-p", f"scenario:={scenario}", "-p", "use_sim_time:=true", "-p", f"run_dir:={folder}")
    rclpy.init(args=["--ros-args", *given, *words])
    try:
        yield
    finally:
        rclpy.try_shutdown()


def joined(node: object) -> Rights:
    """What a node of this process has joined the graph with."""
    name, space = node.get_name(), node.get_namespace()
    looks: tuple[Callable[..., list[tuple[str, list[str]]]], ...] = (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
        node.get_service_names_and_types_by_node,
        node.get_client_names_and_types_by_node,
    )
    found = [{topic for topic, _ in look(name, space)} for look in looks]
    # the graph may still know a node of this name from a context before
    found[0] |= {publisher.topic_name for publisher in node.publishers}
    found[1] |= {subscription.topic_name for subscription in node.subscriptions}
    return Rights(*map(tuple, found))


def together(several: list[Rights]) -> dict[str, set[str]]:
    return {kind: {name for rights in several for name in getattr(rights, kind)} for kind in Rights.__annotations__}


def expanded(node: str, name: str) -> str:
    return name if name.startswith("/") else f"/{node}/{name[2:]}" if name.startswith("~/") else f"/{name}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    seen: dict[str, list[Rights]] = {name: [] for name in RIGHTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, RANGE, "LOCALHOST")
        patch.setattr(mpc_node, "SolverProcess", MagicMock(return_value=MagicMock(busy_since=None)))  # no solver
        patch.setattr(view_node, "ArmView", MagicMock())
        for variant, (scenario, words) in VARIANTS.items():
            with graph(scenario, words, tmp_path_factory.mktemp(variant)):
                for name in NODES[variant]:
                    made = Pilot(load_scenario(scenario), lambda: None) if name == PILOT else MADE_BY[name]()
                    node = made.node if name == PILOT else made
                    seen[name].append(joined(node))
                    made.close() if name == PILOT else made.destroy_node()
    return {name: together(several) for name, several in seen.items()}


@pytest.mark.parametrize("node", RIGHTS)
@pytest.mark.parametrize("kind", Rights.__annotations__)
def test_the_table_says_what_the_node_does(found: dict[str, dict[str, set[str]]], node: str, kind: str) -> None:
    if node == PILOT and kind == "call":
        pytest.skip("it makes its clients when it calls")
    allowed = {expanded(node, name) for rights in (RIGHTS[node], EVERY_NODE) for name in getattr(rights, kind)}
    optional = {"/tf"} if estimator_node.TFMessage is None else set()
    assert found[node][kind] == allowed - optional


def test_every_node_of_dpvp_is_in_the_table() -> None:
    folder = Path(world_node.__file__).parent
    assert {file.stem for file in folder.glob("*_node.py")} | {PILOT} == set(RIGHTS)


def test_the_file_is_what_the_table_makes() -> None:
    assert (share_directory() / "config" / "security" / "dpvp.policy.xml").read_text(encoding="utf-8") == policy()


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    for name in RIGHTS:
        enclave = tmp_path / "enclaves" / "dpvp" / name
        enclave.mkdir(parents=True)
        (enclave / "permissions.p7s").touch()
    return tmp_path


def test_with_a_keystore_every_process_gets_its_enclave(keystore: Path) -> None:
    specs = (ProcessSpec("mpc_node", "dpvp", "mpc_node", environment={"A": "b"}), ProcessSpec("gazebo", "", "gz"))
    mpc, gazebo = secured(specs, str(keystore))
    assert mpc.enclave == "/dpvp/mpc_node"
    assert gazebo.enclave == ""
    assert mpc.environment == {
        "A": "b",
        "ROS_SECURITY_KEYSTORE": str(keystore),
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
    }
    assert secured(specs, "") == specs


def test_a_keystore_that_lacks_an_enclave_is_refused(keystore: Path) -> None:
    specs = (ProcessSpec("mpc_node", "dpvp", "mpc_node"), ProcessSpec("rviz2", "rviz2", "rviz2"))
    with pytest.raises(ConfigError, match=r"security = .*: has no enclave for /dpvp/rviz2; docs/security\.md"):
        secured(specs, str(keystore))


@pytest.mark.parametrize("mode", ["mock", "mujoco", "gazebo"])
def test_a_simulation_stays_on_this_machine(mode: str) -> None:
    assert network(mode, "", {}) == ({RANGE: "LOCALHOST"}, "")
    assert network(mode, "", {RANGE: "SUBNET"}) == ({}, "")


@pytest.mark.parametrize("mode", ["topic", "hardware"])
def test_a_real_plant_is_not_cut_off_but_told_of(mode: str) -> None:
    added, warning = network(mode, "", {"ROS_DOMAIN_ID": "7"})
    assert added == {}
    assert "ROS domain 7" in warning
    enabled = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_KEYSTORE": "/keys"}
    assert network(mode, "/keys", {}) == network(mode, "", enabled) == ({}, "")
    assert network(mode, "", enabled | {"ROS_SECURITY_ENABLE": "false"})[1]
    assert network(mode, "", {RANGE: "LOCALHOST"}) == ({}, "")


def test_a_run_stays_on_this_machine_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RANGE, raising=False)
    assert ros_environment()[RANGE] == "LOCALHOST"
    monkeypatch.setenv(RANGE, "SUBNET")
    assert ros_environment()[RANGE] == "SUBNET"
