"""Training systems: one folder each."""
