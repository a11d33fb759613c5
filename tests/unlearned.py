"""The Kuka reach as it is without anything learned: a longer horizon with a quadratic end."""

from __future__ import annotations

UNLEARNED = (
    "artifact=null",
    "planner.horizon=30",
    "planner.terminal={kind: quadratic, goal: 30.0, velocity: 3.0}",
    "planner.guesses=[hold, shift]",
    "run.within=8.0",
)
