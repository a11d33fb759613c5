"""Benchmark systems and scenarios, as problems to learn from."""
