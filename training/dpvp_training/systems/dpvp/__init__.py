"""DPVP: value and policy, supervised by a trajectory optimiser."""

import dpvp.tasks  # noqa: F401  (loads crocoddyl, and less than crocoddyl would load by itself)
