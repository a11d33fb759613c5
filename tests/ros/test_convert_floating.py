"""convert.py where the base floats: what goes out comes back, and what is missing is refused."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_msgs.msg import KeyValue
from hypothesis import given
from hypothesis import strategies as st

from dpvp.control.gate import Ruling
from dpvp.control.onboard import joint_columns
from dpvp.control.states import LoopState, Reason
from dpvp.errors import MessageError
from dpvp.plan import Command
from dpvp.robot import Robot, load_robot
from dpvp.ros.convert import (
    command_of,
    control_message,
    fill_pose,
    fill_twist,
    ruling_message,
    ruling_of,
    sensor_message,
    stamp_of,
    state_of,
)

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


def draw(go2: Robot, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    rng, x = np.random.default_rng(seed), go2.at_rest()
    x += rng.normal(size=go2.nx)
    x[3:7] /= np.linalg.norm(x[3:7])
    return rng, x


@given(seed=seeds)
def test_commands_come_back_as_they_were_but_for_the_gains_of_the_base(go2: Robot, seed: int) -> None:
    rng, x = draw(go2, seed)
    gain = rng.normal(size=(go2.nu, go2.ndx)) * joint_columns(go2)
    stands = tuple(bool(flag) for flag in rng.integers(2, size=4))
    command = Command(2.5, x, rng.normal(size=go2.nu), gain, 2.7, stands)
    message = control_message(go2, command, stamp_of(2.51), stamp_of(2.5))
    assert [(dim.size) for dim in message.feedback_gain.layout.dim] == [12, 24], "as a fixed base has it"
    assert [contact.name for contact in message.initial_state.contacts] == list(go2.feet)
    back = command_of(go2, message, 0.2)
    for name in ("x0", "u0", "gain"):
        np.testing.assert_array_equal(getattr(back, name), getattr(command, name))
    assert (back.t, back.stands) == (2.5, stands)


@given(seed=seeds)
def test_states_carry_the_base(go2: Robot, seed: int) -> None:
    _, x = draw(go2, seed)
    q, v = np.split(x, [go2.nq])
    message = sensor_message(go2, 3.0, q, v, np.zeros(go2.nu))
    with pytest.raises(MessageError, match="knows nothing of base, which floats: listen to estimator_node"):
        state_of(go2, message)  # the stock controller knows nothing of the base
    fill_pose(message.base_pose, q[:7])
    fill_twist(message.base_twist, v[:6])
    np.testing.assert_array_equal(state_of(go2, message).x, x)
    message.joint_state.position = q[-11:]
    with pytest.raises(MessageError, match="11 positions and 12 velocities: go2 needs 12 of each"):
        state_of(go2, message)


@pytest.mark.parametrize("reason", list(Reason))
def test_rulings_come_back_as_they_were(reason: Reason) -> None:
    for state in LoopState:
        ruling = Ruling(state, reason, "lbr_A1 1.2 of its limit")
        message = ruling_message(ruling, "supervisor_node: verdict", "iiwa14", {"count_estop": "1"})
        assert ruling_of(message) == ruling
        assert message.message.startswith(state.name)


@pytest.mark.parametrize(("key", "value"), [("state", "FLYING"), ("reason", "NO_IDEA"), ("reason", None)])
def test_a_ruling_that_nobody_knows_is_not_taken_for_permission(key: str, value: str | None) -> None:
    message = ruling_message(Ruling(), "supervisor_node: verdict", "iiwa14", {})
    kept = [item for item in message.values if item.key != key]
    message.values = kept if value is None else [*kept, KeyValue(key=key, value=value)]
    with pytest.raises(MessageError, match="is no state, no reason or missing"):
        ruling_of(message)
