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
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike

from dpvp.config import share_directory
from dpvp.errors import ConfigError
from dpvp.learned.contract import (
    FILE,
    PAIRS,
    SCHEMA_VERSION,
    ArtifactError,
    Contract,
    TensorSpec,
    TrainingRange,
    check_owner,
    make_contract,
    read_contract,
)
from dpvp.learned.graph import Graph, confined, one_line, open_graph
from dpvp.learned.signature import check_signatures
from dpvp.plan import Array
from dpvp.tasks.task import Machine, Task
from dpvp.untrusted import UnreadableError, is_file, located, parse_json, read_bounded, shortened

GOLDEN, RESIDUAL = "golden.json", "residual.onnx"
LARGEST_GOLDEN = 1 << 25  # bytes; ours have up to 330 kB
# A recorded output and the one computed here may differ by this share of the largest number recorded for that output:
# other processors add in another order.
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}


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


@dataclass(frozen=True, eq=False)
class Pair:
    """Inputs of a graph by name, in its shapes, and what the graph must answer."""

    inputs: Mapping[str, ArrayLike]
    outputs: Mapping[str, ArrayLike]


def artifact_names() -> list[str]:
    """Names of the artifacts that come with dpvp, sorted."""
    known = share_directory() / "config" / "artifacts"
    return sorted(file.parent.name for file in known.glob(f"*/{FILE}"))


def artifact_folder(name: str) -> Path:
    """Return the folder that a scenario's `artifact:` means: a path where it has a `/`, else config/artifacts/<name>.

    Raises:
        ArtifactError: there is no artifact.
    """
    is_path = "/" in name or name in (".", "..")
    try:
        folder = located(name, Path()) if is_path else share_directory() / "config" / "artifacts" / name
    except UnreadableError as error:
        raise ArtifactError(shortened(name), "artifact", "a folder", str(error)) from None
    if not is_file(folder / FILE):
        names = ", ".join(artifact_names()) or "(there are none)"
        raise ArtifactError(folder / FILE, "artifact", f"a path with a / or one of {names}", repr(name))
    return folder


def seal(folder: Path, description: Mapping[str, Any], pairs: Mapping[str, Sequence[Pair]]) -> Contract:
    """Turn a folder that holds ONNX files into an artifact: record pairs, compute hashes, write artifact.yaml.

    A head `value` gets its `residual`, in a file of its own; for that the package onnx is needed.

    Args:
        folder: holds the ONNX files.
        description: content of artifact.yaml without `schema_version`, `golden` and the hashes.
        pairs: ten per head; outputs computed by whatever the graph was exported from, so that loading tests the export.

    Raises:
        ArtifactError: the description or the pairs do not fit each other or the files.
    """
    folder, graphs, recorded = folder.resolve(), dict(description["graphs"]), dict(pairs)
    if "value" in graphs:
        graphs["residual"] = _cut_residual(folder, graphs["value"])
        recorded["residual"] = [Pair(p.inputs, {"r": p.outputs.get("r", ())}) for p in pairs.get("value", ())]
    for head, spec in graphs.items():
        content = confined(folder, f"graphs.{head}.file", spec["file"]).read_bytes()
        graphs[head] = {**spec, "sha256": hashlib.sha256(content).hexdigest()}
    golden = {"golden": {"file": GOLDEN}}
    contract = make_contract(
        folder / FILE, {"schema_version": SCHEMA_VERSION, **description, "graphs": graphs, **golden}
    )
    write_golden(folder / GOLDEN, recorded)
    read_golden(folder, contract)
    text = yaml.safe_dump(contract.model_dump(mode="json"), sort_keys=False)
    (folder / FILE).write_text(text, encoding="utf-8")
    return contract


def _cut_residual(folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Write the part of the graph of `value` that computes r to a file of its own and describe it."""
    import onnx.utils  # training has it, the robot needs it not

    file = confined(folder, "graphs.value.file", spec["file"])
    names = [tensor["name"] for tensor in spec["inputs"]]
    try:
        part = onnx.utils.Extractor(onnx.load_model(file)).extract_model(names, ["r"])
    except Exception as error:  # onnx has no common root for what it raises
        raise ArtifactError(file, "graphs.value", "an ONNX graph with output r", f"`{one_line(error)}`") from None
    onnx.save_model(part, folder / RESIDUAL)
    return {**spec, "file": RESIDUAL, "outputs": [tensor for tensor in spec["outputs"] if tensor["name"] == "r"]}


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
    contract, graphs = _checked(folder, (robot, task))
    return Artifact(folder.resolve(), contract, robot, task, graphs, TrainingRange.of(contract.ranges))


def verify_artifact(folder: Path) -> Contract:
    """Check what can be checked without the robot and the task: files, hashes, graphs, their shapes among themselves.

    Raises:
        ArtifactError: see `load_artifact`.
    """
    return _checked(folder, None)[0]


def _checked(folder: Path, owner: tuple[Machine, Task] | None) -> tuple[Contract, Mapping[str, Graph]]:
    folder = folder.resolve()
    file = confined(folder, "(file)", FILE)
    contract = read_contract(file)
    ranges = TrainingRange.of(contract.ranges)
    sizes = {"T": contract.horizon, "T+1": contract.horizon + 1, "nx": ranges.x.shape[1], "goal": ranges.goal.shape[1]}
    if owner is not None:
        robot, task = owner
        check_owner(file, contract, robot, task)
        sizes |= {"ndx": robot.ndx, "nv": robot.nv, "nu": robot.nu}
        sizes["nf"] = len(task.features(ranges.x.mean(axis=0), ranges.goal.mean(axis=0))[0])
    check_signatures(file, contract, sizes)
    golden = read_golden(folder, contract)
    graphs: dict[str, Graph] = {}
    for head, spec in contract.graphs.items():
        graphs[head] = open_graph(folder, head, spec)
        replay(folder / contract.golden.file, head, graphs[head], golden[head])
    return contract, MappingProxyType(graphs)


def read_golden(folder: Path, contract: Contract) -> dict[str, list[Pair]]:
    """Read the recorded pairs and check their number, names, shapes and finiteness, or raise `ArtifactError`."""
    file = confined(folder, "golden.file", contract.golden.file)
    try:
        content = parse_json(read_bounded(file, LARGEST_GOLDEN).decode("utf-8"))
        heads = {head: [(dict(p["inputs"]), dict(p["outputs"])) for p in pairs] for head, pairs in content.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        expected = "JSON of head -> list of {inputs, outputs}, each name -> numbers"
        raise ArtifactError(file, "golden", expected, f"`{type(error).__name__}: {one_line(error)}`") from None
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
            raise ArtifactError(file, f"{where}.{spec.name}", "numbers", f"`{one_line(error)}`") from None
        if array.shape != spec.shape:
            raise ArtifactError(file, f"{where}.{spec.name}", f"shape {spec.shape}", f"shape {array.shape}")
        if not np.isfinite(array).all():
            raise ArtifactError(file, f"{where}.{spec.name}", "finite numbers", "NaN or infinity")
        arrays[spec.name] = array
    return arrays


def replay(file: Path, head: str, graph: Graph, pairs: Sequence[Pair]) -> None:
    """Compute the recorded pairs again and refuse, with an `ArtifactError`, a graph that answers otherwise."""
    types = {spec.name: spec.dtype for spec in graph.spec.inputs}
    scale = {s.name: max(np.abs(pair.outputs[s.name]).max() for pair in pairs) or 1.0 for s in graph.spec.outputs}
    for i, pair in enumerate(pairs):
        feed = {name: np.asarray(value, dtype=types[name]) for name, value in pair.inputs.items()}
        try:
            found = graph.session.run([spec.name for spec in graph.spec.outputs], feed)
        except Exception as error:  # see _open
            raise ArtifactError(file, f"golden.{head}.{i}", "a graph that runs", f"`{one_line(error)}`") from None
        for spec, answer in zip(graph.spec.outputs, found, strict=True):
            field, tolerance = f"golden.{head}.{i}.{spec.name}", TOLERANCE[spec.dtype] * scale[spec.name]
            if answer.shape != spec.shape:
                raise ArtifactError(file, field, f"shape {spec.shape}", f"shape {answer.shape}")
            recorded = np.asarray(pair.outputs[spec.name])
            worst = np.unravel_index(np.argmax(np.abs(answer - recorded)), recorded.shape)
            if not abs(answer[worst] - recorded[worst]) <= tolerance:  # NaN is the largest for argmax
                hint = "the graph or the runtime is not the one of the export"
                raise ArtifactError(file, field, f"{recorded[worst]} ± {tolerance:.1e}", answer[worst], hint)
