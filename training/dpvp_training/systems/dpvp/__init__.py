"""DPVP: value and policy, supervised by a trajectory optimiser."""
