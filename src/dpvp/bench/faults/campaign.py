"""The campaign in simulated time: cases drawn from a seed, run by some processes and judged."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context

import numpy as np

from dpvp.bench.faults.catalogue import KINDS, kind_named
from dpvp.bench.faults.fault import Case, Fault, Kind
from dpvp.bench.faults.judge import Finding, judge, peaks
from dpvp.bench.faults.rig import Rig
from dpvp.ros.lifeline import hold_lifeline, lifeline
from dpvp.scenario import load_scenario, scenario_names

MOTIONS = 4  # starts and goals of each scenario, of which every case disturbs one
ONSET = (0.3, 0.8)  # s after tracking was asked for
AFTERWARDS = 2.0  # s in which the robot has to come back
UNDISTURBED_SECONDS = 2.0
UNDISTURBED = Case("none", 0, 0)

Usual = Mapping[str, Mapping[str, float]]  # of a scenario: the largest shares of limits without faults


def cases(kinds: Sequence[Kind], scenarios: Sequence[str], each: int, seed: int) -> Iterator[tuple[str, Case]]:
    """Draw `each` cases of every kind in every scenario that has what the kind needs."""
    known = scenario_names()
    for turn, name, (number, kind) in itertools.product(range(each), scenarios, enumerate(KINDS)):
        if kind not in kinds or (kind.learned and not _learns(name)):
            continue
        place = known.index(name) if name in known else len(known)
        rng = np.random.default_rng([seed, place, number, turn])
        onset, duration = (round(float(rng.uniform(*span)), 3) for span in (ONSET, kind.lasts))
        yield name, Case(kind.name, int(rng.integers(MOTIONS)), int(rng.integers(2**31)), onset, duration)


def measure_usual(pool: ProcessPoolExecutor, scenarios: Sequence[str]) -> Usual:
    """Run every motion of every scenario without a fault and return the largest shares of limits."""
    cases = [(name, replace(UNDISTURBED, motion=motion)) for name in scenarios for motion in range(MOTIONS)]
    found = list(pool.map(_undisturbed, *zip(*cases, strict=True)))
    return {
        name: {
            key: max(shares[key] for (n, _), shares in zip(cases, found, strict=True) if n == name) for key in found[0]
        }
        for name in scenarios
    }


def run_cases(pool: ProcessPoolExecutor, drawn: Sequence[tuple[str, Case]], usual: Usual) -> Iterator[Finding]:
    """Run the cases and yield what is found as soon as it is."""
    running = [pool.submit(run_case, name, case, usual[name]) for name, case in drawn]
    for done in as_completed(running):
        yield done.result()


def pool(jobs: int) -> ProcessPoolExecutor:
    """Return processes for cases, each started afresh: solvers and physics do not survive a fork."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(lifeline(),))


def run_case(name: str, case: Case, usual: Mapping[str, float]) -> Finding:
    """Run and judge one case of the scenario `name`."""
    rig, kind = _rig(name), kind_named(case.kind)
    trace = rig.run(case, lambda rng: kind.make(rig.scenario.robot, rng), case.end + AFTERWARDS)
    return judge(name, 1.0 / rig.scenario.config.rates.plan, kind, case, trace, usual)


def _undisturbed(name: str, case: Case) -> dict[str, float]:
    rig = _rig(name)
    return peaks(rig.run(case, lambda rng: Fault(rig.scenario.robot, rng), UNDISTURBED_SECONDS))


@lru_cache(maxsize=3)
def _rig(name: str) -> Rig:
    return Rig(load_scenario(name))


@lru_cache(maxsize=3)
def _learns(name: str) -> bool:
    return load_scenario(name).config.artifact is not None


def _begin(environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ |= environment
    hold_lifeline()
    logging.disable(logging.CRITICAL)  # what the loop says of faults that we make is no news
