"""PredictedGuess: a prediction of the plan, made consistent.

Where contacts change, a predicted trajectory is of no use as it stands: simulated open loop it falls, and its states do
not follow from each other. So the problem is linearised about it and a feedback law is simulated, which takes about as
long as an iteration of the solver. Only plans that have none before them start here: the first ones, and those after a
plan was lost. Where there is one, to go on from it costs next to nothing and is hard to beat.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import crocoddyl
import numpy as np

from dpvp.plan import Array, Plan
from dpvp.planning.guess import Guess, goes_on, simulated
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.walk import WalkTask

Prediction = tuple[Array, Array]  # states (T+1, nx), the first of them measured, and controls (T, nu), Nm


class PredictedGuess:
    """Start at what is predicted where there is no plan to go on from; a `GuessSource`."""

    def __init__(self, name: str, predict: Callable[[Array, Array], Prediction | None], ocp: Ocp) -> None:
        """Ask `predict` with a state (nx,) and a goal, as it is then; guesses are for `ocp` and go by `name`."""
        self.name, self._predict = name, predict
        self._pass = crocoddyl.SolverFDDP(ocp.problem)

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose what comes of the prediction; None where there is none, or a plan goes on.

        Two feedback laws are simulated, and the cheaper one counts: that which solves the linearised problem, a step
        of Newton's method, and that which follows the prediction with the gains. The step is the better one where the
        prediction is poor; close to an optimum it breaks limits that the linear problem does not see. None also where
        the linear problem has no minimum, or is not finite.
        """
        predicted = None if goes_on(previous, ocp, t) else self._predict(x, goal)
        if predicted is None or not all(np.isfinite(part).all() for part in predicted):
            return None
        found = [guess for guess in self._followed(ocp, *predicted) if math.isfinite(guess.cost)]
        if not found:
            ocp.mend()
            return None
        return min(found, key=lambda guess: guess.cost)

    def _followed(self, ocp: Ocp, xs: Array, us: Array) -> list[Guess]:
        """Return what the two laws lead to; nothing where there is none."""
        self._pass.setCandidate(list(xs), list(us), False)
        try:
            self._pass.computeDirection(True)
        except crocoddyl.Exception:
            return []
        newton = us - np.reshape(self._pass.k, us.shape)
        return [self._simulated(ocp, xs, controls) for controls in (newton, us)]

    def _simulated(self, ocp: Ocp, xs: Array, us: Array) -> Guess:
        gains, diff = np.reshape(self._pass.K, (*us.shape, -1)), ocp.state.diff
        guess = simulated(self.name, ocp, xs[0], lambda x, node: us[node] + gains[node] @ diff(x, xs[node]))
        assert guess is not None
        return guess


def referred(task: WalkTask, ocp: Ocp) -> Callable[[Array, Array], Prediction]:
    """Return what predicts the states that the nodes refer to, and the torques that carry the posture on their feet."""

    def predict(x: Array, goal: Array) -> Prediction:
        xs = task.reference(x, goal, ocp.horizon).xs
        return np.concatenate([x[None], xs[1:]]), np.array([ocp.gravity(x, node) for node in range(ocp.horizon)])

    return predict
