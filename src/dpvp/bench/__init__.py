"""Measurements for `dpvp bench`: planners in closed loop against the optimum, and loop rates through the real nodes."""
