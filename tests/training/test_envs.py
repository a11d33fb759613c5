"""What every problem must satisfy, benchmark systems and scenarios alike; the tests find them by themselves."""

from __future__ import annotations

from collections.abc import Callable

import crocoddyl
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpvp.errors import GoalError
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.track import TrackTask
from dpvp_training.envs.problem import Geometry, Problem
from dpvp_training.envs.registry import load_problem, problem_names
from dpvp_training.envs.system import SystemTask

Array = NDArray[np.float64]
STEP = 1e-6
WEIGHTS = TerminalWeights(goal=2.0, velocity=0.3)


@pytest.fixture(scope="module", params=problem_names())
def problem(request: pytest.FixtureRequest) -> Problem:
    return load_problem(request.param)


@pytest.fixture(scope="module")
def ocp(problem: Problem) -> Ocp:
    return problem.task.ocp(3, WEIGHTS)


@pytest.fixture(scope="module")
def space(ocp: Ocp) -> crocoddyl.StateAbstract:
    return ocp.problem.terminalModel.state


def draws(problem: Problem, count: int = 5) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(5)
    return [(problem.task.sample_state(rng), problem.task.sample_goal(rng)) for _ in range(count)]


def slope(function: Callable[[Array], Array], size: int) -> Array:
    """Central differences of `function` about zero, (m, size)."""
    columns = [(function(step) - function(-step)) / (2 * STEP) for step in STEP * np.eye(size)]
    return np.stack(columns, axis=-1)


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * max(1.0, float(np.abs(expected).max())))


def equilibrium(problem: Problem, space: crocoddyl.StateAbstract, x: Array, goal: Array) -> Array:
    """The state near `x` in which the residual and what has to rest vanish, by Gauss-Newton; a leg has it."""
    if isinstance(problem.task, TrackTask):
        return problem.task.reference(goal, 0).xs[0]
    task, rest = problem.task, list(problem.task.rest)
    for _ in range(100):
        e, jacobian = task.residual(x, goal)
        z = np.concatenate([e, space.diff(space.zero(), x)[rest]])
        step = np.linalg.pinv(np.vstack([jacobian, np.eye(space.ndx)[rest]])) @ z
        x = space.integrate(x, -step * min(1.0, 0.2 / max(1e-9, float(np.linalg.norm(step)))))
    return np.asarray(x)


def feedforward(problem: Problem, x: Array, goal: Array) -> Array:
    return problem.geometry.feedforward(torch.from_numpy(x[None]), torch.from_numpy(goal[None])).numpy()[0]


def test_sizes_and_names_fit(problem: Problem, ocp: Ocp, space: crocoddyl.StateAbstract):
    task, machine = problem.task, problem.task.robot
    assert (space.nx, space.ndx, ocp.problem.runningModels[0].nu) == (machine.nx, machine.ndx, machine.nu)
    assert len(machine.own_names) == machine.nv
    assert len(machine.model_hash) == 64
    assert ocp.dt == task.dt
    assert np.array_equal(task.check_goal(problem.goal), problem.goal)
    assert problem.goal.shape == (task.goal_size,)
    (x, goal), *_ = draws(problem)
    e, jacobian = task.residual(x, goal)
    assert jacobian.shape == (len(e), machine.ndx)


def test_running_nodes_have_the_derivatives_of_finite_differences(
    problem: Problem, ocp: Ocp, space: crocoddyl.StateAbstract
):
    model, nu = ocp.problem.runningModels[0], problem.task.robot.nu
    data, moved, rng = model.createData(), model.createData(), np.random.default_rng(6)
    for x, goal in draws(problem):
        u = ocp.gravity(x) + 3.0 * rng.normal(size=nu)
        ocp.aim(x, goal)
        model.calc(data, x, u)
        model.calcDiff(data, x, u)

        def node(dx: Array, du: Array, x: Array = x, u: Array = u) -> Array:
            model.calc(moved, space.integrate(x, dx), u + du)
            return np.append(space.diff(data.xnext, moved.xnext), moved.cost)

        by_x = slope(lambda dx: node(dx, np.zeros(nu)), space.ndx)
        by_u = slope(lambda du: node(np.zeros(space.ndx), du), nu)
        close(data.Fx, by_x[:-1])
        close(np.reshape(data.Fu, (space.ndx, nu)), by_u[:-1])
        close(data.Lx, by_x[-1])
        close(data.Lu, by_u[-1])
        for hessian in (data.Lxx, np.reshape(data.Luu, (nu, nu))):
            assert np.allclose(hessian, hessian.T)
            assert np.linalg.eigvalsh(hessian).min() >= -1e-9


def test_hessians_are_exact_where_all_costs_vanish(problem: Problem, ocp: Ocp, space: crocoddyl.StateAbstract):
    start, goal = draws(problem)[0]
    x = equilibrium(problem, space, start, goal)
    last = equilibrium(problem, space, start, problem.task.later(goal, ocp.horizon * ocp.dt))
    ocp.aim(x, goal)
    running = ocp.problem.runningModels[0], x, (feedforward(problem, x, goal),)
    for model, at, controls in (running, (ocp.problem.terminalModel, last, ())):
        data, moved = model.createData(), model.createData()
        model.calc(data, at, *controls)
        model.calcDiff(data, at, *controls)

        def gradient(dx: Array, at: Array = at, model=model, moved=moved, controls=controls) -> Array:
            model.calc(moved, space.integrate(at, dx), *controls)
            model.calcDiff(moved, space.integrate(at, dx), *controls)
            return np.array(moved.Lx)

        close(data.Lxx, slope(gradient, space.ndx))


def test_residuals_features_and_terminal_models_have_the_derivatives_of_finite_differences(
    problem: Problem, space: crocoddyl.StateAbstract
):
    task = problem.task
    model, aimed = task.terminal_model(WEIGHTS)
    data, moved = model.createData(), model.createData()
    for x, goal in draws(problem):
        for function in (task.residual, task.features):

            def moved_by(dx: Array, x: Array = x, goal: Array = goal, function=function) -> Array:
                return np.asarray(function(space.integrate(x, dx), goal)[0])

            close(function(x, goal)[1], slope(moved_by, space.ndx))
        aimed.reference = goal
        model.calc(data, x)
        model.calcDiff(data, x)

        def cost(dx: Array, x: Array = x) -> Array:
            model.calc(moved, space.integrate(x, dx))
            return np.array([moved.cost])

        close(data.Lx[None], slope(cost, space.ndx))


def test_the_problem_ends_with_the_terminal_model_of_its_weights(problem: Problem, ocp: Ocp):
    model, aimed = problem.task.terminal_model(WEIGHTS)
    data, last = model.createData(), ocp.problem.terminalModel.createData()
    for x, goal in draws(problem):
        ocp.aim(x, goal)
        there = problem.task.later(goal, ocp.horizon * ocp.dt)
        aimed.reference = there
        model.calc(data, x)
        ocp.problem.terminalModel.calc(last, x)
        assert last.cost == pytest.approx(data.cost)
        e, _ = problem.task.residual(x, there)
        assert (data.cost > 0.0) == bool(np.any(e))


def test_at_the_equilibrium_the_feed_forward_keeps_to_it_and_costs_nothing(
    problem: Problem, ocp: Ocp, space: crocoddyl.StateAbstract
):
    for start, goal in draws(problem, 3):
        x = equilibrium(problem, space, start, goal)
        ocp.aim(x, goal)
        after, cost = ocp.step(x, feedforward(problem, x, goal))
        ahead = equilibrium(problem, space, x, problem.task.later(goal, ocp.dt))
        assert np.abs(space.diff(ahead, after)).max() < 1e-9
        assert 0.0 <= cost < 1e-12
        assert problem.task.reached(x, goal)
        assert problem.task.error(x, goal) < 1e-7
        assert not problem.task.reached(start, goal)


def test_where_the_residual_says_all_it_vanishes_at_the_equilibrium_only(
    problem: Problem, space: crocoddyl.StateAbstract
):
    if problem.task.rest or isinstance(problem.task, TrackTask):
        pytest.skip("what has to rest is not in the residual, or a place has two postures")
    rng, goal = np.random.default_rng(7), problem.goal
    x = equilibrium(problem, space, space.zero(), goal)
    e, jacobian = problem.task.residual(x, goal)
    assert np.abs(e).max() < 1e-9
    assert np.linalg.svd(jacobian, compute_uv=False)[space.ndx - 1] > 0.5  # in every direction to first order
    for _ in range(500):
        away = space.integrate(x, rng.uniform(-2.5, 2.5, space.ndx))  # an attitude of it may be upside down
        e, _ = problem.task.residual(away, goal)
        assert np.linalg.norm(e) > 0.3 * np.linalg.norm(space.diff(x, away))


def test_torch_says_the_same(problem: Problem, ocp: Ocp):
    task, geometry = problem.task, problem.geometry
    x, goal = (torch.from_numpy(np.stack(parts)) for parts in zip(*draws(problem), strict=True))
    torch.testing.assert_close(
        geometry.features(x, goal),
        torch.from_numpy(np.stack([task.features(a, b)[0] for a, b in draws(problem)])),
        rtol=0.0,
        atol=1e-12,
    )
    expected = torch.from_numpy(np.stack([task.residual(a, b)[0] for a, b in draws(problem)]))
    torch.testing.assert_close(geometry.residual(x, goal), expected, rtol=0.0, atol=1e-12)
    if isinstance(task, TrackTask):  # what goes on is taken along, wherever the state is
        forward = [task.reference(b, 1).us[0] for _, b in draws(problem)]
    else:  # at rest a control carries the posture, whatever the velocity is
        forward = [ocp.gravity(a) for a, _ in draws(problem)]
    torch.testing.assert_close(geometry.feedforward(x, goal), torch.from_numpy(np.stack(forward)), rtol=0.0, atol=1e-10)
    assert list(geometry.parameters()) == []
    single = load_problem(problem.name).geometry.float()
    assert single.residual(x.float(), goal.float()).dtype == torch.float32
    torch.testing.assert_close(single.residual(x.float(), goal.float()).double(), expected, rtol=1e-5, atol=1e-5)


def test_torch_exports():
    class Everything(nn.Module):  # in one graph, since torch takes seconds for each
        def __init__(self, geometries: list[Geometry]) -> None:
            super().__init__()
            self.geometries = nn.ModuleList(geometries)

        def forward(self, *asked: Tensor) -> list[Tensor]:
            answers = []
            for geometry, x, goal in zip(self.geometries, asked[::2], asked[1::2], strict=True):
                answers += [geometry.features(x, goal), geometry.feedforward(x, goal)]
            return answers

    # ONNX Runtime has no inverse cosine in double precision
    problems = [load_problem(name) for name in problem_names()]
    module = Everything([problem.geometry for problem in problems]).eval().float()
    asked = tuple(torch.from_numpy(part[None]).float() for problem in problems for part in draws(problem)[0])
    program = torch.onnx.export(module, asked, dynamo=True, opset_version=18, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in program.model_proto.graph.input]
    given = {name: part.numpy() for name, part in zip(names, asked, strict=True)}
    answers = session.run(None, {entry.name: given[entry.name] for entry in session.get_inputs()})
    for answer, wanted in zip(answers, module(*asked), strict=True):
        np.testing.assert_allclose(answer, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_samples_are_inside_the_bounds_and_come_again_with_the_seed(problem: Problem, space: crocoddyl.StateAbstract):
    task = problem.task
    lower, upper = task.state_bounds
    for draw in (task.sample_state, task.sample_start, task.sample_goal):
        first, again = (draw(np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, again)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for x in (task.sample_state(rng), task.sample_start(rng)):
            tangent = space.diff(space.zero(), x)
            assert np.all((tangent >= lower) & (tangent <= upper))
            if isinstance(task, SystemTask):
                reach = np.abs(np.concatenate([x[: task.goal_size], tangent[task.goal_size :]]))
                assert np.all(reach <= np.array(task.config.states) + 1e-12)
        goal = task.sample_goal(rng)
        assert np.array_equal(task.check_goal(goal), goal)
    assert not np.array_equal(*(task.sample_state(np.random.default_rng(seed)) for seed in (1, 2)))


def test_goals_that_make_no_sense_are_refused(problem: Problem):
    size = problem.task.goal_size
    for goal in (np.zeros(size + 1), np.full(size, np.nan), np.full(size, 1e3)):
        with pytest.raises(GoalError, match=r"goal (has shape|\S+ = |\[)"):
            problem.task.check_goal(goal)
