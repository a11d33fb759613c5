"""Starts of walks: the same wherever the robot is and heads, from outings to an artifact that starts plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pinocchio
import pytest
import torch
from rich.progress import Progress

from dpvp.errors import ConfigError
from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import ArtifactError
from dpvp.learned.trajectory import Trajectory
from dpvp.plan import Array
from dpvp.planning.build import build_planning
from dpvp.scenario import load_scenario
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.walk import WalkTask
from dpvp_training.core.executor import Executor
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import RunFolder
from dpvp_training.envs.outing import OutingConfig, Outings
from dpvp_training.systems.dpvp.walks import walks
from dpvp_training.systems.dpvp.walks.config import WalksConfig, load_walks_config
from dpvp_training.systems.dpvp.walks.finish import finish
from dpvp_training.systems.dpvp.walks.label import Study, label
from dpvp_training.systems.dpvp.walks.mirror import Mirror
from dpvp_training.systems.dpvp.walks.nets import PathGraph, PathLoss, PathNet, integrated
from dpvp_training.systems.dpvp.walks.paths import Paths
from dpvp_training.systems.dpvp.walks.starts import Improved, Outcome, Start, metrics_of
from dpvp_training.systems.dpvp.walks.train import WalkTraining
from dpvp_training.systems.dpvp.walks.view import View

NAME = "quadruped_walk"
SHORT = (
    "label={outings: 2, outing: {seconds: 0.2}, every: 3, at_rest: 1, chunk: 1}", "held_out=0.3", "assessed=1",
    "hidden=[16, 16]", "epochs=2", "batch=4",
)  # fmt: skip


class Here(Executor):
    """Everything in this process, one after the other."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        return ((index, function(item)) for index, item in enumerate(items))

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def task() -> WalkTask:
    task = load_scenario(NAME).task
    assert isinstance(task, WalkTask)
    return task


@pytest.fixture(scope="module")
def ocp(task: WalkTask) -> Ocp:
    planner = load_scenario(NAME).config.planner
    return task.ocp(planner.horizon, planner.terminal.weights)


@pytest.fixture(scope="module")
def config() -> WalksConfig:
    return load_walks_config(NAME, SHORT)


@pytest.fixture(scope="module")
def paths(config: WalksConfig) -> Paths:
    answer = label(Study(NAME, (), config.label), (5,))
    assert answer.paths is not None
    assert len(answer.paths) == sum(count >= 0 for count in answer.iterations) >= 8  # of 2 (4 + 1)
    return answer.paths


@pytest.fixture(scope="module")
def net(task: WalkTask, paths: Paths) -> PathNet:
    return PathNet(View(task), paths, (16, 16), torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, config: WalksConfig) -> Path:
    """Artifact of a run of seconds."""
    folder = tmp_path_factory.mktemp("run")
    spec = RunSpec("dpvp", NAME, config, ("dpvp", "train", "dpvp", "--task", NAME))
    with RunFolder.create(folder, spec) as run, Progress(disable=True) as progress:
        learned = WalkTraining(NAME, config, run, Here(), progress).run()
        return finish(run, NAME, config, learned, Here(), progress, folder / "out")


def moved(x: Array, goal: Array, away: Array, turn: float) -> tuple[Array, Array]:
    """The same robot elsewhere: turned about the origin and carried by `away` (3,), m."""
    there, rotation = x.copy(), pinocchio.rpy.rpyToMatrix(0.0, 0.0, turn)
    there[:3] = rotation @ x[:3] + away
    there[3:7] = pinocchio.Quaternion(rotation @ pinocchio.Quaternion(x[3:7]).toRotationMatrix()).coeffs()
    return there, goal + [0.0, 0.0, 0.0, 0.0, turn]


def rows(x: Array, goal: Array, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(x[None], dtype=dtype), torch.tensor(goal[None], dtype=dtype)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_seen_is_what_the_task_says(task: WalkTask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, goal = task.sample_state(rng), task.sample_goal(rng)
    seen, (e, _), w = View(task)(*rows(x, goal))[0].numpy(), task.residual(x, goal), task.config.weights
    n = len(task.robot.feet)
    feet = task.legs.places(x[: task.robot.nq])[:, 2]
    floor = feet[task.gait.stands(goal[:1])[0]].mean()
    np.testing.assert_allclose(0.1 * seen[0], e[0] / np.sqrt(w.height), atol=1e-12)
    np.testing.assert_allclose(0.1 * seen[1 : 1 + n], feet - floor, atol=1e-12)
    np.testing.assert_array_equal(seen[1 + n : 1 + 2 * n], feet > floor + task.config.strides.calm.lifted)
    np.testing.assert_allclose(0.1 * seen[2 + 2 * n], e[1] / np.sqrt(w.tilt), atol=1e-12)
    np.testing.assert_allclose(seen[3 + 2 * n], e[3] / np.sqrt(w.yaw), atol=1e-12)
    nodes = round(task.gait.period / task.dt)
    ticks, rest = seen[-nodes - 1 : -1], seen[-1]
    assert rest * task.dt == pytest.approx(task.gait.until_tick(goal[0], task.dt), abs=1e-9)
    begins = goal[0] / (2.0 * np.pi) * nodes + rest
    assert np.flatnonzero(ticks).tolist() == [round(begins) % nodes]


def test_who_may_stand_is_who_stands_with_all_feet(task: WalkTask) -> None:
    goal, calm = np.array([0.1, 0.0, 0.0, 0.0, 0.0]), 4 + 2 * len(task.robot.feet)
    x = task.robot.at_rest()
    for speed, heading in ((0.0, 0.0), (1.0, 0.0), (0.0, 0.5)):
        x[task.robot.nq], goal[4] = speed, heading
        still = bool(View(task)(*rows(x, goal))[0, calm])
        assert still == all(task.reference(x, goal, 12).stands.flat) == (speed == heading == 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_moving_and_turning_the_world_moves_and_turns_what_is_predicted(
    task: WalkTask, net: PathNet, seed: int
) -> None:
    rng, graph = np.random.default_rng(seed), PathGraph(net).double()
    x, goal = task.sample_state(rng), task.sample_goal(rng)
    away, turn = rng.uniform(-1e3, 1e3, 3), rng.uniform(-3.0, 3.0)
    (xs, us), there = (part.detach().numpy() for part in graph(*rows(x, goal))), rows(*moved(x, goal, away, turn))
    np.testing.assert_array_equal(xs[0], x)
    others, controls = (part.detach().numpy() for part in graph(*there))
    np.testing.assert_allclose(controls, us, atol=1e-7)
    for after, other in zip(xs, others, strict=True):
        expected, _ = moved(after, goal, away, turn)
        expected[3:7] *= np.sign(expected[3:7] @ other[3:7])
        np.testing.assert_allclose(other, expected, atol=1e-7)


def test_far_away_single_precision_sees_the_same_to_the_last_bit(task: WalkTask) -> None:
    rng, view = np.random.default_rng(0), View(task).float()
    x, goal = task.sample_state(rng), task.sample_goal(rng)
    there = x + np.array([1e5, -3e4, 800.0] + (len(x) - 3) * [0.0])
    assert torch.equal(view(*rows(there, goal, torch.float32)), view(*rows(x, goal, torch.float32)))


@pytest.mark.parametrize("size", [0.0, 1e-4, 0.5, 1.2])
def test_steps_are_those_of_the_state(task: WalkTask, ocp: Ocp, size: float) -> None:
    rng = np.random.default_rng(3)
    x, steps = task.sample_state(rng), rng.normal(size=(6, ocp.state.ndx))
    steps[:, 3:6] *= size / np.linalg.norm(steps[:, 3:6], axis=1, keepdims=True)
    for found, step in zip(integrated(*rows(x, steps[0])[:1], torch.tensor(steps)).numpy(), steps, strict=True):
        expected = ocp.state.integrate(x, step)
        expected[3:7] *= np.sign(expected[3:7] @ found[3:7])
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_labels_are_solutions(ocp: Ocp, paths: Paths) -> None:
    """Their states follow from each other, and they cost what the label says."""
    for x, goal, steps, us, cost in zip(*paths.arrays().values(), strict=True):
        ocp.aim(x, goal)
        xs = np.array([x, *(ocp.state.integrate(x, step.astype(np.float64)) for step in steps)])
        found, gap = ocp.cost_and_gap(xs, us.astype(np.float64))
        assert gap < 5e-3  # labels are in single precision
        assert found == pytest.approx(cost, rel=0.01, abs=0.01)


def test_mirrored_labels_are_solutions_too(task: WalkTask, ocp: Ocp, paths: Paths) -> None:
    mirror = Mirror(task)
    mirrored, again = mirror(paths), mirror(mirror(paths))
    for found, name in zip(again.arrays().values(), again.arrays(), strict=True):
        apart = np.abs(found - paths.arrays()[name])
        np.testing.assert_allclose(np.minimum(apart, np.abs(2.0 * np.pi - apart)), 0.0, atol=1e-6)
    assert np.abs(mirrored.us - paths.us).max() > 1.0
    test_labels_are_solutions(ocp, mirrored)


def test_a_fit_comes_closer_to_the_labels(task: WalkTask, paths: Paths) -> None:
    net = PathNet(View(task), paths, (16, 16), torch.Generator().manual_seed(0))
    loss, optimiser, before = PathLoss(net, paths), torch.optim.Adam(net.parameters(), 3e-3), net.errors(paths)
    for _ in range(60):
        optimiser.zero_grad()
        loss(torch.arange(len(paths))[None], torch.Generator())["total"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert max(np.divide(net.errors(paths), before)) < 0.8


def test_outings_come_again_with_their_seed_and_the_robot_stays_up() -> None:
    outings = Outings(load_scenario(NAME), OutingConfig(seconds=0.6, push=30.0, lost=2))
    one, other = (list(outings.moments(np.random.default_rng(3))) for _ in range(2))
    assert len(one) == 30
    assert all(np.array_equal(a.x, b.x) and np.array_equal(a.goal, b.goal) for a, b in zip(one, other, strict=True))
    changes = np.diff([moment.goal[1:4] for moment in one], axis=0)
    assert np.abs(changes).max() > 0.0, "another command was given"
    most = np.array(outings.task.config.acceleration) * outings.task.dt
    assert (np.abs(changes) <= most + 1e-9).all(), "and taken up as robots do"
    assert one[0].since == "start"
    assert [moment.previous is None for moment in one] == [moment.since in ("start", "lost") for moment in one]
    assert sum(moment.since == "lost" for moment in one) == 2


def outcome(guess: str, costs: Sequence[float], optimum: float, *, solved: bool = True) -> Outcome:
    return Improved(guess, solved, np.array(costs), np.arange(float(len(costs)))).outcome(optimum)


def test_the_linearisation_of_a_guess_counts_as_an_iteration() -> None:
    """Costs of the guess, of every iteration, and at the end."""
    hold, learned = outcome("hold", [9.0, 4.0, 1.005, 1.0, 1.0], 1.0), outcome("trajectory", [1.5, 1.0, 1.0], 1.0)
    assert (hold.first, hold.iterations, hold.enough, hold.enough_ms, hold.total_ms) == (4.0, 3, 2, 2.0, 4.0)
    assert (learned.first, learned.iterations, learned.enough, learned.enough_ms) == (1.5, 2, 2, 1.0)


def test_a_guess_that_ends_elsewhere_was_never_close_to_the_optimum() -> None:
    poor, lost = outcome("hold", [9.0, 2.0, 2.0], 1.0), outcome("hold", [9.0, 1.0, 7.0], 1.0, solved=False)
    assert (poor.converged, poor.enough) == (2.0, -1)
    assert lost.converged == np.inf


def test_what_an_artifact_says_of_itself_is_beside_hold() -> None:
    both = Start("walk", 1.0, (outcome("hold", [9.0, 2.0, 2.0], 1.0), outcome("trajectory", [1.0, 1.0], 1.0)))
    found = metrics_of([both, Start("walk", 1.0, (outcome("hold", [1.0, 1.0], 1.0),))])
    assert {name: (one.value, one.baseline) for name, one in found.items()} == {
        "cold_iterations": (1.0, 1.0),
        "cold_iterations_to_one_percent": (1.0, 150.0),
    }
    assert metrics_of([]) == {}


def test_only_walks_are_learned_so() -> None:
    assert [walks(name) for name in (NAME, "kuka_reach", "cartpole", "nothing")] == [True, False, False, False]


@pytest.mark.slow
def test_a_run_ends_with_an_artifact_that_starts_plans_anywhere(trained: Path, task: WalkTask) -> None:
    artifact = load_artifact(trained, task.robot, task)  # the recorded pairs are computed again
    assert set(artifact.graphs) == {"trajectory"}
    assert set(artifact.contract.metrics) >= {"held_out_state_error", "held_out_control_error"}
    assert {file.name for file in trained.iterdir()} >= {"plot.png", "config.yaml", "command.txt", "golden.json"}
    trajectory, goal = Trajectory(artifact, 15), np.array([1.0, 0.3, 0.0, 0.0, 0.0])
    here, there = task.robot.at_rest(), task.robot.at_rest()
    there[:3] += (500.0, -800.0, 3.0)
    found, moved = trajectory(here, goal), trajectory(there, goal)
    assert found is not None
    assert moved is not None
    xs, us = found
    assert (xs.shape, us.shape) == ((16, 37), (15, 12))
    np.testing.assert_array_equal(xs[0], here)
    np.testing.assert_array_equal(moved[1], us)
    there[task.robot.nq] = 100.0
    assert trajectory(there, goal) is None, "nobody has learned from robots at 100 m/s"
    with pytest.raises(ConfigError, match=r"horizon.*20.*planner's 21"):
        Trajectory(artifact, 21)


@pytest.mark.slow
def test_a_scenario_may_start_its_plans_with_it(trained: Path, task: WalkTask) -> None:
    planning = build_planning(load_scenario(NAME, (f"artifact={trained}", "planner.guesses=[shift, trajectory]")))
    planning, x = replace(planning, sources=planning.sources[1:]), task.robot.at_rest()
    first = planning.plan(x, np.array([1.0, 0.3, 0.0, 0.0, 0.0]), 0.0, None)
    assert first.guess == "trajectory"
    assert np.isfinite(first.guess_cost)


@pytest.mark.slow
def test_an_artifact_of_another_gait_is_refused(trained: Path) -> None:
    other = load_scenario(NAME, ("task.gait=walk",)).task
    with pytest.raises(ArtifactError, match=r"task\.costs\.gait\.period"):
        load_artifact(trained, other.robot, other)


@pytest.mark.slow
def test_weights_of_the_costs_may_change(trained: Path) -> None:
    other = load_scenario(NAME, ("task.weights.effort=0.01",)).task
    assert load_artifact(trained, other.robot, other).contract.horizon == 20
