"""scenario.py: what a scenario file may say, overrides, and what is said of mistakes."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dpvp.config import load, share_directory
from dpvp.errors import ConfigError
from dpvp.scenario import Scenario, ScenarioConfig, TerminalConfig, load_scenario, scenario_names
from dpvp.tasks.task import TerminalWeights

changes_of_a_scenario = st.fixed_dictionaries(
    {},
    optional={
        "planner.horizon": st.integers(1, 1000),
        "planner.kind": st.sampled_from(["ddp", "csqp"]),
        "planner.budget": st.floats(1e-4, 1.0),
        "planner.terminal.goal": st.floats(0.0, 1e4),
        "rates.plan": st.floats(1.0, 500.0),
        "feedback.command_timeout": st.none() | st.floats(0.01, 5.0),
        "task.goal": st.lists(st.floats(-1, 1), min_size=3, max_size=3),
        "run.within": st.floats(0.1, 100.0),
    },
)


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_loads_and_its_goal_can_be_reached(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    np.testing.assert_array_equal(scenario.task.check_goal(scenario.goal), scenario.goal)


def test_the_published_problem_is_the_default(scenario: Scenario) -> None:
    """Constants of the reaching benchmark."""
    task, weights = scenario.config.task, scenario.config.task.weights
    assert (task.dt, task.position_share, task.soft_velocity) == (0.03, 0.95, 1.0)
    assert (weights.goal, weights.velocity, weights.effort, weights.limit) == (2.0, 0.2, 0.01, 0.1)
    assert weights.velocity_scale == (1, 2, 1, 1, 1, 1, 1)
    assert scenario.goal == (-0.3, -0.4, 0.5)
    assert (task.starts.half_width, task.starts.speed) == (0.9, 0.01)
    assert task.starts.centre == (-1.206, 0.804, 1.531, 2.002, -1.063, 1.273, 0.0)


class TestNames:
    """A scenario is named by its file."""

    def test_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(ConfigError, match=r"scenario = 'kuka_raech': must be one of .*kuka_reach.* or a path"):
            load_scenario("kuka_raech")

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml.*this file must exist"):
            load_scenario(str(tmp_path / "nowhere.yaml"))

    def test_a_file_of_ones_own(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.yaml"
        shutil.copy(share_directory() / "config" / "kuka_reach.yaml", file)
        mine = load_scenario(str(file))
        assert (mine.name, mine.file) == ("mine", str(file))

    def test_the_resolved_file_of_a_run_goes_by_its_folder(self, tmp_path: Path, scenario: Scenario) -> None:
        folder = tmp_path / "kuka_reach-001"
        folder.mkdir()
        scenario.save(folder / "scenario.yaml")
        assert load_scenario(str(folder / "scenario.yaml")).name == "kuka_reach-001"

    def test_other_joint_names(self) -> None:
        robot = load_scenario("kuka_reach", ("robot.prefix=left_", "robot.joint_stem=joint_")).robot
        assert robot.joint_names == tuple(f"left_joint_{i}" for i in range(1, 8))


class TestPaths:
    """Robot and artifact may be folders of one's own."""

    @pytest.fixture
    def own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A scenario beside the folder of its robot, looked at from somewhere else."""
        shutil.copytree(share_directory() / "urdf" / "iiwa14", tmp_path / "mine" / "arm")
        text = (share_directory() / "config" / "kuka_reach.yaml").read_text(encoding="utf-8")
        text = text.replace("{name: iiwa14}", "{name: ./arm}").replace("artifact: kuka_reach", "artifact: ./learned")
        (tmp_path / "mine" / "reach.yaml").write_text(text, encoding="utf-8")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        return tmp_path / "mine"

    def test_those_of_a_file_count_from_its_folder(self, own: Path) -> None:
        scenario = load_scenario("../mine/reach.yaml")
        assert scenario.robot.folder == own / "arm"
        assert scenario.config.artifact == str(own / "learned")

    def test_those_of_overrides_count_from_where_we_are(self, own: Path) -> None:
        shutil.copytree(own / "arm", "arm")
        scenario = load_scenario("../mine/reach.yaml", ("robot.name=./arm", "artifact=./taught"))
        assert scenario.robot.folder == Path("arm").resolve()
        assert scenario.config.artifact == str(Path("taught").resolve())

    def test_home_is_known(self, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(own))
        assert load_scenario("kuka_reach", ("robot.name=~/arm",)).robot.folder == own / "arm"

    def test_names_stay_names(self) -> None:
        config = load_scenario("kuka_reach").config
        assert (config.robot.name, config.artifact) == ("iiwa14", "kuka_reach")


class TestOverrides:
    """`--set dotted.key=value`."""

    def test_values_are_yaml(self) -> None:
        config = load_scenario(
            "kuka_reach", ("planner.horizon=50", "planner.guesses=[shift]", "feedback.command_timeout=null")
        ).config
        assert config.planner.horizon == 50
        assert config.planner.guesses == ("shift",)
        assert config.feedback.command_timeout is None

    def test_they_leave_the_rest_alone(self, scenario: Scenario) -> None:
        changed = load_scenario("kuka_reach", ("task.weights.goal=3",)).config.model_dump()
        changed["task"]["weights"]["goal"] = scenario.config.task.weights.goal
        assert changed == scenario.config.model_dump()

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("planner.horizon", "--set: .*must be written dotted.key=value"),
            ("=3", "--set: .*must be written dotted.key=value"),
            ("planner.horizon=[", "--set: planner.horizon = '\\[': must be a YAML value"),
            ("planner.kind.x=1", "--set: planner.kind.x = '1': kind is a value and has no keys below it"),
            ("planner.horizont=3", "planner.horizont = 3: unknown key; known here: .*horizon, .*"),
            ("planner.horizon=0", "planner.horizon = 0: Input should be greater than 0"),
            ("planner.kind=mppi", "planner.kind = 'mppi': Input should be 'ddp' or 'csqp'"),
            ("planner.guesses=[]", "planner.guesses = .*at least 1 item"),
            ("planner.budget=0", "planner.budget = 0: .*greater than 0"),
            ("planner.limit_slack=1.5", "planner.limit_slack = 1.5: .*less than or equal to 1"),
            ("task.dt=.nan", "task.dt = nan"),
            ("task.goal=[0.5, 0.1]", "task.goal = .*at least 3 items"),
            ("task.weights.velocity_scale=[1, 1]", "task.weights.velocity_scale = .*needs 7 numbers"),
            ("task.starts.centre=[0]", "task.starts.centre = .*needs 7 numbers"),
            ("task.weights.gaol=1", "task.weights.gaol = 1: unknown key; known here: .*velocity_scale"),
            ("task.kind=fly", "task = .*'fly'.*'reach', 'track'"),
            ("rates.plan=0", "rates.plan = 0"),
            ("robot.name=iiwa7", "robot.name = 'iiwa7': must be one of .*iiwa14"),
        ],
    )
    def test_mistakes_are_named(self, override: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            load_scenario("kuka_reach", (override,))

    def test_keys_of_a_task_are_those_of_its_kind(self) -> None:
        with pytest.raises(ConfigError, match=r"task.weights.gaol = 1: unknown key; known here: effort, effort_limit"):
            load_scenario("leg_track", ("task.weights.gaol=1",))

    def test_errors_name_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.yaml"
        content = yaml.safe_load((share_directory() / "config" / "kuka_reach.yaml").read_text(encoding="utf-8"))
        content["planner"]["horizon"] = -1
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        with pytest.raises(ConfigError, match=r"mine\.yaml: planner\.horizon = -1"):
            load_scenario(str(file))


@given(changes=changes_of_a_scenario)
def test_what_is_saved_is_what_was_set(
    changes: dict[str, object], scenario: Scenario, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = scenario.config.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split(".")
        part = content
        for name in path:
            part = part[name]
        part[last] = value
    changed = copy.copy(scenario)
    changed.config = ScenarioConfig.model_validate(content)
    changed.save(file := tmp_path_factory.getbasetemp() / "copy.yaml")
    assert load(ScenarioConfig, file) == changed.config


def test_what_is_saved_is_what_was_loaded(tmp_path: Path) -> None:
    texts = ("planner.horizon=12", "feedback.damping_timeout=null", "task.goal=[0.5, 0.1, 0.4]", "robot.prefix=left_")
    before = load_scenario("kuka_reach", texts)
    before.save(tmp_path / "copy.yaml")
    after = load_scenario(str(tmp_path / "copy.yaml"))
    assert after.config == before.config
    assert after.robot.joint_names == before.robot.joint_names
    assert (after.config.planner.horizon, after.config.feedback.damping_timeout) == (12, None)
    assert after.goal == (0.5, 0.1, 0.4)


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (TerminalConfig(), TerminalWeights(0.0, 0.0)),
        (TerminalConfig(kind="zero", goal=5.0, velocity=1.0), TerminalWeights(0.0, 0.0)),
        (TerminalConfig(kind="quadratic", goal=5.0, velocity=1.0), TerminalWeights(5.0, 1.0)),
        (TerminalConfig(kind="value", goal=5.0, velocity=1.0), TerminalWeights(5.0, 1.0)),
    ],
)
def test_terminal_weights_follow_the_kind(config: TerminalConfig, weights: TerminalWeights) -> None:
    assert config.weights == weights


def test_a_slower_robot_is_still_the_machine_that_it_is() -> None:
    """For first runs on hardware: planner, guard and supervisor see lower limits, artifacts fit all the same."""
    usual, slow = (load_scenario("kuka_reach", (f"safety.velocity_scale={scale}",)) for scale in (1.0, 0.3))
    np.testing.assert_allclose(slow.robot.limits.velocity, 0.3 * usual.robot.limits.velocity)
    np.testing.assert_array_equal(slow.robot.limits.effort, usual.robot.limits.effort)
    assert slow.robot.model_hash == usual.robot.model_hash
    np.testing.assert_allclose(slow.task.state_bounds[1][7:], 0.3 * usual.task.state_bounds[1][7:])
