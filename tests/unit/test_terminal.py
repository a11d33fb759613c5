"""Terminals: a learned value as the end of the horizon, its fallback, and what a scenario may ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import crocoddyl
import mim_solvers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import handmade
from dpvp.errors import ConfigError
from dpvp.learned.artifact import Artifact, load_artifact
from dpvp.learned.value import ValueFunction
from dpvp.plan import Plan, PlanStatus, Verdict
from dpvp.planning.check import PlanCheck
from dpvp.planning.csqp import CsqpPlanner
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import HoldGuess, ShiftGuess, best_guess
from dpvp.planning.planner import Budget
from dpvp.planning.terminal import ValueTerminal, build_terminal
from dpvp.scenario import Scenario, TerminalConfig, load_scenario
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from handmade import ResidualValue, quadratic_value

Array = NDArray[np.float64]
WEIGHTS = TerminalWeights(goal=20.0, velocity=2.0)
GOAL = np.array([-0.3, -0.4, 0.5])
NX, NF = 14, 24
PLANNERS: dict[str, Any] = {"ddp": (DdpPlanner, False), "csqp": (CsqpPlanner, True)}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach")


@pytest.fixture(scope="module")
def make(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    def artifact(**heads: Any) -> Artifact:
        folder = handmade.write_artifact(tmp_path_factory.mktemp("artifact"), scenario.robot, scenario.task, **heads)
        return load_artifact(folder, scenario.robot, scenario.task)

    return artifact


@pytest.fixture(scope="module")
def curved(make: Callable[..., Artifact]) -> Artifact:
    """A value that is no quadratic, known where positions are within ±2 rad and velocities within ±1 rad/s."""
    matrix = 0.3 * np.random.default_rng(3).normal(size=(10, NX + NF))
    box = np.repeat([2.0, 1.0], 7)
    return make(value=ResidualValue(matrix, squash=True), lower=-box, upper=box)


@pytest.fixture(scope="module")
def split(make: Callable[..., Artifact]) -> Artifact:
    """The same range for three members that often, and not always, disagree."""
    box = np.repeat([2.0, 1.0], 7)
    return make(value=handmade.random_value(members=3), lower=-box, upper=box, spread=0.06, floor=0.1)


@pytest.fixture(scope="module")
def quadratic(make: Callable[..., Artifact]) -> Artifact:
    return make(value=quadratic_value(WEIGHTS.goal, WEIGHTS.velocity), lower=-9 * np.ones(NX), upper=9 * np.ones(NX))


def value_terminal(scenario: Scenario, artifact: Artifact, goal: Array = GOAL) -> ValueTerminal:
    terminal = ValueTerminal(scenario.task, ValueFunction(artifact), WEIGHTS)
    terminal.aim(goal)
    return terminal


def evaluated(model: crocoddyl.ActionModelAbstract, x: Array) -> crocoddyl.ActionDataAbstract:
    data = model.createData()
    model.calc(data, x)
    model.calcDiff(data, x)
    return data


class TestDerivatives:
    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), speed=st.sampled_from([0.5, 1.05, 1.1, 1.15, 1.5]))
    def test_gradient_is_that_of_the_cost(self, seed: int, speed: float, scenario: Scenario, curved: Artifact) -> None:
        terminal = value_terminal(scenario, curved)
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.uniform(-1.9, 1.9, 7), rng.uniform(-0.9, 0.9, 7)])
        x[rng.integers(7, 14)] = speed
        numeric = crocoddyl.ActionModelNumDiff(terminal)
        assert np.allclose(evaluated(terminal, x).Lx, evaluated(numeric, x).Lx, atol=1e-4)
        expected = Verdict.USED if speed < 1.0 else Verdict.OUT_OF_RANGE if speed > 1.2 else Verdict.BLENDED
        assert terminal.verdict(x) is expected

    @settings(max_examples=60, deadline=None)
    # at the very edges, where the curvature jumps, differences are of no use
    @given(seed=st.integers(0, 2**32 - 1), outside=st.floats(0.01, 0.19), goal=st.floats(1.3, 1.85))
    def test_gradient_where_all_three_reasons_meet(
        self, seed: int, outside: float, goal: float, scenario: Scenario, split: Artifact
    ) -> None:
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.uniform(-1.9, 1.9, 7), rng.uniform(-0.9, 0.9, 7)])
        x[10], x[3] = -1.0 - outside, 2.0 + outside
        terminal = value_terminal(scenario, split, np.array([-0.3, -0.4, goal]))
        step = 1e-6 * np.eye(NX)
        slope = [(evaluated(terminal, x + d).cost - evaluated(terminal, x - d).cost) / 2e-6 for d in step]
        assert np.allclose(evaluated(terminal, x).Lx, slope, rtol=1e-4, atol=1e-4)

    def test_states_meet_all_verdicts(self, scenario: Scenario, split: Artifact) -> None:
        rng, terminal = np.random.default_rng(0), value_terminal(scenario, split)
        states = [np.concatenate([rng.uniform(-2.1, 2.1, 7), rng.uniform(-0.9, 0.9, 7)]) for _ in range(200)]
        found = {terminal.verdict(x) for x in states}
        assert found == set(Verdict) - {Verdict.GOAL_OUT_OF_RANGE, Verdict.OUT_OF_RANGE, Verdict.DROPPED}

    def test_cost_lies_between_value_and_quadratic(self, scenario: Scenario, curved: Artifact) -> None:
        terminal, value = value_terminal(scenario, curved), ValueFunction(curved)
        quadratic, goal = scenario.task.terminal_model(WEIGHTS)
        goal.reference = GOAL
        x = np.concatenate([scenario.robot.nominal, np.full(7, 0.3)])
        x[9] = 1.1  # in the middle of the margin: both count for half
        found, q, v = evaluated(terminal, x), evaluated(quadratic, x), value.derivatives(x, GOAL)
        assert found.cost == pytest.approx(0.5 * (v.value + q.cost))
        assert np.allclose(found.Lxx, 0.5 * (v.hessian + q.Lxx))

    @pytest.mark.parametrize("speed", [0.5, 1.5])
    def test_hessian_is_exact_where_the_residual_is_zero(
        self, speed: float, scenario: Scenario, make: Callable[..., Artifact]
    ) -> None:
        box = np.repeat([4.0, 1.0], 7)
        artifact = make(value=quadratic_value(3.0, 0.5), lower=-box, upper=box)
        x = np.concatenate([scenario.robot.nominal, np.full(7, speed)])
        terminal = value_terminal(scenario, artifact, scenario.robot.frame_position(scenario.robot.nominal))
        step = 1e-6 * np.eye(NX)
        columns = [(evaluated(terminal, x + d).Lx - evaluated(terminal, x - d).Lx) / 2e-6 for d in step]
        hessian = evaluated(terminal, x).Lxx
        assert np.allclose(hessian, np.stack(columns, axis=1), atol=1e-6)
        assert np.allclose(hessian[7:, 7:], (0.5 if speed < 1 else WEIGHTS.velocity) * np.eye(7))
        assert np.linalg.eigvalsh(hessian).min() > -1e-12

    def test_answers_are_those_of_the_value(self, scenario: Scenario, curved: Artifact) -> None:
        x = np.concatenate([scenario.robot.nominal, np.full(7, 0.3)])
        data = evaluated(value_terminal(scenario, curved), x)
        found = ValueFunction(curved).derivatives(x, GOAL)
        assert data.cost == found.value
        assert np.array_equal(data.Lx, found.gradient)
        assert np.array_equal(data.Lxx, found.hessian)


def test_asks_the_value_no_more_than_needed(
    scenario: Scenario, curved: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("value", "derivatives"):
        original = getattr(ValueFunction, name)
        monkeypatch.setattr(ValueFunction, name, lambda *a, n=name, o=original: (asked.append(n), o(*a))[1])
    terminal, x = value_terminal(scenario, curved), np.concatenate([scenario.robot.nominal, np.zeros(7)])
    data = terminal.createData()
    terminal.calc(data, x)
    terminal.calc(data, x.copy())
    terminal.verdict(x)
    assert asked == ["value"]
    terminal.calcDiff(data, x)
    terminal.calcDiff(data, x)
    terminal.aim(GOAL.copy())
    terminal.calc(data, x)
    assert asked == ["value", "derivatives"]
    terminal.aim(GOAL + 0.1)
    terminal.calcDiff(data, x)
    terminal.calc(data, x)
    assert asked == ["value", "derivatives", "derivatives"]


class TestFallback:
    def outside(self, scenario: Scenario) -> Array:
        return np.concatenate([scenario.robot.nominal, np.full(7, 1.4)])

    def test_is_the_quadratic_of_the_task(self, scenario: Scenario, curved: Artifact) -> None:
        x = self.outside(scenario)
        terminal = value_terminal(scenario, curved)
        model, goal = scenario.task.terminal_model(WEIGHTS)
        goal.reference = GOAL
        found, expected = evaluated(terminal, x), evaluated(model, x)
        error = scenario.task.error(x, GOAL)
        assert found.cost == expected.cost == pytest.approx(10.0 * error**2 + 7 * 1.4**2)
        assert np.array_equal(found.Lx, expected.Lx)
        assert np.array_equal(found.Lxx, expected.Lxx)

    def test_follows_the_goal(self, scenario: Scenario, curved: Artifact) -> None:
        x, terminal = self.outside(scenario), value_terminal(scenario, curved)
        before = evaluated(terminal, x).cost
        terminal.aim(scenario.robot.frame_position(scenario.robot.nominal))
        assert evaluated(terminal, x).cost == pytest.approx(7 * 1.4**2)
        assert before > 7 * 1.4**2 + 1.0

    def test_keeps_two_nodes_apart(self, scenario: Scenario, curved: Artifact) -> None:
        terminal, x = value_terminal(scenario, curved), self.outside(scenario)
        expected = np.array(evaluated(terminal, x).Lx)
        first, second = terminal.createData(), terminal.createData()
        terminal.calc(first, x)
        terminal.calc(second, -x)
        terminal.calcDiff(first, x)
        assert np.array_equal(first.Lx, expected)

    def test_answers_goals_that_were_not_trained(self, scenario: Scenario, curved: Artifact) -> None:
        x = np.concatenate([scenario.robot.nominal, np.zeros(7)])
        terminal = value_terminal(scenario, curved)
        assert terminal.verdict(x) is Verdict.USED
        terminal.aim(np.array([0.0, 0.0, 1.6]))
        assert terminal.verdict(x) is Verdict.BLENDED
        terminal.aim(np.array([0.0, 0.0, 1.9]))
        assert terminal.verdict(x) is Verdict.GOAL_OUT_OF_RANGE

    def test_answers_before_a_goal_is_set(self, scenario: Scenario, curved: Artifact) -> None:
        terminal = ValueTerminal(scenario.task, ValueFunction(curved), WEIGHTS)
        x = np.concatenate([scenario.robot.nominal, np.zeros(7)])
        assert np.isfinite(evaluated(terminal, x).cost)
        assert terminal.verdict(x) is Verdict.GOAL_OUT_OF_RANGE


class TestSolvers:
    def plan(self, scenario: Scenario, kind: str, terminal: Any, start: Array) -> tuple[Plan, Ocp]:
        planner, hard = PLANNERS[kind]
        ocp = scenario.task.ocp(10, terminal, hard_limits=hard)
        guess = best_guess([HoldGuess()], ocp, start, GOAL, 0.0, None)
        check = PlanCheck(scenario.robot.limits, hard_limits=hard)
        return planner(ocp, check).plan(start, GOAL, 0.0, guess, Budget(20)), ocp

    @pytest.mark.parametrize("kind", PLANNERS)
    @pytest.mark.parametrize("seed", range(4))
    def test_equal_value_gives_equal_plan(
        self, kind: str, seed: int, scenario: Scenario, make: Callable[..., Artifact]
    ) -> None:
        start, weights = scenario.task.sample_start(np.random.default_rng(seed)), TerminalWeights(velocity=2.0)
        start[7:] *= 50.0
        theirs, _ = self.plan(scenario, kind, weights, start)
        wide = 9 * np.ones(NX)
        terminal = value_terminal(scenario, make(value=quadratic_value(0.0, 2.0), lower=-wide, upper=wide), np.zeros(3))
        mine, _ = self.plan(scenario, kind, terminal, start)
        assert terminal.verdict(mine.xs[-1]) is Verdict.USED
        assert mine.iterations == theirs.iterations > 1
        assert np.allclose(mine.xs, theirs.xs, rtol=0, atol=1e-8)
        assert np.allclose(mine.us, theirs.us, rtol=0, atol=1e-8)
        assert mine.cost == pytest.approx(theirs.cost, abs=1e-8)

    @pytest.mark.parametrize("seed", range(4))
    def test_equal_value_with_other_curvature_gives_the_same_optimum(
        self, seed: int, scenario: Scenario, quadratic: Artifact
    ) -> None:
        """In the axes of the first link the Gauss-Newton Hessian of the same cost is another one."""
        start = scenario.task.sample_start(np.random.default_rng(seed))
        theirs, _ = self.plan(scenario, "ddp", WEIGHTS, start)
        mine, _ = self.plan(scenario, "ddp", value_terminal(scenario, quadratic, np.zeros(3)), start)
        assert np.allclose(mine.xs, theirs.xs, rtol=0, atol=1e-4)
        assert mine.cost == pytest.approx(theirs.cost, rel=1e-6)

    def test_limits_hold_at_the_last_node(self, scenario: Scenario, make: Callable[..., Artifact]) -> None:
        matrix = np.zeros((1, NX + NF))
        matrix[0, [0, 7]] = 2.0, 1.0  # wants joint 1 to end with minus twice its position: far above its limit
        start = np.concatenate([scenario.robot.nominal, np.zeros(7)])
        start[0] = 2.0
        terminal = value_terminal(scenario, make(value=ResidualValue(matrix)))
        plan, _ = self.plan(scenario, "csqp", terminal, start)
        assert plan.status is PlanStatus.OK
        assert plan.xs[-1, 7] == pytest.approx(scenario.task.state_bounds[0][7], rel=0.01)
        assert terminal.verdict(plan.xs[-1]) is Verdict.USED

    @pytest.mark.parametrize(
        ("solver", "tolerance"),
        # CSQP sees the limits of the terminal, though none is active here, and solves its QP to 1e-4
        [(crocoddyl.SolverFDDP, 1e-8), (mim_solvers.SolverCSQP, 1e-3)],
    )
    def test_problem_without_hard_limits(
        self, solver: Any, tolerance: float, scenario: Scenario, quadratic: Artifact
    ) -> None:
        start = scenario.task.sample_start(np.random.default_rng(7))
        plans = []
        for terminal in (WEIGHTS, value_terminal(scenario, quadratic)):
            ocp = scenario.task.ocp(10, terminal)
            ocp.aim(start, GOAL)
            us = np.tile(ocp.gravity(start), (10, 1))
            run = solver(ocp.problem)
            if solver is crocoddyl.SolverFDDP:
                run.th_stop = 1e-18  # the Gauss-Newton Hessians differ: only at the optimum are both the same
            run.solve(list(ocp.rollout(us)), list(us), 100, True)
            plans.append(np.array(run.xs))
        assert np.abs(plans[0] - plans[1]).max() < tolerance
        assert scenario.task.error(plans[0][-1], GOAL) < 0.7 * scenario.task.error(start, GOAL)

    @pytest.mark.parametrize("kind", PLANNERS)
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_arm_reaches(self, kind: str, dtype: str, scenario: Scenario, make: Callable[..., Artifact]) -> None:
        task, robot = scenario.task, scenario.robot
        artifact = make(value=quadratic_value(WEIGHTS.goal, WEIGHTS.velocity), dtype=dtype)
        planner_of, hard = PLANNERS[kind]
        terminal = build_terminal(TerminalConfig(kind="value", goal=20.0, velocity=2.0), task, artifact)
        ocp = task.ocp(10, terminal, hard_limits=hard)
        planner = planner_of(ocp, PlanCheck(robot.limits, hard_limits=hard))
        plant, x = task.ocp(1, TerminalWeights()), np.concatenate([robot.nominal, np.zeros(7)])
        previous: Plan | None = None
        steps = 0
        while not task.reached(x, GOAL) and steps < 100:
            t = steps * task.dt
            guess = best_guess([HoldGuess(), ShiftGuess()], ocp, x, GOAL, t, previous)
            previous = planner.plan(x, GOAL, t, guess, Budget(3))
            x, _ = plant.step(x, previous.us[0])
            steps += 1
        assert task.reached(x, GOAL), f"{task.error(x, GOAL):.3f} m away after {steps} steps"
        assert previous is not None
        assert previous.status is PlanStatus.OK


class TestBuild:
    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            (TerminalConfig(kind="zero", goal=3.0), TerminalWeights()),
            (TerminalConfig(kind="quadratic", goal=3.0, velocity=1.0), TerminalWeights(3.0, 1.0)),
        ],
    )
    def test_weights(
        self, config: TerminalConfig, expected: TerminalWeights, scenario: Scenario, quadratic: Artifact
    ) -> None:
        assert build_terminal(config, scenario.task, None) == expected
        assert build_terminal(config, scenario.task, quadratic) == expected

    def test_value_uses_the_weights_as_fallback(self, scenario: Scenario, curved: Artifact) -> None:
        terminal = build_terminal(TerminalConfig(kind="value", goal=6.0), scenario.task, curved)
        assert isinstance(terminal, ValueTerminal)
        terminal.aim(GOAL)
        x = np.concatenate([scenario.robot.nominal, np.full(7, 1.4)])
        assert evaluated(terminal, x).cost == pytest.approx(3.0 * scenario.task.error(x, GOAL) ** 2)

    def test_value_without_artifact(self, scenario: Scenario) -> None:
        with pytest.raises(ConfigError, match=r"planner\.terminal\.kind = 'value': needs `artifact:` with a value"):
            build_terminal(TerminalConfig(kind="value", goal=1.0), scenario.task, None)

    def test_value_without_head(self, scenario: Scenario, make: Callable[..., Artifact]) -> None:
        artifact = make(policy=handmade.reaching_policy(scenario.robot, scenario.robot.nominal))
        with pytest.raises(ConfigError, match=r"graphs = \['policy'\]: needs a head `value`"):
            build_terminal(TerminalConfig(kind="value", goal=1.0), scenario.task, artifact)

    def test_value_without_fallback(self, scenario: Scenario, curved: Artifact) -> None:
        with pytest.raises(ConfigError, match=r"planner\.terminal\.goal = 0\.0: must be positive for kind `value`"):
            build_terminal(TerminalConfig(kind="value"), scenario.task, curved)
