"""Closed loop on the task's own dynamics: what a way to plan costs, beside the optimum. Runs in worker processes.

Every node of dt is planned anew, with one iteration; only the first plan of a trial may use more. Limits are what the
task's costs make of them, as in the published problems: plans are followed as they are.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from dpvp.learned.artifact import Artifact, load_artifact
from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp.plan import Array, Plan
from dpvp.planning.build import Planning
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import GuessSource, HoldGuess, ShiftGuess
from dpvp.planning.planner import Budget
from dpvp.planning.policy_guess import PolicyGuess
from dpvp.planning.terminal import ValueTerminal
from dpvp.tasks.task import TerminalWeights
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.config import DpvpConfig
from dpvp_training.systems.dpvp.label import Ask, Labeller, Study

FIRST_ITERATIONS = 20  # the first plan of a trial has no plan before it to improve on
FAR = 1e3  # a state beyond has diverged


@dataclass(frozen=True)
class Way:
    """One way to plan: nodes, what ends them, and whether the policy may propose guesses besides hold and shift."""

    horizon: int
    terminal: Literal["zero", "value"]
    policy: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        return f"T={self.horizon} {self.terminal}{' policy' if self.policy else ''}"


@dataclass(frozen=True)
class Setting:
    """What trials are made on; hashable.

    Attributes:
        problem, overrides: for `load_problem`.
        artifact: folder of the learned parts.
        steps: nodes of a trial and of the optimum.
        approach, fallback: see `Study`.
    """

    problem: str
    overrides: tuple[str, ...]
    artifact: Path
    steps: int
    approach: int = 0
    fallback: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of(cls, problem: str, config: DpvpConfig, artifact: Path, steps: int | None = None) -> Setting:
        """Make the setting of what `config` trained; trials are as long as the first round's horizons if not given."""
        study = config.study
        return cls(problem, config.problem, artifact, steps or study.scout_horizon, study.approach, study.fallback)


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of one start.

    Attributes:
        cost: sum of the node costs; infinite if the state diverged.
        reached: the task's verdict on the last state.
        plan_ms: (n,) time of each plan, guess and check included, ms; `solve_ms` that of the solver alone.
        guesses: plans by the guess that won; `advice` by what became of the learned parts.
        xs, us: (n+1, nx) and (n, nu).
    """

    cost: float
    reached: bool
    plan_ms: Array
    solve_ms: Array
    guesses: Mapping[str, int] = field(default_factory=dict)
    advice: Mapping[str, int] = field(default_factory=dict)
    xs: Array = field(default_factory=lambda: np.zeros(0))
    us: Array = field(default_factory=lambda: np.zeros(0))


def run_trial(setting: Setting, way: Way, ask: Ask) -> Trial:
    """Go from the start of `ask` to its goal in the way `way`."""
    return _arena(setting).run(way, ask)


def optimum(setting: Setting, ask: Ask) -> tuple[float, float]:
    """Return the cost of the whole trial as one problem, solved to convergence.

    The first is the best of several guesses, the second that from rest alone, which may be a poorer local optimum.
    """
    return _arena(setting).optimum(ask)


@functools.lru_cache(maxsize=2)
def _arena(setting: Setting) -> Arena:
    return Arena(setting)


class Arena:
    """A problem, an artifact, and the planners that were asked for, built once a process."""

    def __init__(self, setting: Setting) -> None:
        """Load the problem and the artifact."""
        self._setting = setting
        self.problem = load_problem(setting.problem, setting.overrides)
        self._task = self.problem.task
        self.artifact: Artifact = load_artifact(setting.artifact, self._task.robot, self._task)
        self._plant = self._task.ocp(1, TerminalWeights())
        self._planning = functools.lru_cache(maxsize=16)(self.build)
        study = Study(setting.problem, setting.overrides, None, setting.steps, 1, 1, approach=setting.approach)
        self._whole = functools.lru_cache(maxsize=1)(lambda: Labeller(study))

    def run(self, way: Way, ask: Ask) -> Trial:
        """See `run_trial`."""
        planning, dt = self._planning(way), self._task.dt
        first = replace(planning, budget=Budget(FIRST_ITERATIONS))
        plans, us, xs, cost = list[Plan](), list[Array](), [ask.start], 0.0
        for step in range(self._setting.steps):
            ask_for = planning.plan if plans else first.plan
            plans.append(ask_for(xs[-1], ask.goal, step * dt, plans[-1] if plans else None))
            us.append(np.array(plans[-1].us[0]))
            self._plant.aim(xs[-1], self._task.later(ask.goal, step * dt))
            x, spent = self._plant.step(xs[-1], us[-1])
            xs.append(x)
            cost += spent
            if not np.all(np.abs(x) < FAR):
                cost = np.inf
                break
        return Trial(
            cost=cost,
            reached=bool(np.isfinite(cost) and self._task.reached(xs[-1], self._task.later(ask.goal, len(us) * dt))),
            plan_ms=np.array([1e3 * plan.timings.total for plan in plans[1:]]),
            solve_ms=np.array([1e3 * plan.timings.solve for plan in plans[1:]]),
            guesses=Counter(plan.guess for plan in plans),
            advice=Counter(key for plan in plans for key in plan.advice.keys),
            xs=np.stack(xs),
            us=np.stack(us),
        )

    def optimum(self, ask: Ask) -> tuple[float, float]:
        """See `optimum`."""
        trial = self.run(Way(10, "value"), ask)
        from_rest = self._whole().solve(ask.start, ask.goal, [], [])
        if not np.isfinite(trial.cost):
            return from_rest, from_rest
        followed = self._whole().solve(ask.start, ask.goal, [(trial.xs, trial.us)], [], from_rest=False)
        return min(followed, from_rest), from_rest

    def build(self, way: Way) -> Planning:
        """Build the planner of a way, one iteration a plan."""
        task = self._task
        fallback = TerminalWeights(*self._setting.fallback)
        value = None if way.terminal == "zero" else ValueTerminal(task, ValueFunction(self.artifact), fallback)
        planner = DdpPlanner(task.ocp(way.horizon, value or TerminalWeights()), PlanCheck(None))
        sources: list[GuessSource] = [HoldGuess(), ShiftGuess()]
        if way.policy:
            sources.append(PolicyGuess(Policy(self.artifact)))
        return Planning(planner, tuple(sources), Budget(1), value)
