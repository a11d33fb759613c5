"""What a training leaves: artifact.yaml, recorded pairs, and graphs with and without the hash that belongs to them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.bench.fuzz.format import Format
from dpvp.bench.fuzz.mutation import INTEGERS, damaged, mutated_json, mutated_yaml
from dpvp.config import share_directory
from dpvp.learned.artifact import load_artifact, read_golden, replay
from dpvp.learned.contract import FILE, Head, read_contract
from dpvp.learned.graph import open_graph
from dpvp.scenario import load_scenario

ARTIFACT = "leg_track"
HEAD: Head = "policy"
PLACES = ("/dev/zero", "../../../../../../etc/passwd", f"{HEAD}.onnx", "", "*/_ORT_MEM_ADDR_/*")
OPERATORS = (
    "Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Pad", "OneHot", "Gather", "Reshape",
    "NonZero", "Concat", "SequenceEmpty", "MatMul", "Gemm", "Conv", "RandomNormal", "Einsum", "TopK", "Cast", "Nothing",
)  # fmt: skip


def formats() -> dict[str, Callable[[], Format]]:
    """Return what makes each of these formats, by name."""
    return {
        "contract": partial(_text, FILE, ".yaml", mutated_yaml),
        "golden": partial(_text, "golden.json", ".json", mutated_json),
        "graph_tampered": partial(_graph, rehashed=False),
        "graph": partial(_graph, rehashed=True),
    }


def _source() -> Path:
    return share_directory() / "config" / "artifacts" / ARTIFACT


def _working_copy(where: Path) -> Path:
    folder = where / ARTIFACT
    if not folder.exists():
        shutil.copytree(_source(), folder, ignore=shutil.ignore_patterns("*.png"))
    return folder


def _text(name: str, suffix: str, mutate: Callable[[np.random.Generator, str], bytes]) -> Format:
    scenario, text = load_scenario(ARTIFACT), (_source() / name).read_text(encoding="utf-8")

    def read(content: bytes, where: Path) -> None:
        folder = _working_copy(where)
        (folder / name).write_bytes(content)
        load_artifact(folder, scenario.robot, scenario.task)

    return Format(suffix, lambda rng: mutate(rng, text), read)


def _graph(*, rehashed: bool) -> Format:
    contract = read_contract(_source() / FILE)
    spec, pairs = contract.graphs[HEAD], read_golden(_source(), contract)[HEAD]
    files = spec.file, contract.graphs["residual"].file
    source, other = ((_source() / file).read_bytes() for file in files)

    def mutated(rng: np.random.Generator) -> bytes:
        return damaged(rng, source, other) if rng.random() < 0.5 else _rebuilt(rng, source)

    def read(content: bytes, where: Path) -> None:
        (where / spec.file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest() if rehashed else spec.sha256
        graph = open_graph(where, HEAD, spec.model_copy(update={"sha256": digest}))
        replay(where / FILE, HEAD, graph, pairs)

    return Format(".onnx", mutated, read)


def _rebuilt(rng: np.random.Generator, source: bytes) -> bytes:
    """Change the meaning of a graph where its syntax stays right."""
    import onnx  # of the developers' extra

    model: Any = onnx.load_from_string(source)
    graph = model.graph
    for _ in range(int(rng.integers(1, 4))):
        node = graph.node[rng.integers(len(graph.node))]
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        big = INTEGERS[rng.integers(len(INTEGERS))] & (2**63 - 1)
        match int(rng.integers(10)):
            case 0 | 1:
                node.op_type = OPERATORS[rng.integers(len(OPERATORS))]
            case 2 if node.input:
                node.input[0] = graph.node[-1].output[0]  # a cycle
            case 3:
                tensor.dims[:] = [big, *tensor.dims[1:]]
            case 4:
                tensor.data_location = onnx.TensorProto.EXTERNAL
                place = PLACES[rng.integers(len(PLACES))]
                tensor.external_data.add(key="location", value=place)
                tensor.external_data.add(key="offset", value=str(big))
            case 5:
                tensor.data_type = int(rng.integers(0, 40))
            case 6:
                node.attribute.append(onnx.helper.make_attribute("axis", big))
            case 7:
                model.opset_import[0].version = int(rng.choice((0, 1, 7, 99, 2**31 - 1)))
            case 8:
                graph.node.append(node)  # the same output twice
            case _:
                shape = onnx.helper.make_tensor(f"s{len(graph.initializer)}", onnx.TensorProto.INT64, [2], [big, big])
                graph.initializer.append(shape)
                made = onnx.helper.make_node("ConstantOfShape", [shape.name], [f"made{len(graph.node)}"])
                graph.node.insert(0, made)
    return bytes(model.SerializeToString())
