"""Fidelity mode: published sizes, loss, starts and Hessian; a short run of every problem, interrupted and resumed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from dpvp.errors import ConfigError
from dpvp.learned.artifact import load_artifact
from dpvp.learned.value import ValueFunction
from dpvp.tasks.task import TerminalWeights
from dpvp_training.core.executor import Executor
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import RunFolder
from dpvp_training.envs.registry import load_problem, problem_names
from dpvp_training.systems.dpvp.cli import main
from dpvp_training.systems.dpvp.paper import train as training
from dpvp_training.systems.dpvp.paper.artifact import Learned, ValueGraph
from dpvp_training.systems.dpvp.paper.config import PaperConfig, PaperFitConfig, load_paper_config
from dpvp_training.systems.dpvp.paper.episodes import good, next_starts, predicted
from dpvp_training.systems.dpvp.paper.fit import Labels, PublishedFit, SobolevLoss, TrajectoryLoss
from dpvp_training.systems.dpvp.paper.nets import Mlp, ResidualValue, TrajectoryNet, parameter_count
from dpvp_training.systems.dpvp.paper.solve import Solved
from dpvp_training.systems.dpvp.paper.terminal import PublishedTerminal, SquaredResiduals, seen

pytestmark = pytest.mark.slow  # minutes on a busy machine: `make test-slow`

SHORT = (
    "horizon=20", "starts=5", "episodes=2", "fresh=2", "chosen=3", "held_out=2", "truth=25", "fit.epochs=40",
    "nets.states=[[8, tanh]]", "nets.controls=[[8, tanh]]", "record_every=10", "checkpoint_every=15",
)  # fmt: skip
STAGES = ("value-01", "states-01", "controls-01", "value-02", "states-03", "controls-03")


class InterruptionError(Exception):
    """What a test interrupts a run with."""


class Here(Executor):
    """Computes in this process, the last item first, and is interrupted after so many."""

    def __init__(self, items: int = 1000) -> None:
        self.left = items

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index in reversed(range(len(items))):
            self.left -= 1
            if self.left < 0:
                raise InterruptionError
            yield index, function(items[index])

    def close(self) -> None:
        pass


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def value_net(inputs: int, seed: int = 0) -> ResidualValue:
    return ResidualValue(inputs, PaperConfig().nets.value, 3, generator(seed))


def in_numpy(net: ResidualValue) -> SquaredResiduals:
    return SquaredResiduals({key: tensor.numpy() for key, tensor in net.state_dict().items()}, net.activations)


def train(task: str, folder: RunFolder, config: PaperConfig, executor: Executor) -> Any:
    with folder, Progress(disable=True) as progress:
        return training.PaperTraining(task, config, folder, executor, progress).run()


def differences(function: Callable[[np.ndarray], Any], x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Derivative of `function`, with that to x as the last axis."""
    sides = [(function(x + d), function(x - d)) for d in step * np.eye(len(x))]
    return np.stack([(np.asarray(above) - below) / (2.0 * step) for above, below in sides], axis=-1)


class TestNets:
    def test_they_have_the_published_sizes(self) -> None:
        config = PaperConfig()
        assert parameter_count(ResidualValue(14, config.nets.value, config.nets.residuals, generator())) == 9_475
        for hidden, entries, count in ((config.nets.states, 14, 774_896), (config.nets.controls, 7, 415_096)):
            mlp = Mlp(14, hidden, config.horizon * entries, generator())
            assert parameter_count(TrajectoryNet(mlp, config.horizon)) == count

    def test_the_constants_are_the_published_ones(self) -> None:
        config = load_paper_config("kuka_reach", ())
        assert config == PaperConfig()
        assert (config.starts, config.horizon, config.episodes, config.fresh, config.chosen) == (150, 200, 20, 37, 111)
        assert (config.fit.epochs, config.fit.rate, config.fit.value, config.fit.gradient) == (20_000, 1e-3, 0.5, 0.5)
        assert (config.reject, config.fit.stop, config.nets.max_action, config.approach) == (1.0, 5e-6, 20.0, 0)

    def test_a_value_is_the_sum_of_squares_and_activations_are_where_they_belong(self) -> None:
        net, s = value_net(4), torch.randn(5, 4, dtype=torch.float64, generator=generator(1))
        first, second, third, last = net.linears
        r = last(torch.tanh(third(torch.tanh(second(torch.nn.functional.elu(first(s)))))))
        assert torch.equal(net.value(s), (r**2).sum(dim=1))

    def test_controls_are_scaled_and_quaternions_have_length_one(self) -> None:
        x = torch.randn(2, 3, dtype=torch.float64, generator=generator(1))
        mlp = Mlp(3, ((4, "relu"),), 5 * 6, generator())
        plain, scaled = TrajectoryNet(mlp, 5)(x), TrajectoryNet(mlp, 5, scale=20.0)(x)
        assert plain.shape == (2, 5, 6)
        assert torch.allclose(scaled, 20.0 * plain)
        turned = TrajectoryNet(mlp, 5, quaternion=range(1, 5))(x)
        assert torch.allclose(turned[..., 1:5].norm(dim=-1), torch.ones(2, 5, dtype=torch.float64))
        assert torch.equal(turned[..., [0, 5]], plain[..., [0, 5]])


class TestFit:
    def one_neuron(self) -> ResidualValue:
        """r = (3, -1) tanh(0.5 s_1 - s_2 + 0.2) + (0.1, 0.4)."""
        net = ResidualValue(2, ((1, "tanh"),), 2, generator())
        numbers = ([[0.5, -1.0]], [0.2], [[3.0], [-1.0]], [0.1, 0.4])
        for parameter, values in zip(net.parameters(), numbers, strict=True):
            parameter.data = torch.tensor(values, dtype=torch.float64)
        return net

    def test_the_loss_is_half_the_error_of_value_and_gradient_each(self) -> None:
        s, v, v_x = np.array([[0.3, -0.4], [1.0, 0.5]]), np.array([2.0, 1.0]), np.array([[1.0, -2.0], [0.0, 0.5]])
        chain = np.array([[[1.0, 0.0], [0.5, 2.0]]] * 2)
        value_errors, gradient_errors = [], []
        for i in range(2):
            t = np.tanh(0.5 * s[i, 0] - s[i, 1] + 0.2)
            r = np.array([3.0 * t + 0.1, -t + 0.4])
            slope = 2.0 * (3.0 * r[0] - r[1]) * (1.0 - t**2) * np.array([0.5, -1.0])
            gradient = [slope[0] + 0.5 * slope[1], 2.0 * slope[1]]
            value_errors.append((r @ r - v[i]) ** 2)
            gradient_errors += [(gradient[0] - v_x[i, 0]) ** 2, (gradient[1] - v_x[i, 1]) ** 2]
        loss = SobolevLoss(self.one_neuron(), Labels(s, chain, v, v_x), PaperFitConfig())
        losses = {name: float(value) for name, value in loss(torch.arange(2)).items()}
        assert losses["value"] == pytest.approx(sum(value_errors) / 2, rel=1e-12)
        assert losses["gradient"] == pytest.approx(sum(gradient_errors) / 4, rel=1e-12)
        assert losses["total"] == pytest.approx(0.5 * losses["value"] + 0.5 * losses["gradient"], rel=1e-12)

    def test_weights_move_by_the_derivative_of_the_whole_loss(self) -> None:
        rng, net = np.random.default_rng(0), self.one_neuron()
        chain = np.tile(np.eye(2), (4, 1, 1))
        labels = Labels(rng.normal(size=(4, 2)), chain, rng.normal(size=4), rng.normal(size=(4, 2)))
        loss = SobolevLoss(net, labels, PaperFitConfig())
        weight = net.linears[0].weight

        def total(values: np.ndarray) -> float:
            weight.data = torch.tensor(values[None])
            return float(loss(torch.arange(4))["total"])

        expected = differences(total, np.array([0.5, -1.0]))
        weight.data = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
        loss(torch.arange(4))["total"].backward()
        assert weight.grad is not None
        assert np.allclose(weight.grad.numpy()[0], expected, rtol=1e-6)

    def test_trajectories_count_alike_at_all_nodes(self) -> None:
        rng, net = np.random.default_rng(0), TrajectoryNet(Mlp(2, ((3, "elu"),), 4 * 2, generator()), 4)
        x, wanted = rng.normal(size=(5, 2)), rng.normal(size=(5, 4, 2))
        found = net(torch.from_numpy(x)).detach().numpy()
        losses = TrajectoryLoss(net, x, wanted, "states")(torch.tensor([0, 3]))
        expected = np.mean((found - wanted)[[0, 3]] ** 2)
        assert [float(losses[name]) for name in ("states", "total")] == pytest.approx([expected, expected])

    @settings(max_examples=20)
    @given(rows=st.integers(1, 40))
    def test_a_batch_is_three_fifths_and_every_row_is_seen_once(self, rows: int) -> None:
        net, seen_rows = Mlp(1, ((2, "tanh"),), 1, generator()), list[list[int]]()

        def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
            seen_rows.append(batch.tolist())
            return {"total": net(torch.ones(1, 1, dtype=torch.float64)).sum()}

        PublishedFit(net, loss, rows, PaperFitConfig(epochs=1), generator()).epoch()
        assert len(seen_rows[0]) == max(1, 3 * rows // 5)
        assert sorted(itertools.chain(*seen_rows)) == list(range(rows))

    @pytest.mark.parametrize(("stop", "done"), [(0.0, 7), (1e9, 1)])
    def test_it_ends_early_where_the_sum_of_the_values_errors_is_small(self, stop: float, done: int) -> None:
        net = self.one_neuron()
        labels = Labels(np.ones((3, 2)), np.tile(np.eye(2), (3, 1, 1)), np.ones(3), np.ones((3, 2)))
        config = PaperFitConfig(epochs=7, stop=stop)
        fit = PublishedFit(net, SobolevLoss(net, labels, config), 3, config, generator())
        first = fit.epoch()
        error = 3.0 * first["value"]
        assert fit.finished == (error <= stop)
        while not fit.finished:
            fit.epoch()
        assert fit.done == done

    def test_adam_starts_anew_and_goes_at_a_constant_rate(self) -> None:
        net = Mlp(1, ((1, "tanh"),), 1, generator())
        before = [parameter.detach().clone() for parameter in net.parameters()]
        one = torch.ones(1, 1, dtype=torch.float64)
        config = PaperFitConfig(epochs=1, rate=1e-3)
        PublishedFit(net, lambda _: {"total": net(one).sum()}, 1, config, generator()).epoch()
        moved = [(old - new).abs() for old, new in zip(before, net.parameters(), strict=True)]
        assert all(torch.allclose(step, torch.full_like(step, 1e-3), rtol=1e-3) for step in moved)


class TestTerminal:
    @given(seed=st.integers(0, 2**31), inputs=st.integers(1, 14))
    @settings(max_examples=25)
    def test_gradient_and_hessian_are_exact(self, seed: int, inputs: int) -> None:
        rng, net = np.random.default_rng(seed), value_net(inputs, seed)
        evaluator, s = in_numpy(net), rng.normal(size=inputs)
        value, gradient, hessian = evaluator.derivatives(s)
        assert value == pytest.approx(evaluator.value(s)) == pytest.approx(float(net.value(torch.tensor(s)[None])))
        assert np.allclose(gradient, differences(evaluator.value, s), atol=1e-7)
        assert np.allclose(hessian, differences(lambda x: evaluator.derivatives(x)[1], s), atol=1e-6)
        of_torch = torch.autograd.functional.hessian(lambda x: net.value(x[None])[0], torch.tensor(s))
        assert np.allclose(hessian, of_torch, rtol=1e-9, atol=1e-12)

    def test_relu_has_its_derivatives(self) -> None:
        net = ResidualValue(3, ((6, "relu"), (5, "tanh")), 2, generator())
        evaluator, s = in_numpy(net), np.array([0.4, -0.2, 0.9])
        _, gradient, hessian = evaluator.derivatives(s)
        assert np.allclose(gradient, differences(evaluator.value, s), atol=1e-8)
        assert np.allclose(hessian, differences(lambda x: evaluator.derivatives(x)[1], s), atol=1e-7)

    def test_the_hessian_is_not_made_positive(self) -> None:
        hessians = [in_numpy(value_net(4, seed)).derivatives(np.ones(4))[2] for seed in range(5)]
        assert min(np.linalg.eigvalsh(hessian).min() for hessian in hessians) < -1e-3

    @pytest.mark.parametrize("name", ["kuka_reach", "cartpole"])
    def test_a_node_has_the_nets_value_and_derivatives(self, name: str) -> None:
        problem = load_problem(name)
        x = problem.task.sample_start(np.random.default_rng(0))
        evaluator = in_numpy(value_net(len(x)))
        terminal = PublishedTerminal(problem.task, evaluator, problem.goal)
        data = terminal.createData()
        terminal.calc(data, x)
        terminal.calcDiff(data, x)
        value, gradient, hessian = evaluator.derivatives(x)
        assert data.cost == pytest.approx(value)
        assert np.allclose(data.Lx, gradient)
        assert np.allclose(data.Lxx, hessian)

    def test_gradients_are_in_the_tangent_of_the_state(self) -> None:
        problem = load_problem("quadrotor")
        x = problem.task.sample_start(np.random.default_rng(0))
        inputs = len(seen(problem.task, x, problem.goal)[0])
        terminal = PublishedTerminal(problem.task, in_numpy(value_net(inputs)), problem.goal)
        data = terminal.createData()

        def cost(step: np.ndarray) -> float:
            terminal.calc(data, terminal.state.integrate(x, step))
            return float(data.cost)

        expected = differences(cost, np.zeros(12))
        terminal.calcDiff(data, x)
        assert np.allclose(data.Lx, expected, atol=1e-7)


class TestEpisodes:
    @given(fresh=st.integers(0, 40), before=st.integers(1, 150), seed=st.integers(0, 99))
    def test_starts_are_fresh_ones_and_states_half_and_a_quarter_along_the_way(
        self, fresh: int, before: int, seed: int
    ) -> None:
        config = PaperConfig(starts=150, chosen=111)
        xs = np.arange(before * 20).reshape(before, 20, 1).astype(float)  # node t of trajectory i is 20 i + t - 1
        new = -1.0 - np.arange(fresh).reshape(fresh, 1)
        starts = next_starts(new, xs, config, np.random.default_rng(seed))[:, 0]
        assert len(starts) == min(150, fresh + 2 * min(111, before))
        assert len(set(starts)) == len(starts)
        on_the_way = starts[starts >= 0]
        assert set(on_the_way % 20) <= {10 - 1, 5 - 1}
        assert len(set(on_the_way // 20)) <= 111
        if len(starts) < 150:  # nothing was cut off: every trajectory gives two
            assert np.sum(starts < 0) == fresh
            assert np.sum(on_the_way % 20 == 9) == np.sum(on_the_way % 20 == 4) == min(111, before)

    def test_starts_are_shuffled_before_they_are_cut(self) -> None:
        xs, new = np.zeros((150, 20, 1)), np.ones((37, 1))
        counts = [next_starts(new, xs, PaperConfig(), np.random.default_rng(seed)).sum() for seed in range(40)]
        assert 18.0 < np.mean(counts) < 25.0  # 37 · 150 / 259 of the fresh ones are left

    def test_predictions_begin_at_the_start(self) -> None:
        states = TrajectoryNet(Mlp(4, ((8, "tanh"),), 10 * 4, generator()), 10)
        controls = TrajectoryNet(Mlp(4, ((8, "tanh"),), 10 * 2, generator()), 10)
        starts = np.random.default_rng(0).normal(size=(3, 4))
        for start, ask in zip(starts, predicted(starts, states, controls), strict=True):
            assert ask.predicted is not None
            xs, us = ask.predicted
            assert np.array_equal(xs[0], start)
            assert np.array_equal(ask.start, start)
            assert np.allclose(xs[1:], states(torch.tensor(start)[None]).detach().numpy()[0])
            assert us.shape == (10, 2)

    @pytest.mark.parametrize(
        ("cost", "converged", "reject", "kept"),
        [(0.9, False, 1.0, True), (1.1, True, 1.0, False), (np.nan, True, 1.0, False), (50.0, True, None, True),
         (0.1, False, None, False)],
    )  # fmt: skip
    def test_what_costs_too_much_is_left_out(
        self, cost: float, converged: bool, reject: float | None, kept: bool
    ) -> None:
        nothing = np.zeros(0)
        assert good(Solved(cost, nothing, nothing, nothing, 3, converged), reject) == kept

    def test_systems_are_solved_in_two_stages_unless_told_otherwise(self) -> None:
        config = load_paper_config("cartpole", ("horizon=40",))
        assert (config.approach, config.reject, config.horizon, config.starts) == (40, None, 40, 150)
        assert load_paper_config("cartpole", ("approach=0", "reject=3.0")).reject == 3.0
        with pytest.raises(ConfigError, match="unknown key"):
            load_paper_config("cartpole", ("stages=2",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run on the arm, started as people do."""
    runs = tmp_path_factory.mktemp("runs")
    words = ["--task", "kuka_reach", "--preset", "paper", "--runs", str(runs), "--workers", "1"]
    assert main([*words, *itertools.chain(*(("--set", text) for text in SHORT))]) == 0
    (folder,) = runs.iterdir()
    return folder


class TestRun:
    def records(self, folder: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "time"} for line in lines]

    def test_it_leaves_figures_of_every_stage(self, finished: Path) -> None:
        figures: dict[str, list[float]] = {}
        for record in self.records(finished):
            for name, figure in record.items():
                figures.setdefault(name, []).append(figure)
        assert len(figures["charts/iterations"]) == 1 + 2 + 1  # held-out starts, two episodes, the last refinement
        assert len(figures["charts/value_mse"]) == len(figures["charts/gradient_error"]) == 2
        assert len(figures["charts/change"]) == 1
        assert {name.split("/")[1] for name in figures if name.startswith("losses/")} == set(STAGES)
        assert all(np.isfinite(several).all() for several in figures.values())

    def test_the_artifact_answers_as_the_nets_do(self, finished: Path) -> None:
        problem = load_problem("kuka_reach")
        artifact = load_artifact(finished / "artifact", problem.task.robot, problem.task)
        assert set(artifact.contract.graphs) == {"value", "residual", "trajectory"}
        assert artifact.contract.horizon == 20
        net = value_net(14)
        with np.load(finished / "data" / "value-02.npz") as arrays:
            net.load_state_dict({key: torch.tensor(array) for key, array in arrays.items()})
        learned, evaluator = ValueFunction(artifact), in_numpy(net)
        for x in np.load(finished / "data" / "episode-03.npz")["x"]:
            value, gradient, _ = evaluator.derivatives(x)
            found = learned.derivatives(x, problem.goal)
            assert found.value == pytest.approx(value, rel=1e-9)
            assert np.allclose(found.gradient, gradient, rtol=1e-8, atol=1e-12)
            assert found.residual.shape == (3,)

    def test_the_last_episode_refits_the_trajectories_alone(self, finished: Path) -> None:
        names = {file.stem for file in (finished / "data").iterdir()}
        assert names == {*STAGES, "truth", "episode-01", "episode-02", "episode-03"}
        shape = np.load(finished / "data" / "truth.npz")["us"].shape
        assert shape == (2, 25, 7)

    def test_a_resumed_run_equals_an_uninterrupted_one(
        self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = load_paper_config("kuka_reach", SHORT)
        spec = RunSpec("dpvp", "kuka_reach", config, ("a test",))
        monkeypatch.setattr(training, "write_learned", lambda *_: Path("nowhere"))
        epoch, left = PublishedFit.epoch, [0]

        def some_epochs(fit: PublishedFit) -> dict[str, float]:
            left[0] -= 1
            if left[0] < 0:
                raise InterruptionError
            return epoch(fit)

        monkeypatch.setattr(PublishedFit, "epoch", some_epochs)
        folder = RunFolder.create(tmp_path, spec).path
        interruptions = 0
        for items, epochs in ((3, 0), (9, 20), (0, 25), (0, 40), (0, 33), (2, 40), (9, 40), (9, 49), (9, 1000)):
            left[0] = epochs
            try:
                train("kuka_reach", RunFolder.open(folder, spec), config, Here(items))
            except InterruptionError:
                interruptions += 1
        assert interruptions == 8
        assert self.records(folder) == self.records(finished)
        for file in (finished / "data").iterdir():
            with np.load(file) as expected, np.load(folder / "data" / file.name) as found:
                assert all(np.array_equal(expected[key], found[key]) for key in expected)

    def test_nothing_left_is_an_error_that_names_the_threshold(self, tmp_path: Path) -> None:
        config = load_paper_config("kuka_reach", (*SHORT, "reject=1e-6"))
        spec = RunSpec("dpvp", "kuka_reach", config, ("a test",))
        with pytest.raises(ConfigError, match="reject = 1e-06: leaves out all 2 starts of truth"):
            train("kuka_reach", RunFolder.create(tmp_path, spec), config, Here())


@pytest.mark.parametrize("name", problem_names())
def test_every_problem_is_learned(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("starts=3", "fresh=1", "chosen=2", "held_out=1", "fit.epochs=5", "iterations=200", "truth=30")
    config = load_paper_config(name, (*SHORT, *small))
    results = list[Learned]()
    monkeypatch.setattr(training, "write_learned", lambda _folder, _problem, learned, _config: results.append(learned))
    train(name, RunFolder.create(tmp_path, RunSpec("dpvp", name, config, ("a test",))), config, Here())
    (learned,) = results
    problem = load_problem(name)
    task, x = problem.task, learned.starts[-1]
    f, f_x = task.features(x, problem.goal)
    graph = ValueGraph(learned.value, task.robot.ndx, len(f), sees_features=task.robot.nx != task.robot.ndx)
    r, r_x, r_f = (part.detach().numpy() for part in graph(torch.tensor(x)[None], torch.tensor(f)[None]))
    space = task.terminal_model(TerminalWeights())[0].state
    evaluator = in_numpy(learned.value)

    def value(step: np.ndarray) -> float:
        return evaluator.value(seen(task, space.integrate(x, step), problem.goal)[0])

    assert 0.5 * float(r[0] @ r[0]) == pytest.approx(value(np.zeros(space.ndx)))
    assert np.allclose(r[0] @ (r_x + r_f @ f_x), differences(value, np.zeros(space.ndx)), atol=1e-6)
    states = learned.states(torch.tensor(x)[None]).detach().numpy()[0]
    assert states.shape == (20, task.robot.nx)
    assert np.allclose([space.integrate(y, np.zeros(space.ndx)) for y in states], states)
