"""A planner in closed loop with the task's own discrete dynamics: what it costs and how long its plans take.

Every step of `task.dt` seconds is planned anew, with one solver iteration; only the first plan of a trial may use more.
What is followed is decided as the real loop does it: the newest usable plan, the last usable one for `plan_timeout`
seconds after it, and the hold law when there is neither.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pinocchio

from dpvp.bench.follower import Follower
from dpvp.bench.variants import Variant
from dpvp.control.guard import hold_command
from dpvp.plan import Array, Plan
from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.robot import Robot
from dpvp.scenario import Scenario
from dpvp.tasks.task import TerminalWeights

STEPS = 200  # of a trial
FIRST_ITERATIONS = 20  # the first plan of a trial has no plan before it to improve on
FAR = 1e3  # rad and rad/s; a state beyond has diverged


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of one start.

    Attributes:
        cost: sum of the running costs; infinite if the state diverged or the solver crashed.
        reached: the task's verdict on the last state.
        peak_velocity: largest joint velocity as a share of its limit.
        plan_ms: (n,) time of each whole call for a plan, guess included, ms.
        cpu_ms: (n,) the processor's share of it, which other work on the machine does not lengthen.
        iterations: (n,) solver iterations of each.
        statuses: number of plans by `PlanStatus`; `guesses` by the guess that won, `advice` by what became of what was
            learned.
        held: steps in which the arm was held for want of a usable plan.
        us: (n, nu) applied torques, Nm.
    """

    cost: float
    reached: bool = False
    peak_velocity: float = np.nan
    plan_ms: Array = field(default_factory=lambda: np.zeros(0))
    cpu_ms: Array = field(default_factory=lambda: np.zeros(0))
    iterations: Array = field(default_factory=lambda: np.zeros(0))
    statuses: Mapping[str, int] = field(default_factory=dict)
    guesses: Mapping[str, int] = field(default_factory=dict)
    advice: Mapping[str, int] = field(default_factory=dict)
    held: int = 0
    us: Array = field(default_factory=lambda: np.zeros(0))


CRASHED = Trial(np.inf, statuses={"CRASHED": 1})


class ClosedLoop:
    """The planner of a scenario with the task's own dynamics as plant, in lock-step."""

    def __init__(self, scenario: Scenario) -> None:
        """Build the problem and the solver; only iterations bound plans, so that any machine finds the same."""
        planning = build_planning(scenario)
        iterations = scenario.config.planner.iterations
        self._planning = replace(planning, budget=Budget(iterations))
        self._first = replace(planning, budget=Budget(max(FIRST_ITERATIONS, iterations)))
        self._plant = scenario.task.ocp(1, TerminalWeights())
        self._task, self._robot = scenario.task, scenario.robot
        self._patience = scenario.config.loop.plan_timeout

    def run(self, start: Array, goal: Array, steps: int = STEPS) -> Trial:
        """Go from the (nx,) state `start` towards `goal` for `steps` steps, or until the state diverges."""
        task, follower = self._task, Follower(self._robot, self._patience)
        plans, us, xs, cpu, cost = list[Plan](), list[Array](), [start], list[float](), 0.0
        for step in range(steps):
            planning, previous = (self._planning, plans[-1]) if plans else (self._first, None)
            before = time.process_time()
            plans.append(planning.plan(xs[-1], goal, step * self._plant.dt, previous))
            cpu.append(1e3 * (time.process_time() - before))
            us.append(self._control(follower, plans[-1], xs[-1]))
            self._plant.aim(xs[-1], task.later(goal, step * self._plant.dt))
            x, spent = self._plant.step(xs[-1], us[-1])
            xs.append(x)
            cost += spent
            if not np.all(np.abs(x) < FAR):
                cost = np.inf
                break
        return Trial(
            cost=cost,
            reached=bool(np.isfinite(cost) and task.reached(xs[-1], task.later(goal, steps * self._plant.dt))),
            peak_velocity=float(np.max(np.abs(np.stack(xs)[:, self._robot.nq :]) / self._robot.limits.velocity)),
            plan_ms=np.array([1e3 * plan.timings.total for plan in plans]),
            cpu_ms=np.array(cpu),
            iterations=np.array([plan.iterations for plan in plans]),
            statuses=Counter(plan.status.name for plan in plans),
            guesses=Counter(plan.guess for plan in plans),
            advice=Counter(key for plan in plans for key in plan.advice.keys),
            held=follower.held,
            us=np.stack(us),
        )

    def _control(self, follower: Follower, plan: Plan, x: Array) -> Array:
        """Return the torques (nu,), Nm, to apply in the (nx,) state `x` that `plan` was made from."""
        command, limit = follower.command(plan, x), self._robot.limits.effort
        if follower.anchor is not None:
            return np.clip(_hold(self._robot, follower.anchor, x, self._plant.dt), -limit, limit)
        return np.clip(command.u0 + command.gain @ (command.x0 - x), -limit, limit)


def closed_loop_row(variant: Variant, trials: list[Trial], references: list[float]) -> dict[str, object]:
    """Sum up the trials of `variant`; `references` are the costs of the optimum from the same starts."""
    with np.errstate(invalid="ignore"):  # neither has a finite cost: not a number
        ratios = np.array([trial.cost for trial in trials]) / references
    iterations = np.concatenate([trial.iterations for trial in trials])
    return {
        "planner": variant.planner,
        "horizon": variant.horizon,
        "terminal": variant.terminal,
        "guess": variant.guess,
        "iterations_mean": float(np.mean(iterations)) if len(iterations) else np.nan,
        "solve_ms": percentiles(np.concatenate([trial.plan_ms for trial in trials])),
        "cost_ratio": {"mean": float(np.mean(ratios)), "worst": float(np.max(ratios))},
        "success_rate": float(np.mean([trial.reached for trial in trials])),
        "label": "",
        "starts": len(trials),
        "cost_ratios": ratios.tolist(),
        "statuses": _summed(trial.statuses for trial in trials),
        "guesses": _summed(trial.guesses for trial in trials),
        "advice": _summed(trial.advice for trial in trials),
        "cpu_ms": percentiles(np.concatenate([trial.cpu_ms for trial in trials])),
        "held_steps": sum(trial.held for trial in trials),
        "peak_velocity_share": float(np.fmax.reduce([trial.peak_velocity for trial in trials])),
    }


def percentiles(values: Array) -> dict[str, float]:
    """Return the median and the 99th percentile of `values`; NaN where there are none."""
    middle, high = np.percentile(values, [50, 99]) if len(values) else (np.nan, np.nan)
    return {"p50": float(middle), "p99": float(high)}


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    return dict(sum(map(Counter, counts), Counter()))


def _hold(robot: Robot, anchor: Array, x: Array, dt: float) -> Array:
    """Return the torques (nu,), Nm, by which the hold law would have moved the arm after `dt` seconds.

    Taken as it is, the law is for the plant's rate and unstable in steps this long; hence an implicit Euler step of it.
    """
    command, (q, v) = hold_command(robot, anchor, 0.0, np.inf), np.split(x, 2)
    stiffness, damping = np.split(command.gain, 2, axis=1)
    upper = np.triu(pinocchio.crba(robot.model, robot.model.createData(), q))
    inertia = upper + np.triu(upper, 1).T
    force = inertia @ v + dt * stiffness @ (anchor[: robot.nq] - q)
    v_next = np.linalg.solve(inertia + dt * damping + dt**2 * stiffness, force)
    return np.asarray(robot.gravity(q) + inertia @ (v_next - v) / dt)
