"""Artifacts: what is sealed can be loaded and used; what was tampered with is refused by name."""

from __future__ import annotations

import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import dpvp.learned.artifact
import handmade
from dpvp.config import read_yaml
from dpvp.errors import ConfigError
from dpvp.learned.artifact import Pair, artifact_folder, load_artifact, seal
from dpvp.learned.contract import ArtifactError, TrainingRange
from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp.robot import load_robot
from dpvp.scenario import Scenario, load_scenario
from handmade import LinearPolicy, ResidualValue, random_policy, random_value

Array = NDArray[np.float64]
X = np.array([0.1, 0.7, 0.0, 0.7, -0.5, 1.5, 0.0, 0.1, -0.2, 0.3, -0.1, 0.2, 0.0, 0.4])
GOAL = np.array([-0.3, -0.4, 0.5])


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach")


@pytest.fixture(scope="module")
def policy() -> LinearPolicy:
    return random_policy()


@pytest.fixture(scope="module")
def value() -> ResidualValue:
    return random_value()


@pytest.fixture(scope="module")
def sealed(
    scenario: Scenario, policy: LinearPolicy, value: ResidualValue, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "sealed"
    return handmade.write_artifact(folder, scenario.robot, scenario.task, policy=policy, value=value)


@pytest.fixture(scope="module")
def several(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> ValueFunction:
    folder = tmp_path_factory.mktemp("artifacts") / "several"
    handmade.write_artifact(folder, scenario.robot, scenario.task, value=random_value(members=3))
    return ValueFunction(load_artifact(folder, scenario.robot, scenario.task))


@pytest.fixture
def folder(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "artifact"))


class TestUse:
    @pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
    def test_policy_answers_what_was_exported(
        self, scenario: Scenario, policy: LinearPolicy, tmp_path: Path, dtype: str, tolerance: float
    ) -> None:
        handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy, dtype=dtype)
        learned = Policy(load_artifact(tmp_path, scenario.robot, scenario.task))
        for x in (X, -X):
            u = learned(x, GOAL)
            assert u.shape == (7,)
            assert u.dtype == np.float64
            assert np.allclose(u, policy(x, GOAL), rtol=tolerance, atol=tolerance)

    def test_answers_are_not_overwritten_by_the_next_one(self, scenario: Scenario, sealed: Path) -> None:
        artifact = load_artifact(sealed, scenario.robot, scenario.task)
        learned, value = Policy(artifact), ValueFunction(artifact)
        u, found = learned(X, GOAL), value.derivatives(X, GOAL)
        answers = u, found.residual, found.slope, found.gradient, found.hessian
        kept = [answer.copy() for answer in answers]
        learned(-X, GOAL), value.derivatives(-X, GOAL)
        assert all(np.array_equal(a, b) for a, b in zip(answers, kept, strict=True))

    def test_value_follows_the_chain_rule(self, scenario: Scenario, sealed: Path, value: ResidualValue) -> None:
        learned = ValueFunction(load_artifact(sealed, scenario.robot, scenario.task))

        def residual(x: Array) -> Array:
            return value.residual(x, scenario.task.features(x, GOAL)[0])

        step = 1e-6 * np.eye(14)
        by_hand = np.stack([(residual(X + d) - residual(X - d)) / 2e-6 for d in step], axis=1)
        found = learned.derivatives(X, GOAL)
        assert found.value == learned.value(X, GOAL).value == pytest.approx(0.5 * residual(X) @ residual(X), rel=1e-12)
        assert np.allclose(found.gradient, by_hand.T @ residual(X), atol=1e-8)
        assert np.allclose(found.hessian, by_hand.T @ by_hand, atol=1e-7)
        assert np.abs(found.gradient).max() > 0.01

    def test_residual_is_that_of_the_value(self, scenario: Scenario, sealed: Path) -> None:
        artifact = load_artifact(sealed, scenario.robot, scenario.task)
        feed = {"x": X[None], "f": np.linspace(-1.0, 1.0, 24)[None]}
        whole, alone = (artifact.graph(head).session for head in ("value", "residual"))
        assert [output.name for output in alone.get_outputs()] == ["r"]
        assert np.array_equal(alone.run(["r"], feed)[0], whole.run(["r"], feed)[0])
        assert len(onnx.load(sealed / "residual.onnx").graph.node) < len(onnx.load(sealed / "value.onnx").graph.node)

    def test_members_are_known_apart(self, scenario: Scenario, several: ValueFunction) -> None:
        value, f = random_value(members=3), scenario.task.features(X, GOAL)[0]
        by_itself = [1.5 * np.sum(rows**2) for rows in np.split(value.residual(X, f), 3)]
        for found in (several.value(X, GOAL), several.derivatives(X, GOAL)):
            assert np.allclose(found.members, by_itself, rtol=1e-12)
            assert found.value == pytest.approx(np.mean(by_itself), rel=1e-12)
            assert found.spread == pytest.approx(np.std(by_itself), rel=1e-12)

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def test_spread_gradient(self, seed: int, several: ValueFunction) -> None:
        x = np.random.default_rng(seed).uniform(-1, 1, 14)
        step = 1e-6 * np.eye(14)
        by_hand = [(several.value(x + d, GOAL).spread - several.value(x - d, GOAL).spread) / 2e-6 for d in step]
        assert np.allclose(several.derivatives(x, GOAL).spread_gradient, by_hand, atol=1e-7)

    def test_one_member_agrees_with_itself(self, scenario: Scenario, sealed: Path) -> None:
        found = ValueFunction(load_artifact(sealed, scenario.robot, scenario.task)).derivatives(X, GOAL)
        assert found.members == (found.value,)
        assert found.spread == 0.0
        assert not found.spread_gradient.any()

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.0, 3.0))
    def test_hessian_is_symmetric_and_positive(self, seed: int, size: float, scenario: Scenario, sealed: Path) -> None:
        learned = ValueFunction(load_artifact(sealed, scenario.robot, scenario.task))
        x = size * np.random.default_rng(seed).uniform(-1, 1, 14)
        found = learned.derivatives(x, GOAL)
        assert found.value >= 0.0
        assert np.allclose(found.hessian, found.hessian.T, atol=1e-12)
        assert np.linalg.eigvalsh(found.hessian).min() > -1e-12

    def test_artifact_cannot_be_changed(self, scenario: Scenario, sealed: Path) -> None:
        artifact = load_artifact(sealed, scenario.robot, scenario.task)
        with pytest.raises(FrozenInstanceError):
            artifact.folder = Path()  # type: ignore[misc]
        with pytest.raises(TypeError):
            artifact.graphs["policy"] = artifact.graphs["value"]  # type: ignore[index]
        with pytest.raises(ValueError, match="read-only"):
            artifact.ranges.x[0] = 0.0

    def test_other_prefix_is_the_same_robot(self, scenario: Scenario, sealed: Path) -> None:
        renamed = load_robot("iiwa14", prefix="left_", joint_stem="joint_")
        assert load_artifact(sealed, renamed, scenario.task).contract.robot.joint_names[0] == "A1"

    def test_symlink_within_the_folder_is_fine(self, folder: Path, scenario: Scenario) -> None:
        (folder / "policy.onnx").rename(folder / "other.onnx")
        (folder / "policy.onnx").symlink_to("other.onnx")
        load_artifact(folder, scenario.robot, scenario.task)

    def test_missing_head_is_named(self, scenario: Scenario, policy: LinearPolicy, tmp_path: Path) -> None:
        handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy)
        artifact = load_artifact(tmp_path, scenario.robot, scenario.task)
        with pytest.raises(ConfigError, match=r"artifact.yaml: graphs = \['policy'\]: needs a head `value`"):
            ValueFunction(artifact)

    def test_sessions_use_one_thread(self, scenario: Scenario, sealed: Path) -> None:
        options = load_artifact(sealed, scenario.robot, scenario.task).graphs["policy"].session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


class TestRange:
    @settings(max_examples=100, deadline=None)
    @given(
        x=st.lists(st.floats(-2, 2), min_size=2, max_size=2),
        goal=st.floats(-2, 2, allow_nan=False),
    )
    def test_inside_is_the_closed_box(self, x: list[float], goal: float) -> None:
        box = TrainingRange(np.array([[-1.0, 0.0], [1.0, 0.5]]), np.array([[-1.0], [1.0]]))
        expected = -1 <= x[0] <= 1 and 0 <= x[1] <= 0.5 and -1 <= goal <= 1
        assert box.inside(np.array(x), np.array([goal])) == expected

    def test_nan_is_outside(self) -> None:
        box = TrainingRange(np.array([[-1.0], [1.0]]), np.array([[-1.0], [1.0]]))
        assert box.inside(np.zeros(1), np.zeros(1))
        assert not box.inside(np.array([np.nan]), np.zeros(1))
        assert not box.inside(np.zeros(1), np.array([np.nan]))


class TestSeal:
    def description(self, folder: Path) -> dict[str, Any]:
        content = read_yaml(folder / "artifact.yaml")
        del content["schema_version"], content["golden"]
        for spec in content["graphs"].values():
            del spec["sha256"]
        (folder / "artifact.yaml").unlink()
        return content

    def test_wrong_pairs_leave_no_artifact(self, folder: Path) -> None:
        description = self.description(folder)
        with pytest.raises(ArtifactError, match=r"golden\.policy: expected 10 pairs, found 1 pairs"):
            seal(folder, description, {"policy": [Pair({}, {})], "value": []})
        assert not (folder / "artifact.yaml").exists()

    def test_description_is_checked(self, folder: Path) -> None:
        description = self.description(folder)
        del description["dt"]
        with pytest.raises(ArtifactError, match=r"artifact\.yaml: dt: expected Field required"):
            seal(folder, description, {})
        assert not (folder / "artifact.yaml").exists()

    def test_value_must_have_a_residual(self, folder: Path) -> None:
        description = self.description(folder)
        (folder / "value.onnx").write_bytes((folder / "policy.onnx").read_bytes())
        with pytest.raises(
            ArtifactError, match=r"value\.onnx: graphs\.value: expected an ONNX graph with output r, found"
        ):
            seal(folder, description, {})

    def test_graph_must_be_there(self, folder: Path) -> None:
        description = self.description(folder)
        description["graphs"]["policy"]["file"] = "p.onnx"
        with pytest.raises(ArtifactError, match=r"graphs\.policy\.file: expected the file .*p\.onnx"):
            seal(folder, description, {})


class TestFolder:
    def test_name_means_config_artifacts(self, tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dpvp.learned.artifact, "share_directory", lambda: tmp_path)
        shutil.copytree(sealed, tmp_path / "config" / "artifacts" / "mine")
        assert artifact_folder("mine") == tmp_path / "config" / "artifacts" / "mine"
        with pytest.raises(ArtifactError, match=r"artifact: expected a path with a / or one of mine, found 'yours'"):
            artifact_folder("yours")

    def test_path(self, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert artifact_folder(str(sealed)) == sealed
        monkeypatch.chdir(sealed.parent)
        assert artifact_folder("./sealed").resolve() == sealed
        monkeypatch.chdir(sealed)
        assert artifact_folder(".").resolve() == sealed
        with pytest.raises(ArtifactError, match=str(tmp_path)):
            artifact_folder(str(tmp_path))
