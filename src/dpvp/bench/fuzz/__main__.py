"""Ten thousand spoiled inputs of every kind that dpvp reads: `python -m dpvp.bench.fuzz [FORMAT ...]`.

`make fuzz`. Exit code 0 if every input was refused with a `DpvpError` or understood, 1 if anything else came of one.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpvp.bench.fuzz.campaign import Campaign, Tally
from dpvp.bench.fuzz.worker import FORMATS, judge, prepare
from dpvp.bench.machine import describe_machine
from dpvp.errors import ConfigError
from dpvp.jsonfile import to_json
from dpvp.untrusted import parse_json


@dataclass(frozen=True)
class FuzzArgs:
    """Spoil real files and messages, read them, and count what came of it."""

    formats: tyro.conf.Positional[tuple[str, ...]] = ()
    """What to spoil; everything if none is given."""
    count: int = 10_000
    """Inputs of each format; the same seed gives the same inputs."""
    seed: int = 0
    """Of the generator."""
    limit: float = 5.0
    """Longest time of the processor for one input, s."""
    json: Path | None = None
    """Write what came of it to this file, in place of what it said of the same formats."""
    folder: Path = Path("runs/fuzz")
    """Inputs that broke something are kept here."""
    replay: Path | None = None
    """Read this kept input again, alone: its name begins with its format."""


def main(args: FuzzArgs) -> int:
    """Fuzz, or read one input again."""
    names = args.formats or tuple(FORMATS)
    if unknown := [name for name in names if name not in FORMATS]:
        raise ConfigError("fuzz", "formats", unknown, f"must be of {', '.join(FORMATS)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.replay is not None:
        return _replay(args.replay, args.limit, args.folder)
    console, good = Console(stderr=True), True
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        for name in names:
            campaign = Campaign(name, args.count, args.seed, args.limit, args.folder.resolve())
            bar = progress.add_task(name, total=args.count)

            def tell(tally: Tally, name: str = name, bar: Any = bar) -> None:
                progress.update(bar, completed=tally.done, description=f"{name}: {_words(tally)}")

            tally = campaign.run(tell)
            good = good and not tally.failures
            if args.json is not None:
                _write(args.json, name, args, tally)
    return 0 if good else 1


def _words(tally: Tally) -> str:
    broken = f", [red]{len(tally.failures)} broke something[/red]" if tally.failures else ""
    return f"{tally.refused} refused, {tally.accepted} accepted{broken}"


def _write(file: Path, name: str, args: FuzzArgs, tally: Tally) -> None:
    content: dict[str, Any] = parse_json(file.read_text(encoding="utf-8")) if file.is_file() else {}
    row = {"inputs": tally.done, "seed": args.seed, "limit_s": args.limit} | asdict(tally)
    row |= {"date": datetime.now().astimezone().isoformat(timespec="seconds"), "machine": asdict(describe_machine())}
    content[name] = row
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(to_json(content), encoding="utf-8")


def _replay(file: Path, limit: float, folder: Path) -> int:
    name = max((name for name in FORMATS if file.name.startswith(f"{name}_")), key=len, default="")
    if not name:
        raise ConfigError(file, "(name)", file.name, f"must begin with one of {', '.join(FORMATS)}")
    prepare()
    outcome, text = judge(FORMATS[name](), file.read_bytes(), folder, limit)
    Console().print(outcome, text, markup=False)
    return 0 if outcome in ("refused", "accepted") else 1


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(FuzzArgs)))
    except ConfigError as error:
        sys.exit(str(error))
