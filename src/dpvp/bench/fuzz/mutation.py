"""Mutations: what becomes of a real file in the hands of chance or malice. All is drawn from one generator."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from dpvp.untrusted import parse_yaml

Generator = np.random.Generator
Key = str | int

MARK = "@@{}@@"  # stands in a dumped tree where raw text is put in
INTEGERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
LAUGHS = "[&a [x, x, x, x, x, x, x, x, x], " + ", ".join(
    f"&{name} [{', '.join(9 * [f'*{below}'])}]" for below, name in zip("abcdefghi", "bcdefghij", strict=True)
)
NASTY_YAML = (
    LAUGHS + "]",  # a billion laughs
    "&a {b: *a}",
    "*nobody",
    5000 * "[" + 5000 * "]",
    300 * "{a: " + "1" + 300 * "}",
    "[" + 3000 * "0, " + "0]",
    5000 * "9",
    "0x" + 5000 * "f",
    "1" + 70 * ":59",
    "1e400",
    "-.inf",
    ".nan",
    "1e308",
    "5.0e-324",
    "-0.0",
    "-1",
    "0",
    "18446744073709551616",
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/name:os.system",
    "!!python/object:dpvp.errors.DpvpError {}",
    "!!int 'x'",
    "!!int ''",
    "!!float 'x'",
    "!!bool 'x'",
    "!!timestamp 'x'",
    "!!binary '='",
    "!!binary 'AAAA'",
    "!!set {a, b}",
    "!!omap [{a: 1}]",
    "!unknown x",
    "2026-13-45",
    "2026-11-21",
    "{? [a]: b}",
    "{1: 2, null: 3, 1.5: 4}",
    "{<<: 1}",
    "{<<: {a: 1}, a: 2, a: 3}",
    "=",
    r'"a/\0b"',
    r'"\uD800"',
    r'"\e[2J\u202e/"',
    "'$\\frac{'",
    "''",
    "' '",
    "/",
    "./",
    "..",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "~no_such_user/x",
    "./" + 5000 * "a",
    "./" + 2000 * "a/",
    5000 * "a",
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    "[1, 2]",
    "{a: 1}",
    "- 1",
    "a: b: c",
    "\t",
    "|",
    "# ",
)
NASTY_JSON = (
    "NaN",
    "-Infinity",
    "1e999",
    "1e308",
    "5e-324",
    5000 * "9",
    "18446744073709551616",
    100_000 * "[",
    300 * "[" + 300 * "]",
    200 * '{"a":' + "1" + 200 * "}",
    "[" + 2000 * "0," + "0]",
    '"\\ud800"',
    '"\\u0000"',
    '"1"',
    '""',
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    "[[1], [1, 2]]",
    "-1",
    "0",
    "'",
)


def damaged(rng: Generator, content: bytes, other: bytes = b"") -> bytes:
    """Return `content` with some bytes flipped, cut, doubled, moved or taken from `other`."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            return bytes(data)
        at = int(rng.integers(len(data)))
        span = int(min(len(data) - at, rng.choice((1, 2, 4, 8, 64, 4096))))
        match int(rng.integers(8)):
            case 0 | 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                data[at : at + span] = rng.bytes(span)
            case 3:
                del data[at : at + span]
            case 4:
                data[at:at] = data[at : at + span]
            case 5:
                del data[at:]
            case 6:
                size = int(rng.choice((1, 2, 4, 8)))
                value = INTEGERS[rng.integers(len(INTEGERS))] & (256**size - 1)
                data[at : at + size] = value.to_bytes(size, "little")
            case _:
                source = other or content
                begin = int(rng.integers(len(source)))
                data[at : at + span] = source[begin : begin + span]
    return bytes(data)


def mutated_yaml(rng: Generator, text: str, other: str = "") -> bytes:
    """Return YAML with values, keys or syntax that nobody expects in some places of `text`."""
    if rng.random() < 0.2:
        return damaged(rng, text.encode(), other.encode())
    tree, raw = _grafted(rng, parse_yaml(text), NASTY_YAML)
    return _filled(yaml.safe_dump(tree, sort_keys=False, width=10**6), raw, "{}").encode("utf-8", "surrogatepass")


def mutated_json(rng: Generator, text: str, other: str = "") -> bytes:
    """Return JSON with values, keys or syntax that nobody expects in some places of `text`."""
    if rng.random() < 0.2:
        return damaged(rng, text.encode(), other.encode())
    tree, raw = _grafted(rng, json.loads(text), NASTY_JSON)
    return _filled(json.dumps(tree), raw, '"{}"').encode()


def odd_number(rng: Generator) -> float:
    """Return a number of a kind that breaks things."""
    odd = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 5e-324, 1e-9, -1.0, 1.0, 2.0**53)
    return float(odd[rng.integers(len(odd))]) if rng.random() < 0.7 else float(rng.normal(0.0, 1e3))


def _grafted(rng: Generator, tree: Any, nasty: Sequence[str]) -> tuple[Any, list[str]]:
    """Change one to three places of `tree`; return it with marks, and the raw texts that come in their places."""
    raw: list[str] = []
    for _ in range(int(rng.integers(1, 4))):
        places = _places(tree)
        if not places:
            break
        parent, key = places[rng.integers(len(places))]
        match int(rng.integers(10)):
            case 0:
                del parent[key]
            case 1:
                parent[key] = _value(places[rng.integers(len(places))])  # what stands elsewhere
            case 2 if isinstance(parent, dict):
                parent[f"{key}x"] = parent.pop(key)
            case 3 if isinstance(parent, list):
                parent.extend(list(parent) * int(rng.choice((1, 100))))
            case 4:
                parent[key] = odd_number(rng)
            case _:
                parent[key] = MARK.format(len(raw))
                raw.append(nasty[int(rng.integers(len(nasty)))])
    return tree, raw


def _value(place: tuple[Any, Key]) -> Any:
    parent, key = place
    value = parent[key]
    return json.loads(json.dumps(value)) if isinstance(value, (dict, list)) else value  # no aliases, no cycles


def _places(tree: Any) -> list[tuple[Any, Key]]:
    """Return every place of a tree as its parent and its key."""
    if isinstance(tree, dict):
        here: list[tuple[Any, Key]] = [(tree, key) for key in tree]
        return here + [place for value in tree.values() for place in _places(value)]
    if isinstance(tree, list):
        some = range(0, len(tree), 1 + len(tree) // 20)  # of long lists of numbers not every one
        return [(tree, i) for i in some] + [place for i in some for place in _places(tree[i])]
    return []


def _filled(text: str, raw: Sequence[str], quoted: str) -> str:
    for number, words in enumerate(raw):
        mark = MARK.format(number)
        text = text.replace(f"'{mark}'", words).replace(quoted.format(mark), words)
    return text
