"""Nets, losses and constants of DPVP: exact where the task is done, derivatives as differences have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpvp.tasks.task import TerminalWeights
from dpvp_training.core.fit import Fit, FitConfig
from dpvp_training.core.losses import Relative, metric_of, robust
from dpvp_training.envs.problem import Problem
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.fitting import (
    PolicyLoss,
    PolicyLossConfig,
    ValueLoss,
    ValueLossConfig,
    frame_of,
    policy_start,
    quadratic_base,
    shape_of,
)
from dpvp_training.systems.dpvp.label import Ask, Labeller, Study
from dpvp_training.systems.dpvp.nets import Frame, PolicyGraph, PolicyNet, Shape, ValueGraph, ValueNet
from dpvp_training.systems.dpvp.nodes import Nodes

NAMES = ("unicycle", "quadrotor", "kuka_reach")  # no rest entries; a tangent that is not the state; rest entries


@pytest.fixture(scope="module", params=NAMES)
def problem(request: pytest.FixtureRequest) -> Problem:
    return load_problem(request.param)


@pytest.fixture(scope="module")
def nodes(problem: Problem) -> Nodes:
    """Nodes of a few solved problems."""
    labeller = Labeller(Study(problem.name, (), None, 60, 30, 3, approach=20 if problem.name != "kuka_reach" else 0))
    rng, parts = np.random.default_rng(0), []
    for _ in range(6):
        answer = labeller.answer(Ask(problem.task.sample_state(rng), problem.task.sample_goal(rng), 0))
        parts += [] if answer.nodes is None else [answer.nodes]
    return Nodes.joined(parts)


@pytest.fixture(scope="module")
def value(problem: Problem, nodes: Nodes) -> ValueNet:
    shape = shape_of(problem)
    net = ValueNet(frame_of(shape, nodes), 2, shape.nz + 1, 8, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.mlp.weights[-1] *= 5.0  # far from the quadratic it starts as
    return net.double()


def graph_at(problem: Problem, value: ValueNet, x: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return r and its total derivative in the tangent of x."""
    f, f_x = problem.task.features(x, goal)
    graph = ValueGraph(value, problem.task.robot.ndx)
    r, r_x, r_f = (part.detach().numpy() for part in graph(torch.tensor(x)[None], torch.tensor(f)[None]))
    return r[0], r_x + r_f @ f_x


@pytest.mark.parametrize("seed", range(3))
def test_derivatives_of_the_exported_value(problem: Problem, value: ValueNet, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, goal = problem.task.sample_state(rng), problem.task.sample_goal(rng)
    state = problem.task.ocp(1, TerminalWeights()).problem.terminalModel.state
    _, slope = graph_at(problem, value, x, goal)
    for column, direction in enumerate(np.eye(problem.task.robot.ndx)):
        ahead, behind = (graph_at(problem, value, state.integrate(x, h * direction), goal)[0] for h in (1e-6, -1e-6))
        np.testing.assert_allclose(
            slope[:, column], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-5 * np.abs(slope).max()
        )


def test_the_graph_is_the_net(problem: Problem, value: ValueNet, nodes: Nodes) -> None:
    x, f = torch.tensor(nodes.x[:1]), torch.tensor(nodes.f[:1])
    r = ValueGraph(value, problem.task.robot.ndx)(x, f)[0]
    mean = value.value(x.expand(2, 1, -1), f.expand(2, 1, -1)).mean()
    torch.testing.assert_close(0.5 * r.pow(2).sum(), mean)


def test_both_nets_are_exact_where_the_task_is_done(problem: Problem, value: ValueNet, nodes: Nodes) -> None:
    shape = value.frame.shape
    x, f = torch.tensor(nodes.x[:4]), torch.tensor(nodes.f[:4])
    f[:, : shape.ne] = 0.0
    x[:, list(shape.rest)] = 0.0
    assert torch.all(value(x.expand(2, 4, -1), f.expand(2, 4, -1)) == 0.0)
    gain = torch.ones(shape.nu, shape.nz)
    policy = PolicyNet(value.frame, gain, torch.ones(shape.nu), 8, 1, torch.Generator().manual_seed(1)).double()
    assert torch.all(policy(x, f) == 0.0)


def test_a_net_with_too_few_rows_is_refused(value: ValueNet) -> None:
    with pytest.raises(ValueError, match="rows = 1: must be at least"):
        ValueNet(value.frame, 1, 1, 8, 1, torch.Generator())


def test_training_starts_from_a_good_quadratic(problem: Problem, nodes: Nodes) -> None:
    """The quadratic explains most of the curvature of the data before anything is learned."""
    shape = shape_of(problem)
    base = quadratic_base(shape, nodes)
    z_x = np.zeros((len(nodes), shape.nz, nodes.v_x.shape[1]))
    z_x[:, : shape.ne] = nodes.f_x[:, : shape.ne]
    for row, entry in enumerate(shape.rest):
        z_x[:, shape.ne + row, entry] = 1.0
    found = np.einsum("nji,jk,nkl->nil", z_x, base.T @ base, z_x)
    unit = np.sqrt(np.einsum("nii->i", nodes.v_xx) / len(nodes))
    wrong = np.sum(((found - nodes.v_xx) / np.outer(unit, unit)) ** 2)
    assert wrong < 0.6 * np.sum((nodes.v_xx / np.outer(unit, unit)) ** 2)


def test_fitting_reduces_every_loss(problem: Problem, nodes: Nodes) -> None:
    shape = shape_of(problem)
    net = ValueNet(frame_of(shape, nodes), 2, shape.nz + 2, 32, 2, torch.Generator().manual_seed(0))
    loss = ValueLoss(net, nodes, ValueLossConfig(curvature_share=1.0))
    rows = torch.arange(len(nodes)).expand(2, -1)
    before = loss(rows, torch.Generator().manual_seed(1))
    fit = Fit(net, loss, len(nodes), 2, FitConfig(epochs=400, batch=64, average=0.9), torch.Generator().manual_seed(2))
    while not fit.finished:
        fit.epoch()
    net.load_state_dict(fit.result)
    after = loss(rows, torch.Generator().manual_seed(1))
    for order in ("value", "gradient", "curvature"):
        assert float(after[order].detach()) < 0.5 * float(before[order].detach()), order


def test_curvature_loss_vanishes_for_a_quadratic(problem: Problem, nodes: Nodes) -> None:
    """Labels made from the net's own Gauss-Newton Hessians cost nothing."""
    shape = shape_of(problem)
    net = ValueNet(frame_of(shape, nodes), 1, shape.nz, 8, 2, torch.Generator().manual_seed(0))
    hessians = []
    for x, f, f_x in zip(nodes.x, nodes.f, nodes.f_x, strict=True):
        _, r_x, r_f = ValueGraph(net, f_x.shape[1])(torch.tensor(x[None]).float(), torch.tensor(f[None]).float())
        slope = (r_x + r_f @ torch.tensor(f_x)).detach().numpy()
        hessians.append(slope.T @ slope)
    own = Nodes.of(nodes.arrays() | {"v_xx": np.array(hessians, np.float32)})
    losses = ValueLoss(net, own, ValueLossConfig(curvature_share=1.0))
    found = losses(torch.arange(len(own))[None], torch.Generator().manual_seed(0))["curvature"]
    assert float(found.detach()) < 1e-6


def test_policy_learns_controls_and_gains(problem: Problem, nodes: Nodes) -> None:
    shape = shape_of(problem)
    frame = frame_of(shape, nodes)
    net = PolicyNet(frame, *policy_start(shape, frame, nodes, problem), 32, 2, torch.Generator().manual_seed(0))
    relative = Relative.of(nodes.v, np.asarray(nodes.v_xx, np.float64), 0.03)
    loss = PolicyLoss(net, nodes, problem, relative, PolicyLossConfig())
    rows = torch.arange(len(nodes))[None]
    before = {k: float(v.detach()) for k, v in loss(rows, torch.Generator().manual_seed(1)).items()}
    fit = Fit(net, loss, len(nodes), 1, FitConfig(epochs=150, batch=64, average=0.9), torch.Generator().manual_seed(2))
    while not fit.finished:
        fit.epoch()
    after = {k: float(v.detach()) for k, v in loss(rows, torch.Generator().manual_seed(1)).items()}
    assert after["total"] < before["total"]
    x, goal = torch.tensor(nodes.x[:1]), torch.tensor(nodes.goal[:1])
    u = PolicyGraph(net.double(), problem.geometry)(x, goal)
    rest = problem.geometry.feedforward(x, goal)
    torch.testing.assert_close(u, rest + net(x, torch.tensor(nodes.f[:1])))


@given(seed=st.integers(0, 2**31), n=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_metric_of_hessians(seed: int, n: int, scale: float) -> None:
    """L Lᵀ is the mean where that is well conditioned, positive definite always, and goes with the units."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(50, n, n))
    hessians = factors @ factors.transpose(0, 2, 1)
    found = metric_of(hessians)
    units = rng.uniform(0.1, 10.0, n)
    other = metric_of(scale * hessians * np.outer(units, units))
    np.testing.assert_allclose(other @ other.T, scale * (found @ found.T) * np.outer(units, units), rtol=1e-6)
    assert np.linalg.eigvalsh(found @ found.T).min() > 0.0


@pytest.mark.parametrize("nothing", [0.0, 1e-15])
def test_what_no_cost_depends_on_has_no_say(nothing: float) -> None:
    """The last joint of the arm turns a ball about itself: its rows of all Hessians are zero."""
    slopes = np.linalg.inv(metric_of(np.tile(np.diag([1.0, 0.5, nothing]), (10, 1, 1))))
    np.testing.assert_allclose(slopes, np.diag([1.0, 2.0**0.5, 0.0]), atol=1e-3)


@given(st.floats(0.0, 1e9))
def test_large_errors_count_by_their_size(error: float) -> None:
    found = float(robust(torch.tensor(error**2, dtype=torch.float64)))
    assert found <= error**2 * (1 + 1e-9)
    assert found <= 2.0 * error
    if error < 1e-2 and error > 1e-6:
        assert found == pytest.approx(error**2, rel=1e-3)
    if error > 1e3:
        assert found == pytest.approx(2.0 * error, rel=1e-2)


def test_a_fit_that_was_saved_goes_on_bit_by_bit() -> None:
    def new() -> Fit:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        data = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))

        def loss(rows: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            noise = 0.1 * torch.randn(rows.shape, generator=generator)
            return {"total": ((net(data[rows])[..., 0] - data[rows].sum(-1) + noise) ** 2).mean()}

        return Fit(net, loss, 40, 1, FitConfig(epochs=6, batch=8), torch.Generator().manual_seed(2))

    whole, half, rest = new(), new(), new()
    figures = [whole.epoch() for _ in range(6)]
    for _ in range(3):
        half.epoch()
    rest.load_state_dict(half.state_dict())
    assert [rest.epoch() for _ in range(3)] == figures[3:]
    for key, tensor in whole.result.items():
        assert torch.equal(tensor, rest.result[key])


def test_shape_of_a_task_whose_residual_says_all() -> None:
    shape = shape_of(load_problem("unicycle"))
    assert (shape.rest, shape.seen, shape.ns) == ((), (), shape.ne)
    frame = Frame(Shape(13, 12, 12, 4, (), ()), torch.eye(12), torch.zeros(12), torch.ones(12))
    net = ValueNet(frame, 1, 12, 4, 1, torch.Generator().manual_seed(0))
    r, r_x, r_f = ValueGraph(net, 12)(torch.zeros(1, 13), torch.ones(1, 12))
    assert (r.shape, r_x.shape, r_f.shape) == ((1, 12), (12, 12), (12, 12))
    assert torch.all(r_x == 0.0)


def test_nets_do_not_see_what_no_feature_depends_on() -> None:
    """The last joint turns the ball about itself."""
    assert shape_of(load_problem("kuka_reach")).seen == (0, 1, 2, 3, 4, 5)
