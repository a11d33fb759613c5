"""PolicyGuess: what a learned policy would do, simulated."""

from __future__ import annotations

import numpy as np

from dpvp.learned.policy import Policy
from dpvp.plan import Array, Plan
from dpvp.planning.guess import Guess
from dpvp.tasks.ocp import Ocp


class PolicyGuess:
    """Follow u = π(x, goal) from the measured state; a `GuessSource`."""

    name = "policy"

    def __init__(self, policy: Policy) -> None:
        """Ask `policy`, which belongs to this source from here on."""
        self._policy = policy

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose the simulated policy; None if it had to be asked outside its training range on the way."""
        xs, us = [np.array(x, dtype=np.float64)], []
        for _ in range(ocp.horizon):
            if not self._policy.inside(xs[-1], goal):
                return None
            us.append(self._policy(xs[-1], goal))
            xs.append(ocp.step(xs[-1], us[-1])[0])
        states, controls = np.stack(xs), np.stack(us)
        return Guess(self.name, states, controls, ocp.cost(states, controls))
