"""Artifact: a learned thing on disk, a folder with `artifact.yaml` and the ONNX graphs that it describes.

`load_artifact` trusts nothing that it reads: paths stay in the folder, every graph has the hash, the names and the
shapes of the contract, robot and task are those at hand, and the recorded pairs are computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import onnxruntime
import yaml
from numpy.typing import ArrayLike, NDArray

from dpvp.config import share_directory
from dpvp.errors import ConfigError
from dpvp.learned.contract import (
    PAIRS,
    SCHEMA_VERSION,
    ArtifactError,
    Contract,
    GraphSpec,
    TensorSpec,
    TrainingRange,
    check_owner,
    check_signature,
    make_contract,
    read_contract,
)
from dpvp.plan import Array
from dpvp.tasks.task import Machine, Task

FILE = "artifact.yaml"
GOLDEN = "golden.json"
# A recorded output and the one computed here may differ by this share of the largest number recorded for that output:
# other processors add in another order.
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
ONNX_TYPES = {"float32": "tensor(float)", "float64": "tensor(double)"}


@dataclass(frozen=True, eq=False)
class Graph:
    """One checked ONNX graph: what the contract says of it and the session that runs it."""

    spec: GraphSpec
    session: onnxruntime.InferenceSession


@dataclass(frozen=True, eq=False)
class Artifact:
    """A checked artifact and the robot and task that it was checked against; see `load_artifact`."""

    folder: Path
    contract: Contract
    robot: Machine
    task: Task
    graphs: Mapping[str, Graph]  # by head
    ranges: TrainingRange

    def graph(self, head: str) -> Graph:
        """Return the graph of `head`.

        Raises:
            ConfigError: the artifact has no such head.
        """
        if head not in self.graphs:
            raise ConfigError(self.folder / FILE, "graphs", sorted(self.graphs), f"needs a head `{head}` for this use")
        return self.graphs[head]


class Evaluation:
    """One caller's way to run a graph, with input arrays of its own: not for two threads at once."""

    def __init__(self, graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Take `inputs` in this order when called and give `outputs` in this order."""
        by_name = {tensor.name: tensor for tensor in graph.spec.inputs}
        self._feed = {name: np.zeros(by_name[name].shape, by_name[name].dtype) for name in inputs}
        self._rows = [array[0] for array in self._feed.values()]
        self._session, self._outputs = graph.session, list(outputs)

    def __call__(self, *values: Array) -> list[NDArray[Any]]:
        """Return the outputs, in the graph's precision, for inputs (n,) each."""
        for row, value in zip(self._rows, values, strict=True):
            row[:] = value
        return cast(list[NDArray[Any]], self._session.run(self._outputs, self._feed))


@dataclass(frozen=True, eq=False)
class Pair:
    """Inputs of a graph by name, in its shapes, and what the graph must answer."""

    inputs: Mapping[str, ArrayLike]
    outputs: Mapping[str, ArrayLike]


def artifact_folder(name: str) -> Path:
    """Return the folder that a scenario's `artifact:` means: a path where it has a `/`, else config/artifacts/<name>.

    Raises:
        ArtifactError: there is no artifact.
    """
    known = share_directory() / "config" / "artifacts"
    is_path = "/" in name or name in (".", "..")
    folder = Path(name).expanduser() if is_path else known / name
    if not (folder / FILE).is_file():
        names = ", ".join(sorted(file.parent.name for file in known.glob(f"*/{FILE}"))) or "(there are none)"
        raise ArtifactError(folder / FILE, "artifact", f"a path with a / or one of {names}", repr(name))
    return folder


def seal(folder: Path, description: Mapping[str, Any], pairs: Mapping[str, Sequence[Pair]]) -> Contract:
    """Turn a folder that holds ONNX files into an artifact: record pairs, compute hashes, write artifact.yaml.

    Args:
        folder: holds the ONNX files.
        description: content of artifact.yaml without `schema_version`, `golden` and the hashes.
        pairs: ten per head; outputs computed by whatever the graph was exported from, so that loading tests the export.

    Raises:
        ArtifactError: the description or the pairs do not fit each other or the files.
    """
    folder, graphs = folder.resolve(), {}
    for head, spec in description["graphs"].items():
        content = _confined(folder, f"graphs.{head}.file", spec["file"]).read_bytes()
        graphs[head] = {**spec, "sha256": hashlib.sha256(content).hexdigest()}
    golden = {"golden": {"file": GOLDEN}}
    contract = make_contract(
        folder / FILE, {"schema_version": SCHEMA_VERSION, **description, "graphs": graphs, **golden}
    )
    write_golden(folder / GOLDEN, pairs)
    _read_golden(folder, contract)
    text = yaml.safe_dump(contract.model_dump(mode="json"), sort_keys=False)
    (folder / FILE).write_text(text, encoding="utf-8")
    return contract


def write_golden(file: Path, pairs: Mapping[str, Sequence[Pair]]) -> None:
    """Write recorded pairs as JSON: head -> list of {inputs, outputs}, each name -> nested lists of plain numbers."""

    def plain(tensors: Mapping[str, ArrayLike]) -> dict[str, Any]:
        return {name: np.asarray(value).tolist() for name, value in tensors.items()}

    content = {
        head: [{"inputs": plain(pair.inputs), "outputs": plain(pair.outputs)} for pair in several]
        for head, several in pairs.items()
    }
    file.write_text(json.dumps(content), encoding="utf-8")


def load_artifact(folder: Path, robot: Machine, task: Task) -> Artifact:
    """Load an artifact for `robot` and `task`.

    Raises:
        ArtifactError: naming the first field that does not hold, what was expected and what was found.
    """
    folder = folder.resolve()
    file = _confined(folder, "(file)", FILE)
    contract = read_contract(file)
    check_owner(file, contract, robot, task)
    ranges = TrainingRange.of(contract.ranges)
    sizes = {"nx": robot.nx, "ndx": robot.ndx, "nv": robot.nv, "nu": robot.nu, "goal": task.goal_size}
    sizes |= {"T": contract.horizon, "T+1": contract.horizon + 1}
    sizes["ne"] = len(task.residual(ranges.x.mean(axis=0), ranges.goal.mean(axis=0))[0])
    for head, spec in contract.graphs.items():
        check_signature(file, head, spec, sizes)
    golden = _read_golden(folder, contract)
    graphs: dict[str, Graph] = {}
    for head, spec in contract.graphs.items():
        graphs[head] = _open(folder, head, spec)
        _replay(folder / contract.golden.file, head, graphs[head], golden[head])
    return Artifact(folder, contract, robot, task, MappingProxyType(graphs), ranges)


def _confined(folder: Path, field: str, name: str) -> Path:
    """Return the file `name` of the resolved `folder`, or refuse what lies elsewhere or is missing."""
    path = (folder / name).resolve()
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_relative_to(folder):
        raise ArtifactError(folder / FILE, field, "a file inside the folder of the artifact", f"{name} ({path})")
    if not path.is_file():
        raise ArtifactError(folder / FILE, field, f"the file {path}", "no such file")
    return path


def _open(folder: Path, head: str, spec: GraphSpec) -> Graph:
    """Check the hash of the file, give its content to ONNX Runtime and compare what that finds with the contract."""
    file, field = folder / FILE, f"graphs.{head}"
    path = _confined(folder, f"{field}.file", spec.file)
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != spec.sha256:
        raise ArtifactError(file, f"{field}.sha256", spec.sha256, f"{found} of {path.name}", "copy the artifact again")
    try:
        session = onnxruntime.InferenceSession(content, _options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common root for what it raises
        expected = f"a self-contained graph that ONNX Runtime {onnxruntime.__version__} can run"
        raise ArtifactError(path, field, expected, f"`{_line(error)}`") from None
    for side, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        specs: tuple[TensorSpec, ...] = getattr(spec, side)
        described = {t.name: f"{ONNX_TYPES[t.dtype]} {list(t.shape)}" for t in specs}
        inside = {t.name: f"{t.type} {t.shape}" for t in tensors}
        if sorted(described) != sorted(inside):
            raise ArtifactError(path, f"{field}.{side}", ", ".join(described), ", ".join(inside))
        for name, expected in described.items():
            if inside[name] != expected:
                raise ArtifactError(path, f"{field}.{side}.{name}", expected, inside[name])
    return Graph(spec, session)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # weights outside the hashed file are refused: ONNX Runtime would look for them in the working directory
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    options.log_severity_level = 4  # what goes wrong is told by our own errors
    return options


def _read_golden(folder: Path, contract: Contract) -> dict[str, list[Pair]]:
    """Read the recorded pairs and check their number, names, shapes and finiteness."""
    file = _confined(folder, "golden.file", contract.golden.file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        heads = {head: [(dict(p["inputs"]), dict(p["outputs"])) for p in pairs] for head, pairs in content.items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        expected = "JSON of head -> list of {inputs, outputs}, each name -> numbers"
        raise ArtifactError(file, "golden", expected, f"`{type(error).__name__}: {_line(error)}`") from None
    if sorted(heads) != sorted(contract.graphs):
        raise ArtifactError(file, "golden", f"pairs of {', '.join(contract.graphs)}", ", ".join(heads))
    golden: dict[str, list[Pair]] = {}
    for head, several in heads.items():
        if len(several) != PAIRS:
            raise ArtifactError(file, f"golden.{head}", f"{PAIRS} pairs", f"{len(several)} pairs")
        spec = contract.graphs[head]
        for i, (inputs, outputs) in enumerate(several):
            where = f"golden.{head}.{i}"
            pair = Pair(_arrays(file, where, inputs, spec.inputs), _arrays(file, where, outputs, spec.outputs))
            golden.setdefault(head, []).append(pair)
    return golden


def _arrays(file: Path, where: str, numbers: Mapping[str, Any], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    if sorted(numbers) != sorted(spec.name for spec in specs):
        raise ArtifactError(file, where, ", ".join(spec.name for spec in specs), ", ".join(numbers))
    arrays = {}
    for spec in specs:
        try:
            array = np.array(numbers[spec.name], dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise ArtifactError(file, f"{where}.{spec.name}", "numbers", f"`{_line(error)}`") from None
        if array.shape != spec.shape:
            raise ArtifactError(file, f"{where}.{spec.name}", f"shape {spec.shape}", f"shape {array.shape}")
        if not np.isfinite(array).all():
            raise ArtifactError(file, f"{where}.{spec.name}", "finite numbers", "NaN or infinity")
        arrays[spec.name] = array
    return arrays


def _replay(file: Path, head: str, graph: Graph, pairs: Sequence[Pair]) -> None:
    """Compute the recorded pairs again and refuse a graph that answers otherwise."""
    types = {spec.name: spec.dtype for spec in graph.spec.inputs}
    scale = {s.name: max(np.abs(pair.outputs[s.name]).max() for pair in pairs) or 1.0 for s in graph.spec.outputs}
    for i, pair in enumerate(pairs):
        feed = {name: np.asarray(value, dtype=types[name]) for name, value in pair.inputs.items()}
        try:
            found = graph.session.run([spec.name for spec in graph.spec.outputs], feed)
        except Exception as error:  # see _open
            raise ArtifactError(file, f"golden.{head}.{i}", "a graph that runs", f"`{_line(error)}`") from None
        for spec, answer in zip(graph.spec.outputs, found, strict=True):
            field, tolerance = f"golden.{head}.{i}.{spec.name}", TOLERANCE[spec.dtype] * scale[spec.name]
            if answer.shape != spec.shape:
                raise ArtifactError(file, field, f"shape {spec.shape}", f"shape {answer.shape}")
            recorded = np.asarray(pair.outputs[spec.name])
            worst = np.unravel_index(np.argmax(np.abs(answer - recorded)), recorded.shape)
            if not abs(answer[worst] - recorded[worst]) <= tolerance:  # NaN is the largest for argmax
                hint = "the graph or the runtime is not the one of the export"
                raise ArtifactError(file, field, f"{recorded[worst]} ± {tolerance:.1e}", answer[worst], hint)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
