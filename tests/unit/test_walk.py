"""walk.py, upright.py, legged.py: references, derivatives, what plans keep, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import crocoddyl
import numpy as np
import pinocchio
import pytest
from numpy.typing import NDArray

from dpvp.errors import ConfigError, GoalError, ModelMismatchError
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import HoldGuess, ShiftGuess, best_guess
from dpvp.planning.planner import Budget
from dpvp.robot import Robot, load_robot
from dpvp.tasks.gait import Gait
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.walk import WalkConfig, WalkTask

Array = NDArray[np.float64]
T = 20
FORWARDS = np.array([0.3, 0.5, 0.0, 0.0, 0.0])
SEEDS = range(5)


@pytest.fixture(scope="module")
def go2() -> Robot:
    return load_robot("go2")


@pytest.fixture(scope="module")
def walk(go2: Robot) -> WalkTask:
    return WalkTask(go2, WalkConfig())


@pytest.fixture(scope="module")
def ocp(walk: WalkTask) -> Ocp:
    return walk.ocp(T, TerminalWeights(0.2, 0.01))


@pytest.fixture(scope="module")
def state(go2: Robot) -> crocoddyl.StateMultibody:
    return crocoddyl.StateMultibody(go2.model)


def moved(x: Array, away: Array, turn: float) -> Array:
    """The same robot elsewhere: turned about the origin and carried by `away` (2,), m."""
    turned, rotation = x.copy(), pinocchio.rpy.rpyToMatrix(0.0, 0.0, turn)
    turned[:3] = rotation @ x[:3] + [*away, 0.0]
    turned[3:7] = pinocchio.Quaternion(rotation @ pinocchio.Quaternion(x[3:7]).toRotationMatrix()).coeffs()
    return turned


def feet_velocities(robot: Robot, x: Array) -> Array:
    model, data = robot.model, robot.model.createData()
    pinocchio.forwardKinematics(model, data, x[: robot.nq], x[robot.nq :])
    world = pinocchio.LOCAL_WORLD_ALIGNED
    frames = [model.getFrameId(foot) for foot in robot.feet]
    return np.array([pinocchio.getFrameVelocity(model, data, frame, world).linear for frame in frames])


def forces(ocp: Ocp, robot: Robot, node: int) -> Array:
    """Forces (4, 3) of the floor on the feet, world axes, N, as `node` was evaluated last."""
    contacts = ocp.problem.runningDatas[node].differential.multibody.contacts.contacts.todict()
    return np.array([contacts[foot].f.linear for foot in robot.feet])


@pytest.mark.parametrize("seed", SEEDS)
def test_derivatives_of_the_residual(walk: WalkTask, state: crocoddyl.StateMultibody, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, goal = walk.sample_state(rng), walk.sample_goal(rng)
    f, by_x = walk.features(x, goal)
    np.testing.assert_array_equal(f, walk.observe(x, goal))
    for _ in range(5):
        direction = rng.normal(size=state.ndx)
        ahead, back = (walk.observe(state.integrate(x, sign * 1e-6 * direction), goal) for sign in (1, -1))
        np.testing.assert_allclose(by_x @ direction, (ahead - back) / 2e-6, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_residual_does_not_care_where_the_robot_is(walk: WalkTask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, goal = walk.sample_state(rng), walk.sample_goal(rng)
    turn = rng.uniform(-3, 3)
    elsewhere, there = moved(x, rng.uniform(-10, 10, 2), turn), goal + [0.0, 0.0, 0.0, 0.0, turn]
    np.testing.assert_allclose(walk.observe(elsewhere, there), walk.observe(x, goal), atol=1e-9)
    assert walk.error(elsewhere, there) == pytest.approx(walk.error(x, goal))


def test_the_residual_of_a_robot_that_does_as_told_is_zero(walk: WalkTask, go2: Robot) -> None:
    x = go2.at_rest()
    assert walk.error(x, FORWARDS) == pytest.approx(0.5)
    x[go2.nq] = 0.5
    np.testing.assert_allclose(walk.residual(x, FORWARDS)[0], 0.0, atol=1e-9)
    assert walk.reached(x, FORWARDS)
    x[go2.nq + 1] = 2.0 * walk.tolerance
    assert not walk.reached(x, FORWARDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_derivatives_of_the_terminal_cost(walk: WalkTask, state: crocoddyl.StateMultibody, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, goal = walk.terminal_model(TerminalWeights(0.7, 0.3))
    goal.reference = walk.sample_goal(rng)
    x, data = walk.sample_state(rng), model.createData()
    model.calc(data, x)
    model.calcDiff(data, x)
    e = walk.residual(x, goal.reference)[0]
    assert data.cost == pytest.approx(0.5 * (0.7 * e @ e + 0.3 * x[-12:] @ x[-12:]))
    gradient, found = np.array(data.Lx), []
    for direction in np.eye(state.ndx):
        costs = []
        for sign in (1, -1):
            model.calc(data, state.integrate(x, sign * 1e-5 * direction))
            costs.append(data.cost)
        found.append((costs[0] - costs[1]) / 2e-5)
    np.testing.assert_allclose(gradient, found, atol=1e-3, rtol=1e-5)
    assert np.linalg.eigvalsh(np.array(data.Lxx)).min() > -1e-9


@pytest.mark.parametrize("phase", [0.0, 0.5, 3.3])
def test_derivatives_of_nodes(walk: WalkTask, ocp: Ocp, go2: Robot, phase: float) -> None:
    """In every contact phase and with feet in the air, dynamics and costs have the derivatives of their differences."""
    rng = np.random.default_rng(0)
    ocp.aim(go2.at_rest(), np.array([phase, 0.5, 0.1, 0.3, 0.0]))
    for node in (0, 7, 13):
        model = ocp.problem.runningModels[node]
        numeric = crocoddyl.ActionModelNumDiff(model)
        x, u = walk.sample_start(rng), go2.gravity(go2.nominal) + rng.uniform(-5, 5, go2.nu)
        x[go2.nq :] = rng.uniform(-0.5, 0.5, go2.nv)
        data, by_difference = model.createData(), numeric.createData()
        for m, d in ((model, data), (numeric, by_difference)):
            m.calc(d, x, u)
            m.calcDiff(d, x, u)
        for name in ("Fx", "Fu", "Lx", "Lu"):
            mine, theirs = np.array(getattr(data, name)), np.array(getattr(by_difference, name))
            np.testing.assert_allclose(mine, theirs, atol=1e-4 * max(1.0, np.abs(theirs).max()), err_msg=name)


def test_contacts_are_those_of_rigid_feet(walk: WalkTask, ocp: Ocp, go2: Robot) -> None:
    """Standing feet lose what speed they have within a node; the base accelerates as the forces on the feet say."""
    rng = np.random.default_rng(1)
    ocp.aim(go2.at_rest(), FORWARDS)
    for node in (0, 13):
        x, u = go2.at_rest(), go2.gravity(go2.nominal) + rng.uniform(-3, 3, go2.nu)
        x[go2.nq :] = rng.uniform(-0.2, 0.2, go2.nv)
        stands = walk.reference(go2.at_rest(), FORWARDS, T).stands[node]
        assert stands.sum() == 2
        after, _ = ocp.step(x, u, node)
        speeds = np.linalg.norm(feet_velocities(go2, after), axis=1)
        assert speeds[stands].max() < 0.03 < speeds[~stands].min()
        data = ocp.problem.runningDatas[node]
        ocp.problem.runningModels[node].calc(data, x, u)
        on_feet = forces(ocp, go2, node)
        assert np.abs(on_feet[~stands]).max() == 0.0
        model, pin = go2.model, go2.model.createData()
        q, v, a = x[: go2.nq], x[go2.nq :], np.array(data.differential.xout)
        jacobian = np.vstack(
            [
                pinocchio.computeFrameJacobian(model, pin, q, model.getFrameId(foot), pinocchio.LOCAL_WORLD_ALIGNED)[:3]
                for foot in go2.feet
            ]
        )
        wanted = np.concatenate([np.zeros(6), u]) + jacobian.T @ on_feet.ravel()
        np.testing.assert_allclose(pinocchio.rnea(model, pin, q, v, a), wanted, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_references_go_with_the_robot(walk: WalkTask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, goal = walk.sample_start(rng), walk.sample_goal(rng)
    away, turn = rng.uniform(-10, 10, 2), rng.uniform(-3, 3)
    there_goal = goal + [0.0, 0.0, 0.0, 0.0, turn]
    here, there = walk.reference(x, goal, T), walk.reference(moved(x, away, turn), there_goal, T)
    np.testing.assert_array_equal(there.stands, here.stands)
    for a, b in zip(here.xs, there.xs, strict=True):
        expected = moved(a, away, turn)
        expected[3:7] *= np.sign(expected[6] * b[6])
        np.testing.assert_allclose(b, expected, atol=1e-9)
    rotation = pinocchio.rpy.rpyToMatrix(0.0, 0.0, turn)
    np.testing.assert_allclose(there.targets, here.targets @ rotation.T + [*away, 0.0], atol=1e-9)


def test_references_of_one_who_follows_them_go_on_as_they_were(walk: WalkTask, go2: Robot) -> None:
    """Where the robot is as the reference says, a node later the reference is what it was, a node further."""
    goal, x = np.array([0.2, 0.4, 0.1, 0.5, 0.0]), go2.at_rest()
    x[go2.nq : go2.nq + 2], x[go2.nq + 5] = goal[1:3], goal[3]
    first = walk.reference(x, goal, 2 * T)
    base = first.xs[1].copy()
    base[go2.nq + 6 :] = 0.0
    second = walk.reference(base, walk.later(goal, walk.gait.until_tick(goal[0], walk.dt)), 2 * T)
    np.testing.assert_array_equal(second.stands[:-1], first.stands[1:])
    np.testing.assert_allclose(second.xs[:-1], first.xs[1:], atol=1e-3)
    # landings alone: feet that swing are where the reference has the robot's legs and not where they would be
    for foot in range(4):
        (arrived,) = np.flatnonzero(first.stands[1:, foot] & ~first.stands[:-1, foot])[:1] + 1
        np.testing.assert_allclose(second.targets[arrived - 1, foot], first.targets[arrived, foot], atol=2e-3)


def test_goals_go_on(walk: WalkTask) -> None:
    goal = np.array([1.0, 0.5, -0.1, 0.2, 0.3])
    np.testing.assert_allclose(walk.later(goal, 0.0), goal)
    np.testing.assert_allclose(walk.later(goal, walk.gait.period), goal + [0, 0, 0, 0, 0.2 * walk.gait.period])
    np.testing.assert_allclose(walk.later(walk.later(goal, 12.0), -12.0), goal)
    np.testing.assert_allclose(walk.later(walk.later(goal, 0.3), 0.4), walk.later(goal, 0.7))
    assert walk.later(goal, walk.gait.period / 4)[0] == pytest.approx(1.0 + np.pi / 2)


def test_it_stands_when_nothing_is_commanded_and_steps_when_it_is_pushed(walk: WalkTask, go2: Robot) -> None:
    x, goal = go2.at_rest(), np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    assert walk.reference(x, goal, T).stands.all()
    x[go2.nq + 1] = 0.6
    assert not walk.reference(x, goal, T).stands.all()
    x = go2.at_rest()
    x[7] += 0.4  # a leg is far out
    assert not walk.reference(x, goal, T).stands.all()
    assert not walk.reference(go2.at_rest(), goal + [0.0, 0.0, 0.0, 0.0, 0.3], T).stands.all()
    assert not walk.reference(go2.at_rest(), FORWARDS, T).stands.all()


def test_it_turns_back_to_its_heading(walk: WalkTask, go2: Robot) -> None:
    """Twice as fast as it is off, within bounds, the short way round."""
    for off, turn in ((0.1, 0.2), (-0.1, -0.2), (2.0, 0.5), (2 * np.pi - 0.1, -0.2)):
        xs = walk.reference(go2.at_rest(), FORWARDS + [0.0, 0.0, 0.0, 0.1, off], T).xs
        np.testing.assert_allclose(xs[:, go2.nq + 5], 0.1 + turn)


def test_it_can_carry_itself_standing(walk: WalkTask, ocp: Ocp, go2: Robot) -> None:
    """The torques that hold a posture on four feet are those of the robot; a step with them goes nowhere."""
    x = go2.at_rest()
    ocp.aim(x, np.zeros(5))
    u = ocp.gravity(x, 0)
    np.testing.assert_allclose(u, go2.gravity(go2.nominal), atol=0.5)
    after, _ = ocp.step(x, go2.gravity(go2.nominal))
    np.testing.assert_allclose(after, x, atol=1e-9)


@pytest.mark.parametrize("gait", ["trot", "walk", "stand"])
def test_plans_keep_friction_torques_and_feet(go2: Robot, gait: str) -> None:
    """From standing into walking, over a period: forces within the cone of a floor, torques within the limits."""
    task = WalkTask(go2, WalkConfig(gait=gait))
    ocp = task.ocp(T, TerminalWeights(0.2))
    planner = DdpPlanner(ocp, PlanCheck(go2.limits))
    command = np.zeros(5) if gait == "stand" else np.array([0.0, 0.3, 0.0, 0.2, 0.0])
    x, plan = go2.at_rest(), None
    for k in range(round(task.gait.period / task.dt)):
        t = k * task.dt
        goal = task.later(command, t)
        guess = best_guess([ShiftGuess()], ocp, x, goal, t, plan)
        plan = planner.plan(x, goal, t, guess, Budget(20 if plan is None else 1))
        assert plan.status.usable, plan.status
        ocp.problem.calc(list(plan.xs), list(plan.us))
        on_feet = np.array([forces(ocp, go2, node) for node in range(T)])
        stands = task.reference(x, goal, T).stands[:-1]
        assert np.abs(plan.us).max(axis=0)[None].max() <= go2.limits.effort.max()
        assert (np.abs(plan.us) <= go2.limits.effort).all()
        near = on_feet[:5][stands[:5]]
        assert (near[:, 2] > 0.0).all()
        assert (np.linalg.norm(near[:, :2], axis=1) <= 0.8 * near[:, 2] + 0.5).all()
        x = plan.xs[1]
    assert abs(x[2] - go2.nominal[2]) < 0.03


@pytest.mark.parametrize("every", [0.004, 0.0131, 0.02, 0.033])
def test_plans_go_on_at_any_rate(go2: Robot, walk: WalkTask, ocp: Ocp, every: float) -> None:
    """Whenever the next plan is due, the last one is about as good a guess as one iteration makes of it."""
    planner = DdpPlanner(ocp, PlanCheck(go2.limits, window=0.06))
    x, plan, t = go2.at_rest(), None, 0.0
    while t < 0.5:
        goal = walk.later(FORWARDS, t)
        guess = best_guess([ShiftGuess()], ocp, x, goal, t, plan)
        plan = planner.plan(x, goal, t, guess, Budget(20 if plan is None else 1))
        assert plan.status.usable, plan.status
        assert plan.first_dt == pytest.approx(walk.gait.until_tick(goal[0], walk.dt))
        if t > 0.2:
            assert guess.name == "shift"
            assert plan.cost < guess.cost < 4.0 * plan.cost
        t += every
        x = plan.at(t)


def test_a_state_that_is_not_finite_spoils_no_later_plan(go2: Robot, walk: WalkTask) -> None:
    """Where derivatives were NaN once, crocoddyl's contact dynamics would have them so for ever."""
    ocp = walk.ocp(T, TerminalWeights(0.2))
    planner, x = DdpPlanner(ocp, PlanCheck(go2.limits, window=0.06)), go2.at_rest()
    guess = best_guess([HoldGuess()], ocp, x, FORWARDS, 0.0, None)
    before = planner.plan(x, FORWARDS, 0.0, guess, Budget(3))
    torn = x.copy()
    torn[go2.nq :] = 1e150
    wrong = planner.plan(torn, FORWARDS, 0.0, best_guess([HoldGuess()], ocp, torn, FORWARDS, 0.0, None), Budget(3))
    assert not wrong.status.usable
    guess = best_guess([HoldGuess()], ocp, x, FORWARDS, 0.0, None)
    again = planner.plan(x, FORWARDS, 0.0, guess, Budget(3))
    assert again.status.usable
    assert again.cost == pytest.approx(before.cost, rel=1e-9)


def test_a_guess_that_went_wrong_spoils_no_later_plan(walk: WalkTask, go2: Robot) -> None:
    """Here the solver gives back its guess, which is finite, with derivatives that are not."""
    planner, x = DdpPlanner(walk.ocp(T, TerminalWeights(0.2)), PlanCheck(None)), go2.at_rest()
    good = best_guess([HoldGuess()], planner.ocp, x, FORWARDS, 0.0, None)
    first = planner.plan(x, FORWARDS, 0.0, good, Budget(10))
    us = np.full_like(good.us, 1e5)
    planner.plan(x, FORWARDS, 0.0, replace(good, us=us, xs=planner.ocp.rollout(us), cost=np.nan), Budget(10))
    again = planner.plan(x, FORWARDS, 0.0, good, Budget(10))
    assert again.status.usable
    assert again.cost == pytest.approx(first.cost)


def test_a_first_plan_from_hold(walk: WalkTask, ocp: Ocp, go2: Robot) -> None:
    x = go2.at_rest()
    guess = best_guess([HoldGuess()], ocp, x, FORWARDS, 0.0, None)
    plan = DdpPlanner(ocp, PlanCheck(go2.limits)).plan(x, FORWARDS, 0.0, guess, Budget(20))
    assert plan.status.usable
    assert plan.cost < 0.5 * guess.cost


@pytest.mark.parametrize(
    ("goal", "why"),
    [
        ([0.0, 0.5], "shape"),
        ([0.0, np.nan, 0.0, 0.0, 0.0], "NaN"),
        ([0.0, 1.5, 0.0, 0.0, 0.0], r"commanded forwards = 1\.500 m/s is outside \[-0\.800, 0\.800\] m/s"),
        ([0.0, 0.0, -0.5, 0.0, 0.0], "leftwards"),
        ([0.0, 0.0, 0.0, 2.0, 0.0], "turn"),
    ],
)
def test_commands_that_are_refused(walk: WalkTask, goal: list[float], why: str) -> None:
    with pytest.raises(GoalError, match=why):
        walk.check_goal(goal)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"gait": "gallop"}, "must be one of stand, trot, walk"),
        ({"gaits": {"trot": Gait(period=0.5, duty=0.7, offsets=(0.0, 0.3, 0.6))}}, "one per foot"),
        ({"gaits": {"trot": Gait(period=0.1, duty=0.7, offsets=(0.0, 0.5, 0.5, 0.0))}}, "leaves 0.030 s for a swing"),
        ({"gaits": {"trot": Gait(period=0.49, duty=0.6, offsets=(0, 0.5, 0.5, 0))}}, "whole number of nodes of 0.02 s"),
        ({"gaits": {"trot": Gait(period=0.5, duty=0.6, offsets=(0, 0.5, 0.5, 0), most=(2.5, 0, 0))}}, "the legs reach"),
    ],
)
def test_gaits_that_the_robot_cannot_follow(go2: Robot, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        WalkTask(go2, WalkConfig(**change))


def test_arms_do_not_walk(robot: Robot) -> None:
    with pytest.raises(ModelMismatchError, match="fixed to the ground"):
        WalkTask(robot, WalkConfig())


def test_hard_limits_are_refused(walk: WalkTask) -> None:
    with pytest.raises(ConfigError, match="must be ddp"):
        walk.ocp(T, TerminalWeights(), hard_limits=True)


def test_samples(walk: WalkTask, go2: Robot) -> None:
    rng = np.random.default_rng(0)
    low, high = walk.state_bounds
    origin = np.concatenate([pinocchio.neutral(go2.model), np.zeros(go2.nv)])
    space = crocoddyl.StateMultibody(go2.model)
    for _ in range(20):
        goal = walk.sample_goal(rng)
        np.testing.assert_array_equal(walk.check_goal(goal), goal)
        for x in (walk.sample_start(rng), walk.sample_state(rng)):
            tangent = space.diff(origin, x)
            assert ((tangent >= low) & (tangent <= high)).all()
            assert np.linalg.norm(x[3:7]) == pytest.approx(1.0)
