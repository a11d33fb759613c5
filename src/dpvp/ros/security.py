"""Who may say what: the topics and services of every node, the SROS2 policy made of them, and nodes that run under it.

`python -m dpvp.ros.security > config/security/dpvp.policy.xml`, with `--namespace /left` for nodes in a namespace.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpvp.description import Mode
from dpvp.errors import ConfigError
from dpvp.ros.controllers import MANAGER
from dpvp.ros.processes import IMU, ProcessSpec

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PILOT = "dpvp_pilot"  # the node in `dpvp run`, `demo` and `bench`
ENCLAVES = "/dpvp"
PARAMETERS = tuple(
    f"~/{name}"
    for name in (
        "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters", "set_parameters",
        "set_parameters_atomically",
    )
)  # fmt: skip
LIFECYCLE = tuple(
    f"~/{name}"
    for name in (
        "change_state",
        "get_available_states",
        "get_available_transitions",
        "get_state",
        "get_transition_graph",
    )
)
CONTROLLERS = tuple(
    f"{MANAGER}/{name}"
    for name in (
        "configure_controller", "list_controllers", "load_controller", "switch_controller", "unload_controller",
    )
)  # fmt: skip
START = ("mpc_node/start", "mpc_node/hold", "mpc_node/stop")


@dataclass(frozen=True)
class Rights:
    """What one node publishes, subscribes, serves and calls, under the names that it uses; `~` is the node itself."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    call: tuple[str, ...] = ()


EVERY_NODE = Rights(publish=("rosout", "/parameter_events"), subscribe=("/clock",), serve=("~/get_type_description",))
RIGHTS: Mapping[str, Rights] = {
    "mpc_node": Rights(
        publish=(
            "control", "~/shadow_control", "~/plan", "~/plan_ms", "~/active_goal", "~/solved", "/diagnostics",
            "~/transition_event",
        ),
        subscribe=("sensor", "estimator_node/sensor", "goal", "cmd_vel", "supervisor_node/verdict"),
        serve=("~/start", "~/hold", "~/stop", *PARAMETERS, *LIFECYCLE),
    ),
    "supervisor_node": Rights(
        publish=("~/verdict", "/diagnostics", "control"),
        subscribe=("sensor", "estimator_node/sensor", "control", "/diagnostics", "estop"),
        serve=("~/stop", "~/reset", *PARAMETERS),
        call=CONTROLLERS,
    ),
    "world_node": Rights(
        publish=(
            "sensor", "joint_states", "/clock", "~/state_age_ms", "~/phase", "/diagnostics", "~/odom", IMU,
        ),
        subscribe=("control", "mpc_node/active_goal"),
        serve=("~/reset", *PARAMETERS, *CONTROLLERS),
    ),
    "estimator_node": Rights(
        publish=("~/sensor", "odom", "/diagnostics", "/tf", "~/transition_event"),
        subscribe=(IMU, "joint_states", "control", "sensor"),
        serve=("~/reset", *PARAMETERS, *LIFECYCLE),
    ),
    "record_node": Rights(
        subscribe=(
            "control", "joint_states", "mpc_node/plan", "mpc_node/plan_ms", "mpc_node/active_goal", "mpc_node/solved",
            "mpc_node/shadow_control", "supervisor_node/verdict", "world_node/phase", "world_node/state_age_ms",
            "world_node/odom", "estimator_node/sensor", "estop", IMU, "/diagnostics",
        ),
        serve=PARAMETERS,
    ),
    "view_node": Rights(
        publish=("goal",),
        subscribe=("joint_states", "estimator_node/sensor", "mpc_node/plan", "mpc_node/active_goal", "/diagnostics"),
        serve=PARAMETERS,
        call=START,
    ),
    PILOT: Rights(
        publish=("goal", "cmd_vel"),
        subscribe=("joint_states", "estimator_node/sensor", "mpc_node/active_goal", "/diagnostics"),
        serve=PARAMETERS,
        call=(*START, "world_node/reset", "world_node/set_parameters"),
    ),
}  # fmt: skip


def policy(namespace: str = "/") -> str:
    """Return the policy, one enclave a node, in the XML that `ros2 security create_permission` reads."""
    root = ET.Element("policy", version="0.2.0")
    enclaves = ET.SubElement(root, "enclaves")
    for node, rights in RIGHTS.items():
        profiles = ET.SubElement(ET.SubElement(enclaves, "enclave", path=f"{ENCLAVES}/{node}"), "profiles")
        profile = ET.SubElement(profiles, "profile", ns=namespace, node=node)
        for kind, verb, names in (
            ("topic", "publish", (*rights.publish, *EVERY_NODE.publish)),
            ("topic", "subscribe", (*rights.subscribe, *EVERY_NODE.subscribe)),
            ("service", "reply", (*rights.serve, *EVERY_NODE.serve)),
            ("service", "request", rights.call),
        ):
            if names:
                allowed = ET.SubElement(profile, f"{kind}s", {verb: "ALLOW"})
                for name in sorted(set(names)):
                    ET.SubElement(allowed, kind).text = name
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def secured(specs: Sequence[ProcessSpec], keystore: str) -> tuple[ProcessSpec, ...]:
    """Return `specs` as they run with SROS2 enforced, each in its enclave `/dpvp/<name>`; as they are without keystore.

    Raises:
        ConfigError: the keystore has no enclave for one of them.
    """
    if not keystore:
        return tuple(specs)
    place = Path(keystore).expanduser().absolute()
    enclaves = {spec.name: f"{ENCLAVES}/{spec.name}" for spec in specs if spec.package}
    lacking = [path for path in enclaves.values() if not (place / f"enclaves{path}" / "permissions.p7s").is_file()]
    if lacking:
        reason = f"has no enclave for {', '.join(lacking)}; docs/security.md says how to make them"
        raise ConfigError("bring-up", "security", str(place), reason)
    security = security_environment(keystore)
    return tuple(
        replace(spec, environment={**spec.environment, **security}, enclave=enclaves.get(spec.name, ""))
        for spec in specs
    )


def security_environment(keystore: str) -> dict[str, str]:
    """Return the environment in which SROS2 is enforced with the keys in `keystore`; nothing where there is none."""
    if not keystore:
        return {}
    return {
        "ROS_SECURITY_KEYSTORE": str(Path(keystore).expanduser().absolute()),
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",  # who cannot prove who it is does not start
    }


def enforced(environment: Mapping[str, str]) -> str:
    """Return the keystore with which `environment` has SROS2 enabled; empty if it has not."""
    enabled = environment.get("ROS_SECURITY_ENABLE", "").lower() == "true"
    return environment.get("ROS_SECURITY_KEYSTORE", "") if enabled else ""


def network(mode: Mode, keystore: str, environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return what to add to `environment` for the nodes of a launch, and a warning where strangers can command a robot.

    Simulations stay on this machine unless the user has said otherwise. A real plant may have its driver on another
    one, so that there it is for the user to say.
    """
    if RANGE in environment:
        return {}, ""
    if mode not in ("hardware", "topic"):
        return {RANGE: "LOCALHOST"}, ""
    if keystore or enforced(environment):
        return {}, ""
    domain = environment.get("ROS_DOMAIN_ID", "0")
    return {}, (
        f"everyone in the network can command this robot, in ROS domain {domain}: set {RANGE}=LOCALHOST if its driver "
        "runs on this machine, or give security:=<keystore> (docs/security.md)"
    )


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.stdout.write(policy(words[1] if words[:1] == ["--namespace"] and len(words) == 2 else "/"))
