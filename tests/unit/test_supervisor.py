"""supervisor.py: what it rules on what it hears, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.control.gate import Ruling
from dpvp.control.guard import hold_command
from dpvp.control.states import LoopState, Reaction, Reason
from dpvp.control.supervisor import Supervisor
from dpvp.errors import MessageError, SafetyError
from dpvp.plan import Command, State
from dpvp.robot import Robot
from dpvp.scenario import Scenario, load_scenario

Array = NDArray[np.float64]
IDLE, HOLD, TRACK, FAULT = LoopState
TICK = 0.01


@dataclass
class Clock:
    """Seconds, moved by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Watch:
    """A supervisor of a robot that stands still and a loop that holds it, until the test changes something."""

    def __init__(self, scenario: Scenario, *, waits: bool = False) -> None:
        self.clock = Clock()
        self.robot = scenario.robot
        self.supervisor = Supervisor(scenario, waits=waits, clock=self.clock)
        self.x = scenario.robot.at_rest()
        self.effort: Array | None = None
        self.supervisor.expect(HOLD)

    def tick(self, *, states: bool = True, commands: bool = True) -> Ruling:
        """Let a tick pass with a state and a command."""
        self.clock.now += TICK
        if states:
            self.supervisor.sense(State(self.clock.now, self.x.copy()), self.effort)
        if commands:
            self.supervisor.hear(hold_command(self.robot, self.x, self.clock.now, np.inf))
        return self.supervisor.judge()

    def run(self, seconds: float, *, states: bool = True, commands: bool = True) -> list[Ruling]:
        return [self.tick(states=states, commands=commands) for _ in range(round(seconds / TICK))]

    def moving(self, velocity: Array, seconds: float) -> list[Ruling]:
        """Move at `velocity` (nu,) and stop."""
        rulings = []
        for _ in range(round(seconds / TICK)):
            self.x[: self.robot.nq] += TICK * velocity
            self.x[self.robot.nq :] = velocity
            rulings.append(self.tick())
        self.x[self.robot.nq :] = 0.0
        return rulings


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach")


@pytest.fixture
def watch(scenario: Scenario) -> Watch:
    made = Watch(scenario)
    assert made.tick() == Ruling()
    return made


def test_before_the_first_state_the_loop_may_hold(scenario: Scenario) -> None:
    assert Watch(scenario).tick(states=False) == Ruling(HOLD, Reason.NO_STATE)


def test_all_is_well(watch: Watch) -> None:
    assert set(watch.run(10.0)) == {Ruling()}


class TestSilence:
    """States and commands that do not come."""

    def test_states(self, watch: Watch) -> None:
        rulings = watch.run(2.5, states=False)
        ages = TICK * np.arange(1, len(rulings) + 1)
        for age, ruling in zip(ages, rulings, strict=True):
            if age < 0.05 - 1e-6:
                assert ruling.state is TRACK
            elif 0.05 + 1e-6 < age < 2.0 - 1e-6:
                assert ruling == Ruling(HOLD, Reason.STALE_STATE)
            elif age > 2.0 + 1e-6:
                assert ruling == Ruling(FAULT, Reason.STATE_LOST)

    def test_states_that_come_again_end_it(self, watch: Watch) -> None:
        watch.run(0.5, states=False)
        assert watch.tick() == Ruling()

    def test_a_repeated_state_is_no_news(self, watch: Watch) -> None:
        old = State(watch.clock.now, watch.x.copy())
        for _ in range(10):
            watch.clock.now += TICK
            watch.supervisor.sense(old, None)
            watch.supervisor.hear(hold_command(watch.robot, watch.x, watch.clock.now, np.inf))
        assert watch.supervisor.judge() == Ruling(HOLD, Reason.STALE_STATE)

    def test_commands(self, watch: Watch) -> None:
        """It holds in the place of the loop, where the robot was when the loop fell silent; then the plant damps."""
        rulings = watch.run(1.0, commands=False)
        assert rulings[-1] == Ruling(HOLD, Reason.COMMANDS_STOPPED)
        held = watch.supervisor.hold()
        assert held is not None
        np.testing.assert_array_equal(held.x0, watch.x)
        assert held.valid_until > watch.clock.now
        watch.x[0] += 0.001
        watch.tick(commands=False)
        moved = watch.supervisor.hold()
        assert moved is not None
        np.testing.assert_array_equal(moved.x0, held.x0)
        assert watch.run(1.1, commands=False)[-1] == Ruling(FAULT, Reason.COMMANDS_LOST)
        assert watch.supervisor.hold() is None

    def test_a_loop_that_is_idle_may_be_silent(self, watch: Watch) -> None:
        watch.supervisor.expect(IDLE)
        assert set(watch.run(5.0, commands=False)) == {Ruling()}
        watch.supervisor.expect(HOLD)  # and is given time to begin
        assert watch.tick(commands=False) == Ruling()

    def test_who_waits_for_each_other_may_be_silent(self, scenario: Scenario) -> None:
        watch = Watch(scenario, waits=True)
        watch.tick()
        assert set(watch.run(5.0, states=False, commands=False)) == {Ruling()}


class TestLimits:
    """What is found on the plant."""

    @pytest.mark.parametrize("joint", range(7))
    def test_a_joint_that_is_too_fast(self, watch: Watch, joint: int) -> None:
        speed = np.zeros(7)
        speed[joint] = 1.1 * watch.robot.limits.velocity[joint]
        ruling = watch.moving(speed, 0.05)[-1]
        assert (ruling.state, ruling.reason) == (HOLD, Reason.VELOCITY)
        assert watch.robot.joint_names[joint] in ruling.detail
        rulings = watch.run(0.6)
        assert rulings[40] == ruling
        assert rulings[-1] == Ruling()  # half a second of calm is enough

    def test_far_beyond_the_plant_damps_until_reset(self) -> None:
        watch = Watch(load_scenario("kuka_reach", ("safety.speed=100",)))
        watch.tick()
        speed = np.zeros(7)
        speed[6] = 1.4 * watch.robot.limits.velocity[6]
        assert watch.moving(speed, 0.02)[-1].reason is Reason.TOO_FAR
        assert watch.run(5.0)[-1].state is FAULT
        watch.supervisor.reset()
        assert watch.tick() == Ruling()

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    def test_a_joint_beyond_its_range(self, scenario: Scenario, sign: float) -> None:
        watch, limits = Watch(scenario), scenario.robot.limits
        place = limits.position_upper if sign > 0 else limits.position_lower
        watch.x[5] = place[5] + sign * 0.021
        assert watch.tick().reason is Reason.POSITION
        watch.x[5] = place[5] + sign * 0.04
        assert watch.tick().reason is Reason.TOO_FAR

    def test_torque(self, watch: Watch) -> None:
        watch.effort = 1.1 * watch.robot.limits.effort
        assert watch.tick().reason is Reason.EFFORT
        watch.effort = 2.0 * watch.robot.limits.effort
        assert watch.tick().reason is Reason.TOO_FAR

    def test_the_hand_is_too_fast(self) -> None:
        watch = Watch(load_scenario("kuka_reach", ("safety.speed=0.5",)))
        watch.x[:7] = [0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0]  # stretched out: 0.9 m from the axis
        watch.tick()
        turning = np.zeros(7)
        turning[0] = 0.5
        assert set(watch.moving(turning, 0.03)) == {Ruling()}
        turning[0] = 0.6
        ruling = watch.moving(turning, 0.03)[-1]
        assert (ruling.state, ruling.reason) == (HOLD, Reason.SPEED)
        assert "m/s" in ruling.detail

    def test_not_where_the_command_says(self, watch: Watch) -> None:
        away = watch.x.copy()
        away[3] += 0.55
        for _ in range(3):
            watch.clock.now += TICK
            watch.supervisor.sense(State(watch.clock.now, watch.x.copy()), None)
            watch.supervisor.hear(hold_command(watch.robot, away, watch.clock.now, np.inf))
            ruling = watch.supervisor.judge()
        assert (ruling.state, ruling.reason) == (HOLD, Reason.TRACKING)
        assert "lbr_A4" in ruling.detail

    def test_who_was_asleep_does_not_judge_by_commands_from_before(self, watch: Watch) -> None:
        away = watch.x.copy()
        away[3] += 0.55
        watch.supervisor.hear(hold_command(watch.robot, away, watch.clock.now, np.inf))
        watch.clock.now += 0.5
        watch.supervisor.sense(State(watch.clock.now, watch.x.copy()), None)
        watch.supervisor.hear(hold_command(watch.robot, watch.x, watch.clock.now, np.inf))
        assert watch.supervisor.judge() == Ruling()

    def test_an_encoder_that_slips_contradicts_its_velocity(self) -> None:
        watch = Watch(load_scenario("leg_track"))
        watch.tick()
        watch.x[0] += 0.15
        assert watch.tick().reason is Reason.STATE_CONTRADICTS

    def test_where_it_went_while_states_were_away_contradicts_nothing(self) -> None:
        watch = Watch(load_scenario("leg_track"))
        watch.tick()
        watch.clock.now += 0.2
        watch.x[0] += 0.15
        assert watch.tick() == Ruling()

    def test_frozen_positions_of_a_robot_that_moves(self, watch: Watch) -> None:
        watch.x[7] = 0.9 * watch.robot.limits.velocity[0]
        rulings = watch.run(0.3)
        assert rulings[-1].state is FAULT
        assert rulings[-1].reason is Reason.STATE_CONTRADICTS
        assert rulings[1] == Ruling()

    def test_frozen_positions_of_a_robot_that_moves_slowly(self, watch: Watch) -> None:
        watch.x[7] = 0.1
        assert watch.run(0.1)[-1].text.startswith("positions and velocities contradict each other: frozen for")

    def test_frozen_positions_of_a_robot_at_rest_that_is_driven(self, watch: Watch) -> None:
        u0 = watch.robot.gravity(watch.x[:7]) + 0.3 * watch.robot.limits.effort
        for _ in range(6):
            watch.supervisor.hear(Command(watch.clock.now, watch.x.copy(), u0, np.zeros((7, 14)), np.inf))
            rulings = watch.run(TICK, commands=False)
        assert rulings[-1].text.startswith("positions and velocities contradict each other: frozen for")

    def test_a_robot_that_stands_still_may_show_the_same_state(self, watch: Watch) -> None:
        assert watch.run(0.3)[-1] == Ruling()

    def test_again_and_again_is_too_often(self, watch: Watch) -> None:
        speed = np.zeros(7)
        speed[6] = 1.1 * watch.robot.limits.velocity[6]
        seen = []
        for turn in range(5):
            seen.append(watch.moving((-1) ** turn * speed, 0.03)[-1])
            watch.run(0.6)
        assert [ruling.reason for ruling in seen] == [Reason.VELOCITY] * 4 + [Reason.TOO_OFTEN]

    def test_for_long_is_once(self, watch: Watch) -> None:
        watch.effort = 1.1 * watch.robot.limits.effort
        assert {ruling.reason for ruling in watch.run(10.0)} == {Reason.EFFORT}
        assert watch.supervisor.counters[Reason.EFFORT] == 1


class TestMoments:
    """What is over at once."""

    @pytest.fixture
    def walker(self) -> Watch:
        watch = Watch(load_scenario("quadruped_walk"))
        watch.tick()
        return watch

    def test_a_jump_of_the_base_is_counted_and_only_too_many_are_a_fault(self, walker: Watch) -> None:
        for k in range(5):
            walker.x[0] = 0.2 * (-1) ** k
            ruling = walker.run(0.1)[0]
            assert ruling == (Ruling() if k < 4 else ruling)
            assert walker.supervisor.counters[Reason.STATE_JUMPED] == k + 1
        assert ruling.reason is Reason.TOO_OFTEN

    def test_jumps_far_apart_never_are(self, walker: Watch) -> None:
        for k in range(8):
            walker.x[0] = 0.2 * (-1) ** k
            assert set(walker.run(1.5)) == {Ruling()}

    @pytest.mark.parametrize("name", ["kuka_reach", "leg_track", "quadruped_walk"])
    def test_an_encoder_that_jumps_is_broken(self, name: str) -> None:
        watch = Watch(load_scenario(name))
        watch.tick()
        watch.x[watch.robot.nq - 1] += 0.7
        ruling = watch.tick()
        assert (ruling.state, ruling.reason) == (FAULT, Reason.STATE_CONTRADICTS)
        assert watch.robot.joint_names[-1] in ruling.detail

    def test_in_lock_step_a_robot_is_put_elsewhere_while_time_passes(self, scenario: Scenario) -> None:
        watch = Watch(scenario, waits=True)
        watch.tick()
        watch.x[0] += 0.7
        watch.supervisor.sense(State(watch.clock.now + 0.3, watch.x.copy()), None)
        assert watch.supervisor.judge() == Ruling()

    def test_commands_that_cannot_be_used_make_the_loop_hold_and_too_many_are_a_fault(self, watch: Watch) -> None:
        """The plant refuses them, and the loop does not hear of that: it would go on as if it were followed."""
        for k in range(5):
            watch.supervisor.refuse(MessageError("holds NaN"))
            ruling = watch.tick()
            assert ruling.reason is (Reason.COMMAND_UNSOUND if k < 4 else Reason.TOO_OFTEN)
            assert ruling.state is (HOLD if k < 4 else FAULT)
            watch.run(0.6)

    def test_gains_that_the_plant_will_refuse(self, watch: Watch) -> None:
        command = hold_command(watch.robot, watch.x, watch.clock.now, np.inf)
        watch.supervisor.hear(replace(command, gain=1e3 * command.gain))
        ruling = watch.tick()
        assert (ruling.state, ruling.reason) == (HOLD, Reason.COMMAND_UNSOUND)
        assert "safety.gain" in ruling.detail

    def test_states_that_cannot_be_used_are_counted(self, watch: Watch) -> None:
        watch.supervisor.doubt(MessageError("holds NaN"))
        assert watch.tick() == Ruling()
        assert watch.supervisor.counters[Reason.STATE_UNSOUND] == 1


class TestStops:
    """The emergency stop, and the way out."""

    def test_pressed(self, watch: Watch) -> None:
        watch.supervisor.press(pressed=True)
        assert watch.tick() == Ruling(FAULT, Reason.ESTOP)
        with pytest.raises(SafetyError, match=r"it stays a fault \(emergency stop\): emergency stop"):
            watch.supervisor.reset()
        watch.supervisor.press(pressed=False)
        assert set(watch.run(3.0)) == {Ruling(FAULT, Reason.ESTOP)}  # released is not reset
        watch.supervisor.reset()
        assert watch.tick() == Ruling()

    def test_by_service(self, watch: Watch) -> None:
        watch.supervisor.stop()
        assert watch.tick().reason is Reason.ESTOP
        watch.supervisor.reset()
        assert watch.tick() == Ruling()

    def test_no_way_out_without_states(self, watch: Watch) -> None:
        watch.run(3.0, states=False)
        with pytest.raises(SafetyError, match="states stay away"):
            watch.supervisor.reset()
        assert watch.tick().state is FAULT

    def test_of_nothing(self, watch: Watch) -> None:
        watch.supervisor.reset()
        assert watch.tick() == Ruling()


@given(seed=st.integers(0, 2**32 - 1))
def test_a_fault_stays_whatever_comes(scenario: Scenario, seed: int) -> None:
    rng, watch = np.random.default_rng(seed), Watch(scenario)
    watch.tick()
    watch.supervisor.stop()
    for _ in range(20):
        watch.x = rng.normal(size=14)
        ruling = watch.tick(states=bool(rng.integers(2)), commands=bool(rng.integers(2)))
        assert ruling == Ruling(FAULT, Reason.ESTOP, "by service")


def test_a_base_on_its_side(go2: Robot) -> None:
    watch = Watch(load_scenario("quadruped_walk"))
    assert watch.tick() == Ruling()
    for tilt in np.arange(0.025, 1.2, 0.05):
        watch.x[3:7] = [np.sin(tilt / 2), 0.0, 0.0, np.cos(tilt / 2)]
        ruling = watch.tick()
        assert (ruling.reason is Reason.TILT) == (tilt >= 1.0), tilt
        if ruling.state is FAULT:
            break
    assert "rad" in replace(ruling).text


def test_every_reason_has_a_reaction() -> None:
    assert {reason.reaction for reason in Reason} == set(Reaction)
    assert len({reason.text for reason in Reason}) == len(Reason)
