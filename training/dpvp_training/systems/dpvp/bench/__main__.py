"""`python -m dpvp_training.systems.dpvp.bench STUDY [options]`: a module of this folder each."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import tyro

from dpvp.errors import DpvpError

SHARED = {"report", "pictures"}  # modules of this folder that are no studies


def main(words: list[str]) -> int:
    """Run a study; returns its exit code."""
    studies = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py") if file.stem not in SHARED)
    if not words or words[0] not in studies:
        print(f"usage: python -m {__package__} STUDY [options]; studies: {', '.join(studies)}", file=sys.stderr)
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    study = importlib.import_module(f"{__package__}.{words[0]}")
    try:
        return int(study.run(tyro.cli(study.Args, args=words[1:], prog=f"{__package__} {words[0]}")))
    except DpvpError as error:
        print(f"{words[0]}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
