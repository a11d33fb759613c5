"""From a state and a goal to a plan: planners, guesses, terminal costs and the solver process."""
