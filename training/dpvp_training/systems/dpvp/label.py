"""Labels: solve a problem, keep what the backward pass knows at every node. Runs in worker processes.

The value is (quasi-)infinite-horizon. Without a learned value the horizon is long and only nodes with enough of it left
are kept; with one as terminal cost every node counts (value iteration with trajectory optimisation, Parag et al., ICRA
2022, step 3).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import crocoddyl
import numpy as np

from dpvp.learned.artifact import load_artifact
from dpvp.learned.value import ValueFunction
from dpvp.plan import Array
from dpvp.planning.guess import HoldGuess
from dpvp.planning.terminal import ValueTerminal
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.task import TerminalWeights
from dpvp_training.envs.problem import Problem
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.nodes import Nodes

ITERATIONS = 300  # of a solve; one that needs more is thrown away
FAR = 1e3  # a simulated state beyond has diverged


@dataclass(frozen=True)
class Study:
    """What workers solve; hashable and light enough to be sent with every item.

    Attributes:
        problem, overrides: for `load_problem`.
        value: folder of the artifact whose value ends horizons; None is no terminal cost.
        horizon: nodes of a solve.
        keep: nodes from the start that are kept, those beyond being too close to the end.
        stride: every so many of them, and always the first.
        approach: nodes of a first, easier solve with a quadratic end, from which the guess `hold` comes; 0: none.
        preview: nodes of the short horizon that finds initial guesses; 0 where there is no value.
        fallback: weights of goal and velocity in the quadratic that stands in for a value not believed.
        from_rest: share of items that are solved from rest too, where the short horizon has found a guess.
    """

    problem: str
    overrides: tuple[str, ...]
    value: Path | None
    horizon: int
    keep: int
    stride: int
    approach: int = 0
    preview: int = 0
    fallback: tuple[float, float] = (1.0, 1.0)
    from_rest: float = 1.0


@dataclass(frozen=True, eq=False)
class Ask:
    """One item of work: a start (nx,) and a goal, and a seed for what is drawn on the way."""

    start: Array
    goal: Array
    seed: int


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of an item: its nodes, and how the solves went."""

    nodes: Nodes | None
    solves: int
    converged: int
    iterations: tuple[int, ...]
    cost: float


def label(study: Study, ask: Ask) -> Answer:
    """Solve from the start, and from a state that the short-horizon controller comes to; the cheapest guess counts."""
    return _labeller(study).answer(ask)


@functools.lru_cache(maxsize=2)
def _labeller(study: Study) -> Labeller:
    return Labeller(study)


class Labeller:
    """The optimal control problem of a study and its solver, built once a process."""

    def __init__(self, study: Study) -> None:
        """Load the problem and, where there is one, the value."""
        self._study = study
        self._problem: Problem = load_problem(study.problem, study.overrides)
        self._ocp, self._solver = self._build(study.horizon)
        self._short = self._build(study.preview) if study.preview else None
        easier = self._problem.task.ocp(study.approach, TerminalWeights(1.0)) if study.approach else None
        self._easier = None if easier is None else (easier, crocoddyl.SolverFDDP(easier.problem))

    @property
    def states(self) -> Array:
        """The (T+1, nx) states of the last solution."""
        return np.array(self._solver.xs)

    def answer(self, ask: Ask) -> Answer:
        """Label one item; see `label`."""
        rng = np.random.default_rng(ask.seed)
        followed = None if self._short is None else self._follow(ask)
        parts, iterations, first = list[Nodes](), list[int](), np.inf
        solves = [(ask.start, ask.goal, followed)]
        if followed is not None:
            on_the_way = int(rng.integers(1, self._study.keep))
            rest = followed[0][on_the_way:], followed[1][on_the_way:]
            solves.append((rest[0][0], self._later(ask.goal, on_the_way), rest))
        from_rest = rng.random() < self._study.from_rest
        for k, (start, goal, guess) in enumerate(solves):
            cost = self.solve(start, goal, [guess], iterations, from_rest=from_rest and k == 0)
            if np.isfinite(cost):
                parts.append(self._nodes(goal))
            first = cost if k == 0 else first
        nodes = Nodes.joined(parts) if parts else None
        return Answer(nodes, len(solves), len(parts), tuple(iterations), first)

    def _build(self, horizon: int) -> tuple[Ocp, crocoddyl.SolverFDDP]:
        task, study = self._problem.task, self._study
        terminal: TerminalWeights | ValueTerminal = TerminalWeights()
        if study.value is not None:
            artifact = load_artifact(study.value, task.robot, task)
            terminal = ValueTerminal(task, ValueFunction(artifact), TerminalWeights(*study.fallback))
        ocp = task.ocp(horizon, terminal)
        return ocp, crocoddyl.SolverFDDP(ocp.problem)

    def solve(
        self,
        start: Array,
        goal: Array,
        guesses: Sequence[tuple[Array, Array] | None],
        iterations: list[int],
        *,
        from_rest: bool = True,
    ) -> float:
        """Leave the solver with the cheapest converged solution; return its cost, infinite if there is none.

        Args:
            start: (nx,) state.
            goal: in the task's units.
            guesses: states and controls to start from, of any length; absent ones are passed over.
            iterations: those of every solve are appended.
            from_rest: also start from what needs no knowledge; it does where there is no guess at all.
        """
        tries = [self._extended(*guess) for guess in guesses if guess is not None]
        if from_rest or not tries:
            tries.append(self._from_rest(start, goal))
        self._ocp.aim(start, goal)
        found: list[tuple[float, list[Array], list[Array]]] = []
        for xs, us in tries:
            good = np.all(np.isfinite(xs)) and self._solver.solve(list(xs), list(us), ITERATIONS, False, np.nan)
            iterations.append(int(self._solver.iter))
            cost = float(self._solver.cost) if good else np.inf
            found.append((cost, list(np.array(self._solver.xs)), list(np.array(self._solver.us))))
        best = min(range(len(found)), key=lambda k: found[k][0])
        if np.isfinite(found[best][0]):
            self._hold(*found[best][1:])
        return found[best][0]

    def _hold(self, xs: list[Array], us: list[Array]) -> None:
        """Leave the solver with a solution and its backward pass, free of what regularised the last iteration.

        Regularisation is added to V_xx and shrinks K: labels with it would be of another problem.
        """
        self._solver.setCandidate(xs, us, True)
        self._solver.problem.calc(xs, us)
        self._solver.preg = self._solver.dreg = 0.0
        self._solver.computeDirection(True)

    def _from_rest(self, start: Array, goal: Array) -> tuple[Array, Array]:
        """Guess without knowing anything: hold, or what an easier problem makes of it, with the equilibrium behind."""
        ocp = self._ocp if self._easier is None else self._easier[0]
        ocp.aim(start, goal)
        hold = HoldGuess().propose(ocp, start, goal, 0.0, None)
        assert hold is not None
        if self._easier is None:
            return hold.xs, hold.us
        solver = self._easier[1]
        solver.solve(list(hold.xs), list(hold.us), ITERATIONS, True, np.nan)
        return self._extended(np.array(solver.xs), np.array(solver.us))

    def _extended(self, xs: Array, us: Array) -> tuple[Array, Array]:
        """Make states and controls as long as the horizon, the state held where they end."""
        horizon = self._ocp.horizon
        missing = horizon - len(us)
        if missing <= 0:
            return xs[: horizon + 1], us[:horizon]
        rest = self._ocp.gravity(xs[-1])
        return np.concatenate([xs, np.tile(xs[-1], (missing, 1))]), np.concatenate([us, np.tile(rest, (missing, 1))])

    def _follow(self, ask: Ask) -> tuple[Array, Array] | None:
        """Go with the short horizon, one iteration a step: states (keep+1, nx) and controls, None if it diverges."""
        assert self._short is not None
        (ocp, solver), x = self._short, ask.start
        ocp.aim(x, ask.goal)
        guess = HoldGuess().propose(ocp, x, ask.goal, 0.0, None)
        assert guess is not None
        states, controls = [x], list[Array]()
        us, iterations = guess.us, 20  # the first has no plan before it to improve on
        for node in range(self._study.keep):
            ocp.aim(x, self._later(ask.goal, node))
            solver.solve(list(ocp.rollout(us)), list(us), iterations, True, np.nan)
            found = np.array(solver.us)
            x, _cost = ocp.step(x, found[0])
            if not np.all(np.abs(x) < FAR):
                return None
            states.append(x)
            controls.append(found[0])
            us, iterations = np.concatenate([found[1:], found[-1:]]), 1
        return np.stack(states), np.stack(controls)

    def _later(self, goal: Array, nodes: int) -> Array:
        """Return what the goal has become so many nodes later."""
        return self._problem.task.later(goal, nodes * self._problem.task.dt)

    def _nodes(self, goal: Array) -> Nodes:
        """Read what the solver holds."""
        solver, task, study = self._solver, self._problem.task, self._study
        datas = [*solver.problem.runningDatas, solver.problem.terminalData]
        to_go = np.cumsum([data.cost for data in datas][::-1])[::-1]
        kept = list(range(0, min(study.keep, study.horizon), study.stride))
        goals = np.array([self._later(goal, i) for i in kept])
        features = [task.features(np.array(solver.xs[i]), g) for i, g in zip(kept, goals, strict=True)]
        n, nu, ndx, single = len(kept), task.robot.nu, task.robot.ndx, np.float32  # bindings drop dimensions of one
        return Nodes(
            x=np.array([solver.xs[i] for i in kept]),
            goal=goals,
            f=np.array([f for f, _ in features]),
            f_x=np.array([f_x for _, f_x in features], single),
            v=to_go[kept],
            v_x=np.array([solver.Vx[i] for i in kept]),
            v_xx=np.array([solver.Vxx[i] for i in kept], single),
            u=np.reshape([solver.us[i] for i in kept], (n, nu)),
            gain=np.reshape([solver.K[i] for i in kept], (n, nu, ndx)).astype(single),
            q_uu=np.reshape([solver.Quu[i] for i in kept], (n, nu, nu)).astype(single),
        )
