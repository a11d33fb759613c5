"""`dpvp artifact`: what there is, what is in one, and whether it may be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dpvp.description import robot_names
from dpvp.learned.artifact import artifact_folder, artifact_names, load_artifact, verify_artifact
from dpvp.learned.contract import FILE, Contract, read_contract
from dpvp.scenario import Scenario, load_scenario, scenario_names


@dataclass(frozen=True)
class ArtifactArgs:
    """Show what is in an artifact, or verify that it may be used: its files, its graphs, the robot and the task."""

    action: tyro.conf.Positional[Literal["show", "verify"]] = "show"
    """What to do."""
    artifact: tyro.conf.Positional[str | None] = None
    """Name of an artifact that comes with dpvp, or path of a folder; without one, what there is is listed."""
    scenario: str | None = None
    """Verify for this scenario (name or path); if absent, for the first one with the artifact's robot and task."""


def artifact(args: ArtifactArgs) -> int:
    """Show or verify; exit code 0.

    Raises:
        ArtifactError: there is no such artifact, or it must not be used.
        ConfigError: the scenario cannot be used.
    """
    if args.artifact is None:
        print("\n".join(artifact_names()) or "there are none: `dpvp train` makes them")
        return 0
    folder = artifact_folder(args.artifact)
    if args.action == "show":
        _show(folder, read_contract(folder / FILE), Console())
    else:
        print(_verified(folder, args.scenario))
    return 0


def _verified(folder: Path, name: str | None) -> str:
    """Check everything that can be checked and say what that was."""
    contract = read_contract(folder / FILE)
    heads = ", ".join(contract.graphs)
    scenario = _scenario_for(contract) if name is None else load_scenario(name)
    if scenario is not None:
        load_artifact(folder, scenario.robot, scenario.task)
        return f"{folder}: good for {scenario.name} ({heads})"
    verify_artifact(folder)
    owner = f"robot {contract.robot.name}, task {contract.task.kind}"
    return f"{folder}: whole ({heads}); whether it fits its owner ({owner}) was not checked: no scenario has both"


def _scenario_for(contract: Contract) -> Scenario | None:
    """Return the first scenario with the robot and the kind of task of the contract."""
    if contract.robot.name not in robot_names():
        return None
    scenarios = (load_scenario(name) for name in scenario_names())
    return next(
        (s for s in scenarios if (s.robot.name, s.task.kind) == (contract.robot.name, contract.task.kind)), None
    )


def _show(folder: Path, contract: Contract, console: Console) -> None:
    robot, task, training = contract.robot, contract.task, contract.training
    goal = " ".join(f"{entry.name} [{entry.unit}]" for entry in task.goal_layout)
    facts = {
        "artifact": str(folder),
        "robot": f"{robot.name}, model {robot.model_hash[:12]}; {' '.join(robot.joint_names)}",
        "task": f"{task.kind}, goal {goal}",
        "nodes": f"{contract.horizon} of {contract.dt:g} s in the training data",
        "trained by": f"dpvp train {training.system}, seed {training.seed}, commit {training.commit}",
        "libraries": ", ".join(f"{name} {version}" for name, version in training.libraries.items()),
    }
    if contract.ensemble is not None:
        ensemble = contract.ensemble
        limit = f"{ensemble.spread:g} (V + {ensemble.floor:g})"
        facts["value"] = f"{ensemble.members} members, believed where their standard deviation is below {limit}"
    for name, text in facts.items():
        console.print(f"{name:>10}  {escape(text)}", highlight=False, soft_wrap=True)
    for table in (_graphs(contract), _ranges(contract), _metrics(contract)):
        console.print(table)
    for name, content in (("costs", task.costs), ("training", training.config)):
        console.print(f"{name}:\n{_indented(content)}", markup=False, highlight=False, soft_wrap=True)


def _graphs(contract: Contract) -> Table:
    table = Table("head", "", "tensor", "shape", "precision", "unit", "meaning", title="graphs")
    for head, spec in contract.graphs.items():
        rows = [("in", tensor) for tensor in spec.inputs] + [("out", tensor) for tensor in spec.outputs]
        for i, (side, t) in enumerate(rows):
            shape = f"({', '.join(map(str, t.shape))})"
            table.add_row("" if i else head, side, t.name, shape, t.dtype, escape(t.unit), escape(t.meaning))
    return table


def _ranges(contract: Contract) -> Table:
    table = Table("number", "from", "to", title="training data")
    joints, size = contract.robot.joint_names, len(contract.ranges.x.lower)
    states = [*joints, *(f"{name}, rate" for name in joints)]
    labels = states if len(states) == size else [f"x[{i}]" for i in range(size)]
    goals = [f"goal {entry.name} [{entry.unit}]" for entry in contract.task.goal_layout]
    for box, names in ((contract.ranges.x, labels), (contract.ranges.goal, goals)):
        for name, low, high in zip(names, box.lower, box.upper, strict=False):  # who owns it is not known here
            table.add_row(escape(name), f"{low:.4g}", f"{high:.4g}")
    return table


def _metrics(contract: Contract) -> Table:
    table = Table("measured", "value", "baseline", title="figures")
    for name, metric in contract.metrics.items():
        table.add_row(escape(name), f"{metric.value:.5g}", f"{metric.baseline:.5g}")
    return table


def _indented(content: dict[str, Any]) -> str:
    lines = yaml.safe_dump(content, sort_keys=False, default_flow_style=None).splitlines()
    return "\n".join(f"  {line}" for line in lines)
