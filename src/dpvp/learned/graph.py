"""Graph: one ONNX file of an artifact, checked against its description and opened; Evaluation runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dpvp.learned.contract import FILE, ArtifactError, GraphSpec, TensorSpec
from dpvp.plan import Array
from dpvp.untrusted import UnreadableError, is_file, read_bounded, shortened

LARGEST_GRAPH = 1 << 26  # bytes; ours have up to 600 kB
MEMORY_TAG = b"/_ORT_MEM_ADDR_/"  # a place of weights that makes some ONNX Runtimes read any address of this process
ONNX_TYPES = {"float32": "tensor(float)", "float64": "tensor(double)"}


@dataclass(frozen=True, eq=False)
class Graph:
    """One checked ONNX graph: what the contract says of it and the session that runs it."""

    spec: GraphSpec
    session: onnxruntime.InferenceSession


class Evaluation:
    """One caller's way to run a graph, in arrays of its own: not for two threads at once.

    ONNX Runtime computes all outputs of a graph, asked for or not. Arrays that it need not allocate make a call 25 %
    faster for graphs as small as ours.
    """

    def __init__(self, graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Take `inputs` in this order when called and give `outputs` in this order."""
        self._session, self._binding = graph.session, graph.session.io_binding()
        arrays: dict[str, NDArray[Any]] = {}
        for tensor in (*graph.spec.inputs, *graph.spec.outputs):
            array = arrays[tensor.name] = np.zeros(tensor.shape, tensor.dtype)
            bind = (
                self._binding.bind_ortvalue_input if tensor in graph.spec.inputs else self._binding.bind_ortvalue_output
            )
            bind(tensor.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))  # shares the memory of `array`
        self._rows = [arrays[name][0] for name in inputs]
        self._answers = [arrays[name] for name in outputs]

    def __call__(self, *values: Array) -> list[NDArray[Any]]:
        """Return the outputs, in the graph's precision, for inputs (n,) each; the next call overwrites them."""
        for row, value in zip(self._rows, values, strict=True):
            row[:] = value
        self._session.run_with_iobinding(self._binding)
        return self._answers


def confined(folder: Path, field: str, name: str) -> Path:
    """Return the file `name` of the resolved `folder`, or refuse what lies elsewhere or is missing.

    Raises:
        ArtifactError: naming the `field` of the contract that has the name.
    """
    inside = "a file inside the folder of the artifact"
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # symbolic links in a circle, or no name at all
        raise ArtifactError(folder / FILE, field, inside, f"{shortened(name)} ({one_line(error)})") from None
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_relative_to(folder):
        raise ArtifactError(folder / FILE, field, inside, f"{name} ({path})")
    if not is_file(path):
        raise ArtifactError(folder / FILE, field, f"the file {path}", "no such file")
    return path


def open_graph(folder: Path, head: str, spec: GraphSpec) -> Graph:
    """Check the hash of the file, give its content to ONNX Runtime and compare what that finds with the contract.

    Raises:
        ArtifactError: naming what differs.
    """
    file, field = folder / FILE, f"graphs.{head}"
    path = confined(folder, f"{field}.file", spec.file)
    try:
        content = read_bounded(path, LARGEST_GRAPH)
    except (OSError, UnreadableError) as error:
        raise ArtifactError(path, field, f"a file of at most {LARGEST_GRAPH} bytes", one_line(error)) from None
    if (found := hashlib.sha256(content).hexdigest()) != spec.sha256:
        raise ArtifactError(file, f"{field}.sha256", spec.sha256, f"{found} of {path.name}", "copy the artifact again")
    if MEMORY_TAG in content:
        raise ArtifactError(path, field, "a self-contained graph", "one that says where in memory its weights are")
    try:
        session = onnxruntime.InferenceSession(content, _options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common root for what it raises
        expected = f"a self-contained graph that ONNX Runtime {onnxruntime.__version__} can run"
        raise ArtifactError(path, field, expected, f"`{one_line(error)}`") from None
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


def one_line(error: Exception) -> str:
    """Return what an error says, short enough for a message."""
    return " ".join(str(error).split())[:300]


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # weights outside the hashed file are refused: ONNX Runtime would look for them in the working directory
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    options.log_severity_level = 4  # what goes wrong is told by our own errors
    return options
