"""How often the loop keeps its period, measured through the real nodes while the arm moves from goal to goal."""

from __future__ import annotations

import itertools
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpvp.bench.closed_loop import percentiles
from dpvp.bench.variants import Variant
from dpvp.control.latency import report_since
from dpvp.errors import EnvironmentProblem
from dpvp.plan import Array
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.scenario import PlannerConfig, RatesConfig, Scenario, ScenarioConfig
from dpvp.tasks.task import Steered, Task

if TYPE_CHECKING:
    from dpvp.ros.pilot import Pilot

RATES = (100.0, 250.0, 500.0, 1000.0)  # Hz
PEER_RATE = 100.0  # Hz, of agimus_controller, the nearest peer
BUDGET_SHARE = 0.7  # of the period may be spent on iterations; the rest is for messages, guesses and checks
GOAL_SECONDS = 2.5  # a new goal comes this often, so that the solver always has work
WARM_UP = 1.0  # s before the measurement begins
REPORT_PATIENCE = 10.0  # s without a report of the loop


@dataclass(frozen=True)
class RateCase:
    """A planner at a rate.

    Attributes:
        hz: plans per second.
        config: the scenario with this rate, this planner and the budget that the rate allows.
    """

    hz: float
    config: ScenarioConfig

    @property
    def label(self) -> str:
        """What is special about the rate."""
        return "peer rate" if self.hz == PEER_RATE else ""


def rate_cases(config: ScenarioConfig, variants: tuple[Variant, ...] = ()) -> Iterator[RateCase]:
    """Yield the scenario's own planner at the peer's rate and then each of `variants` at every rate."""
    yield _case(config, config.planner, PEER_RATE)
    for variant, hz in itertools.product(variants, RATES):
        yield _case(config, variant.of(config).planner, hz)


def _case(config: ScenarioConfig, planner: PlannerConfig, hz: float) -> RateCase:
    changes = {"budget": BUDGET_SHARE / hz, "iterations": config.planner.iterations}
    update = {
        "planner": PlannerConfig.model_validate(planner.model_dump() | changes),
        "rates": RatesConfig.model_validate(config.rates.model_dump() | {"plan": hz}),
    }
    return RateCase(hz, config.model_copy(update=update))


def measure_rate(
    case: RateCase, name: str, seconds: float, parent: Path, seed: int, *, realtime: bool = False
) -> dict[str, object]:
    """Run the nodes of `case` for `seconds` while goals change, and return the row.

    Args:
        case: what to run.
        name: of the scenario.
        seconds: length of the measurement.
        parent: folder in which the run's own folder is made.
        seed: of the goals.
        realtime: let the nodes do for their timing what they may.

    Raises:
        EnvironmentProblem: the nodes cannot run here.
    """
    from dpvp.ros.bringup import Bringup
    from dpvp.ros.session import session

    draft = Scenario(name, case.config)
    run_dir = new_run_dir(draft, parent)
    scenario = resolved(draft, run_dir)
    rng = np.random.default_rng(seed)
    bringup = Bringup(plant="dpvp", start="false", record=False, realtime=realtime)
    with session(scenario, bringup, run_dir) as running:
        pilot = running.pilot
        streams = _Streams(pilot)
        pilot.aim(np.array(scenario.goal))
        pilot.ask("mpc_node/start")
        pilot.wait(WARM_UP)
        streams.clear()
        before = _Counters.read(pilot)
        while (rest := before.at + seconds - time.monotonic()) > 0.0:
            _change_goal(pilot, scenario.task, scenario.task.sample_goal(rng))
            pilot.wait(min(GOAL_SECONDS, rest))
        after = _Counters.read(pilot)
    return _row(case, before, after, streams)


def _change_goal(pilot: Pilot, task: Task, goal: Array) -> None:
    """Aim at `goal`; who walks keeps phase and heading, and takes half of the velocity."""
    if isinstance(task, Steered):
        pilot.steer(*(0.5 * goal[1:4]))
    else:
        pilot.aim(goal)


def _row(case: RateCase, before: _Counters, after: _Counters, streams: _Streams) -> dict[str, object]:
    periods, planner = after.periods - before.periods, case.config.planner
    expected = (after.at - before.at) * case.hz
    return {
        "hz": case.hz,
        "missed_share": (after.missed - before.missed) / periods if periods else np.nan,
        "solve_ms": percentiles(np.array(streams.plan_ms)),
        "state_age_ms": percentiles(np.array(streams.age_ms)),
        "periods": periods,
        "missed": after.missed - before.missed,
        "missed_asleep": after.missed_asleep - before.missed_asleep,
        "planner": planner.kind,
        "horizon": planner.horizon,
        "terminal": planner.terminal.kind,
        "guesses": list(planner.guesses),
        "label": case.label,
        "iterations": planner.iterations,
        "budget_ms": 1e3 * planner.budget,
        "plans": after.plans - before.plans,
        "rejected_plans": after.rejected - before.rejected,
        "advice": dict(after.advice - before.advice),
        "holding_share": float(np.clip(1.0 - periods / expected, 0.0, 1.0)),
        "seconds": after.at - before.at,
        "latencies": report_since(after.report, before.report),
    }


class _Streams:
    """Takes what the nodes say about times."""

    def __init__(self, pilot: Pilot) -> None:
        from dpvp.ros.record_node import ANY_OFFER, TOPICS

        self.plan_ms, self.age_ms = array("d"), array("d")
        for topic, values in (("mpc_node/plan_ms", self.plan_ms), ("world_node/state_age_ms", self.age_ms)):
            pilot.node.create_subscription(TOPICS[topic], topic, lambda m, to=values: to.append(m.data), ANY_OFFER)

    def clear(self) -> None:
        """Forget what came so far."""
        for values in (self.plan_ms, self.age_ms):
            del values[:]


@dataclass(frozen=True)
class _Counters:
    """The loop's counters, and when its report with them came (monotonic s)."""

    at: float
    periods: int
    missed: int
    plans: int
    rejected: int
    missed_asleep: int
    advice: Counter[str]
    report: Mapping[str, str]

    @classmethod
    def read(cls, pilot: Pilot) -> _Counters:
        """Wait for the next report of the loop; raise `EnvironmentProblem` if it stays away."""
        old, end = pilot.loop, time.monotonic() + REPORT_PATIENCE
        while pilot.loop is old:
            if time.monotonic() > end:
                raise EnvironmentProblem(
                    f"mpc_node has not reported for {REPORT_PATIENCE:g} s; its log is in the run folder"
                )
            pilot.wait(0.002)
        report = pilot.loop
        rejected = sum(int(value) for key, value in report.items() if key.startswith("rejected_"))
        advice = Counter({key: int(value) for key, value in report.items() if key.startswith(("value_", "policy_"))})
        periods, missed, plans, asleep = (int(report[key]) for key in ("periods", "missed", "plans", "missed_asleep"))
        return cls(time.monotonic(), periods, missed, plans, rejected, asleep, advice, report)
