"""Ocp: one crocoddyl problem whose start and goal move without rebuilding anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import crocoddyl
import numpy as np

from dpvp.plan import Array


class Ocp:
    """A shooting problem over `horizon` nodes of `dt` seconds, as tasks build it and planners solve it.

    Where the goal stands still all running nodes share one model, so that aiming is a single assignment. Not for two
    threads at once.

    Attributes:
        problem: the crocoddyl problem; its arrays belong to crocoddyl.
        horizon: number of control nodes T.
        dt: length of a node, s.
        state: crocoddyl's, of every node.
        first_dt: length of node 0 where aiming has made it another than `dt`, s; else 0.
        later: what a goal has become some seconds later.
    """

    def __init__(
        self,
        running: crocoddyl.ActionModelAbstract | Sequence[crocoddyl.ActionModelAbstract],
        terminal: crocoddyl.ActionModelAbstract,
        horizon: int,
        dt: float,
        aim: Callable[[Array], None],
        *,
        first: crocoddyl.ActionModelAbstract | None = None,
        hold: Callable[[Array], Array] | None = None,
        later: Callable[[Array, float], Array] | None = None,
    ) -> None:
        """Build the problem.

        Args:
            running: model of every node but the last, or one for each of them.
            terminal: model of the last node.
            horizon: number of control nodes T, at least 1.
            dt: length of a node, s.
            aim: sets the goal in the models.
            first: model of node 0 where it differs (no constraint on the state that is already there).
            hold: the (nu,) control that keeps the machine in an (nx,) state at rest, or comes close; that of the
                running model (`quasiStatic`) where there is none.
            later: moves goals on; they stand still where there is none.
        """
        if horizon < 1:
            raise ValueError(f"horizon = {horizon}: must be at least 1 node")
        # constraints of node 0 do not matter to who steps: all of these have the same data
        self._stepped: list[Any] = list(running) if isinstance(running, Sequence) else [running] * horizon
        models = [first or self._stepped[0], *self._stepped[1:]]
        self.problem = crocoddyl.ShootingProblem(np.zeros(models[0].state.nx), models, terminal)
        # two solver threads on two cores cost up to a factor of ten and never gained more than a third
        self.problem.nthreads = 1
        self.horizon, self.dt, self.state = horizon, dt, self._stepped[-1].state
        self.first_dt = 0.0
        self._aim = aim
        self.later = later or (lambda goal, seconds: goal)
        self._hold, self._step_data = hold, self._stepped[-1].createData()
        self._datas = list(self.problem.runningDatas)  # making this list takes as long as two nodes

    @property
    def span(self) -> float:
        """Length of the horizon, s."""
        return self.time(self.horizon)

    def time(self, node: int) -> float:
        """Return when `node` begins, s after node 0."""
        return node * self.dt if node == 0 or self.first_dt == 0.0 else self.first_dt + (node - 1) * self.dt

    def aim(self, x: Array, goal: Array) -> None:
        """Set the (nx,) start state and the goal, in the task's units."""
        self.problem.x0 = x
        self._aim(goal)

    def mend(self) -> bool:
        """Give nodes new data where there is NaN in them; True if there was.

        Pinocchio adds to some derivatives in place: with contacts a single NaN stays for ever, whatever is solved next.
        """
        sound = all(math.isfinite(data.Fx.sum()) for data in self._datas)
        if not sound:
            for node, model in enumerate(list(self.problem.runningModels)):
                self.problem.updateNode(node, model, model.createData())
            self._datas = list(self.problem.runningDatas)
        return not sound

    def gravity(self, x: Array, node: int = -1) -> Array:
        """Return the (nu,) torques, Nm, that carry the posture of the (nx,) state `x` at rest, on `node`'s contacts."""
        if self._hold is not None:
            return self._hold(x)
        at_rest = x.copy()
        at_rest[self.state.nq :] = 0.0
        return np.asarray(self._stepped[node].quasiStatic(self._step_data, at_rest))

    def step(self, x: Array, u: Array, node: int = 0) -> tuple[Array, float]:
        """Simulate one node of `dt`: the (nx,) next state and what it costs as that `node` of the problem."""
        self._stepped[node].calc(self._step_data, x, u)
        return np.array(self._step_data.xnext), float(self._step_data.cost)

    def cost(self, xs: Array, us: Array) -> float:
        """Return the objective of states (T+1, nx) and controls (T, nu), gaps ignored."""
        return float(self.problem.calc(list(xs), list(us)))

    def gap(self, xs: Array, us: Array) -> float:
        """Return the largest absolute dynamics gap of xs (T+1, nx), us (T, nu), in rad, m and their rates."""
        return self.cost_and_gap(xs, us)[1]

    def cost_and_gap(self, xs: Array, us: Array) -> tuple[float, float]:
        """Return what `cost` and `gap` return, for the price of one."""
        cost = self.cost(xs, us)
        gaps = [self.state.diff(x, data.xnext) for x, data in zip(xs[1:], self._datas, strict=True)]
        return cost, float(np.abs(gaps).max())

    def rollout(self, us: Array) -> Array:
        """Simulate controls (T, nu) from the start state: (T+1, nx)."""
        return np.stack([np.asarray(x) for x in self.problem.rollout(list(us))])

    def rollout_feedback(self, xs: Array, us: Array, gains: Array) -> tuple[Array, Array]:
        """Simulate `u = us + K (xs ⊖ x)` from the start state.

        Args:
            xs: (T+1, nx) states to follow.
            us: (T, nu) feed-forward, Nm.
            gains: (T, nu, ndx).

        Returns:
            The simulated states (T+1, nx) and the controls that were applied (T, nu).
        """
        x = np.array(self.problem.x0)
        followed, applied = [x], []
        for node in range(self.horizon):
            u = us[node] + gains[node] @ self.state.diff(x, xs[node])
            x, _ = self.step(x, u, node)
            applied.append(u)
            followed.append(x)
        return np.array(followed), np.array(applied)
