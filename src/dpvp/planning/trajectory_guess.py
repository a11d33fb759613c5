"""TrajectoryGuess: a learned prediction of the plan, made consistent.

Where contacts change, a predicted trajectory is of no use as it stands: simulated open loop it falls, and its states do
not follow from each other. So the problem is linearised about it and a feedback law is simulated, which takes about as
long as an iteration of the solver. Only plans that have none before them start here: the first ones, and those after a
plan was lost. Where there is one, to go on from it costs next to nothing and is hard to beat.
"""

from __future__ import annotations

from dpvp.learned.trajectory import Trajectory
from dpvp.plan import Array, Plan
from dpvp.planning.guess import Guess, goes_on
from dpvp.planning.solve import Linearised
from dpvp.tasks.ocp import Ocp


class TrajectoryGuess:
    """Predict the plan where there is none to go on from; a `GuessSource`."""

    name = "trajectory"

    def __init__(self, trajectory: Trajectory, ocp: Ocp) -> None:
        """Ask `trajectory`, which belongs to this source from here on; guesses are for `ocp`."""
        self._trajectory, self._linearised = trajectory, Linearised(ocp)

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose what comes of the prediction; None outside the training range or where a plan goes on."""
        if goes_on(previous, ocp, t) or not self._trajectory.inside(x, goal):
            return None
        return self._linearised.guess(self.name, *self._trajectory(x, goal))
