"""Every environment that is registered with gymnasium: its checkers, its promises, and somebody else's learners."""

from __future__ import annotations

import warnings
from typing import Any

import crocoddyl
import gymnasium
import numpy as np
import pytest
import stable_baselines3
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.planning.guess import HoldGuess
from dpvp.scenario import load_scenario
from dpvp.tasks.task import Steered, TerminalWeights
from dpvp.worlds.env import TaskEnv
from dpvp.worlds.render import RobotRenderer
from dpvp_training.envs.env import NAMES, SystemEnv
from dpvp_training.envs.registry import system_names

Array = NDArray[np.float64]
ENVS = sorted(name for name in gymnasium.registry if name.startswith("dpvp/"))
SYSTEMS = sorted(f"dpvp/{name}-v0" for name in NAMES)
UNBOUNDED = ".*A Box observation space (minimum value is -infinity|maximum value is infinity)"  # states have no bounds


def make(name: str) -> TaskEnv:
    made = gymnasium.make(name).unwrapped
    assert isinstance(made, TaskEnv)
    return made


@pytest.fixture(scope="module", params=ENVS)
def env(request: pytest.FixtureRequest) -> TaskEnv:
    return make(request.param)


@pytest.fixture(scope="module")
def opengl() -> bool:
    """Whether this machine can render."""
    try:
        RobotRenderer(load_scenario("kuka_reach").robot, 32, 32).close()
    except EnvironmentProblem:
        return False
    return True


def drawn(env: TaskEnv, count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (count, *env.action_space.shape))


def test_scenarios_and_systems_are_there() -> None:
    assert {"dpvp/KukaReach-v0", "dpvp/LegTrack-v0", "dpvp/QuadrupedWalk-v0"} | set(SYSTEMS) == set(ENVS)
    assert sorted(NAMES.values()) == system_names()


def test_gymnasium_finds_nothing_wrong(env: TaskEnv, opengl: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", UNBOUNDED)
        check_env(env, skip_render_check=not opengl)


def test_stable_baselines_finds_nothing_wrong(env: TaskEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env_for_sb3(env)


def test_a_seed_says_all(env: TaskEnv) -> None:
    runs = []
    for which, seed in ((env, 1), (make(env.spec.id), 1), (env, 2)):
        steps = [which.reset(seed=seed)[0]]
        steps += [np.append(*which.step(action)[:2]) for action in drawn(env, 20)]
        runs.append(np.concatenate(steps))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3


def test_rewards_are_minus_the_costs_of_the_problem(env: TaskEnv) -> None:
    """That of many nodes at once, which knows for itself where the goal goes."""
    if isinstance(env.task, Steered):
        pytest.skip("what a walk refers to goes on from where the robot is: every step is the first one of a problem")
    env.reset(seed=3)
    goal, xs, us, rewards = env.goal, [env.x], [], []
    for action in 0.3 * drawn(env, 40):
        us.append(env.control(action))
        rewards.append(env.step(action)[1])
        xs.append(env.x)
    ocp = env.task.ocp(len(us), TerminalWeights())
    ocp.aim(xs[0], goal)
    assert -sum(rewards) == pytest.approx(ocp.cost(np.array(xs), np.array(us)), rel=1e-6)
    assert max(rewards) < 0.0
    np.testing.assert_allclose(env.goal, env.task.later(goal, len(us) * env.task.dt), atol=1e-9)


def test_an_observation_says_all_that_the_next_step_depends_on(env: TaskEnv) -> None:
    """An episode that begins where another one is goes on like it; the first numbers are the state itself."""
    env.reset(seed=4)
    for action in 0.3 * drawn(env, 15):
        seen = env.step(action)[0]
    np.testing.assert_array_equal(seen[: len(env.x)], env.x.astype(np.float32))
    other, action = make(env.spec.id), 0.5 * drawn(env, 1)[0]
    there, _ = other.reset(options={"start": env.x, "goal": env.goal})
    np.testing.assert_array_equal(there, seen)
    for mine, others in zip(env.step(action)[:2], other.step(action)[:2], strict=True):
        np.testing.assert_allclose(mine, others, rtol=1e-5, atol=1e-6)


def test_other_goals_look_different(env: TaskEnv) -> None:
    start, goals = env.reset(seed=5)[0], []
    x = env.x
    for seed in range(5):
        env.reset(seed=seed, options={"start": x})
        goals.append(env.goal)
        if np.abs(goals[-1] - goals[0]).max() > 1e-3:
            assert np.abs(env._observe() - start).max() > 1e-5
    if len(set(map(tuple, goals))) == 1:
        assert env.task.config.goals == (0.0,)  # one goal only


def optimum(env: SystemEnv) -> crocoddyl.SolverFDDP:
    """What a solver finds in two stages, as `SystemTask` says."""
    task, config = env.task, env.task.config
    short, ocp = task.ocp(config.approach, TerminalWeights(goal=1.0)), task.ocp(config.horizon, TerminalWeights())
    for problem in (short, ocp):
        problem.aim(env.x, env.goal)
    guess = HoldGuess().propose(short, env.x, env.goal, 0.0, None)
    first, solver = crocoddyl.SolverFDDP(short.problem), crocoddyl.SolverFDDP(ocp.problem)
    first.solve(list(guess.xs), list(guess.us), 200, True)
    us = [np.array(u) for u in first.us]
    us += [ocp.gravity(np.array(first.xs[-1]))] * (config.horizon - len(us))
    solver.solve(list(ocp.rollout(np.array(us))), us, 200, True)
    return solver


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_optimum_of_a_solver_earns_minus_its_cost_and_more_than_chance_and_nothing(name: str) -> None:
    env = make(name)
    earned, cost, by_chance, by_rest = 0.0, 0.0, 0.0, 0.0
    for seed in range(3):
        env.reset(seed=seed)
        plan = optimum(env)
        cost += plan.cost
        for x, u, gain in zip(plan.xs, plan.us, plan.K, strict=False):
            # with feedback: the machines are unstable, and actions are rounded
            control = u + gain @ env.task.space.diff(env.x, np.array(x))
            _, reward, terminated, _, _ = env.step(env.action(control))
            assert not terminated
            earned += reward
        env.reset(seed=seed)
        by_chance += sum(env.step(action)[1] for action in drawn(env, env.task.config.horizon, seed))
        env.reset(seed=seed)
        by_rest += sum(env.step(action)[1] for action in 0.0 * drawn(env, env.task.config.horizon))
    assert -earned == pytest.approx(cost, rel=0.02)
    assert earned > 0.8 * by_rest
    assert earned > 0.5 * by_chance


def test_to_diverge_is_no_way_out() -> None:
    """What ends an episode early has paid more than who does nothing in a whole one."""
    env = make("dpvp/DoublePendulum-v0")
    returns = []
    for action in ([1.0], [0.0]):
        total, over = 0.0, False
        env.reset(seed=0)
        for _ in range(env.task.config.horizon):
            seen, reward, over, _, _ = env.step(np.array(action))
            assert np.isfinite(seen).all()
            total += reward
            if over:
                break
        returns.append((over, total))
    (diverged, pushed), (stayed, rested) = returns
    assert (diverged, stayed) == (True, False)
    assert pushed < 3.0 * rested


@pytest.mark.filterwarnings("ignore:.*render_mode='rgb_array' that is not in the possible")  # it tries, and goes on
@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_a_learner_of_stable_baselines_runs(name: str, algorithm: str) -> None:
    settings: dict[str, Any] = {"PPO": {"n_steps": 128}, "SAC": {"learning_starts": 100, "batch_size": 32}}[algorithm]
    learner = getattr(stable_baselines3, algorithm)("MlpPolicy", name, seed=0, device="cpu", **settings)
    before = {key: value.clone() for key, value in learner.policy.state_dict().items()}
    learner.learn(256)
    after = learner.policy.state_dict()
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert any(not value.equal(before[key]) for key, value in after.items())
    env = gymnasium.make(name)
    action, _ = learner.predict(env.reset(seed=0)[0])
    env.step(action)


def test_a_system_can_be_given_other_numbers() -> None:
    env = gymnasium.make("dpvp/CartPole-v0", overrides=("controls=[2.0]", "costs.force=0.0"))
    env.reset(seed=0)
    np.testing.assert_array_equal(env.unwrapped.control([1.0]), [2.0])
    with pytest.raises(ConfigError, match=r"controls = .*: needs 1 numbers"):
        SystemEnv("cartpole", overrides=("controls=[2.0, 2.0]",))


def test_another_system_is_refused() -> None:
    with pytest.raises(ConfigError, match="system = 'acrobot': must be one of cartpole, double_pendulum"):
        SystemEnv("acrobot")
