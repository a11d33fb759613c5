"""What the contract tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from guide import follow, parts


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of someone who has read up to a first run in MuJoCo."""
    folder = tmp_path_factory.mktemp("first")
    follow(parts()[0], folder)
    return folder
