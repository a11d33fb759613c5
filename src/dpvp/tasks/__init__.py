"""What is wanted of a robot: one file per task."""
