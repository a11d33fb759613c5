"""Views of every robot that comes with dpvp: their frames exist, and their topics are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dpvp.config import share_directory
from dpvp.description import robot_names
from dpvp.robot import load_robot

ALWAYS = {"world", "odom", "<Fixed Frame>"}  # odom: of the estimator, on /tf
TOPICS = {"robot_description", "mpc_node/active_goal", "odom"}


def values(tree: Any, key: str) -> Iterator[Any]:
    """Every value of `key` in a tree of YAML."""
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
        tree = list(tree.values())
    for part in tree if isinstance(tree, list) else ():
        yield from values(part, key)


@pytest.mark.parametrize("name", robot_names())
def test_rviz_shows_frames_and_topics_that_there_are(name: str) -> None:
    view = yaml.safe_load((share_directory() / "config" / "rviz" / f"{name}.rviz").read_text(encoding="utf-8"))
    robot = load_robot(name)
    known = {frame.name for frame in robot.model.frames} | ALWAYS
    shown = {value for key in ("Reference Frame", "Fixed Frame", "Target Frame") for value in values(view, key)}
    assert robot.end_effector in shown
    assert shown <= known, shown - known
    topics = {topic["Value"] for key in ("Topic", "Description Topic") for topic in values(view, key)}
    assert "robot_description" in topics
    assert topics <= TOPICS, topics - TOPICS
