"""What the picture of a run shows beyond its curves: a slice of the value, iterations and trajectories."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from dpvp.learned.policy import Policy
from dpvp.learned.value import ValueFunction
from dpvp.plan import Array
from dpvp.planning.policy_guess import PolicyGuess
from dpvp.tasks.task import Machine, Task, TerminalWeights
from dpvp_training.core.executor import Executor
from dpvp_training.systems.dpvp.closed_loop import Arena, Setting, Way
from dpvp_training.systems.dpvp.label import Ask, Labeller, Study
from dpvp_training.systems.dpvp.plots import RunPicture, ValueSlice, draw_run, read_curves

NODES = 100  # of the trajectories
GRID = 41  # of the slice
EVERY = 8  # so many rows and columns of it problems are solved
REACH = 0.1  # of the width of the training data, to either side of the equilibrium


@dataclass(frozen=True, eq=False)
class Sitting:
    """What came of one start: iterations from rest and from the policy, and task errors (T+1,) of both."""

    cold: int
    warm: int
    learned: Array
    optimal: Array


def draw_portrait(
    setting: Setting, asks: list[Ask], metrics: Path, file: Path, executor: Executor, progress: Progress
) -> None:
    """Draw the run whose `metrics` are given into `file`; `asks` are starts to show."""
    bar = progress.add_task("drawing", total=len(asks))
    sittings: dict[int, Sitting] = {}
    for index, sitting in executor.map(functools.partial(sit, setting), asks):
        progress.advance(bar)
        if sitting is not None:
            sittings[index] = sitting
    seen = [sittings[i] for i in sorted(sittings)]
    arena = Arena(setting)
    picture = RunPicture(
        title=f"{setting.problem}: value and policy",
        curves=read_curves(metrics),
        value=_slice(arena, setting, _at_rest(arena, asks), executor),
        cold=np.array([sitting.cold for sitting in seen]),
        warm=np.array([sitting.warm for sitting in seen if sitting.warm >= 0]),
        t=np.arange(NODES + 1) * np.float64(arena.problem.task.dt),
        learned=np.array([sitting.learned for sitting in seen]),
        optimal=np.array([sitting.optimal for sitting in seen]),
        error="task error",
        tolerance=arena.problem.task.tolerance,
    )
    draw_run(picture, file)


def sit(setting: Setting, ask: Ask) -> Sitting:
    """Solve one problem with the learned value from rest and from the policy, and simulate the policy."""
    arena, labeller = _sitters(setting)
    task = arena.problem.task
    ocp = task.ocp(NODES, TerminalWeights())
    ocp.aim(ask.start, ask.goal)
    guess = PolicyGuess(Policy(arena.artifact)).propose(ocp, ask.start, ask.goal, 0.0, None)
    iterations: list[int] = []
    followed = None if guess is None else (guess.xs, guess.us)
    if followed is not None:
        labeller.solve(ask.start, ask.goal, [followed], iterations, from_rest=False)
    cold: list[int] = []
    labeller.solve(ask.start, ask.goal, [], cold)
    nowhere = np.full(NODES + 1, np.nan)
    learned = nowhere if guess is None else _errors(task, guess.xs, ask.goal)
    optimal = _errors(task, labeller.states, ask.goal)
    return Sitting(cold[0], iterations[0] if iterations else -1, learned, optimal)


def _errors(task: Task, xs: Array, goal: Array) -> Array:
    """Return the errors (T+1,) along states (T+1, nx) of nodes, `goal` being that of the first."""
    return np.array([task.error(x, task.later(goal, node * task.dt)) for node, x in enumerate(xs)])


@functools.lru_cache(maxsize=1)
def _sitters(setting: Setting) -> tuple[Arena, Labeller]:
    where = setting.problem, setting.overrides, setting.artifact
    study = Study(*where, NODES, 1, 1, approach=setting.approach, fallback=setting.fallback)
    return Arena(setting), Labeller(study)


def solved_cost(setting: Setting, ask: Ask) -> float:
    """Return what the best solution from the start of `ask` costs, not a number where there is none."""
    cost = _sitters(setting)[1].solve(ask.start, ask.goal, [], [])
    return cost if np.isfinite(cost) else np.nan


def _at_rest(arena: Arena, asks: list[Ask]) -> Ask:
    """Return the first goal at which the controller arrives, with the state in which it rests there."""
    for ask in asks:
        trial = arena.run(Way(10, "value", policy=True), ask)
        if trial.reached:
            task = arena.problem.task
            return Ask(trial.xs[-1].copy(), task.later(ask.goal, len(trial.us) * task.dt), 0)
    return asks[0]


def _slice(arena: Arena, setting: Setting, ask: Ask, executor: Executor) -> ValueSlice:
    """Slice the value through the state of `ask`, at rest at its goal, over the two entries that cost most."""
    task, value, rest = arena.problem.task, ValueFunction(arena.artifact), ask.start
    state = task.ocp(1, TerminalWeights()).problem.terminalModel.state
    widths = np.diff(arena.artifact.ranges.x, axis=0)[0][-task.robot.ndx :] * REACH
    costs = np.diag(value.derivatives(rest, ask.goal).hessian) * widths**2
    one, two = sorted(np.argsort(costs)[-2:].tolist())
    spans = [np.linspace(-widths[i], widths[i], GRID) for i in (one, two)]
    unit = np.eye(task.robot.ndx)
    states = [[np.array(state.integrate(rest, a * unit[one] + b * unit[two])) for a in spans[0]] for b in spans[1]]
    learned = [[value.value(x, ask.goal).value for x in row] for row in states]
    known = [(j, i) for j in range(0, GRID, EVERY) for i in range(0, GRID, EVERY)]
    labels = np.full((GRID, GRID), np.nan)
    solve = functools.partial(solved_cost, setting)
    for index, cost in executor.map(solve, [Ask(states[j][i], ask.goal, 0) for j, i in known]):
        labels[known[index]] = np.nan if cost is None else cost
    names = [f"{name}, from rest at the goal" for name in _entries(task.robot)]
    return ValueSlice((names[one], names[two]), spans[0], spans[1], np.array(learned), labels, (0.0, 0.0))


def _entries(machine: Machine) -> list[str]:
    """Name the entries of a state's tangent."""
    names, n = list(machine.own_names), machine.ndx
    if n == 2 * len(names):
        return [*names, *(f"rate of {name}" for name in names)]
    return names if n == len(names) else [f"entry {i} of the state" for i in range(n)]
