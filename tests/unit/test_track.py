"""Track: the path, the motion that follows it exactly, the problem built on it, and what a goal may be."""

from __future__ import annotations

import crocoddyl
import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.bench.plant import Disturbance, DisturbedLoop
from dpvp.errors import GoalError, ModelMismatchError
from dpvp.robot import load_robot
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.planar_leg import PlanarLeg
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.track import TrackTask

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("leg_track")


@pytest.fixture(scope="module")
def task(scenario: Scenario) -> TrackTask:
    assert isinstance(scenario.task, TrackTask)
    return scenario.task


class TestLeg:
    @given(seed=seeds)
    def test_postures_are_found_again_from_where_the_foot_is(self, task: TrackTask, seed: int) -> None:
        rng, leg, limits = np.random.default_rng(seed), task.leg, task.robot.limits
        q = rng.uniform(0.9 * limits.position_lower, 0.9 * limits.position_upper, (5, 2))
        q[:, 1] = -np.abs(q[:, 1]) - 0.05  # the knee as in the nominal posture
        points = leg.points(q)
        np.testing.assert_allclose(points, [task.robot.frame_position(row) for row in q], atol=1e-12)
        turns = (leg.postures(points) - q) / (2.0 * np.pi)
        np.testing.assert_allclose(turns, np.round(turns), atol=1e-7)

    def test_out_of_reach_is_no_posture(self, task: TrackTask) -> None:
        assert np.isnan(task.leg.postures(np.array([[5.0, 0.0, 0.0]]))).all()

    def test_an_arm_is_no_leg(self) -> None:
        with pytest.raises(ModelMismatchError, match="two revolute joints with parallel axes"):
            PlanarLeg(load_robot("iiwa14"))


class TestPath:
    def test_half_an_ellipse_and_its_chord(self, task: TrackTask) -> None:
        x, _, z = np.array(task.config.centre)
        goal = np.array([0.0, 0.136, 0.06])
        places = np.array([task.place(task.later(goal, share * task.config.period)) for share in (0, 0.25, 0.5, 0.75)])
        np.testing.assert_allclose(places[:, 0], [x - 0.068, x, x + 0.068, x], atol=1e-12)
        np.testing.assert_allclose(places[:, 2], [z, z + 0.06, z, z], atol=1e-12)

    @given(seed=seeds, first=st.floats(0.0, 1e4), second=st.floats(0.0, 1e4))
    def test_later_twice_is_later_once(self, task: TrackTask, seed: int, first: float, second: float) -> None:
        goal = task.sample_goal(np.random.default_rng(seed))
        twice, once = task.later(task.later(goal, first), second), task.later(goal, first + second)
        np.testing.assert_allclose(np.exp(1j * twice[0]), np.exp(1j * once[0]), atol=1e-7)
        assert 0.0 <= once[0] < 2.0 * np.pi
        np.testing.assert_array_equal(once[1:], goal[1:])

    @given(seed=seeds)
    def test_following_it_is_a_motion_of_the_discrete_dynamics_and_costs_nothing(
        self, task: TrackTask, seed: int
    ) -> None:
        goal, horizon = task.sample_goal(np.random.default_rng(seed)), 20
        exact, ocp = task.reference(goal, horizon), task.ocp(horizon, TerminalWeights(1.0, 1.0))
        ocp.aim(exact.xs[0], goal)
        assert ocp.gap(exact.xs, exact.us[:horizon]) < 1e-12
        np.testing.assert_allclose([task.robot.frame_position(x[:2]) for x in exact.xs], exact.points, atol=1e-12)
        assert ocp.cost(exact.xs, exact.us[:horizon]) < 1e-20

    @given(seed=seeds, nodes=st.integers(1, 50))
    def test_the_reference_goes_on_as_the_goal_does(self, task: TrackTask, seed: int, nodes: int) -> None:
        goal = task.sample_goal(np.random.default_rng(seed))
        whole, rest = task.reference(goal, nodes), task.reference(task.later(goal, nodes * task.dt), 0)
        np.testing.assert_allclose(whole.xs[-1], rest.xs[0], atol=1e-7)
        np.testing.assert_allclose(whole.us[-1], rest.us[0], atol=1e-4)


class TestTask:
    @given(seed=seeds)
    def test_derivatives_are_those_of_finite_differences(self, task: TrackTask, seed: int) -> None:
        rng, h = np.random.default_rng(seed), 1e-6
        x, goal = task.sample_state(rng), task.sample_goal(rng)
        f, by_x = task.features(x, goal)
        np.testing.assert_array_equal(f, task.observe(x, goal))
        steps = h * np.eye(4)
        numeric = np.stack([task.observe(x + d, goal) - task.observe(x - d, goal) for d in steps], axis=1) / (2 * h)
        np.testing.assert_allclose(by_x, numeric, atol=1e-6)
        np.testing.assert_array_equal(task.residual(x, goal)[0], f[:4])

    def test_the_residual_is_nothing_exactly_on_the_path(self, task: TrackTask) -> None:
        goal = task.sample_goal(np.random.default_rng(0))
        assert np.abs(task.residual(task.reference(goal, 0).xs[0], goal)[0]).max() < 1e-12

    def test_the_standalone_terminal_is_that_of_the_problem(self, task: TrackTask) -> None:
        rng, weights = np.random.default_rng(1), TerminalWeights(30.0, 2.0)
        x, goal = task.sample_state(rng), task.sample_goal(rng)
        model, residual = task.terminal_model(weights)
        residual.reference = task.later(goal, 3 * task.dt)
        ocp = task.ocp(3, weights)
        ocp.aim(x, goal)
        alone, inside = model.createData(), ocp.problem.terminalModel.createData()
        model.calc(alone, x)
        ocp.problem.terminalModel.calc(inside, x)
        assert alone.cost == pytest.approx(inside.cost, rel=1e-12)
        assert alone.cost > 0.0

    def test_crocoddyl_agrees_with_itself_on_the_derivatives(self, task: TrackTask) -> None:
        ocp = task.ocp(2, TerminalWeights(1.0, 1.0))
        ocp.aim(task.sample_start(np.random.default_rng(0)), np.array(task.config.goal))
        x, u, h = np.array([0.7, -1.4, 2.0, -3.0]), np.array([5.8, -1.0]), 1e-6
        model = ocp.problem.runningModels[0]
        data = model.createData()
        model.calc(data, x, u)
        model.calcDiff(data, x, u)
        lx, lu = data.Lx.copy(), data.Lu.copy()

        def cost(x: np.ndarray, u: np.ndarray) -> float:
            model.calc(data, x, u)
            return float(data.cost)

        np.testing.assert_allclose(
            lx, [(cost(x + d, u) - cost(x - d, u)) / (2 * h) for d in h * np.eye(4)], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            lu, [(cost(x, u + d) - cost(x, u - d)) / (2 * h) for d in h * np.eye(2)], rtol=1e-5, atol=1e-6
        )

    @pytest.mark.parametrize(
        ("goal", "reason"),
        [
            ([0.0, 0.1], "phase"),
            ([0.0, np.nan, 0.05], "NaN"),
            ([0.0, 0.5, 0.05], "goal length = 0.500 m is outside"),
            ([0.0, 0.1, 0.5], "goal height = 0.500"),
        ],
    )
    def test_goals_that_cannot_be(self, task: TrackTask, goal: list[float], reason: str) -> None:
        with pytest.raises(GoalError, match=reason):
            task.check_goal(goal)

    def test_a_path_beyond_the_reach_is_refused(self) -> None:
        task = load_scenario("leg_track", ("task.centre=[0.0, 0.0, 0.05]",)).task
        with pytest.raises(GoalError, match="leg2r reaches from"):
            task.check_goal(np.array(task.config.goal))  # type: ignore[attr-defined]

    @given(seed=seeds)
    def test_what_is_drawn_is_accepted(self, task: TrackTask, seed: int) -> None:
        rng = np.random.default_rng(seed)
        task.check_goal(task.sample_goal(rng))
        lower, upper = task.state_bounds
        start = task.sample_start(rng)
        assert (start >= lower).all()
        assert (start <= upper).all()


def test_ddp_follows_the_path(task: TrackTask) -> None:
    ocp, goal = task.ocp(60, TerminalWeights()), np.array(task.config.goal)
    start = np.concatenate([task.robot.nominal, np.zeros(2)])
    ocp.aim(start, goal)
    solver = crocoddyl.SolverFDDP(ocp.problem)
    assert solver.solve([start] * 61, [np.zeros(2)] * 60, 100, False)
    assert task.error(np.array(solver.xs[-1]), task.later(goal, 60 * task.dt)) < 1e-4
    torques = np.abs(np.array(solver.us))
    assert (torques <= 1.02 * task.robot.limits.effort).all()


def test_the_leg_follows_in_mujoco_with_wrong_masses(scenario: Scenario) -> None:
    """Two cycles with every mass and inertia wrong by up to 10 %, plans one period late."""
    loop, goal = DisturbedLoop(scenario), np.array(scenario.goal)
    start = np.concatenate([scenario.robot.nominal, np.zeros(2)])
    wrong = Disturbance(payload=0.1, mass=0.1, inertia=0.1)
    course = loop.run(start, goal, 2.0, wrong, np.random.default_rng(0))
    last = course.error[course.t >= 1.0]
    assert np.sqrt(np.mean(last**2)) < 0.003
    assert course.reached_at(0.5) < 1.0
    assert course.held == 0


def test_the_reference_is_that_of_pinocchio(task: TrackTask) -> None:
    """The torques are those of inverse dynamics, armature included."""
    goal = np.array([1.0, 0.136, 0.06])
    exact = task.reference(goal, 2)
    model, data = task.robot.model, task.robot.model.createData()
    a = (exact.xs[1, 2:] - exact.xs[0, 2:]) / task.dt
    pinocchio.crba(model, data, exact.xs[0, :2])
    mass = np.triu(data.M) + np.triu(data.M, 1).T
    bias = pinocchio.nonLinearEffects(model, data, *np.split(exact.xs[0], 2))
    np.testing.assert_allclose(exact.us[0], mass @ a + bias, atol=1e-9)
