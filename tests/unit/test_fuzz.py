"""A small part of `make fuzz`: spoiled inputs of every kind are refused or understood, and can be drawn again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="messages are one of the formats")

from dpvp.bench.fuzz.campaign import Campaign, Tally
from dpvp.bench.fuzz.format import Format
from dpvp.bench.fuzz.worker import FORMATS, draw, judge, prepare
from dpvp.errors import GoalError

LIMIT = 20.0  # s of the processor
INDEX = st.integers(0, 2**32)
KINDS: dict[str, Format] = {}


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> Iterator[None]:
    prepare()
    yield
    logging.disable(logging.NOTSET)


def kind_of(name: str) -> Format:
    if name not in KINDS:
        KINDS[name] = FORMATS[name]()
    return KINDS[name]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
@given(index=INDEX)
def test_spoiled_inputs_are_refused_or_understood(
    name: str, index: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"fuzz_{name}"
    folder.mkdir(exist_ok=True)
    outcome, text = judge(kind_of(name), draw(kind_of(name), name, 0, index), folder, LIMIT)
    assert outcome in ("refused", "accepted"), text


def test_an_input_depends_on_format_seed_and_number_alone() -> None:
    kind = kind_of("override")
    first = [draw(kind, "override", 0, index) for index in range(20)]
    assert [draw(kind, "override", 0, index) for index in reversed(range(20))] == first[::-1]
    assert [draw(kind, "override", 1, index) for index in range(20)] != first
    assert [draw(kind, "other", 0, index) for index in range(20)] != first


def spin(_: bytes, __: Path) -> None:
    while True:
        pass


def refuse(_: bytes, __: Path) -> None:
    raise GoalError("no")


def test_what_comes_of_an_input_is_judged(tmp_path: Path) -> None:
    def kind(read: object) -> Format:
        return Format(".txt", lambda rng: rng.bytes(4), read)

    assert judge(kind(lambda *_: None), b"", tmp_path, 1.0) == ("accepted", "")
    assert judge(kind(refuse), b"", tmp_path, 1.0) == ("refused", "no")
    assert judge(kind(lambda *_: 1 / 0), b"", tmp_path, 1.0)[0] == "failed"
    assert judge(kind(spin), b"", tmp_path, 0.1)[0] == "late"


def test_a_worker_that_dies_costs_one_input_which_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign("override", 5, 0, 1.0, tmp_path)
    said: list[list[dict[str, object]]] = [
        [{"index": 0}, {"outcome": "refused", "text": "", "seconds": 0.1}, {"index": 1}],  # and then it is gone
        [
            line
            for index in (2, 3, 4)
            for line in ({"index": index}, {"outcome": "accepted", "text": "", "seconds": 0.2})
        ],
    ]

    def batch(command: list[str], **_: object) -> object:
        lines = "\n".join(json.dumps(line) for line in said.pop(0)) + "\n"
        return original(["sh", "-c", 'printf "%s" "$0"', lines], **_)

    import dpvp.bench.fuzz.campaign as module

    original = module.subprocess.Popen
    monkeypatch.setattr(module.subprocess, "Popen", batch)
    seen: list[int] = []
    tally: Tally = campaign.run(lambda now: seen.append(now.done))
    assert (tally.refused, tally.accepted, tally.slowest) == (1, 3, 0.2)
    (failure,) = tally.failures
    assert (failure["index"], failure["how"]) == (1, "died")
    kept = (tmp_path / failure["file"]).read_bytes()
    assert kept == draw(kind_of("override"), "override", 0, 1)
    assert seen[-1] == 5


def test_damage_is_never_the_whole_input_left_alone() -> None:
    from dpvp.bench.fuzz.mutation import damaged

    rng = np.random.default_rng(0)
    content = bytes(range(256))
    assert sum(damaged(rng, content) != content for _ in range(100)) > 95
