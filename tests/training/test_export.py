"""Export: what torch says is what ONNX Runtime says, and an artifact appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import networks
from dpvp.config import share_directory
from dpvp.errors import EnvironmentProblem
from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import ArtifactError, Box, EnsembleSpec, Metric, RangesSpec, TrainingSpec
from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp.robot import Robot
from dpvp.tasks.task import Task
from dpvp_training.core import export
from dpvp_training.core.export import ExportError, HeadExport, Meaning, export_graph, write_artifact
from dpvp_training.core.provenance import library_versions, source_commit

NX, NU, GOAL = 14, 7, 3
NF = 3 + 3 * 7  # features of a reach: distance from the goal and the Jacobian of the position
STATE, POINT, TORQUE = Meaning("rad, rad/s", "state"), Meaning("m", "target"), Meaning("Nm", "total torque")
TRAINING = TrainingSpec(system="dpvp", config={"seed": 3}, seed=3, commit=source_commit(), libraries=library_versions())
RANGES = RangesSpec(
    x=Box(lower=(-2.0,) * NX, upper=(2.0,) * NX), goal=Box(lower=(-1.0, -1.0, 0.0), upper=(1.0, 1.0, 1.4))
)


def policy(dtype: torch.dtype = torch.float32) -> HeadExport:
    return HeadExport(networks.LinearPolicy(NX, GOAL, NU, dtype), {"x": STATE, "goal": POINT}, {"u": TORQUE})


def value(module: torch.nn.Module) -> HeadExport:
    outputs = {name: Meaning("1", f"residual of the value: {name}") for name in ("r", "R_x", "R_f")}
    return HeadExport(module, {"x": STATE, "f": Meaning("m, m/rad", "features of the task")}, outputs)


def write(folder: Path, task: Task, heads: Mapping[Any, HeadExport], **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "horizon": 10,
        "ranges": RANGES,
        "training": TRAINING,
        "metrics": {"closed-loop cost": Metric(value=1.01, baseline=2.6)},
        "rng": np.random.default_rng(0),
        "ensemble": EnsembleSpec(members=2, spread=0.1, floor=0.01) if "value" in heads else None,
    }
    return write_artifact(folder, task=task, heads=heads, **{**arguments, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, task: Task) -> Path:
    heads = {"policy": policy(), "value": value(networks.BlindValue(NX, NF, 6))}
    return write(tmp_path_factory.mktemp("artifacts") / "new" / "kuka_reach", task, heads)


class TestArtifact:
    def test_policy_answers_as_its_network(self, written: Path, robot: Robot, task: Task) -> None:
        learned, network = Policy(load_artifact(written, robot, task)), policy().module
        rng = np.random.default_rng(1)
        for _ in range(5):
            x, goal = task.sample_state(rng), task.sample_goal(rng)
            u = network(*(torch.tensor(v, dtype=torch.float32)[None] for v in (x, goal)))
            assert np.allclose(learned(x, goal), u.detach().numpy()[0], rtol=1e-4, atol=1e-4)

    def test_value_answers_as_its_network(self, written: Path, robot: Robot, task: Task) -> None:
        learned, network = ValueFunction(load_artifact(written, robot, task)), networks.BlindValue(NX, NF, 6)
        rng = np.random.default_rng(1)
        for _ in range(5):
            x, goal = task.sample_state(rng), task.sample_goal(rng)
            r = network.matrix.detach().numpy() @ task.features(x, goal)[0]
            assert learned.value(x, goal).value == pytest.approx(0.5 * r @ r, rel=1e-9)

    def test_contract_says_what_was_given(self, written: Path, robot: Robot, task: Task) -> None:
        contract = load_artifact(written, robot, task).contract
        assert contract.training == TRAINING
        assert contract.ranges == RANGES
        assert contract.ensemble == EnsembleSpec(members=2, spread=0.1, floor=0.01)
        assert contract.metrics == {"closed-loop cost": Metric(value=1.01, baseline=2.6)}
        assert [entry.name for entry in contract.task.goal_layout] == ["x", "y", "z"]
        (u,) = contract.graphs["policy"].outputs
        assert (u.name, u.shape, u.dtype, u.unit, u.meaning) == ("u", (1, NU), "float32", "Nm", "total torque")
        assert {tensor.dtype for tensor in contract.graphs["value"].outputs} == {"float64"}

    def test_graphs_are_self_contained(self, written: Path) -> None:
        assert not list(written.parent.glob("*.part"))
        assert not list(written.glob("*.data"))
        for file in written.glob("*.onnx"):
            model = onnx.load_model(file)
            assert all(not tensor.external_data for tensor in model.graph.initializer)
            assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]

    def test_graphs_do_not_say_where_they_were_made(self, written: Path) -> None:
        """The same network is the same file, whoever exports it; the exporter notes source lines of every node."""
        for file in written.glob("*.onnx"):
            assert b".py" not in file.read_bytes()

    @pytest.mark.parametrize("folder", sorted((share_directory() / "config/artifacts").iterdir()), ids=lambda f: f.name)
    def test_neither_do_those_that_come_with_dpvp(self, folder: Path) -> None:
        graphs = sorted(folder.glob("*.onnx"))
        assert graphs
        assert all(b".py" not in file.read_bytes() for file in graphs)

    def test_recorded_pairs_are_states_and_goals_of_the_task(self, written: Path, tmp_path: Path, task: Task) -> None:
        def content(seed: int) -> str:
            again = write(tmp_path / "again", task, {"policy": policy()}, rng=np.random.default_rng(seed))
            return (again / "golden.json").read_text()

        with pytest.MonkeyPatch.context() as patch:
            use_exported(patch, written)
            assert content(5) == content(5) != content(6)


def use_exported(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take the graphs of another artifact instead of exporting them again."""

    def copy(exporter: Any, module: Any, inputs: Any, names: Sequence[str], file: Path) -> None:
        shutil.copy(folder / file.name, file)

    patch.setattr(export, "_export_with", copy)


class TestReplacing:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch, written: Path) -> None:
        use_exported(monkeypatch, written)

    def test_an_artifact_is_replaced(self, written: Path, tmp_path: Path, robot: Robot, task: Task) -> None:
        folder = Path(shutil.copytree(written, tmp_path / "artifact"))
        write(folder, task, {"policy": policy()}, horizon=11)
        artifact = load_artifact(folder, robot, task)
        assert list(artifact.graphs) == ["policy"]
        assert artifact.contract.horizon == 11
        assert [file.name for file in tmp_path.iterdir()] == ["artifact"]

    def test_an_artifact_that_could_not_be_loaded_is_not_written(
        self, written: Path, tmp_path: Path, robot: Robot, task: Task
    ) -> None:
        folder = Path(shutil.copytree(written, tmp_path / "artifact"))
        ranges = RangesSpec(x=Box(lower=(0.0,), upper=(1.0,)), goal=RANGES.goal)
        with pytest.raises(ArtifactError, match=r"ranges\.x: expected 14 numbers, found 1 numbers"):
            write(folder, task, {"policy": policy()}, ranges=ranges)
        assert load_artifact(folder, robot, task).contract.horizon == 10
        assert [file.name for file in tmp_path.iterdir()] == ["artifact"]

    def test_a_graph_of_another_network_is_found_out(self, tmp_path: Path, task: Task) -> None:
        other = policy()
        with torch.no_grad():
            other.module.get_parameter("of_x").add_(0.01)
        with pytest.raises(ArtifactError, match=r"golden\.policy\.0\.u"):
            write(tmp_path / "artifact", task, {"policy": other})
        assert not list(tmp_path.iterdir())

    def test_other_folders_are_not_replaced(self, tmp_path: Path, task: Task) -> None:
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(EnvironmentProblem, match="exists and is not an artifact"):
            write(tmp_path, task, {"policy": policy()})
        assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path, task: Task) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(EnvironmentProblem, match=r"file/artifact: cannot be written \(Not a directory\)"):
            write(tmp_path / "file" / "artifact", task, {"policy": policy()})


class TestGraph:
    def test_a_graph_answers_as_its_network(self, tmp_path: Path) -> None:
        network = networks.CurvedValue(NX, NF, 4)
        example = {"x": torch.zeros(1, NX, dtype=torch.float64), "f": torch.zeros(1, NF, dtype=torch.float64)}
        export_graph(network, example, ("r", "R_x", "R_f"), tmp_path / "value.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "value.onnx")
        generator = torch.Generator().manual_seed(5)
        for _ in range(5):
            case = {name: torch.randn(v.shape, generator=generator, dtype=v.dtype) for name, v in example.items()}
            found = session.run(["r", "R_x", "R_f"], {name: tensor.numpy() for name, tensor in case.items()})
            for answer, wanted in zip(found, network(**case), strict=True):
                assert np.allclose(answer, wanted.detach().numpy(), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (networks.Fickle(), r"output y of the graph differs from that of the network by more than"),
            (networks.Branching(), r"data-dependent|control flow|dynamic"),
            (networks.Deadly(), r"taken its process down"),
        ],
    )
    def test_what_cannot_be_exported_says_why(self, tmp_path: Path, module: torch.nn.Module, message: str) -> None:
        with pytest.raises(ExportError, match=rf"graph\.onnx: .*({message})"):
            export_graph(module, {"x": torch.ones(1, 3)}, ("y",), tmp_path / "graph.onnx")
        assert not list(tmp_path.iterdir())
