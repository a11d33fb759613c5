"""The contract between training and the robot: what `artifact.yaml` says of the ONNX graphs beside it.

Every graph answers one question at a time: inputs are rows (1, n), and scaling lives inside the graph. The sizes are
those of the robot and the task (`nx`, `ndx`, `nv`, `nu`, `goal` numbers of a goal, `nf` features of the task),
`T` is the horizon of the contract, and `nr` and `nb` are free:

| head         | inputs                         | outputs                                           |
|--------------|--------------------------------|---------------------------------------------------|
| `policy`     | x (1, nx), goal (1, goal)      | u (1, nu): total joint torque, gravity included   |
| `trajectory` | x (1, nx), goal (1, goal)      | xs (T+1, nx), us (T, nu)                          |
| `value`      | x (1, nx), f (1, nf)           | r (1, nr), R_x (nr, ndx), R_f (nr, nf)            |
| `residual`   | x, f                           | r: that of `value` by itself, for line searches   |
| `critic`     | x, goal, u (1, nu)             | Q (1,)                                            |
| `primitive`  | x (1, nx), goal (1, goal)      | weights (nb, nv), attractor (1, nv), xs (T+1, nx) |

Convention of `value`: the graph is a residual r(x, f) of `nr` numbers with R_x = ∂r/∂x (f held fixed) and
R_f = ∂r/∂f (x held fixed). With F = df/dx of the task,

    V   = ½ ‖r‖²                               in the unit of the task's cost, times in it included
    V'  = (R_x + R_f F)ᵀ r                     gradient
    V'' = (R_x + R_f F)ᵀ (R_x + R_f F)         Gauss-Newton Hessian, without a factor

Derivatives with respect to x are taken in the tangent of the state (`ndx`), which for revolute and prismatic joints is
x itself. The features f(x, goal), of which the goal residual is the first part, and their Jacobian come from the task
at run time (`Task.features`), so no kinematics live in the graph.

The E members of an ensemble are one graph: r holds the residuals of the first member, then those of the second, as many
of each and each times 1/√E, so that V is the mean of the members' values V_m = E/2 ‖r_m‖². Where their standard
deviation is above `ensemble.spread` (V + `ensemble.floor`) they do not agree and V is not believed; see
`dpvp.learned.monitor`.

ONNX Runtime always computes a graph as a whole. So the head `residual` comes with `value`: `dpvp.learned.artifact.seal`
cuts it out of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, model_validator

from dpvp.config import Config, read_yaml, validate
from dpvp.errors import ConfigError, DpvpError
from dpvp.plan import Array
from dpvp.tasks.task import Machine, Task
from dpvp.untrusted import clipped

FILE = "artifact.yaml"
SCHEMA_VERSION = 1
PAIRS = 10  # recorded input/output pairs of every graph
GOLDEN_RATIO = 0.6180339887498949
OTHER_FEATURES = "it was learned from other features than this dpvp computes: train again"

Head = Literal["policy", "trajectory", "value", "residual", "critic", "primitive"]
Precision = Literal["float32", "float64"]
HEADS_OF_COSTS = frozenset(("value", "critic"))  # their answers are sums of costs, and of no use under others
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ArtifactError(DpvpError):
    """An artifact that must not be used: damaged, of another robot or task, or not what its contract says."""

    def __init__(self, file: Path | str, field: str, expected: object, found: object, hint: str = "") -> None:
        """Name the `file`, the dotted `field` of the contract, what was `expected` and `found` and what may help."""
        self.file, self.field, self.expected, self.found = str(file), field, expected, found
        texts = [clipped(str(part)) for part in (file, field, expected, found)]
        message = "{}: {}: expected {}, found {}".format(*texts)
        super().__init__(f"{message}; {hint}" if hint else message)


class TensorSpec(Config):
    """One input or output of a graph."""

    name: Text
    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(description="fixed, no free batch")
    dtype: Precision
    unit: str = Field(description="of the numbers, in the order of the axis; `1` where there is none")
    meaning: Text


class GraphSpec(Config):
    """One ONNX file, self-contained (no external data)."""

    file: Text = Field(description="relative to the folder of artifact.yaml")
    sha256: Sha256
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)


class RobotSpec(Config):
    """The robot that the artifact was trained on."""

    name: Text
    model_hash: Sha256 = Field(description="`Robot.model_hash`")
    joint_names: tuple[Text, ...] = Field(min_length=1, description="in order, as robot.yaml writes them: no prefix")


class GoalEntry(Config):
    """One number of the goal."""

    name: Text
    unit: str


class TaskSpec(Config):
    """The task that the artifact was trained on."""

    kind: Text
    goal_layout: tuple[GoalEntry, ...]
    costs: dict[str, JsonValue] = Field(description="`Task.costs`: what a node costs")
    features: tuple[float, ...] = Field(description="`Task.observe` at `probe`: what a value was fed with")


class Box(Config):
    """Bounds of the training data, one number per entry."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        if len(self.lower) != len(self.upper):
            raise ValueError(f"lower has {len(self.lower)} numbers and upper {len(self.upper)}: must be as many")
        for i, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            if low > high:
                raise ValueError(f"lower[{i}] = {low} is above upper[{i}] = {high}")
        return self


class RangesSpec(Config):
    """Where training data was: outside, no policy is asked, and a value counts for less the further away."""

    x: Box = Field(description="states, [rad, rad/s]")
    goal: Box = Field(description="goals, in the units of `task.goal_layout`")


@dataclass(frozen=True, eq=False)
class TrainingRange:
    """`RangesSpec` as arrays, read-only: `x` (2, nx) and `goal` (2, goal), lower and upper row."""

    x: Array
    goal: Array

    @classmethod
    def of(cls, ranges: RangesSpec) -> TrainingRange:
        """Make the arrays."""
        rows = [np.array([box.lower, box.upper]) for box in (ranges.x, ranges.goal)]
        for array in rows:
            array.flags.writeable = False
        return cls(*rows)

    def inside(self, x: Array, goal: Array) -> bool:
        """True if the (nx,) state and the goal lie in the box; NaN never does."""
        within_x = (x >= self.x[0]).all() and (x <= self.x[1]).all()
        return bool(within_x and (goal >= self.goal[0]).all() and (goal <= self.goal[1]).all())


class TrainingSpec(Config):
    """How to make the artifact again."""

    system: Text = Field(description="training system, folder below training/dpvp_training/systems/")
    config: dict[str, JsonValue] = Field(description="resolved configuration of the run")
    seed: int
    commit: Text = Field(description="of the source that trained it")
    libraries: dict[str, str] = Field(description="versions by name of the package")


class EnsembleSpec(Config):
    """The members of a value and when they agree: standard deviation <= spread (V + floor)."""

    members: int = Field(ge=1, description="E; all in one graph, see the module")
    spread: float = Field(gt=0, description="largest standard deviation over the members, as a share of V + floor")
    floor: float = Field(ge=0, description="what small values may differ by all the same, in the unit of V")


class Metric(Config):
    """A measured number beside that of the method it has to beat."""

    value: float
    baseline: float


class GoldenSpec(Config):
    """Recorded answers of every graph, see `dpvp.learned.artifact.seal`."""

    file: Text = Field(description="JSON, relative to the folder of artifact.yaml")


class Contract(Config):
    """The content of `artifact.yaml`."""

    schema_version: Literal[1]
    robot: RobotSpec
    task: TaskSpec
    dt: float = Field(gt=0, description="length of a node, s")
    horizon: int = Field(gt=0, description="control nodes T of the problems in the training data")
    graphs: dict[Head, GraphSpec] = Field(min_length=1)
    ranges: RangesSpec
    ensemble: EnsembleSpec | None = Field(None, description="of the head `value`, without which there is none")
    training: TrainingSpec
    metrics: dict[str, Metric]
    golden: GoldenSpec


def read_contract(file: Path) -> Contract:
    """Read artifact.yaml; see `make_contract` for the errors."""
    try:
        content = read_yaml(file)
    except ConfigError as error:
        raise ArtifactError(file, error.key, error.expected, error.value) from None
    version = content.get("schema_version", "(absent)")
    if version != SCHEMA_VERSION:
        hint = "export the artifact again, or use the dpvp that wrote it"
        raise ArtifactError(file, "schema_version", f"{SCHEMA_VERSION}, all that this dpvp reads", version, hint)
    return make_contract(file, content)


def make_contract(file: Path, content: dict[str, Any]) -> Contract:
    """Validate the `content` of artifact.yaml.

    Raises:
        ArtifactError: another schema version, an unknown key, a missing or an unusable value.
    """
    try:
        contract = validate(Contract, content, file)
    except ConfigError as error:
        raise ArtifactError(file, error.key, error.expected, repr(error.value)) from None
    with_value = "value" in contract.graphs
    if ("residual" in contract.graphs) != with_value:
        heads = ", ".join(contract.graphs)
        raise ArtifactError(file, "graphs", "both or none of the heads `value` and `residual`", heads, "seal it again")
    if with_value and contract.ensemble is None:
        raise ArtifactError(file, "ensemble", "members, spread and floor of the head `value`", "(absent)")
    if contract.ensemble is not None and not with_value:
        raise ArtifactError(file, "ensemble", "none, for there is no head `value`", contract.ensemble.model_dump())
    return contract


def describe_robot(robot: Machine) -> dict[str, Any]:
    """Return the `robot` section of a contract; joint names are those of robot.yaml, which no prefix changes."""
    return {"name": robot.name, "model_hash": robot.model_hash, "joint_names": list(robot.own_names)}


def check_ranges(file: Path, ranges: RangesSpec, task: Task) -> None:
    """Refuse ranges of other states or goals than those of `task`.

    Raises:
        ArtifactError: naming the one that differs.
    """
    for name, box, size in (("x", ranges.x, task.robot.nx), ("goal", ranges.goal, task.goal_size)):
        if len(box.lower) != size:
            raise ArtifactError(file, f"ranges.{name}", f"{size} numbers", f"{len(box.lower)} numbers")


def describe_task(task: Task, ranges: RangesSpec) -> dict[str, Any]:
    """Return the `task` section of a contract with these `ranges`."""
    return {
        "kind": task.kind,
        "goal_layout": [{"name": name, "unit": unit} for name, unit in task.goal_layout],
        "costs": dict(task.costs),
        "features": task.observe(*probe(ranges)).tolist(),
    }


def probe(ranges: RangesSpec) -> tuple[Array, Array]:
    """Return a state (nx,) and a goal within `ranges` in which no two numbers are alike."""
    lower, upper = (np.array([*getattr(ranges.x, side), *getattr(ranges.goal, side)]) for side in ("lower", "upper"))
    shares = np.arange(1, len(lower) + 1) * GOLDEN_RATIO % 1.0
    x, goal = np.split(lower + shares * (upper - lower), [len(ranges.x.lower)])
    return x, goal


def check_owner(file: Path, contract: Contract, robot: Machine, task: Task) -> None:
    """Refuse an artifact of another robot or task.

    Raises:
        ArtifactError: naming the first field that differs.
    """

    def require(field: str, expected: object, found: object, hint: str = "") -> None:
        if expected != found:
            raise ArtifactError(file, field, expected, found, hint)

    own, its = describe_robot(robot), contract.robot
    require("robot.name", own["name"], its.name)
    changed = f"the model of {robot.name} is not the one of the training: train again"
    require("robot.model_hash", own["model_hash"], its.model_hash, changed)
    require("robot.joint_names", ", ".join(own["joint_names"]), ", ".join(its.joint_names), "in this order")
    ranges = contract.ranges
    require("task.kind", task.kind, contract.task.kind)
    numbers, its_numbers = task.goal_layout, [(entry.name, entry.unit) for entry in contract.task.goal_layout]
    goal, its_goal = (", ".join(f"{name} [{unit}]" for name, unit in layout) for layout in (numbers, its_numbers))
    require("task.goal_layout", goal, its_goal)
    require("dt", task.dt, contract.dt, "nodes of the task must be as long as in the training, s")
    if not HEADS_OF_COSTS.isdisjoint(contract.graphs):
        here, there = (_leaves(costs, "task.costs") for costs in (task.costs, contract.task.costs))
        for key in [*here, *there]:
            require(key, here.get(key, "(absent)"), there.get(key, "(absent)"), "it was learned under other costs")
    check_ranges(file, ranges, task)
    if "value" in contract.graphs:
        now, then = task.observe(*probe(ranges)), np.array(contract.task.features)
        require("task.features", f"{len(now)} numbers", f"{len(then)} numbers", OTHER_FEATURES)
        for i in np.flatnonzero(~np.isclose(now, then, rtol=1e-6, atol=1e-9)):
            require(f"task.features.{i}", float(now[i]), float(then[i]), OTHER_FEATURES)


def _leaves(tree: Any, key: str) -> dict[str, Any]:
    """Return the leaves of nested mappings and lists by dotted key."""
    if not isinstance(tree, (Mapping, list, tuple)):
        return {key: tree}
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    return {leaf: value for name, below in items for leaf, value in _leaves(below, f"{key}.{name}").items()}
