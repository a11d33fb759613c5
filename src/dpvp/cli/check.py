"""`dpvp check`: say whether this machine has what dpvp needs, and how to mend what it lacks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dpvp.environment import Finding, Level, examine

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "bold red"}


@dataclass(frozen=True)
class CheckArgs:
    """What `dpvp check` takes."""

    json: Path | None = None
    """Also write the findings to this file, as a JSON list."""


def check(args: CheckArgs) -> int:
    """Show what was found; exit code 0 if nothing failed, else 1."""
    findings = examine()
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(_as_json(findings), encoding="utf-8")
    _show(findings, Console())
    return 0 if all(finding.ok for finding in findings) else 1


def _show(findings: Sequence[Finding], console: Console) -> None:
    """Print the table, then the remedies in full: in a narrow terminal a table would break the commands."""
    table = Table("", "found", "expected", "")
    for finding in findings:
        level = f"[{_STYLES[finding.level]}]{finding.level.value}[/]"
        table.add_row(finding.name, escape(finding.found), escape(finding.expected), level)
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f"[{_STYLES[finding.level]}]{finding.name}[/]: ", end="")
            console.print(finding.remedy, markup=False, highlight=False, soft_wrap=True)
    failed = sum(not finding.ok for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    console.print(f"{len(findings)} checked, {failed} failed, {warnings} warnings")


def _as_json(findings: Sequence[Finding]) -> str:
    rows = [{**dataclasses.asdict(finding), "level": finding.level.value} for finding in findings]
    return json.dumps(rows, indent=2) + "\n"
