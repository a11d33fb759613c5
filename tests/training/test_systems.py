"""Benchmark systems: the names they go by, what is refused, and that a solver gets them to their goals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import crocoddyl
import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.config import share_directory
from dpvp.errors import ConfigError
from dpvp.planning.guess import HoldGuess
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp_training.envs import registry
from dpvp_training.envs.machine import SystemMachine
from dpvp_training.envs.quadrotor import QuadrotorConfig
from dpvp_training.envs.registry import load_problem, problem_names
from dpvp_training.envs.system import SystemTask

Array = NDArray[np.float64]
SYSTEMS = ("cartpole", "double_pendulum", "pendulum", "quadrotor", "unicycle")


def load(name: str, *overrides: str) -> SystemTask:
    task = load_problem(name, overrides).task
    assert isinstance(task, SystemTask)
    return task


def ending_at_rest(task: SystemTask, solver: crocoddyl.SolverAbstract, horizon: int, goal: Array) -> tuple[list, list]:
    """A solution with the equilibrium next to its end behind it."""
    x = np.array(solver.xs[-1])
    for _ in range(50):
        e, jacobian = task.residual(x, goal)
        x = task.space.integrate(x, -np.linalg.pinv(jacobian) @ e)
    more = horizon - len(solver.us)
    hold = task.ocp(1, TerminalWeights()).gravity(x)
    return [np.array(y) for y in solver.xs] + [x] * more, [np.array(u) for u in solver.us] + [hold] * more


def solve_in_stages(task: SystemTask, x: Array, goal: Array) -> tuple[Ocp, crocoddyl.SolverFDDP]:
    """Approach first, then the whole horizon, as `SystemTask` says."""
    short = task.ocp(task.config.approach, TerminalWeights(goal=1.0))
    short.aim(x, goal)
    guess = HoldGuess().propose(short, x, goal, 0.0, None)
    assert guess is not None
    first = crocoddyl.SolverFDDP(short.problem)
    first.solve(list(guess.xs), list(guess.us), 200, True)
    ocp = task.ocp(task.config.horizon, TerminalWeights(goal=1.0))
    ocp.aim(x, goal)
    solver = crocoddyl.SolverFDDP(ocp.problem)
    solver.solve(*ending_at_rest(task, first, ocp.horizon, goal), 200, False)
    return ocp, solver


@pytest.mark.parametrize(
    ("name", "share"),
    [("cartpole", 0.6), ("double_pendulum", 0.8), ("pendulum", 0.8), ("quadrotor", 0.8), ("unicycle", 0.8)],
)
def test_solvers_bring_most_samples_to_the_goal_and_keep_the_limits(name: str, share: float):
    task, rng, reached = load(name), np.random.default_rng(0), []
    for _ in range(5):
        x, goal = task.sample_state(rng), task.sample_goal(rng)
        ocp, solver = solve_in_stages(task, x, goal)
        xs, us = np.array(solver.xs), np.array(solver.us)
        reached.append(ocp.gap(xs, us) < 1e-6 and task.reached(xs[-1], goal))
        if name == "pendulum":
            assert np.abs(us).max() < 1.2 * task.costs["torque_limit"]
        if name == "quadrotor":
            assert task.costs["least_thrust"] - 0.2 < us.min()
            assert us.max() < task.costs["most_thrust"] + 0.2
    assert np.mean(reached) >= share


@pytest.mark.parametrize("name", SYSTEMS)
def test_limits_of_systems_are_costs_and_never_constraints(name: str):
    task = load(name)
    assert np.all(np.isinf(task.state_bounds))
    with pytest.raises(ConfigError, match="planner ddp"):
        task.ocp(3, TerminalWeights(), hard_limits=True)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_terminal_of_ones_own_is_aimed_with_the_problem(name: str):
    task = load(name)
    terminal, _ = task.terminal_model(TerminalWeights(goal=1.0))
    ocp = task.ocp(3, terminal)
    x, goal = task.sample_state(np.random.default_rng(0)), task.sample_goal(np.random.default_rng(1))
    ocp.aim(x, goal)
    data = terminal.createData()
    terminal.calc(data, x)
    e, _ = task.residual(x, goal)
    assert data.cost == pytest.approx(0.5 * np.sum((task.scaling * e) ** 2))


def test_the_model_hash_knows_what_motion_depends_on_and_nothing_else():
    heavy, weights = load("pendulum", "mass=1.1").robot, load("pendulum", "costs.effort=1.0")
    assert load("pendulum").robot.model_hash == weights.robot.model_hash != heavy.model_hash
    assert load("pendulum").costs != weights.costs
    hashes = {load(name).robot.model_hash for name in SYSTEMS}
    assert len(hashes) == len(SYSTEMS)
    machine = SystemMachine("toy", ("x",), 1, 1, 1, 1, {"a": 1.0, "b": [2, 3]})
    assert machine.model_hash == replace(machine, parameters={"b": [2, 3], "a": 1.0}).model_hash


def test_names_are_those_of_the_systems_and_of_the_scenarios():
    assert set(SYSTEMS) | {"kuka_reach"} <= set(problem_names())
    assert problem_names() == sorted(problem_names())
    for name in problem_names():
        assert load_problem(name).name == name


def test_scenarios_are_loaded_by_path_and_with_overrides(tmp_path: Path):
    file = tmp_path / "elsewhere.yaml"
    shutil.copy(share_directory() / "config" / "kuka_reach.yaml", file)
    problem = load_problem(str(file), ("task.goal=[0.4, 0.2, 0.6]",))
    assert problem.name == "elsewhere"
    assert problem.goal.tolist() == [0.4, 0.2, 0.6]


def test_overrides_reach_every_number_of_a_system():
    task = load("double_pendulum", "first.mass=0.3", "costs.effort=2e-2", "horizon=7")
    assert task.config.model_dump(include={"first": {"mass"}, "costs": {"effort"}, "horizon": True}) == {
        "first": {"mass": 0.3},
        "costs": {"effort": 0.02},
        "horizon": 7,
    }


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("mass", "dotted.key=value"),
        ("=1", "dotted.key=value"),
        ("weight=1", "unknown key; known here: .*mass"),
        ("costs.mass=1", "unknown key; known here: .*effort"),
        ("mass.of.air=1", "mass is a value"),
        ("air.mass=1", "unknown key; known here: .*mass"),
        ("mass=[1", "YAML"),
        ("mass=-1", "greater than 0"),
        ("states=[1.0]", "needs 2 numbers"),
        ("goal=[0.0, 0.0]", "needs 1 numbers"),
    ],
)
def test_unusable_overrides_are_refused(override: str, named: str):
    with pytest.raises(ConfigError, match=named):
        load_problem("pendulum", (override,))


def test_unknown_problems_are_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'pendolum'.*cartpole.*kuka_reach"):
        load_problem("pendolum")


def test_a_scenario_whose_task_has_no_geometry_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_geometry", lambda task: None)
    with pytest.raises(ConfigError, match=r"task.kind = 'reach'"):
        load_problem("kuka_reach")


def test_a_quadrotor_hovers_with_a_quarter_of_its_weight_on_each_rotor():
    config = QuadrotorConfig()
    assert 4 * config.hover == pytest.approx(config.mass * config.gravity)
    assert config.costs.least_thrust < config.hover < config.costs.most_thrust
