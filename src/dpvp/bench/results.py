"""Everything that a bench found, on disk as soon as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dpvp.bench.machine import describe_machine
from dpvp.record.metrics import write_metrics


class Results:
    """Grows row by row; the file is valid JSON after each, with null for what is not finite.

    Attributes:
        content: what the file holds, NaN and infinity as they are.
    """

    def __init__(self, file: Path, scenario: str, conditions: Mapping[str, object]) -> None:
        """Describe the machine and write the head; `conditions` say how it is measured."""
        self._file = file
        self.content: dict[str, Any] = {
            "machine": asdict(describe_machine()),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "scenario": scenario,
            "conditions": dict(conditions),
            "rows": [],
            "rates": [],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def add_row(self, row: Mapping[str, object]) -> None:
        """Add a closed-loop row."""
        self.content["rows"].append(row)
        self._write()

    def add_rate(self, row: Mapping[str, object]) -> None:
        """Add a row of loop rates."""
        self.content["rates"].append(row)
        self._write()

    def _write(self) -> None:
        write_metrics(self._file, self.content)
