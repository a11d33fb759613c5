"""The campaign on running nodes: one fault after the other on a robot that moves, judged by what the nodes say."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dpvp.bench.faults.fault import Case
from dpvp.bench.faults.harm import REAL_KINDS, RealKind
from dpvp.bench.faults.judge import Finding, judge, peaks
from dpvp.bench.faults.stage import Stage, staged
from dpvp.learned.artifact import artifact_folder
from dpvp.scenario import load_scenario

QUIET = (0.4, 1.5)  # s of undisturbed motion before a fault
USUAL = 3.0  # s of undisturbed motion that tell what is usual


def run_real(name: str, kinds: Sequence[RealKind], each: int, runs: Path, seed: int) -> Iterator[Finding]:
    """Do every one of `kinds` `each` times on the scenario `name`, and yield what is found.

    Nodes that end are started again by their turn; a stage that does not come back is left for a new one.
    """
    learns = load_scenario(name).config.artifact is not None
    waiting = [kind for _ in range(each) for kind in kinds if learns or not kind.learned]
    rng = np.random.default_rng(seed)
    while waiting:
        with staged(name, runs, seed, _own_artifact(name, runs) if learns else ()) as stage:
            usual = _usual(stage)
            while waiting:
                kind = waiting.pop(0)
                finding = _run(stage, kind, rng, usual)
                yield finding
                if not finding.back:
                    break


def _own_artifact(name: str, runs: Path) -> tuple[str, ...]:
    """Return the override by which nodes use a copy of the scenario's artifact that may be spoilt."""
    artifact = load_scenario(name).config.artifact
    assert artifact is not None
    copy = runs / f"artifact_{time.time_ns()}"
    shutil.copytree(artifact_folder(artifact), copy)
    return (f"artifact={copy.resolve()}",)


def _usual(stage: Stage) -> dict[str, float]:
    stage.witness.begin()
    stage.spin(USUAL)
    return peaks(stage.witness.trace)


def _run(stage: Stage, kind: RealKind, rng: np.random.Generator, usual: dict[str, float]) -> Finding:
    """Do one fault and judge it."""
    witness = stage.witness
    stage.come_back()
    stage.spin(float(rng.uniform(*QUIET)))
    duration, seed = float(rng.uniform(*kind.lasts)), int(rng.integers(2**31))
    witness.begin()
    case = Case(kind.name, -1, seed, 0.0, round(duration, 3))
    kind.harm(stage, duration, np.random.default_rng(seed))
    for name in dict.fromkeys((*kind.again, *stage.ended())):
        stage.start(name)
    witness.trace.back = stage.come_back()
    finding = judge(stage.scenario.name, 1.0 / stage.scenario.config.rates.plan, kind, case, witness.trace, usual)
    if orphans := stage.orphaned():
        finding = replace(finding, wrong=(*finding.wrong, f"solvers {orphans} outlived their loop"))
    return replace(finding, load=os.getloadavg()[0])


def real_kind(name: str) -> RealKind:
    """Return the kind of this name; KeyError if there is none."""
    return {kind.name: kind for kind in REAL_KINDS}[name]
