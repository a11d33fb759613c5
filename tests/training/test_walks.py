"""The policy of a walk: the same wherever the robot is and heads, from outings to an artifact, refused elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pinocchio
import pytest
import torch
from rich.progress import Progress

from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import ArtifactError
from dpvp.learned.policy import Policy
from dpvp.plan import Array
from dpvp.scenario import load_scenario
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.walk import WalkTask
from dpvp_training.core.executor import Executor
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import RunFolder
from dpvp_training.envs.outing import OutingConfig, Outings
from dpvp_training.envs.problem import Problem
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.config import load_config
from dpvp_training.systems.dpvp.finish import finish
from dpvp_training.systems.dpvp.fitting import _feedforward, frame_of, policy_start, shape_of
from dpvp_training.systems.dpvp.label import Ask
from dpvp_training.systems.dpvp.nets import PolicyGraph, PolicyNet
from dpvp_training.systems.dpvp.nodes import Nodes
from dpvp_training.systems.dpvp.train import Training
from dpvp_training.systems.dpvp.walks import WalkStudy, label_walk

NAME = "quadruped_walk"
SHORT = (
    "walks={outing: {seconds: 0.3}, every: 3}", "rounds=[{items: 3, epochs: 1}]", "held_out=0.3", "assessed=1",
    "policy={net: {width: 16}, epochs: 2}", "batch=32",
)  # fmt: skip


class Here(Executor):
    """Everything in this process, one after the other."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        return ((index, function(item)) for index, item in enumerate(items))

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_problem(NAME)


@pytest.fixture(scope="module")
def nodes() -> Nodes:
    config = load_config(NAME, SHORT)
    assert config.walks is not None
    answer = label_walk(WalkStudy(NAME, (), config.walks, config.study), Ask(np.zeros(0), np.zeros(0), 5))
    assert answer.nodes is not None
    assert answer.converged == answer.solves == 2 * 5
    return answer.nodes


@pytest.fixture(scope="module")
def policy(problem: Problem, nodes: Nodes) -> PolicyNet:
    shape, generator = shape_of(problem), torch.Generator().manual_seed(0)
    frame = frame_of(shape, nodes)
    net = PolicyNet(frame, *policy_start(shape, frame, nodes, problem), 16, 2, generator)
    with torch.no_grad():
        net.mlp.weights[-1] *= 5.0  # far from the constant gain that it starts as
    return net.double()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of a run of seconds."""
    folder, config = tmp_path_factory.mktemp("run"), load_config(NAME, SHORT)
    spec = RunSpec("dpvp", NAME, config, ("dpvp", "train", "dpvp", "--task", NAME))
    with RunFolder.create(folder, spec) as run, Progress(disable=True) as progress:
        artifact = Training(NAME, config, run, Here(), progress).run()
        finish(run, NAME, config, artifact, Here(), progress, folder / "out")
    return folder / "out"


def moved(x: Array, goal: Array, away: Array, turn: float) -> tuple[Array, Array]:
    """The same robot elsewhere: turned about the origin and carried by `away` (3,), m."""
    there, rotation = x.copy(), pinocchio.rpy.rpyToMatrix(0.0, 0.0, turn)
    there[:3] = rotation @ x[:3] + away
    there[3:7] = pinocchio.Quaternion(rotation @ pinocchio.Quaternion(x[3:7]).toRotationMatrix()).coeffs()
    return there, goal + [0.0, 0.0, 0.0, 0.0, turn]


def answers(net: Any, x: Array, goal: Array, dtype: torch.dtype) -> Array:
    asked = (torch.tensor(part[None], dtype=dtype) for part in (x, goal))
    return net(*asked).detach().double().numpy()[0]


@pytest.mark.parametrize("seed", range(5))
def test_moving_and_turning_the_world_changes_nothing(problem: Problem, policy: PolicyNet, seed: int) -> None:
    rng, graph = np.random.default_rng(seed), PolicyGraph(policy, problem.geometry)
    x, goal = problem.task.sample_state(rng), problem.task.sample_goal(rng)
    u = answers(graph, x, goal, torch.float64)
    assert np.abs(u).max() > 1.0
    elsewhere = moved(x, goal, rng.uniform(-1e3, 1e3, 3), rng.uniform(-3.0, 3.0))
    np.testing.assert_allclose(answers(graph, *elsewhere, torch.float64), u, atol=1e-8)


def test_far_away_single_precision_answers_to_the_last_bit(problem: Problem, policy: PolicyNet) -> None:
    rng = np.random.default_rng(0)
    graph = PolicyGraph(copy.deepcopy(policy).float(), load_problem(NAME).geometry.float())
    x, goal = problem.task.sample_state(rng), problem.task.sample_goal(rng)
    there, _ = moved(x, goal, np.array([1e5, -3e4, 800.0]), 0.0)
    there[3:7] = x[3:7]
    assert np.array_equal(answers(graph, there, goal, torch.float32), answers(graph, x, goal, torch.float32))


def test_the_slope_of_the_feed_forward_is_that_of_differences(problem: Problem, nodes: Nodes) -> None:
    some = nodes.take(slice(0, 3))
    state = problem.task.ocp(1, TerminalWeights()).problem.terminalModel.state
    _, slope = _feedforward(problem, some)
    for x, goal, by_x in zip(some.x, some.goal, slope, strict=True):
        direction = np.random.default_rng(1).normal(size=state.ndx)
        ahead, back = (
            problem.geometry.feedforward(
                torch.tensor(state.integrate(x, h * direction))[None], torch.tensor(goal[None])
            )
            for h in (1e-6, -1e-6)
        )
        np.testing.assert_allclose(by_x @ direction, (ahead - back).numpy()[0] / 2e-6, rtol=1e-5, atol=1e-5)


def test_labels_are_those_of_problems_that_have_converged(problem: Problem, nodes: Nodes) -> None:
    """Following the labelled controls costs what the label says, and any other control costs more."""
    task = problem.task
    assert isinstance(task, WalkTask)
    assert np.all(nodes.gain[:, :, :3] == 0.0)
    assert np.all(nodes.f_x[:, :, :2] == 0.0)
    for k in range(len(nodes)):
        np.testing.assert_allclose(nodes.f[k], task.observe(nodes.x[k], nodes.goal[k]), atol=1e-12)
        assert np.linalg.eigvalsh(nodes.q_uu[k]).min() > 0.0
    moment = next(Outings(load_scenario(NAME), OutingConfig(seconds=0.1)).moments(np.random.default_rng(5)))
    np.testing.assert_array_equal(nodes.x[0], moment.x)


def test_outings_come_again_with_their_seed_and_the_robot_stays_up() -> None:
    outings = Outings(load_scenario(NAME), OutingConfig(seconds=0.8, push=30.0))
    one, other = (list(outings.moments(np.random.default_rng(3))) for _ in range(2))
    assert len(one) == 40
    assert all(np.array_equal(a.x, b.x) and np.array_equal(a.goal, b.goal) for a, b in zip(one, other, strict=True))
    assert len({moment.goal[1] for moment in one}) == 2
    assert one[0].since == "start"
    assert any(moment.since == "command" for moment in one)


@pytest.mark.slow
def test_a_run_ends_with_an_artifact_that_can_be_asked_anywhere(trained: Path) -> None:
    task = load_scenario(NAME).task
    artifact = load_artifact(trained, task.robot, task)  # the recorded pairs are computed again
    assert set(artifact.graphs) == {"policy"}
    assert artifact.contract.ensemble is None
    assert artifact.contract.metrics["held_out_control_error"].value > 0.0
    assert {file.name for file in trained.iterdir()} >= {"plot.png", "config.yaml", "command.txt", "golden.json"}
    assert sum(file.stat().st_size for file in trained.iterdir()) < 2e6
    policy, goal = Policy(artifact), np.array([1.0, 0.3, 0.0, 0.0, 0.0])
    here, there = task.robot.at_rest(), task.robot.at_rest()
    there[:3] += (500.0, -800.0, 3.0)
    assert policy.inside(here, goal) == policy.inside(there, goal)
    u = policy(here, goal)
    assert u.shape == (12,)
    assert np.isfinite(u).all()
    np.testing.assert_array_equal(policy(there, goal), u)


@pytest.mark.slow
def test_an_artifact_of_another_gait_is_refused(trained: Path) -> None:
    other = load_scenario(NAME, ("task.gait=walk",)).task
    with pytest.raises(ArtifactError, match=r"task\.costs\.gait\.period"):
        load_artifact(trained, other.robot, other)


@pytest.mark.slow
def test_weights_of_the_costs_may_change(trained: Path) -> None:
    other = load_scenario(NAME, ("task.weights.effort=0.01",)).task
    assert load_artifact(trained, other.robot, other).contract.task.costs["weights"]["effort"] == 0.005  # type: ignore[index,call-overload]
