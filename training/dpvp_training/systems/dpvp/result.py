"""What a run leaves for dpvp: nets with their meanings, ranges and ensemble, as an artifact."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from dpvp.learned.contract import Box, EnsembleSpec, Head, Metric, RangesSpec, TrainingSpec
from dpvp.plan import Array
from dpvp_training.core.export import HeadExport, Meaning, write_artifact
from dpvp_training.core.provenance import library_versions, source_commit
from dpvp_training.envs.problem import Problem
from dpvp_training.systems.dpvp.config import DpvpConfig
from dpvp_training.systems.dpvp.fitting import ValueLoss, ValueLossConfig
from dpvp_training.systems.dpvp.nets import PolicyGraph, PolicyNet, ValueGraph, ValueNet
from dpvp_training.systems.dpvp.nodes import Nodes

NetT = TypeVar("NetT", bound=torch.nn.Module)
SYSTEM = "dpvp"
ROOM_TO_LABEL = 0.5  # share of the width of the data by which a value that only labels is believed beyond it
# Short horizons end a little beyond where optimal trajectories go: there an extrapolated value is still far better than
# the quadratic (measured: 1.02 against 1.33 of the optimum's cost at T = 3).
ROOM = 0.15
AGREEMENT, SLACK = 0.99, 4.5  # what this share of the held-out nodes disagree by, times the slack, is still believed
TINY = 1e-3  # least half-width of a range, so that a number that was always the same has one


def write_value(folder: Path, problem: Problem, value: ValueNet, nodes: Nodes, config: DpvpConfig) -> Path:
    """Write an artifact with the value alone, for labels: believed everywhere, since nothing moves by it."""
    floor = config.value.loss.floor * float(np.mean(nodes.v))
    ensemble = EnsembleSpec(members=value.members, spread=1e6, floor=floor)
    heads: dict[Head, HeadExport] = {"value": value_head(problem, value)}
    return _write(folder, problem, heads, nodes, config, ensemble, {}, room=ROOM_TO_LABEL)


def write_result(
    folder: Path,
    problem: Problem,
    value: ValueNet,
    policy: PolicyNet,
    fitted: Nodes,
    held_out: Nodes,
    config: DpvpConfig,
) -> Path:
    """Write the artifact of a run; its metrics are the errors of the value on the held-out nodes."""
    floor = config.value.loss.floor * float(np.mean(fitted.v))
    members, _ = member_values(value, held_out)
    spread = float(np.quantile(members.std(axis=0) / (members.mean(axis=0) + floor), AGREEMENT))
    ensemble = EnsembleSpec(members=value.members, spread=max(SLACK * spread, 1e-3), floor=floor)
    heads: dict[Head, HeadExport] = {"value": value_head(problem, value), "policy": policy_head(problem, policy)}
    return _write(folder, problem, heads, fitted, config, ensemble, value_errors(value, held_out), room=ROOM)


def value_errors(value: ValueNet, nodes: Nodes) -> dict[str, Metric]:
    """Errors on nodes that nothing was fitted to, beside those of the quadratic that training starts from."""
    found, gradient = member_values(value, nodes)
    start = ValueNet(value.frame, 1, value.rows, 1, 1, torch.Generator().manual_seed(0))
    for parameter in start.parameters():
        parameter.data.zero_()
    base, base_gradient = member_values(start, nodes)

    def share(wrong: Array, right: Array) -> float:
        return float(np.sqrt(np.mean((wrong - right) ** 2) / np.mean(right**2)))

    return {
        "held_out_value_error": Metric(value=share(found.mean(axis=0), nodes.v), baseline=share(base[0], nodes.v)),
        "held_out_gradient_error": Metric(value=share(gradient, nodes.v_x), baseline=share(base_gradient, nodes.v_x)),
    }


def member_values(value: ValueNet, nodes: Nodes) -> tuple[Array, Array]:
    """Return V of every member (E, N) and the gradient (N, ndx) of their mean."""
    loss = ValueLoss(value, nodes, ValueLossConfig())
    rows = torch.arange(len(nodes)).expand(value.members, -1)
    values, gradients = loss.gradient(rows)
    return values.detach().double().numpy(), gradients.detach().mean(dim=0).double().numpy()


def value_head(problem: Problem, value: ValueNet) -> HeadExport:
    """Describe the value for export, in single precision: it is evaluated several times an iteration."""
    unit = "sqrt(cost)"
    return HeadExport(
        ValueGraph(_copy(value), problem.task.robot.ndx),
        {"x": Meaning("rad, rad/s", "state"), "f": Meaning("SI", "features of the task, its residual first")},
        {
            "r": Meaning(unit, "residuals of all members, each scaled by 1/sqrt(members); V is half their square"),
            "R_x": Meaning(f"{unit} per unit of x", "dr/dx with the features held"),
            "R_f": Meaning(f"{unit} per unit of f", "dr/df with the state held"),
        },
    )


def policy_head(problem: Problem, policy: PolicyNet) -> HeadExport:
    """Describe the policy for export, in single precision."""
    return HeadExport(
        PolicyGraph(_copy(policy), _copy(problem.geometry)),
        {"x": Meaning("rad, rad/s", "state"), "goal": Meaning("task", "goal")},
        {"u": Meaning("Nm", "total control, gravity included")},
    )


def _write(
    folder: Path,
    problem: Problem,
    heads: dict[Head, HeadExport],
    nodes: Nodes,
    config: DpvpConfig,
    ensemble: EnsembleSpec,
    metrics: dict[str, Metric],
    *,
    room: float,
) -> Path:
    ranges = RangesSpec(x=_box(nodes.x, room), goal=_box(nodes.goal, room))
    training = TrainingSpec(
        system=SYSTEM,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        commit=source_commit(),
        libraries=library_versions(),
    )
    return write_artifact(
        folder,
        task=problem.task,
        heads=heads,
        horizon=config.study.horizon,
        ranges=ranges,
        training=training,
        metrics=metrics,
        rng=np.random.default_rng(config.seed),
        ensemble=ensemble,
    )


def _box(values: Array, room: float) -> Box:
    lower, upper = values.min(axis=0), values.max(axis=0)
    wider = room * (upper - lower) + TINY
    return Box(lower=tuple((lower - wider).tolist()), upper=tuple((upper + wider).tolist()))


def _copy(net: NetT) -> NetT:
    """Return a copy in single precision: the original goes on being used."""
    return copy.deepcopy(net).float()
