"""Hand-made artifacts: small ONNX graphs whose answers are known in closed form, sealed like trained ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pinocchio
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dpvp.learned.artifact import Pair, seal
from dpvp.learned.contract import PAIRS, RangesSpec, describe_robot, describe_task
from dpvp.robot import Robot
from dpvp.tasks.task import Task

Array = NDArray[np.float64]
TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


@dataclass(frozen=True)
class LinearPolicy:
    """u = bias + of_x x + of_goal goal."""

    of_x: Array  # (nu, nx)
    of_goal: Array  # (nu, goal)
    bias: Array  # (nu,)

    def __call__(self, x: Array, goal: Array) -> Array:
        return np.asarray(self.bias + self.of_x @ x + self.of_goal @ goal)


@dataclass(frozen=True)
class ResidualValue:
    """V = ½‖r‖² with r = matrix [x; f], or its tanh when `squash`; rows of one of the `members` after another."""

    matrix: Array  # (nr, nx + nf)
    squash: bool = False
    members: int = 1

    def residual(self, x: Array, f: Array) -> Array:
        r = self.matrix @ np.concatenate([x, f])
        return np.asarray(np.tanh(r) if self.squash else r)

    def outputs(self, x: Array, f: Array) -> dict[str, Array]:
        r = self.residual(x, f)
        jacobian = (1.0 - r**2)[:, None] * self.matrix if self.squash else self.matrix
        r_x, r_f = np.split(jacobian, [len(x)], axis=1)
        return {"r": r[None], "R_x": r_x, "R_f": r_f}


def quadratic_value(goal: float, velocity: float, nx: int = 14, nf: int = 24, ne: int = 3) -> ResidualValue:
    """V = ½ goal ‖e‖² + ½ velocity ‖q̇‖², which is the terminal cost of a reach with these weights."""
    nv = nx // 2
    matrix = np.zeros((ne + nv, nx + nf))
    matrix[:ne, nx : nx + ne] = np.sqrt(goal) * np.eye(ne)
    matrix[ne:, nv:nx] = np.sqrt(velocity) * np.eye(nv)
    return ResidualValue(matrix)


def random_policy(seed: int = 1, nx: int = 14, nu: int = 7, goal: int = 3) -> LinearPolicy:
    """Draw a policy without meaning."""
    rng = np.random.default_rng(seed)
    return LinearPolicy(rng.normal(size=(nu, nx)), rng.normal(size=(nu, goal)), rng.normal(size=nu))


def random_value(seed: int = 2, nx: int = 14, nf: int = 24, nr: int = 10, members: int = 1) -> ResidualValue:
    """Draw a value without meaning, curved, with `nr` rows for each member."""
    matrix = 0.3 * np.random.default_rng(seed).normal(size=(members * nr, nx + nf))
    return ResidualValue(matrix, squash=True, members=members)


def reaching_policy(robot: Robot, q: Array, stiffness: float = 30.0, damping: float = 10.0) -> LinearPolicy:
    """Gravity, a spring from the end effector to the goal and damping, all linearised about the posture `q`.

    `stiffness` is in N/m; `damping`, in 1/s, is per inertia.
    """
    model, data = robot.model, robot.model.createData()
    frame = model.getFrameId(robot.end_effector)
    jacobian = pinocchio.computeFrameJacobian(model, data, q, frame, pinocchio.LOCAL_WORLD_ALIGNED)[:3]
    slope = pinocchio.computeGeneralizedGravityDerivatives(model, data, q)
    inertia = np.array(pinocchio.crba(model, data, q))  # has the armature
    inertia = np.triu(inertia) + np.triu(inertia, 1).T
    spring = stiffness * jacobian.T
    at_q = robot.gravity(q) - slope @ q - spring @ (robot.frame_position(q) - jacobian @ q)
    return LinearPolicy(np.hstack([slope - spring @ jacobian, -damping * inertia]), spring, at_q)


def policy_model(policy: LinearPolicy, dtype: str = "float64") -> onnx.ModelProto:
    """u (1, nu) = x of_xᵀ + goal of_goalᵀ + bias."""
    nu, nx = policy.of_x.shape
    nodes = [
        helper.make_node("MatMul", ["x", "of_x"], ["by_x"]),
        helper.make_node("MatMul", ["goal", "of_goal"], ["by_goal"]),
        helper.make_node("Sum", ["by_x", "by_goal", "bias"], ["u"]),
    ]
    constants = {"of_x": policy.of_x.T, "of_goal": policy.of_goal.T, "bias": policy.bias[None]}
    inputs: dict[str, tuple[int, ...]] = {"x": (1, nx), "goal": (1, policy.of_goal.shape[1])}
    return _model(nodes, constants, inputs, {"u": (1, nu)}, dtype)


def value_model(value: ResidualValue, nx: int, dtype: str = "float64") -> onnx.ModelProto:
    """The outputs of `ResidualValue.outputs`."""
    nr, n = value.matrix.shape
    node = helper.make_node
    nodes = [
        node("Concat", ["x", "f"], ["z"], axis=1),
        node("MatMul", ["z", "transposed"], ["linear"]),
        node("Tanh" if value.squash else "Identity", ["linear"], ["r"]),
        node("Mul", ["r", "r"], ["squared"]),
        node("Mul", ["squared", "squash"], ["lost"]),
        node("Sub", ["one", "lost"], ["slope"]),
        node("Transpose", ["slope"], ["column"]),
        node("Mul", ["column", "matrix"], ["jacobian"]),
        node("Split", ["jacobian", "sizes"], ["R_x", "R_f"], axis=1),
    ]
    constants: dict[str, Any] = {"matrix": value.matrix, "transposed": value.matrix.T}
    constants |= {"one": np.ones((1, 1)), "squash": np.array([[float(value.squash)]])}
    constants["sizes"] = np.array([nx, n - nx], dtype=np.int64)
    outputs = {"r": (1, nr), "R_x": (nr, nx), "R_f": (nr, n - nx)}
    return _model(nodes, constants, {"x": (1, nx), "f": (1, n - nx)}, outputs, dtype)


def write_artifact(
    folder: Path,
    robot: Robot,
    task: Task,
    *,
    value: ResidualValue | None = None,
    policy: LinearPolicy | None = None,
    lower: Array | None = None,
    upper: Array | None = None,
    spread: float = 0.1,
    floor: float = 0.01,
    dtype: str = "float64",
) -> Path:
    """Seal a folder with the given heads.

    `lower` and `upper` (nx,) bound the training range of x, rad and rad/s; `spread` and `floor` say when the members of
    the value agree.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lower = np.full(robot.nx, -4.0) if lower is None else lower
    upper = np.full(robot.nx, 4.0) if upper is None else upper
    goals = np.full((2, task.goal_size), [[-1.5], [1.5]])
    rng = np.random.default_rng(0)
    samples = [(rng.uniform(lower, upper), rng.uniform(*goals)) for _ in range(PAIRS)]
    graphs: dict[str, Any] = {}
    pairs: dict[str, list[Pair]] = {}
    if policy is not None:
        onnx.save_model(policy_model(policy, dtype), folder / "policy.onnx")
        pairs["policy"] = [Pair({"x": x[None], "goal": g[None]}, {"u": policy(x, g)[None]}) for x, g in samples]
        graphs["policy"] = _spec("policy.onnx", pairs["policy"][0], dtype)
    if value is not None:
        onnx.save_model(value_model(value, robot.nx, dtype), folder / "value.onnx")
        asked = [(x, task.features(x, g)[0]) for x, g in samples]
        pairs["value"] = [Pair({"x": x[None], "f": f[None]}, value.outputs(x, f)) for x, f in asked]
        graphs["value"] = _spec("value.onnx", pairs["value"][0], dtype)
    description = _description(robot, task, graphs, (lower, upper), goals)
    if value is not None:
        description["ensemble"] = {"members": value.members, "spread": spread, "floor": floor}
    seal(folder, description, pairs)
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any], file: str = "artifact.yaml") -> None:
    """Apply `change` to the content of artifact.yaml or of the recorded pairs."""
    text = (folder / file).read_text(encoding="utf-8")
    content = json.loads(text) if file.endswith(".json") else yaml.safe_load(text)
    change(content)
    text = json.dumps(content) if file.endswith(".json") else yaml.safe_dump(content, sort_keys=False)
    (folder / file).write_text(text, encoding="utf-8")


def replace_graph(folder: Path, head: str, content: bytes) -> None:
    """Put another file in the place of a graph and make its hash that of the contract."""
    (folder / f"{head}.onnx").write_bytes(content)
    edit(folder, lambda c: c["graphs"][head].update(sha256=hashlib.sha256(content).hexdigest()))


def _description(robot: Robot, task: Task, graphs: dict[str, Any], x: tuple[Array, Array], goals: Array) -> Any:
    ranges = {
        "x": {"lower": x[0].tolist(), "upper": x[1].tolist()},
        "goal": {"lower": goals[0].tolist(), "upper": goals[1].tolist()},
    }
    return {
        "robot": describe_robot(robot),
        "task": describe_task(task, RangesSpec.model_validate(ranges)),
        "dt": task.dt,
        "horizon": 30,
        "graphs": graphs,
        "ranges": ranges,
        "training": {"system": "handmade", "config": {}, "seed": 0, "commit": "none", "libraries": {"onnx": "any"}},
        "metrics": {"cost": {"value": 1.0, "baseline": 2.0}},
    }


def _spec(file: str, pair: Pair, dtype: str) -> dict[str, Any]:
    def tensors(arrays: Any) -> list[dict[str, Any]]:
        return [
            {"name": name, "shape": list(np.shape(array)), "dtype": dtype, "unit": "SI", "meaning": name}
            for name, array in arrays.items()
        ]

    return {"file": file, "inputs": tensors(pair.inputs), "outputs": tensors(pair.outputs)}


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    dtype: str,
) -> onnx.ModelProto:
    def info(shapes: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, shape in shapes.items()]

    initializers = [
        numpy_helper.from_array(np.asarray(array if array.dtype == np.int64 else array.astype(dtype)), name)
        for name, array in constants.items()
    ]
    graph = helper.make_graph(nodes, "handmade", info(inputs), info(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
