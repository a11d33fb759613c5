"""`dpvp train`: finds the systems that other packages bring, and hands over to them."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest

from dpvp import cli
from dpvp.cli import train as train_module


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words that the system `fake` was given; beside it there is `broken`, which lacks a package."""
    words: list[list[str]] = []

    def main(rest: list[str]) -> int:
        words.append(rest)
        return 3

    module = ModuleType("fake_system")
    module.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_system", module)
    entries = [("fake", "fake_system:main"), ("broken", "no_such_package.train:main")]
    known = EntryPoints(EntryPoint(name, value, "dpvp.systems") for name, value in entries)
    monkeypatch.setattr(train_module, "entry_points", lambda group: known.select(group=group))
    return words


def test_hands_over_every_word_and_the_exit_code(asked: list[list[str]]) -> None:
    assert cli.main(["train", "fake", "--task", "cartpole", "--help", "--set", "a=1"]) == 3
    assert asked == [["--task", "cartpole", "--help", "--set", "a=1"]]


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_lists_the_systems(words: list[str], asked: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", *words]) == 0
    assert capsys.readouterr().out.endswith("systems: broken, fake\n")
    assert not asked


def test_unknown_system(asked: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "fakir", "--seed", "1"]) == 2
    assert capsys.readouterr().err == "dpvp train: command line: SYSTEM = 'fakir': must be one of broken, fake\n"


def test_says_how_to_install_what_is_missing(asked: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "broken"]) == 2
    shown = capsys.readouterr().err
    assert "the Python package 'no_such_package' that system broken needs is missing" in shown
    assert "make train-venv" in shown


def test_no_systems(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train_module, "entry_points", lambda group: EntryPoints())
    assert cli.main(["train"]) == 2
    assert "there are no training systems: install them with `make train-venv`" in capsys.readouterr().err
