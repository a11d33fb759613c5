"""Reading what others wrote: files of a size that we mean to read, YAML and JSON that hold plain values and no traps.

Safe loaders build no objects, but they still follow aliases (nine lines can stand for a billion values), nest as deep
as the stack allows, read numbers of any length and raise whatever `int` or `datetime` raise. Here all is one error.
"""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

import yaml

LARGEST_TEXT = 1 << 18  # bytes of a file that people write: the longest of ours has 6 kB
DEPTH = 32  # mappings and lists within each other
LARGEST_INTEGER = 2**64


class UnreadableError(ValueError):
    """Content that is refused; the message says why, and names no file, which is up to the caller."""


def read_bounded(file: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        UnreadableError: it is larger.
        OSError: it cannot be opened, or is no regular file: a pipe never ends, and neither does /dev/zero.
        ValueError: its name cannot be one.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise UnreadableError(f"it has more than {most} bytes")
    return content


def is_file(path: Path) -> bool:
    """True if there is such a file; of a name that is too long to be one `Path.is_file` raises."""
    try:
        return path.is_file()
    except OSError:
        return False


def located(text: str, folder: Path) -> Path:
    """Return the absolute path that `text` means, counted from `folder`; `~` is the home of who runs this.

    Raises:
        UnreadableError: it cannot be a path, goes in circles, or begins with the name of a user whom nobody knows.
    """
    try:
        return (folder / Path(text).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableError(f"{shortened(text, 200)} is no path: {_line(error)}") from None


def parse_yaml(text: str) -> Any:
    """Return what a YAML document of plain values says.

    Raises:
        UnreadableError: it is not YAML, or it has aliases, keys that are written twice, numbers beyond 64 bits,
            characters that cannot be printed or more than `DEPTH` levels.
    """
    if len(text) > LARGEST_TEXT:
        raise UnreadableError(f"it has more than {LARGEST_TEXT} characters")
    try:
        content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  (a SafeLoader and less)
        _check(content)
    except UnreadableError:
        raise
    except Exception as error:  # PyYAML lets through what int(), datetime() and its own tables raise
        raise UnreadableError(_line(error)) from None
    return content


def parse_json(text: str) -> Any:
    """Return what a JSON document says.

    Raises:
        UnreadableError: it is not JSON, or it has numbers beyond 64 bits or too many levels.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_line(error)) from None


def shortened(value: object, most: int = 400) -> str:
    """Return `repr(value)`, or so much of it as a message can carry."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or levels without end
        text = f"a {type(value).__name__}"
    return clipped(text, most)


def clipped(text: str, most: int = 1000) -> str:
    """Return so much of `text` as one part of a message can have."""
    return text if len(text) <= most else f"{text[:most]}..."


class _PlainLoader(yaml.SafeLoader):
    """The safe loader for documents without aliases, of few levels, in which every key stands once."""

    _depth = 0

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level > DEPTH:  # the scanner takes ever longer for each level
            raise UnreadableError(f"line {self.line + 1}: more than {DEPTH} levels of lists and mappings")
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: Any, index: Any) -> Any:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise UnreadableError(f"line {line}: aliases (*name) are not followed; write the value out")
        if self._depth > DEPTH:
            raise UnreadableError(f"line {line}: more than {DEPTH} levels of lists and mappings")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set[tuple[str, str]]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:  # the last would win, silently
                raise UnreadableError(f"line {key.start_mark.line + 1}: key {shortened(key.value, 60)} is there twice")
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


def _check(value: Any) -> None:
    """Refuse keys that are no words, and scalars that break whoever prints, opens or converts them."""
    if isinstance(value, dict):
        for key, below in value.items():
            if not isinstance(key, str):
                raise UnreadableError(f"key {shortened(key, 60)} is no text; put quotes around it")
            _check(key)
            _check(below)
    elif isinstance(value, list):
        for below in value:
            _check(below)
    elif isinstance(value, str) and not all(letter.isprintable() or letter in "\n\t" for letter in value):
        raise UnreadableError(f"text {shortened(value, 60)} has characters that cannot be printed")
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise UnreadableError("a number has more than 64 bits")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) > LARGEST_INTEGER:
        raise UnreadableError("a number has more than 64 bits")
    return number


def _line(error: Exception) -> str:
    said = str(error) if isinstance(error, (yaml.YAMLError, ValueError)) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:300]
