"""docs/add_a_robot.md as something to be followed: its blocks, and a reader who does what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "add_a_robot.md"
BLOCK = re.compile(r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
HARDWARE = "## 5."


def skip_without_meshes() -> None:
    """Skip the module that calls this where the package is missing from which the guide takes its robot."""
    try:
        version("example-robot-data-loaders")
    except PackageNotFoundError:  # crocoddyl asks for it
        pytest.skip("example-robot-data is not installed", allow_module_level=True)


def blocks(part: str, *languages: str) -> list[tuple[str | None, str, str]]:
    """File, language and text of the blocks of `part` of the guide, those of `languages` only."""
    found = [(match["file"], match["language"], match["text"]) for match in BLOCK.finditer(part)]
    return [block for block in found if not languages or block[1] in languages]


def parts() -> tuple[str, str]:
    """The guide up to a first run, and from hardware on."""
    text = GUIDE.read_text(encoding="utf-8")
    before, heading, after = text.partition(HARDWARE)
    assert heading
    return before, after


def follow(part: str, folder: Path) -> None:
    """Write the files and run the commands of `part` in `folder`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for file, language, text in blocks(part):
        if file is not None:
            (folder / file).write_text(text, encoding="utf-8")
        elif language == "bash":
            environment = os.environ | {"PATH": path}
            shell = ["bash", "-euc", text]
            done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
