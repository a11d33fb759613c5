"""What a published run leaves for dpvp: the heads `value` and `trajectory`, in double precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dpvp.learned.contract import Box, EnsembleSpec, Head, Metric, RangesSpec, TrainingSpec
from dpvp.plan import Array
from dpvp_training.core.export import HeadExport, Meaning, write_artifact
from dpvp_training.core.provenance import library_versions, source_commit
from dpvp_training.envs.problem import Problem
from dpvp_training.systems.dpvp.paper.assess import Assessment
from dpvp_training.systems.dpvp.paper.config import Activation, PaperConfig
from dpvp_training.systems.dpvp.paper.nets import ResidualValue, TrajectoryNet

TINY = 1e-3  # least half-width of a range, so that a number that was always the same has one


@dataclass(frozen=True, eq=False)
class Learned:
    """The result of a run.

    Attributes:
        value: V_K.
        states, controls: the nets of step 4.
        starts: (n, nx) all that anything was fitted to.
        figures: of V_1 and of V_K.
        iterations: mean of a solve from fresh starts: in episode 1, and with all that was learned (step 4).
    """

    value: ResidualValue
    states: TrajectoryNet
    controls: TrajectoryNet
    starts: Array
    figures: tuple[Assessment, Assessment]
    iterations: tuple[float, float]


class ValueGraph(nn.Module):
    """What is exported of a value V = Σ r_j² = ½ ‖√2 r‖²: √2 r and its derivatives for one row."""

    none: Tensor
    unit: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, net: ResidualValue, ndx: int, nf: int, *, sees_features: bool) -> None:
        """Export `net`, which sees the state, whose tangent has `ndx` entries, or the `nf` features of the task."""
        super().__init__()
        self.net, self._sees_features = net, sees_features
        last, root = net.linears[-1], math.sqrt(2.0)
        # scaled here: ONNX Runtime would merge a factor on a product of matrices with it, in single precision
        self.register_buffer("weight", root * last.weight.detach())
        self.register_buffer("bias", root * last.bias.detach())
        self.register_buffer("unit", torch.eye(nf if sees_features else ndx, dtype=last.weight.dtype))
        self.register_buffer("none", last.weight.new_zeros(len(last.bias), ndx if sees_features else nf))

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return r (1, nr), R_x (nr, ndx) and R_f (nr, nf) for x (1, nx) and f (1, nf)."""
        *hidden, _ = self.net.linears
        h, slope = f if self._sees_features else x, self.unit
        for layer, activation in zip(hidden, self.net.activations, strict=True):
            h, first = _with_slope(activation, layer(h))
            slope = first.T * (layer.weight @ slope)
        r, r_s = h @ self.weight.T + self.bias, self.weight @ slope
        return (r, self.none, r_s) if self._sees_features else (r, r_s, self.none)


class TrajectoryGraph(nn.Module):
    """What is exported of the nets of states and controls: the start and all that follows; there is but one goal."""

    def __init__(self, states: TrajectoryNet, controls: TrajectoryNet) -> None:
        """Export both."""
        super().__init__()
        self.states, self.controls = states, controls

    def forward(self, x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Return xs (T+1, nx) and us (T, nu) for x (1, nx)."""
        return torch.cat([x, self.states(x)[0]], dim=0), self.controls(x)[0]


def write_learned(folder: Path, problem: Problem, learned: Learned, config: PaperConfig) -> Path:
    """Write the artifact of a run; its metrics stand beside those of episode 1."""
    task = problem.task
    (first, last), (cold, warm) = learned.figures, learned.iterations
    metrics = {
        "held_out_value_mse": Metric(value=last.value_mse, baseline=first.value_mse),
        "held_out_gradient_error": Metric(value=last.gradient_error, baseline=first.gradient_error),
        "iterations": Metric(value=warm, baseline=cold),
    }
    training = TrainingSpec(
        system="dpvp",
        config=config.model_dump(mode="json"),
        seed=config.seed,
        commit=source_commit(),
        libraries=library_versions(),
    )
    return write_artifact(
        folder,
        task=task,
        heads=_heads(problem, learned),
        horizon=config.horizon,
        ranges=RangesSpec(x=_box(learned.starts), goal=_box(problem.goal[None])),
        training=training,
        metrics=metrics,
        rng=np.random.default_rng(config.seed),
        ensemble=EnsembleSpec(members=1, spread=1.0, floor=0.0),  # there is nobody to disagree with
    )


def _heads(problem: Problem, learned: Learned) -> dict[Head, HeadExport]:
    task, unit = problem.task, "sqrt(cost)"
    nf, robot = len(task.features(learned.starts[0], problem.goal)[0]), task.robot
    state = Meaning("rad, rad/s", "state")
    value = ValueGraph(learned.value, robot.ndx, nf, sees_features=robot.nx != robot.ndx)
    outputs = {
        "r": Meaning(unit, "sqrt(2) times the residuals, whose squares add up to V"),
        "R_x": Meaning(f"{unit} per unit of x", "dr/dx with the features held"),
        "R_f": Meaning(f"{unit} per unit of f", "dr/df with the state held"),
    }
    features = Meaning("SI", "features of the task, its residual first")
    trajectory = TrajectoryGraph(learned.states, learned.controls)
    ways = {
        "xs": Meaning("rad, rad/s", "states, the first of them x; predicted node by node and not simulated"),
        "us": Meaning("Nm", "total controls, gravity included"),
    }
    only = Meaning("task", "goal; the one of the training is taken for granted")
    return {
        "value": HeadExport(value, {"x": state, "f": features}, outputs),
        "trajectory": HeadExport(trajectory, {"x": state, "goal": only}, ways),
    }


def _with_slope(activation: Activation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return a(z) and a'(z) in operations that ONNX Runtime has in double precision, which Elu is not."""
    if activation == "relu":
        return torch.relu(z), (z > 0).to(z.dtype)
    if activation == "elu":
        below = torch.exp(-torch.relu(-z))
        return torch.relu(z) + (below - torch.ones_like(z)), below
    t = torch.tanh(z)
    return t, torch.ones_like(z) - t * t


def _box(values: Array) -> Box:
    return Box(lower=tuple((values.min(axis=0) - TINY).tolist()), upper=tuple((values.max(axis=0) + TINY).tolist()))
