"""loop.py where the robot walks: commands between plans, velocities that change the goal, a base that jumps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.control.feedback import FeedbackLaw, FeedbackTiming
from dpvp.control.loop import Answer, MpcLoop
from dpvp.control.onboard import joint_columns, left_to_joints
from dpvp.control.states import LoopState
from dpvp.errors import GoalError
from dpvp.plan import Command, Plan, PlanStatus, State
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Steered
from dpvp.tasks.walk import WalkTask

Array = NDArray[np.float64]
T, DT = 20, 0.02
seeds = st.integers(0, 2**32 - 1)


@dataclass
class InstantSolver:
    """A solver process that is asked and answers at once: to go on as it is, a little further at each node."""

    scenario: Scenario
    pid: int = 1
    alive: bool = True
    ready: bool = True
    busy_since: float | None = None
    asked: list[float] = field(default_factory=list)
    plan: Plan | None = None

    def post(self, x: Array, goal: Array, t: float, *, fresh: bool = False, plain: bool = False) -> None:
        robot, rng = self.scenario.robot, np.random.default_rng(0)
        xs = np.tile(x, (T + 1, 1))
        xs[:, 7 : robot.nq] += 0.001 * np.arange(T + 1)[:, None]
        us, gains = np.tile(robot.gravity(x[: robot.nq]), (T, 1)), rng.normal(size=(T, robot.nu, robot.ndx))
        self.plan = Plan(t, DT, xs, us, gains, 1.0, 2.0, "shift", PlanStatus.OK, 1)
        self.asked.append(t)

    def take(self) -> Plan | None:
        plan, self.plan = self.plan, None
        return plan

    def wait(self, timeout: float) -> Plan | None:
        return self.take()

    def close(self) -> None:
        self.alive = False


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("quadruped_walk")


@pytest.fixture
def solver(scenario: Scenario) -> InstantSolver:
    return InstantSolver(scenario)


@pytest.fixture
def loop(scenario: Scenario, solver: InstantSolver) -> MpcLoop:
    made = MpcLoop(scenario, lambda: solver, clock=lambda: 0.0)  # type: ignore[arg-type, return-value]
    made.course.aim(scenario.goal)
    made.ask(LoopState.TRACK)
    return made


def tick(loop: MpcLoop, state: State) -> Answer | None:
    loop.sense(state)
    loop.tick()
    return loop.poll()


def at_yaw(scenario: Scenario, yaw: float) -> Array:
    x = scenario.robot.at_rest()
    x[3:7] = pinocchio.Quaternion(pinocchio.rpy.rpyToMatrix(0.0, 0.0, yaw)).coeffs()
    return x


class TestBetweenPlans:
    """A command is what the last plan says when the newest state was measured, and a moment later."""

    def test_without_a_plan_there_is_none(self, loop: MpcLoop, scenario: Scenario) -> None:
        loop.sense(State(1.0, scenario.robot.at_rest()))
        assert loop.go_on() is None

    def test_it_reads_on_in_the_plan(self, loop: MpcLoop, scenario: Scenario, solver: InstantSolver) -> None:
        x, lead = scenario.robot.at_rest(), scenario.config.loop.lead
        assert tick(loop, State(1.0, x)) is not None
        plan = loop.plan
        assert plan is not None
        for t in (1.004, 1.008, 1.016):
            loop.sense(State(t, x))
            answer = loop.go_on()
            assert answer is not None
            assert answer.state.t == t
            assert answer.plan is None
            np.testing.assert_allclose(answer.command.x0, plan.at(t + lead), atol=1e-12)
            assert answer.command.stands == (True, True, True, True)
        assert solver.asked == [1.0]

    def test_in_lock_step_plans_come_with_their_period(
        self, loop: MpcLoop, scenario: Scenario, solver: InstantSolver
    ) -> None:
        x = scenario.robot.at_rest()
        for step in range(16):
            answer = loop.step(State(2.0 + 0.004 * step, x))
            assert answer is not None
            assert answer.command.t == pytest.approx(2.0 + 0.004 * step)
        np.testing.assert_allclose(solver.asked, [2.0, 2.02, 2.04, 2.06], atol=1e-9)


def test_who_stops_on_the_way_puts_all_feet_down(loop: MpcLoop, scenario: Scenario) -> None:
    """A robot that never walked holds what it has: it may lie on the floor."""
    robot, x = scenario.robot, scenario.robot.at_rest()
    x[7 : robot.nq] += 0.3 * np.sin(np.arange(robot.nu))
    loop.ask(LoopState.HOLD)
    loop.sense(State(1.0, x))
    held = loop.tick()
    assert held is not None
    np.testing.assert_array_equal(held.command.x0[: robot.nq], x[: robot.nq])
    loop.ask(LoopState.TRACK)
    assert tick(loop, State(1.02, x)) is not None
    loop.ask(LoopState.HOLD)
    loop.sense(State(1.04, x))
    held = loop.tick()
    assert held is not None
    np.testing.assert_array_equal(held.command.x0[7 : robot.nq], robot.nominal[7:])
    np.testing.assert_array_equal(held.command.x0[:7], x[:7])


class TestVelocities:
    """Commands that change where the robot goes, from where it is."""

    def test_the_turn_begins_at_the_heading_of_that_moment(self, scenario: Scenario) -> None:
        x, task = at_yaw(scenario, 1.2), scenario.task
        assert isinstance(task, Steered)
        walking = task.check_goal([0.3, 0.2, 0.0, 0.1, 0.0])
        goal = task.commanded(walking, (0.3, 0.1, 0.5), x, 7.0)
        np.testing.assert_allclose(task.later(goal, 7.0)[1:], [0.3, 0.1, 0.5, 1.2], atol=1e-9)
        assert goal[0] == walking[0], "the feet go on in their rhythm"
        assert task.commanded(goal, (0.3, 0.1, 0.5), at_yaw(scenario, 1.3), 7.1) is goal, "the same changes nothing"

    def test_who_stands_begins_with_a_foot_that_lifts_soon(self, scenario: Scenario) -> None:
        """Whenever that is: no foot is in the middle of its swing when it leaves the floor."""
        task, x = scenario.task, scenario.robot.at_rest()
        assert isinstance(task, WalkTask)
        for t in (7.0, 7.1, 7.23, 7.34):
            goal = task.commanded(np.array(scenario.goal), (0.3, 0.0, 0.0), x, t)
            stands = task.reference(x, task.later(goal, t), 6).stands
            assert stands[0].all()
            lifted = int(np.flatnonzero(~stands.all(axis=1))[0])
            assert lifted in (2, 3)
            assert (~stands[lifted]).sum() == 2

    def test_it_is_taken_up_little_by_little(self, loop: MpcLoop, scenario: Scenario, solver: InstantSolver) -> None:
        x, asked = scenario.robot.at_rest(), np.array([0.3, 0.0, -0.4])
        tick(loop, State(1.0, x))
        loop.steer(asked)
        velocities = []
        for k in range(1, 25):
            tick(loop, State(1.0 + 0.02 * k, x))
            assert loop.course.goal is not None
            velocities.append(loop.course.goal[1:4])
        steps = np.diff([np.zeros(3), *velocities], axis=0)
        assert (np.abs(steps) <= np.array([0.02, 0.02, 0.04]) + 1e-9).all()
        np.testing.assert_array_equal(velocities[-1], asked)
        assert len(np.unique(velocities, axis=0)) >= 15

    def test_who_had_to_hold_takes_it_up_anew(self, loop: MpcLoop, scenario: Scenario, solver: InstantSolver) -> None:
        """Plans from a stand that are to walk at full speed at once leap."""
        x, speeds = scenario.robot.at_rest(), []
        tick(loop, State(1.0, x))
        loop.steer((0.3, 0.0, 0.0))
        for k in range(1, 40):
            if k == 25:
                loop.ask(LoopState.HOLD)
            if k == 30:
                loop.ask(LoopState.TRACK)
            tick(loop, State(1.0 + 0.02 * k, x))
            assert loop.course.goal is not None
            speeds.append(loop.course.goal[1])
        assert speeds[23] == 0.3
        assert speeds[24:29] == [0.0] * 5
        assert 0.1 < speeds[-1] < 0.25

    @pytest.mark.parametrize("velocity", [(9.0, 0.0, 0.0), (0.0, -0.5, 0.0), (0.0, 0.0, np.nan)])
    def test_what_is_refused_leaves_the_old_goal(
        self, loop: MpcLoop, scenario: Scenario, velocity: tuple[float, float, float]
    ) -> None:
        loop.sense(State(7.0, scenario.robot.at_rest()))
        before = loop.course.goal
        with pytest.raises(GoalError):
            loop.steer(velocity)
        assert loop.course.goal is before

    def test_it_needs_a_state_and_a_task_that_walks(self, loop: MpcLoop) -> None:
        with pytest.raises(GoalError, match="none has arrived yet"):
            loop.steer((0.1, 0.0, 0.0))
        kuka = load_scenario("kuka_reach")
        other = MpcLoop(kuka, lambda: InstantSolver(kuka), clock=lambda: 0.0)  # type: ignore[arg-type, return-value]
        with pytest.raises(GoalError, match="reach takes no velocities"):
            other.steer((0.1, 0.0, 0.0))


@pytest.mark.parametrize(("moved", "jumps"), [(0.01, False), (0.5, True)])
def test_a_base_that_is_elsewhere_all_at_once_starts_anew(
    loop: MpcLoop, scenario: Scenario, moved: float, jumps: bool
) -> None:
    x = scenario.robot.at_rest()
    tick(loop, State(1.0, x))
    x = x.copy()
    x[0] += moved
    loop.sense(State(1.01, x))
    assert loop._fresh is jumps


@given(seed=seeds)
def test_left_to_the_joints_the_law_is_the_same_where_the_base_is_known(scenario: Scenario, seed: int) -> None:
    """In the state for which it was worked out; and a base elsewhere changes nothing on board."""
    robot, rng = scenario.robot, np.random.default_rng(seed)
    x, x0 = (pinocchio.randomConfiguration(robot.model, -np.ones(robot.nq), np.ones(robot.nq)) for _ in range(2))
    x, x0 = (np.concatenate([q, rng.normal(size=robot.nv)]) for q in (x, x0))
    command = Command(1.0, x0, rng.normal(size=robot.nu), rng.normal(size=(robot.nu, robot.ndx)), 2.0)
    onboard = left_to_joints(robot, command, x)
    assert not onboard.gain[:, ~joint_columns(robot)].any()
    found = [effort(scenario, law, x) for law in (command, onboard)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)
    elsewhere = x.copy()
    elsewhere[:3] += 1.0
    np.testing.assert_allclose(effort(scenario, onboard, elsewhere), found[1], atol=1e-9)


def effort(scenario: Scenario, command: Command, x: Array) -> Array:
    """What the plant's law makes of `command` once it follows it."""
    law, robot = FeedbackLaw(scenario.robot, FeedbackTiming(0.0, 1.0)), scenario.robot
    q, v = np.split(x, [robot.nq])
    law.receive(command, 0.0)
    return law.update(1.0, q, v, np.zeros(robot.nu))


@given(seed=seeds)
def test_who_stands_is_what_the_next_plan_has_in_its_first_node(scenario: Scenario, seed: int) -> None:
    task, rng = scenario.task, np.random.default_rng(seed)
    x, goal = task.sample_state(rng), task.sample_goal(rng)
    assert task.stands(x, goal) == tuple(task.reference(x, goal, 5).stands[0])
