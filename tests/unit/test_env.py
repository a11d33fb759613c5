"""worlds/env.py: the robot of a scenario as an environment of gymnasium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import crocoddyl
import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from dpvp.errors import ConfigError, EnvironmentProblem, GoalError, MessageError
from dpvp.learned.artifact import artifact_folder, load_artifact
from dpvp.learned.policy import Policy
from dpvp.robot import Robot
from dpvp.tasks.task import Task, TerminalWeights
from dpvp.worlds.env import FAR, HEIGHT, WIDTH, Env
from dpvp.worlds.mujoco import MujocoWorld

Array = NDArray[np.float64]
NAME = "dpvp.worlds.env:dpvp/KukaReach-v0"
SHARE = 0.1  # of the effort limits


@pytest.fixture(scope="module")
def env() -> Env:
    made = gymnasium.make(NAME).unwrapped
    assert isinstance(made, Env)
    return made


@pytest.fixture
def pictured() -> Iterator[gymnasium.Env[Any, Any]]:
    made = gymnasium.make(NAME, render_mode="rgb_array")
    made.reset(seed=0)
    try:
        made.render()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
    yield made
    made.close()


def states(env: Env, actions: Array) -> Array:
    xs = [env.x]
    for action in actions:
        env.step(action)
        xs.append(env.x)
    return np.array(xs)


class TestActions:
    """Shares of a tenth of the effort limits, on top of what carries the arm."""

    @pytest.mark.parametrize("share", [-1.0, 0.0, 0.3, 1.0])
    def test_they_are_torques_above_gravity(self, env: Env, robot: Robot, share: float) -> None:
        env.reset(seed=1)
        torque = robot.gravity(env.x[:7]) + share * SHARE * robot.limits.effort
        np.testing.assert_allclose(env.control(np.full(7, share)), torque, atol=1e-9)

    def test_none_stays_where_it_is(self, env: Env, at_rest: Array) -> None:
        env.reset(options={"start": at_rest})
        for _ in range(10):
            env.step(np.zeros(7))
        np.testing.assert_allclose(env.x, at_rest, atol=1e-3)

    def test_what_is_beyond_is_clipped(self, env: Env) -> None:
        env.reset(seed=1)
        np.testing.assert_array_equal(env.control(np.full(7, 5.0)), env.control(np.ones(7)))

    def test_torques_end_at_the_limits_of_the_robot(self, robot: Robot) -> None:
        env = Env("kuka_reach", effort_share=1.0)
        env.reset(seed=1)
        assert np.abs(robot.gravity(env.x[:7])).max() > 1.0  # so that one of the limits comes before its share
        for sign in (-1.0, 1.0):
            assert np.all(np.abs(env.control(np.full(7, sign))) <= robot.limits.effort)

    def test_torques_become_the_action_that_means_them(self, env: Env, robot: Robot) -> None:
        env.reset(seed=1)
        action = np.linspace(-1.0, 1.0, 7, dtype=np.float32)
        np.testing.assert_allclose(env.action(env.control(action)), action, atol=1e-6)
        far = env.action(10.0 * robot.limits.effort)
        assert far in env.action_space
        np.testing.assert_array_equal(far, np.ones(7))

    @pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan), 0.0, [np.inf] + [0.0] * 6])
    def test_what_is_no_action_is_refused(self, env: Env, action: Any) -> None:
        env.reset(seed=1)
        before = env.x
        with pytest.raises(MessageError, match=r"action = .*needs 7 finite numbers"):
            env.step(action)
        np.testing.assert_array_equal(env.x, before)


class TestReset:
    """Starts and goals."""

    def test_a_start_and_a_goal_can_be_asked_for(self, env: Env, at_rest: Array, goal: Array) -> None:
        seen, info = env.reset(options={"start": at_rest, "goal": goal})
        np.testing.assert_allclose(seen, np.concatenate([at_rest, env.task.observe(at_rest, goal)]), rtol=1e-6)
        assert info["error"] == pytest.approx(env.task.error(at_rest, goal))
        assert info["is_success"] is False

    def test_otherwise_they_are_drawn_as_the_task_draws_them(self, env: Env, task: Task) -> None:
        env.reset(seed=7)
        rng = np.random.default_rng(7)
        np.testing.assert_array_equal(env.x, task.sample_start(rng))
        np.testing.assert_array_equal(env.goal, task.sample_goal(rng))

    @pytest.mark.parametrize(
        ("options", "error", "said"),
        [
            ({"goal": [3.0, 0.0, 0.5]}, GoalError, "outside the workspace"),
            ({"goal": [0.5, 0.5]}, GoalError, "needs x y z"),
            ({"start": np.zeros(7)}, MessageError, "start = .*needs 14 finite numbers"),
            ({"target": [0.5, 0.0, 0.5]}, MessageError, "unknown options .*target.*known are start and goal"),
        ],
    )
    def test_what_cannot_be_is_refused(self, env: Env, options: Any, error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            env.reset(options=options)


def test_the_robot_moves_in_mujoco_at_the_rate_of_its_feedback(env: Env, robot: Robot) -> None:
    env.reset(seed=3)
    world, actions = MujocoWorld(robot, 0.001), np.random.default_rng(0).uniform(-1, 1, (5, 7))
    world.reset(*np.split(env.x, 2))
    for action in actions:
        world.apply(env.control(action))
        for _ in range(30):
            world.step()
        env.step(action)
        measured = world.read()
        np.testing.assert_array_equal(env.x, np.concatenate([measured.q, measured.v]))


def test_what_was_before_an_episode_does_not_matter(env: Env) -> None:
    actions, ends = np.random.default_rng(0).uniform(-1, 1, (10, 7)), []
    for before in (0, 50):
        env.reset(seed=4)
        states(env, np.ones((before, 7)))
        env.reset(seed=5)
        ends.append(states(env, actions))
    np.testing.assert_array_equal(*ends)


def test_it_is_cut_off_and_never_over() -> None:
    env = gymnasium.make(NAME, max_episode_steps=4)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]
    spec = gymnasium.make(NAME).spec
    assert spec is not None
    assert spec.max_episode_steps == 300


def test_the_goal_is_reached_where_the_task_says_so(env: Env, at_rest: Array, robot: Robot) -> None:
    here = robot.frame_position(robot.nominal)
    _, info = env.reset(options={"start": at_rest, "goal": here})
    assert info == {"error": pytest.approx(0.0, abs=1e-12), "is_success": True}
    _, reward, _, _, info = env.step(np.zeros(7))
    assert info["is_success"]
    assert reward == pytest.approx(0.0, abs=1e-9)


def test_the_learned_policy_earns_much_more_than_chance_and_than_nothing(env: Env) -> None:
    policy = Policy(load_artifact(artifact_folder("kuka_reach"), env.task.robot, env.task))
    rng, earned, by_chance, by_rest, nearer = np.random.default_rng(0), 0.0, 0.0, 0.0, []
    for seed in range(3):
        _, begin = env.reset(seed=seed)
        for _ in range(150):
            _, reward, _, _, info = env.step(env.action(policy(env.x, env.goal)))
            earned += reward
        nearer.append(info["error"] / begin["error"])
        env.reset(seed=seed)
        by_chance += sum(env.step(rng.uniform(-1, 1, 7))[1] for _ in range(150))
        env.reset(seed=seed)
        by_rest += sum(env.step(np.zeros(7))[1] for _ in range(150))
    assert earned > 0.5 * by_rest
    assert earned > 0.05 * by_chance
    assert max(nearer) < 0.2


def test_a_plan_along_a_path_that_goes_on_earns_minus_its_cost() -> None:
    """Feed-forward and gains of the leg's own problem, from a start beside the path, in MuJoCo."""
    env = Env("leg_track")
    env.reset(seed=0)
    nodes, goal = 150, env.goal
    reference, ocp = env.task.reference(goal, nodes), env.task.ocp(nodes, TerminalWeights())
    ocp.aim(env.x, goal)
    solver = crocoddyl.SolverFDDP(ocp.problem)
    assert solver.solve([env.x, *reference.xs[1:]], list(reference.us[:nodes]), 100, False)
    earned, errors = 0.0, []
    for x, u, gain in zip(solver.xs, solver.us, solver.K, strict=False):
        _, reward, _, _, info = env.step(env.action(u + gain @ (np.array(x) - env.x)))
        earned += reward
        errors.append(info["error"])
    assert max(errors[50:]) < env.task.tolerance
    assert info["is_success"]
    assert -earned == pytest.approx(solver.cost, rel=0.3)


class TestPictures:
    """What `render` returns."""

    def test_they_show_the_robot_and_the_goal(self, pictured: gymnasium.Env[Any, Any], at_rest: Array) -> None:
        shown = []
        for goal in ([0.5, 0.0, 0.6], [0.5, 0.0, 0.9]):
            pictured.reset(options={"start": at_rest, "goal": goal})
            shown.append(pictured.render())
        assert shown[0].shape == (HEIGHT, WIDTH, 3)
        assert shown[0].dtype == np.uint8
        moved = np.abs(shown[0].astype(int) - shown[1]).max(axis=2) > 20
        assert 20 < moved.sum() < 0.1 * moved.size  # two small balls

    def test_they_come_at_the_rate_of_the_nodes(self, pictured: gymnasium.Env[Any, Any]) -> None:
        assert pictured.unwrapped.metadata["render_fps"] == 33

    def test_closing_twice_is_fine(self, pictured: gymnasium.Env[Any, Any]) -> None:
        pictured.reset(seed=0)
        pictured.close()
        pictured.close()

    def test_none_are_made_unless_asked_for(self, env: Env) -> None:
        env.reset(seed=0)
        assert env.render() is None

    def test_another_way_to_render_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="render_mode = 'ansi': must be rgb_array or None"):
            Env("kuka_reach", render_mode="ansi")


def test_a_node_must_be_whole_steps_of_the_world() -> None:
    with pytest.raises(ConfigError, match=r"rates\.feedback = 1010\.0: times task\.dt = 0\.03 s must be a whole"):
        Env("kuka_reach", overrides=("rates.feedback=1010",))


def test_a_state_that_diverges_ends_the_episode_and_is_not_shown(env: Env, at_rest: Array, monkeypatch: Any) -> None:
    env.reset(options={"start": at_rest})
    for broken in (np.full(14, np.nan), np.full(14, 2.0 * FAR)):
        monkeypatch.setattr(env, "_moved", lambda u, planned, x=broken: x)
        seen, reward, terminated, truncated, _ = env.step(np.zeros(7))
        assert (terminated, truncated) == (True, False)
        np.testing.assert_allclose(seen[:14], at_rest, rtol=1e-6)
        assert np.isfinite(reward)
