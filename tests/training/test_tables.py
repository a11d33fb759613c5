"""The page of all studies is what its command writes from their results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dpvp_training.systems.dpvp.bench.tables import PAGE, TABLES, Args, run

DOCS = Path(__file__).parents[2] / "docs" / "bench" / "dpvp"


def test_the_page_in_docs_is_that_of_the_results(tmp_path: Path) -> None:
    for file in DOCS.iterdir():
        if file.name != PAGE:
            shutil.copy(file, tmp_path)
    assert run(Args(tmp_path)) == 0
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == (DOCS / PAGE).read_text(encoding="utf-8")


def test_every_result_has_a_table() -> None:
    studies = {json.loads(file.read_text(encoding="utf-8"))["study"] for file in DOCS.glob("*.json")}
    assert {"closed_loop", "iterations"} <= studies <= set(TABLES)
