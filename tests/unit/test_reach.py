"""tasks/: the optimal control problem of a reach against its published definition, written down a second time here."""

from __future__ import annotations

from collections.abc import Callable

import crocoddyl
import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.errors import ConfigError, GoalError
from dpvp.plan import Plan
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import HoldGuess
from dpvp.planning.planner import Budget
from dpvp.robot import Robot
from dpvp.scenario import load_scenario
from dpvp.tasks.end_effector import EndEffector
from dpvp.tasks.reach import ReachTask
from dpvp.tasks.task import TerminalWeights

Array = NDArray[np.float64]

# Parag et al., ICRA 2022, and its public code; armature and limits as in the problem's own files
DT, W_GOAL, W_VELOCITY, W_EFFORT, W_LIMIT = 0.03, 2.0, 0.2, 0.01, 0.1
SCALE = np.array([1.0, 2, 1, 1, 1, 1, 1])
ARMATURE = np.array([0.1] * 6 + [0.01])
UPPER = np.array([2.96706, 2.09440, 2.96706, 2.09440, 2.96706, 2.09440, 3.05433])
SOFT = np.concatenate([0.95 * UPPER, np.ones(7)])

seeds = st.integers(0, 2**32 - 1)


class Reference:
    """The published problem in numpy, with pinocchio for the arm alone and the rotors added by hand."""

    def __init__(self, robot: Robot) -> None:
        self.model = pinocchio.buildModelFromXML(robot.urdf_xml)
        self.model.armature = np.zeros(7)
        self.data = self.model.createData()
        self.frame = self.model.getFrameId("contact")

    def next(self, x: Array, u: Array) -> Array:
        q, v = np.split(x, 2)
        lower = np.tril(pinocchio.crba(self.model, self.data, q).T)
        inertia = lower + np.tril(lower, -1).T + np.diag(ARMATURE)
        bias = pinocchio.nonLinearEffects(self.model, self.data, q, v)
        v = v + DT * np.linalg.solve(inertia, u - bias)
        return np.concatenate([q + DT * v, v])

    def position(self, q: Array) -> Array:
        pinocchio.framesForwardKinematics(self.model, self.data, q)
        return np.array(self.data.oMf[self.frame].translation)

    def turn(self, q: Array) -> Array:
        """How far the first link has turned."""
        pinocchio.framesForwardKinematics(self.model, self.data, q)
        return np.array(self.data.oMi[1].rotation)

    def cost(self, x: Array, u: Array, goal: Array) -> float:
        q, v = np.split(x, 2)
        gravity = pinocchio.rnea(self.model, self.data, q, np.zeros(7), np.zeros(7))
        excess = np.maximum(np.abs(x) - SOFT, 0.0)
        return DT * float(
            W_GOAL * 0.5 * np.sum((self.position(q) - goal) ** 2)
            + W_VELOCITY * 0.5 * np.sum(SCALE**2 * v**2)
            + W_EFFORT * 0.5 * np.sum((u - gravity) ** 2)
            + W_LIMIT * 0.5 * np.sum(excess**2)
        )


@pytest.fixture(scope="module")
def reference(robot: Robot) -> Reference:
    return Reference(robot)


def draw(seed: int) -> tuple[Array, Array]:
    """A state and a control, some joints beyond the soft limits."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(-1.1 * UPPER, 1.1 * UPPER), rng.normal(0, 1.5, 7)]), rng.normal(0, 40.0, 7)


def slope(f: Callable[[Array], Array], at: Array, step: float = 1e-6) -> Array:
    """Central differences: one row per entry of `at`."""
    rows = [(np.asarray(f(at + d)) - np.asarray(f(at - d))) / (2 * step) for d in step * np.eye(len(at))]
    return np.stack(rows)


@pytest.fixture(scope="module", params=[False, True], ids=["free", "hard_limits"])
def step(request: pytest.FixtureRequest, task: ReachTask) -> Callable[[Array, Array, Array], tuple]:
    """One node of the problem, with and without hard limits."""
    ocp = task.ocp(2, TerminalWeights(), hard_limits=request.param)

    def step(x: Array, u: Array, goal: Array) -> tuple[Array, float]:
        ocp.aim(x, goal)
        return ocp.step(x, u)

    return step


class TestRunningNode:
    """The node that all of the horizon is made of."""

    @given(seed=seeds, goal=st.tuples(*[st.floats(-1, 1)] * 3))
    def test_step_and_cost(self, step: Callable, reference: Reference, seed: int, goal: tuple[float, ...]) -> None:
        x, u = draw(seed)
        found, cost = step(x, u, np.array(goal))
        np.testing.assert_allclose(found, reference.next(x, u), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(cost, reference.cost(x, u, np.array(goal)), rtol=1e-9, atol=1e-9)

    def test_the_soft_limits_cost_beyond_95_percent_only(self, step: Callable, robot: Robot, goal: Array) -> None:
        """With the arm beyond one limit alone, cost grows by what the published penalty says."""
        for joint in range(7):
            for sign in (-1.0, 1.0):
                q = np.zeros(7)
                costs = []
                for excess in (0.0, 0.04):
                    q[joint] = sign * (0.95 * UPPER[joint] + excess)
                    e = robot.frame_position(q) - goal
                    _, cost = step(np.concatenate([q, np.zeros(7)]), robot.gravity(q), goal)
                    costs.append(cost - DT * W_GOAL * 0.5 * e @ e)
                np.testing.assert_allclose(costs, [0.0, DT * W_LIMIT * 0.5 * 0.04**2], atol=1e-12)

    def test_carrying_the_arm_at_rest_on_the_goal_costs_nothing(self, step: Callable, robot: Robot) -> None:
        q = robot.nominal
        x, cost = step(np.concatenate([q, np.zeros(7)]), robot.gravity(q), robot.frame_position(q))
        assert cost == pytest.approx(0.0, abs=1e-15)
        np.testing.assert_allclose(x, np.concatenate([q, np.zeros(7)]), atol=1e-12)

    @pytest.mark.parametrize("seed", range(6))
    def test_derivatives(self, task: ReachTask, reference: Reference, goal: Array, seed: int) -> None:
        ocp = task.ocp(1, TerminalWeights())
        x, u = draw(seed)
        ocp.aim(x, goal)
        node = ocp.problem.runningModels[0]
        data = node.createData()
        node.calc(data, x, u)
        node.calcDiff(data, x, u)
        for found, expected in (
            (data.Fx.T, slope(lambda z: reference.next(z, u), x)),
            (data.Fu.T, slope(lambda z: reference.next(x, z), u)),
            (data.Lx, slope(lambda z: np.array(reference.cost(z, u, goal)), x)),
            (data.Lu, slope(lambda z: np.array(reference.cost(x, z, goal)), u)),
        ):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


class TestTerminalNode:
    """What comes after the last control."""

    def test_it_is_nothing_by_default(self, task: ReachTask, reference: Reference, goal: Array) -> None:
        ocp = task.ocp(3, TerminalWeights())
        x, _ = draw(1)
        us = np.random.default_rng(2).normal(0, 10, (3, 7))
        ocp.aim(x, goal)
        total = 0.0
        for u in us:
            total += reference.cost(x, u, goal)
            x = reference.next(x, u)
        assert ocp.cost(ocp.rollout(us), us) == pytest.approx(total, rel=1e-9)

    @given(seed=seeds, weights=st.tuples(st.floats(0, 100), st.floats(0, 10)))
    def test_quadratic(self, task: ReachTask, reference: Reference, seed: int, weights: tuple[float, float]) -> None:
        """Weights are those of the cost itself: a terminal node has no length."""
        x, _ = draw(seed)
        goal = np.random.default_rng(seed).uniform(-1, 1, 3)
        model, residual = task.terminal_model(TerminalWeights(*weights))
        residual.reference = goal  # type: ignore[attr-defined]
        data = model.createData()
        model.calc(data, x)
        model.calcDiff(data, x)

        def expected(z: Array) -> Array:
            e, v = reference.position(z[:7]) - goal, z[7:]
            return np.array(0.5 * weights[0] * e @ e + 0.5 * weights[1] * v @ v)

        np.testing.assert_allclose(data.cost, expected(x), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(data.Lx, slope(expected, x), rtol=1e-5, atol=1e-5)

    def test_the_one_in_the_problem_is_the_same(self, task: ReachTask, reference: Reference, goal: Array) -> None:
        weights, (x, u) = TerminalWeights(20.0, 2.0), draw(3)
        ocp = task.ocp(1, weights)
        ocp.aim(x, goal)
        xs, us = ocp.rollout(u[None]), u[None]
        e, v = reference.position(xs[1, :7]) - goal, xs[1, 7:]
        expected = reference.cost(x, u, goal) + 10.0 * e @ e + v @ v
        assert ocp.cost(xs, us) == pytest.approx(expected, rel=1e-9)


class TestHardLimits:
    """Constraints for the solvers that keep them."""

    def test_torque_everywhere_and_state_everywhere_but_at_the_start(self, task: ReachTask, robot: Robot) -> None:
        ocp = task.ocp(3, TerminalWeights(), hard_limits=True)
        effort = robot.limits.effort
        state = np.concatenate([robot.limits.position_upper, task.config.velocity_share * robot.limits.velocity])
        first, middle = {"effort": effort}, {"effort": effort, "state": state}
        nodes = [*ocp.problem.runningModels, ocp.problem.terminalModel]
        for node, bounds in zip(nodes, (first, middle, middle, {"state": state}), strict=True):
            found = node.differential.constraints.constraints.todict()
            assert set(found) == set(bounds)
            for name, item in found.items():
                assert item.active
                np.testing.assert_allclose(item.constraint.ub, bounds[name])
                np.testing.assert_allclose(item.constraint.lb, -bounds[name])

    def test_what_is_bounded_is_torque_and_state(self, task: ReachTask) -> None:
        ocp = task.ocp(2, TerminalWeights(), hard_limits=True)
        x, u = draw(0)
        for model, expected in ((ocp.problem.runningModels[0], u), (ocp.problem.runningModels[1], np.append(u, x))):
            data = model.createData()
            model.calc(data, x, u)
            np.testing.assert_allclose(np.sort(data.g), np.sort(expected))


class TestOcp:
    """One problem for all starts and goals."""

    def test_aiming_rebuilds_nothing_and_moves_every_node(self, task: ReachTask, at_rest: Array, goal: Array) -> None:
        ocp = task.ocp(4, TerminalWeights(20.0, 2.0), hard_limits=True)
        problem, nodes = ocp.problem, list(ocp.problem.runningModels)
        us = np.tile(ocp.gravity(at_rest), (4, 1))
        costs = []
        for point in (goal, goal + [0.0, 0.0, 0.2], task.robot.frame_position(task.robot.nominal)):
            ocp.aim(at_rest, point)
            costs.append(ocp.cost(np.tile(at_rest, (5, 1)), us))
            e = task.robot.frame_position(task.robot.nominal) - point
            assert costs[-1] == pytest.approx((4 * DT * W_GOAL + 20.0) * 0.5 * e @ e, abs=1e-12)
        assert ocp.problem is problem
        assert all(a is b for a, b in zip(ocp.problem.runningModels, nodes, strict=True))
        assert costs[2] < costs[1] < costs[0]

    def test_two_problems_do_not_share_their_goal(self, task: ReachTask, at_rest: Array, goal: Array) -> None:
        one, other = task.ocp(2, TerminalWeights()), task.ocp(2, TerminalWeights())
        xs, us = np.tile(at_rest, (3, 1)), np.zeros((2, 7))
        one.aim(at_rest, goal)
        before = one.cost(xs, us)
        other.aim(at_rest, goal + 0.1)
        assert one.cost(xs, us) == before

    def test_gravity_ignores_velocity_and_keeps_the_state(self, task: ReachTask, robot: Robot) -> None:
        ocp = task.ocp(1, TerminalWeights())
        x, _ = draw(4)
        kept = x.copy()
        np.testing.assert_allclose(ocp.gravity(x), robot.gravity(x[:7]), atol=1e-9)
        np.testing.assert_array_equal(x, kept)

    def test_rollouts_agree_and_have_no_gaps(self, task: ReachTask, reference: Reference, goal: Array) -> None:
        ocp = task.ocp(5, TerminalWeights())
        x, _ = draw(5)
        us = np.random.default_rng(6).normal(0, 10, (5, 7))
        ocp.aim(x, goal)
        xs = ocp.rollout(us)
        expected = [x]
        for u in us:
            expected.append(reference.next(expected[-1], u))
        np.testing.assert_allclose(xs, expected, rtol=1e-9, atol=1e-9)
        assert ocp.gap(xs, us) < 1e-12
        followed, applied = ocp.rollout_feedback(xs + 1.0, us, np.zeros((5, 7, 14)))
        np.testing.assert_allclose(followed, xs, atol=1e-12)
        np.testing.assert_array_equal(applied, us)
        xs[3] += 0.25
        assert ocp.gap(xs, us) > 0.25 - 1e-9

    def test_feedback_in_a_rollout_has_the_sign_of_a_command(self, task: ReachTask, goal: Array) -> None:
        """u = u0 + K (x0 - x)."""
        ocp = task.ocp(1, TerminalWeights())
        x, u0 = draw(7)
        gain, x0 = np.random.default_rng(8).normal(size=(1, 7, 14)), x + 0.1
        ocp.aim(x, goal)
        _, us = ocp.rollout_feedback(np.stack([x0, x0]), u0[None], gain)
        np.testing.assert_allclose(us[0], u0 + gain[0] @ (x0 - x), atol=1e-12)

    def test_a_horizon_needs_a_node(self, task: ReachTask) -> None:
        with pytest.raises(ValueError, match="horizon = 0: must be at least 1"):
            task.ocp(0, TerminalWeights())


@pytest.fixture(scope="module")
def solve(task: ReachTask, goal: Array) -> Callable[[int, Array], tuple[Plan, Array]]:
    """Solve the published problem to the end: the plan and the gradient of the value at its start."""
    planners: dict[int, DdpPlanner] = {}

    def solve(horizon: int, x: Array) -> tuple[Plan, Array]:
        if horizon not in planners:
            planners[horizon] = DdpPlanner(task.ocp(horizon, TerminalWeights()), PlanCheck(task.robot.limits))
        planner = planners[horizon]
        planner.ocp.aim(x, goal)
        guess = HoldGuess().propose(planner.ocp, x, goal, 0.0, None)
        assert guess is not None
        return planner.plan(x, goal, 0.0, guess, Budget(iterations=200)), np.array(planner._solver.Vx[0])

    return solve


class TestPublishedNumbers:
    """Values of the benchmark. Our links are heavier than the published ones (see urdf/iiwa14/README.md)."""

    def test_from_the_published_start(self, solve: Callable, task: ReachTask, at_rest: Array, goal: Array) -> None:
        """About 0.96 with the published inertias, 0.988 with ours."""
        plan, _ = solve(200, at_rest)
        assert plan.iterations < 40
        assert plan.cost == pytest.approx(0.98797, abs=2e-4)
        assert plan.cost == pytest.approx(0.96, rel=0.06)
        assert task.error(plan.xs[-1], goal) < 0.01

    def test_statistics_over_the_box_of_starts(self, solve: Callable, task: ReachTask, goal: Array) -> None:
        """Published, T = 100: V 0.159, sd 0.112, rms V_q 0.155, V_v 0.034, 7.4 iterations, 3.2 cm at the end."""
        rng = np.random.default_rng(0)
        solved = [solve(100, task.sample_start(rng)) for _ in range(30)]
        values = np.array([plan.cost for plan, _ in solved])
        of_q, of_v = np.split(np.array([gradient for _, gradient in solved]), 2, axis=1)
        assert np.mean(values) == pytest.approx(0.159, rel=0.3)
        assert np.std(values) == pytest.approx(0.112, rel=0.4)
        assert np.max(values) < 1.0
        assert np.sqrt(np.mean(of_q**2)) == pytest.approx(0.155, rel=0.3)
        assert np.sqrt(np.mean(of_v**2)) == pytest.approx(0.034, rel=0.5)
        assert np.mean([plan.iterations for plan, _ in solved]) < 12
        assert np.mean([task.error(plan.xs[-1], goal) for plan, _ in solved]) == pytest.approx(0.032, rel=0.5)


class TestGoals:
    """Which goals are taken, and what is said of the others."""

    @pytest.mark.parametrize(
        ("goal", "message"),
        [
            ([0.5, 0.1], r"goal has shape \(2,\): a reach needs x y z in metres"),
            ([[0.5, 0.1, 0.4]], r"goal has shape \(1, 3\)"),
            (0.5, r"goal has shape \(\)"),
            ([0.5, np.nan, 0.4], "holds NaN or infinity"),
            ([np.inf, 0.1, 0.4], "holds NaN or infinity"),
            ([0.5, 0.1, 0.02], r"goal z = 0.020 m is outside the workspace \[0.05, 1.40\] m"),
            ([0.5, 0.1, -0.3], "goal z = -0.300 m is outside the workspace"),
            ([1.2, 0.1, 0.4], "goal x = 1.200 m is outside the workspace"),
            ([0.1, 0.1, 0.9], "goal is 0.141 m from the axis of joint 1: at least 0.25 m is needed"),
            ([0.9, 0.9, 0.9], r"out of reach of iiwa14 by 0\.\d+ m \(nearest point found: \["),
        ],
    )
    def test_refused(self, task: ReachTask, goal: object, message: str) -> None:
        with pytest.raises(GoalError, match=message):
            task.check_goal(goal)  # type: ignore[arg-type]

    def test_the_nearest_point_is_within_reach(self, task: ReachTask) -> None:
        """A goal straight away from the shoulder is missed by what is missing to its full length."""
        shoulder, length = np.array([0.0, 0.0, 0.36]), 0.941
        away = np.array([0.8, 0.3, 0.4])
        goal = shoulder + away / np.linalg.norm(away) * (length + 0.05)
        with pytest.raises(GoalError, match=r"by 0\.05\d m"):
            task.check_goal(goal)

    def test_the_accepted_goal_is_a_copy(self, task: ReachTask, goal: Array) -> None:
        mine = goal.copy()
        accepted = task.check_goal(mine)
        mine[2] = -1.0
        np.testing.assert_array_equal(accepted, goal)
        assert accepted.dtype == np.float64

    @given(seed=seeds)
    def test_drawn_goals_are_accepted_and_within_reach(self, task: ReachTask, robot: Robot, seed: int) -> None:
        goal = task.sample_goal(np.random.default_rng(seed))
        np.testing.assert_array_equal(task.check_goal(goal), goal)
        seeds = [robot.nominal, np.array(task.config.starts.centre)]
        q, distance = EndEffector(robot).posture_at(goal, seeds, task.config.goal_share)
        assert distance == pytest.approx(np.linalg.norm(robot.frame_position(q) - goal), abs=1e-9)
        assert distance < task.config.success.error
        assert np.all((q >= robot.limits.position_lower) & (q <= robot.limits.position_upper))

    def test_same_seed_same_draws(self, task: ReachTask) -> None:
        for sample in (task.sample_goal, task.sample_start):
            np.testing.assert_array_equal(sample(np.random.default_rng(3)), sample(np.random.default_rng(3)))


class TestStarts:
    """The box of start states."""

    def test_drawn_starts_fill_the_published_box(self, task: ReachTask, robot: Robot) -> None:
        centre = np.array([-1.206, 0.804, 1.531, 2.002, -1.063, 1.273, 0.0])
        lower, upper = np.maximum(centre - 0.9, -UPPER), np.minimum(centre + 0.9, UPPER)
        rng = np.random.default_rng(0)
        starts = np.array([task.sample_start(rng) for _ in range(2000)])
        q, v = np.split(starts, 2, axis=1)
        assert np.all((q >= lower) & (q <= upper))
        assert np.all((q >= robot.limits.position_lower) & (q <= robot.limits.position_upper))
        assert np.all(np.abs(v) <= 0.01)
        np.testing.assert_allclose(q.min(axis=0), lower, atol=0.02)
        np.testing.assert_allclose(q.max(axis=0), upper, atol=0.02)
        np.testing.assert_allclose(np.ptp(v, axis=0), 0.02, rtol=0.02)

    def test_the_centre_is_a_solution_of_the_published_target(self, task: ReachTask, goal: Array) -> None:
        centre = np.concatenate([task.config.starts.centre, np.zeros(7)])
        assert task.error(centre, goal) < 0.002  # it is published with three decimals


class TestMeasures:
    """How far, and whether that is there."""

    @pytest.mark.parametrize("seed", range(4))
    def test_residual_and_its_jacobian(self, task: ReachTask, reference: Reference, goal: Array, seed: int) -> None:
        x, _ = draw(seed)
        e, jacobian = task.residual(x, goal)
        np.testing.assert_allclose(e, reference.turn(x[:7]).T @ (reference.position(x[:7]) - goal), atol=1e-12)
        np.testing.assert_allclose(jacobian, slope(lambda z: task.residual(z, goal)[0], x).T, atol=1e-8)
        assert task.error(x, goal) == pytest.approx(np.linalg.norm(e))

    @pytest.mark.parametrize("seed", range(4))
    def test_features_and_their_derivative(self, task: ReachTask, reference: Reference, goal: Array, seed: int) -> None:
        x, _ = draw(seed)
        f, f_x = task.features(x, goal)
        np.testing.assert_array_equal(f[:3], task.residual(x, goal)[0])
        jacobian = slope(lambda z: reference.position(z[:7]), x).T[:, :7]
        np.testing.assert_allclose(f[3:].reshape(3, 7), reference.turn(x[:7]).T @ jacobian, atol=1e-8)
        np.testing.assert_array_equal(f, task.observe(x, goal))
        np.testing.assert_allclose(f_x, slope(lambda z: task.observe(z, goal), x).T, atol=1e-8)

    @pytest.mark.parametrize("seed", range(4))
    def test_features_do_not_know_how_the_first_joint_has_turned(
        self, task: ReachTask, reference: Reference, goal: Array, seed: int
    ) -> None:
        x, _ = draw(seed)
        other = x.copy()
        other[0] += 1.0
        turned = reference.turn(other[:7]) @ reference.turn(x[:7]).T @ goal
        np.testing.assert_allclose(task.observe(other, turned), task.observe(x, goal), atol=1e-12)

    @pytest.mark.parametrize(
        ("distance", "speed", "there"),
        [(0.0, 0.0, True), (0.009, 0.049, True), (0.011, 0.0, False), (0.0, 0.051, False)],
    )
    def test_reached_needs_both(
        self, task: ReachTask, robot: Robot, distance: float, speed: float, there: bool
    ) -> None:
        x = np.concatenate([robot.nominal, np.full(7, speed / np.sqrt(7))])
        goal = robot.frame_position(robot.nominal) + [0.0, distance, 0.0]
        assert task.reached(x, goal) is there


def test_lists_must_fit_the_robot(robot: Robot, task: ReachTask) -> None:
    starts = task.config.starts.model_copy(update={"centre": (0.0,) * 6})
    with pytest.raises(ConfigError, match=r"mine\.yaml: task\.starts\.centre = .*needs 7 numbers.*iiwa14"):
        ReachTask(robot, task.config.model_copy(update={"starts": starts}), "mine.yaml")


def test_the_prefix_changes_nothing(task: ReachTask, goal: Array, at_rest: Array) -> None:
    other = load_scenario("kuka_reach", ("robot.prefix=left_",)).task
    results = []
    for reach in (task, other):
        ocp = reach.ocp(3, TerminalWeights(20.0, 2.0))
        ocp.aim(at_rest, goal)
        us = np.random.default_rng(0).normal(0, 10, (3, 7))
        results.append(ocp.cost(ocp.rollout(us), us))
    assert results[0] == results[1]


def test_problems_use_one_solver_thread(task: ReachTask) -> None:
    assert task.ocp(2, TerminalWeights()).problem.nthreads == 1
    assert isinstance(task.ocp(2, TerminalWeights()).problem, crocoddyl.ShootingProblem)


def test_velocities_count_alike_unless_it_is_said_otherwise() -> None:
    alike, ones = (
        load_scenario("kuka_reach", (f"task.weights.velocity_scale={scale}",)).task
        for scale in ("[]", "[1,1,1,1,1,1,1]")
    )
    x, u = np.full(14, 0.3), np.zeros(7)
    costs = []
    for task in (alike, ones):
        ocp = task.ocp(1, TerminalWeights())
        ocp.aim(x, np.array([0.5, 0.1, 0.5]))
        costs.append(ocp.step(x, u)[1])
    assert costs[0] == costs[1] > 0
