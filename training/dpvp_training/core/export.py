"""Export: torch networks become an artifact, a folder that `dpvp.learned.artifact.load_artifact` accepts."""

from __future__ import annotations

import io
import logging
import multiprocessing
import shutil
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from dpvp.errors import DpvpError, EnvironmentProblem
from dpvp.learned.artifact import TOLERANCE, Pair, load_artifact, seal
from dpvp.learned.contract import (
    FILE,
    PAIRS,
    EnsembleSpec,
    Head,
    Metric,
    RangesSpec,
    TrainingSpec,
    check_ranges,
    describe_robot,
    describe_task,
)
from dpvp.plan import Array
from dpvp.tasks.task import Task
from dpvp_training.core.checkpoint import writable, written

OPSET = 18
CHECKS = 10  # random inputs on which torch and ONNX Runtime must agree


class ExportError(DpvpError):
    """A network that does not become an ONNX graph, or a graph that does not answer as its network does."""


class Meaning(NamedTuple):
    """What people need to know of a tensor: the unit of its numbers and what they are."""

    unit: str
    text: str


@dataclass(frozen=True, eq=False)
class HeadExport:
    """A network and what its tensors mean.

    Attributes:
        module: on the CPU and picklable; takes the tensors of `inputs`, (1, n) each, in this order, and returns those
            of `outputs` in this order (the tensor itself where there is but one), all in its own precision, float32 or
            float64. Scaling is inside.
        inputs: name -> meaning, of x, goal or f, the features of the task.
        outputs: name -> meaning, as the table of `dpvp.learned.contract` has them.
    """

    module: nn.Module
    inputs: Mapping[str, Meaning]
    outputs: Mapping[str, Meaning]


def write_artifact(
    folder: Path,
    *,
    task: Task,
    heads: Mapping[Head, HeadExport],
    horizon: int,
    ranges: RangesSpec,
    training: TrainingSpec,
    metrics: Mapping[str, Metric],
    rng: np.random.Generator,
    ensemble: EnsembleSpec | None = None,
) -> Path:
    """Export the heads and seal them as the artifact `folder`, which appears when it is whole; return it.

    Args:
        folder: new, or an artifact to replace.
        task: that the artifact is for; its robot is that of the artifact.
        heads: what was learned.
        horizon: control nodes of the problems in the training data.
        ranges: of states and goals in the training data.
        training: how to make it again.
        metrics: measured figures.
        rng: draws the states and goals of the recorded pairs from those of the task.
        ensemble: of the head `value`.

    Raises:
        ExportError: a network cannot be exported.
        ArtifactError: the parts do not fit each other, so that the artifact could not be loaded.
        EnvironmentProblem: the folder cannot be written, or holds something else.
    """
    if folder.exists() and not (folder / FILE).is_file():
        raise EnvironmentProblem(f"{folder}: exists and is not an artifact; choose another folder")
    check_ranges(folder / FILE, ranges, task)
    asked = [_ask(task, rng) for _ in range(PAIRS)]
    pairs: dict[str, list[Pair]] = {head: [_pair(export, inputs) for inputs in asked] for head, export in heads.items()}
    description = {
        "robot": describe_robot(task.robot),
        "task": describe_task(task, ranges),
        "dt": task.dt,
        "horizon": horizon,
        "graphs": {head: _describe(head, export, pairs[head][0]) for head, export in heads.items()},
        "ranges": _plain(ranges),
        "training": _plain(training),
        "metrics": {name: _plain(metric) for name, metric in metrics.items()},
    }
    if ensemble is not None:
        description["ensemble"] = _plain(ensemble)
    with writable(folder):
        _write(folder, task, heads, description, pairs)
    return folder


def export_graph(
    module: nn.Module, example_inputs: Mapping[str, Tensor], output_names: Sequence[str], file: Path
) -> None:
    """Write `module` as a self-contained ONNX graph of fixed shapes, and check that it answers as the module does.

    Runs in a process of its own, which takes some seconds: the exporter keeps much memory and talks a lot.

    Args:
        module: called with the inputs in this order; must be picklable.
        example_inputs: name -> tensor of the shape and type that the graph is for. Around them, at a distance of about
            one, graph and module are compared.
        output_names: of what the module returns.
        file: to write.

    Raises:
        ExportError: saying which step failed.
        EnvironmentProblem: the file cannot be written.
    """
    with _exporter() as exporter:
        _export_with(exporter, module, example_inputs, output_names, file)


def _exporter() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _export_with(
    exporter: ProcessPoolExecutor, module: nn.Module, example: Mapping[str, Tensor], names: Sequence[str], file: Path
) -> None:
    request = io.BytesIO()
    torch.save((module, dict(example)), request)
    try:
        problem, content = exporter.submit(_export, request.getvalue(), tuple(names)).result()
    except BrokenProcessPool:
        problem, content = "the exporter has taken its process down", b""
    if problem:
        raise ExportError(f"{file}: {problem}")
    with written(file) as stream:
        stream.write(content)


def _export(request: bytes, output_names: tuple[str, ...]) -> tuple[str, bytes]:
    """Return the graph, or what is wrong."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    module, example = torch.load(io.BytesIO(request), weights_only=False)
    try:
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            input_names=list(example),
            output_names=list(output_names),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None  # with dynamo there always is one
        model = program.model_proto  # a new one at every look
        _forget_origin(model)
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString()
        return _disagreement(module, example, output_names, content), content
    except Exception as error:  # the exporter has no common root for what it raises
        return f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}", b""


def _forget_origin(model: onnx.ModelProto) -> None:
    """Take out which lines of which files made each node: the same network is the same graph wherever it was made."""
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _disagreement(module: nn.Module, example: Mapping[str, Tensor], names: Sequence[str], content: bytes) -> str:
    """Return where the graph does not answer as the module does; nothing where it does."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    if (found := [tensor.name for tensor in session.get_inputs()]) != list(example):
        return f"the graph has inputs {', '.join(found)} in place of {', '.join(example)}"
    generator = torch.Generator().manual_seed(0)
    cases = [
        {
            name: tensor + torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            for name, tensor in example.items()
        }
        for _ in range(CHECKS)
    ]
    expected = [_answers(module, list(case.values())) for case in cases]
    answers = [session.run(None, {name: tensor.numpy() for name, tensor in case.items()}) for case in cases]
    for i, name in enumerate(names):
        wanted, given = (np.stack([several[i] for several in all_cases]) for all_cases in (expected, answers))
        allowed = TOLERANCE[str(wanted.dtype)] * np.abs(wanted).max()
        if wanted.shape != given.shape or not np.abs(given - wanted).max() <= allowed:  # NaN is never
            return f"output {name} of the graph differs from that of the network by more than {allowed:.1e}"
    return ""


def _answers(module: nn.Module, inputs: Sequence[Tensor]) -> list[Any]:
    answer = module(*inputs)
    return [tensor.detach().numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]


def _ask(task: Task, rng: np.random.Generator) -> dict[str, Array]:
    x, goal = task.sample_state(rng), task.sample_goal(rng)
    return {"x": x, "goal": goal, "f": task.features(x, goal)[0]}


def _row(module: nn.Module, values: Array) -> Tensor:
    """Return `values` as (1, n) in the precision of the module."""
    first = next(tensor for tensor in module.state_dict().values() if tensor.is_floating_point())
    return torch.as_tensor(values, dtype=first.dtype)[None]


def _pair(export: HeadExport, asked: Mapping[str, Array]) -> Pair:
    inputs = {name: _row(export.module, asked[name]) for name in export.inputs}
    answers = _answers(export.module, list(inputs.values()))
    return Pair({name: row.numpy() for name, row in inputs.items()}, dict(zip(export.outputs, answers, strict=True)))


def _describe(head: str, export: HeadExport, pair: Pair) -> dict[str, Any]:
    """Return the entry of `graphs`, without the hash."""

    def tensors(meanings: Mapping[str, Meaning], values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "shape": list(values[name].shape),
                "dtype": str(values[name].dtype),
                "unit": meaning.unit,
                "meaning": meaning.text,
            }
            for name, meaning in meanings.items()
        ]

    return {
        "file": f"{head}.onnx",
        "inputs": tensors(export.inputs, pair.inputs),
        "outputs": tensors(export.outputs, pair.outputs),
    }


def _write(
    folder: Path,
    task: Task,
    heads: Mapping[Head, HeadExport],
    description: Mapping[str, Any],
    pairs: Mapping[str, Sequence[Pair]],
) -> None:
    """Make the artifact beside `folder` and put it there when it is whole."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with _exporter() as exporter:
            for head, export in heads.items():
                example = {name: torch.as_tensor(value) for name, value in pairs[head][0].inputs.items()}
                _export_with(exporter, export.module, example, tuple(export.outputs), part / f"{head}.onnx")
        seal(part, description, pairs)
        load_artifact(part, task.robot, task)  # whoever reads it does the same
        _replace(folder, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace(folder: Path, part: Path) -> None:
    """Put `part` in the place of `folder`."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _plain(content: Any) -> Any:
    return content.model_dump(mode="json")
