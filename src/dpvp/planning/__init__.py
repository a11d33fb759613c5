"""From a state and a goal to a plan: planners, guesses, terminal costs and the solver process."""

import dpvp.tasks  # noqa: F401  (loads crocoddyl, and less than crocoddyl would load by itself)
