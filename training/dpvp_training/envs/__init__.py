"""Benchmark systems and scenarios, as problems to learn from."""

import dpvp.tasks  # noqa: F401  (loads crocoddyl, and less than crocoddyl would load by itself)
