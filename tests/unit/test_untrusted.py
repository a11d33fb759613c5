"""Files that were made to break whoever reads them are refused, at once and by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dpvp.bench.fuzz.mutation import LAUGHS
from dpvp.config import override, read_yaml, validate
from dpvp.description import JointConfig
from dpvp.errors import LONGEST_MESSAGE, ConfigError, GoalError, MessageError
from dpvp.learned.artifact import artifact_folder
from dpvp.learned.contract import ArtifactError
from dpvp.learned.graph import confined
from dpvp.robot import JointMap
from dpvp.scenario import load_scenario
from dpvp.untrusted import DEPTH, LARGEST_TEXT, UnreadableError, located, parse_json, parse_yaml, read_bounded

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | st.text("abcdefghijklmnopqrstuvwxyz 0123456789:#'\"\\-é\n", max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text("abcxyz_", min_size=1), below, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_was_written_is_read(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a: {LAUGHS}]", "aliases"),
        ("a: &a {b: *a}", "aliases"),
        ("a: " + 5000 * "[" + 5000 * "]", f"more than {DEPTH} levels"),
        ("\n".join(" " * i + "a:" for i in range(2 * DEPTH)), f"more than {DEPTH} levels"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is there twice"),
        ("a: 0x" + 5000 * "f", "more than 64 bits"),
        ("a: " + 5000 * "9", "4300 digits"),
        ("a: 18446744073709551617", "more than 64 bits"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: !!int ''", "IndexError"),
        ("a: !!bool x", "KeyError"),
        ("a: !!timestamp x", "AttributeError"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ("{1: 2}", "key 1 is no text"),
        ('a: "b\\0c"', "cannot be printed"),
        ('a: "\\uD800"', "cannot be printed"),
        ('a: "\\e[2J"', "cannot be printed"),
        ("a: " + LARGEST_TEXT * "x", f"more than {LARGEST_TEXT} characters"),
    ],
)
def test_yaml_that_is_a_trap_is_refused(text: str, reason: str) -> None:
    began = time.process_time()
    with pytest.raises(UnreadableError, match=reason):
        parse_yaml(text)
    assert time.process_time() - began < 20.0  # of the processor: what is meant is minutes, or never


@pytest.mark.parametrize(
    ("text", "reason"),
    [(100_000 * "[", "recursion"), (5000 * "9", "64 bits"), ("18446744073709551617", "64 bits"), ("{", "Expecting")],
)
def test_json_that_is_a_trap_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        parse_json(text)


def test_only_regular_files_of_a_sensible_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    for name in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            read_bounded(name, 100)
    with pytest.raises(UnreadableError, match="more than 4 bytes"):
        read_bounded(tmp_path / "large", 4)
    assert read_bounded(tmp_path / "large", 5) == b"12345"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- 1", b"", b"a: *b", b"a: " + LARGEST_TEXT * b"x", b"{a: 1, a: 2}"])
def test_files_say_what_is_wrong_with_them(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.yaml: \((syntax|root)\)"):
        read_yaml(file)


@pytest.mark.parametrize(
    "path", ["~no_such_user_here/x", "./" + 5000 * "a", "./" + 3000 * "a/", "/dev/null", "./../.."]
)
def test_paths_that_lead_nowhere_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"robot\.name"):
        load_scenario("kuka_reach", (f"robot.name={path}",))
    with pytest.raises(ArtifactError, match="artifact"):
        artifact_folder(path)


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UnreadableError, match="is no path"):
        located("./a/x", tmp_path)
    with pytest.raises(ArtifactError, match="a file inside the folder"):
        confined(tmp_path, "graphs.policy.file", "a")


@pytest.mark.parametrize("words", ["x=" + 5000 * "[", "x=!!bool x", "x=*a", "x=0x" + 5000 * "f"])
def test_overrides_are_read_with_the_same_care(words: str) -> None:
    with pytest.raises(ConfigError, match="--set: x"):
        override({}, words)


def test_too_short_a_list_inside_a_list_is_named() -> None:
    joint = {"name": "a", "position": [0.1], "velocity": 1.0, "effort": 1.0, "armature": 0.0}
    with pytest.raises(ConfigError, match=r"f: position\.1"):
        validate(JointConfig, joint, "f")


def test_messages_end() -> None:
    assert len(str(GoalError(10**6 * "x"))) < LONGEST_MESSAGE + 10
    assert len(str(ConfigError("f", "k", list(range(10**5)), "less"))) < 1000
    assert "a int" in str(ConfigError("f", "k", 16**5000, "less"))


def test_a_hundred_thousand_names_take_no_time() -> None:
    names = [f"j{i}" for i in range(100_000)]
    with pytest.raises(MessageError, match="unknown: j1, j2"):
        JointMap(["j0"], names)
    with pytest.raises(MessageError, match="twice: j0"):
        JointMap(["j0"], ["j0", "j0"])


def test_rows_of_different_lengths_are_no_joint_values() -> None:
    with pytest.raises(MessageError, match="joint values"):
        JointMap(["a", "b"], ["a", "b"]).reorder([[1.0, 2.0], [1.0]])
