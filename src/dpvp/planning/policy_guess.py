"""PolicyGuess: what a learned policy would do, simulated."""

from __future__ import annotations

from dpvp.learned.policy import Policy
from dpvp.plan import Array, Plan
from dpvp.planning.guess import Guess, simulated
from dpvp.tasks.ocp import Ocp


class PolicyGuess:
    """Follow u = π(x, goal) from the measured state; a `GuessSource`."""

    name = "policy"

    def __init__(self, policy: Policy) -> None:
        """Ask `policy`, which belongs to this source from here on."""
        self._policy = policy

    def propose(self, ocp: Ocp, x: Array, goal: Array, t: float, previous: Plan | None) -> Guess | None:
        """Propose the simulated policy; None if it had to be asked outside its training range on the way."""

        def control(state: Array, node: int) -> Array | None:
            then = ocp.later(goal, ocp.time(node))
            return self._policy(state, then) if self._policy.inside(state, then) else None

        return simulated(self.name, ocp, x, control)
