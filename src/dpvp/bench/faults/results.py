"""What campaigns found: records line by line as they come, then JSON, a table and a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.bench.faults.fault import Kind
from dpvp.bench.faults.judge import QUANTITIES, Finding
from dpvp.jsonfile import to_json

HEAD = (
    "| fault | what goes wrong | count | named by | safe state | detected after, p50 and most, s "
    "| safe after, p50 and most, periods | torque, velocity, most | beyond limits | came back |"
)
MISSING = "–"


class Journal:
    """Findings on disk as soon as they are known, one line of JSON each: a crash loses none."""

    def __init__(self, file: Path, *, on: bool = False) -> None:
        """Write into `file`, which is begun anew unless it is to go `on`."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a" if on else "w", encoding="utf-8")

    def add(self, finding: Finding) -> None:
        """Write one down."""
        self._file.write(json.dumps(json.loads(to_json(finding.record()))) + "\n")
        self._file.flush()


def read_journal(file: Path) -> list[dict[str, Any]]:
    """Return the records in `file`; the last line, if it was cut, is left out."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def rows(kinds: Sequence[Kind], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for every kind that has records."""
    found = []
    for kind in kinds:
        mine = [record for record in records if record["kind"] == kind.name]
        if mine:
            found.append(_row(kind, mine))
    return found


def _row(kind: Kind, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    named = Counter(record["by"] for record in records if record["by"])
    return {
        "kind": kind.name,
        "text": kind.text,
        "safe": kind.safe.name,
        "ours": kind.ours,
        "must_be_named": bool(kind.named),
        "count": len(records),
        "named": dict(named.most_common()),
        "detected_s": _spread([record["detected"] for record in records]),
        "safe_periods": _spread([record["periods"] for record in records]),
        "peaks": {name: max(record["peaks"][name] for record in records) for name in (*QUANTITIES, "asked")},
        "crossings": sum(bool(record["crossed_by_fault"]) for record in records),
        "crossed": sum(bool(record["crossed"]) for record in records),
        "fell": sum(record["fell"] for record in records),
        "back": sum(record["back"] for record in records),
        "wrong": dict(Counter(text for record in records for text in record["wrong"]).most_common()),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float]:
    numbers = np.array([value for value in values if value is not None and math.isfinite(value)])
    if not len(numbers):
        return {"p50": math.nan, "most": math.nan}
    return {"p50": float(np.median(numbers)), "most": float(numbers.max())}


def totals(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums over all rows."""
    slowest = [row["safe_periods"]["most"] for row in found if np.isfinite(row["safe_periods"]["most"])]
    return {
        "faults": sum(row["count"] for row in found),
        "crossings": sum(row["crossings"] for row in found),
        "not_as_wanted": sum(sum(row["wrong"].values()) for row in found),
        "came_back": sum(row["back"] for row in found),
        "fell": sum(row["fell"] for row in found),
        "slowest_periods": max(slowest, default=math.nan),
    }


def table(content: Mapping[str, Any]) -> str:
    """Return the rows of `content` as Markdown, with the machine and the conditions."""
    machine, total = content["machine"], content["totals"]
    lines = [
        f"`make faults`, {content['date'][:10]}, {machine['processor']}, {machine['cores']} cores; "
        f"{', '.join(f'{key} {value}' for key, value in content['conditions'].items())}.",
        "",
        f"{total['faults']} faults, {total['crossings']} that took the robot beyond a limit of the data sheet, "
        f"{total['came_back']} after which plans were followed again, {total['fell']} falls; the slowest way from "
        f"detection to the safe state took {total['slowest_periods']:.2f} periods of the planner.",
    ]
    for title, key in (("Simulated time", "rows"), ("Running nodes", "real")):
        if content[key]:
            lines += ["", f"## {title}", "", HEAD, "|" + "---|" * HEAD.count(" |"), *map(_line, content[key])]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    named = ", ".join(f"{_word(name)} {count}" for name, count in list(_merged(row["named"]).items())[:3])
    detected, safe, peaks = row["detected_s"], row["safe_periods"], row["peaks"]
    beyond = f"{row['crossings']}" if row["ours"] else f"({row['crossed']})"
    return (
        f"| {row['kind']} | {row['text']} | {row['count']} | {named or 'nobody, need not be'} | {row['safe']} "
        f"| {_number(detected['p50'], 3)}, {_number(detected['most'], 3)} | {_number(safe['p50'], 2)}, "
        f"{_number(safe['most'], 2)} | {peaks['torque']:.0%}, {peaks['velocity']:.0%} | {beyond} "
        f"| {row['back']} of {row['count']} |"
    )


def _merged(named: Mapping[str, int]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for name, count in named.items():
        merged[_word(name)] += count
    return dict(merged.most_common())


def _word(name: str) -> str:
    """Return the reason in `loop:HOLD STALE_STATE`, or the phase in `law:HOLD`."""
    return name.rpartition(" ")[2] if " " in name else name


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
