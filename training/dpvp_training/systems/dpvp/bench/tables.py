"""Tables: the results of all studies as one page of Markdown, docs/bench/dpvp/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpvp_training.core.checkpoint import written
from dpvp_training.systems.dpvp.bench.ablation import ERRORS, OWN, PUBLISHED

PAGE = "README.md"
_COUNTED = ("iterations", "enough")
END = {"value": "learned value", "zero": "none"}


@dataclass(frozen=True)
class Args:
    """Write the results of all studies as tables."""

    folder: Path = Path("docs/bench/dpvp")
    """Where the studies have left their results; the page goes there too."""


def run(args: Args) -> int:
    """Write the page; exit code 0."""
    lines = ["# DPVP: what was measured", "", "Written by `python -m dpvp_training.systems.dpvp.bench tables`."]
    for file in sorted(args.folder.glob("*.json")):
        lines += ["", *_section(file, json.loads(file.read_text(encoding="utf-8")))]
    with written(args.folder / PAGE) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    return 0


def _section(file: Path, content: dict[str, Any]) -> Iterator[str]:
    study, machine, task = content["study"], content["machine"], content["conditions"]["task"]
    yield f"## {study}: {task}"
    yield ""
    yield f"{content['date'][:10]}, {machine['processor']}, {machine['cores']} cores; "
    yield f"`python -m dpvp_training.systems.dpvp.bench {study} --task {task}`: " + ", ".join(
        f"{key} {value}" for key, value in content["conditions"].items() if isinstance(value, (int, float, str))
    )
    yield ""
    if (last := LAST.get(study)) and last not in content:
        yield "Not finished."
        return
    yield from TABLES[study](content)
    picture = file.with_suffix(".png")
    if picture.is_file():
        yield from ("", f"![{study} of {task}]({picture.name})")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(cell.replace('|', '¦') for cell in head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _closed_loop(content: dict[str, Any]) -> Iterator[str]:
    times = {(t["horizon"], t["terminal"], t["policy"]): t for t in content.get("times", ())}
    rows = []
    for row in content["rows"]:
        ratio, way = row["cost_ratio"], (row["horizon"], row["terminal"], row["policy"])
        end = END[row["terminal"]] + (" + policy" if row["policy"] else "")
        costs = " / ".join(_ratio(ratio[key]) for key in ("mean", "median", "worst"))
        clock = [f"{times[way][key]['median']:.2f}" for key in ("plan_ms", "solve_ms")] if way in times else ["", ""]
        from_rest, share = _ratio(row["cost_ratio_from_rest"]["mean"]), f"{100 * row['reached']:.0f} %"
        rows.append([row["where"], str(row["horizon"]), end, costs, from_rest, share, str(row["count"]), *clock])
    head = "where", "T", "end", "cost beside the best: mean / median / worst", "beside that from rest: mean"
    yield from _table([*head, "reached", "starts", "plan [ms]", "solve [ms]"], rows)


def _ratio(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}" if value < 2 else f"{value:.3g}"


def _iterations(content: dict[str, Any]) -> Iterator[str]:
    keys = ("mean", "median", "p99", "worst")
    rows = [
        [
            row["guess"],
            *(" / ".join(f"{row[of][key]:.4g}" for key in keys) for of in ("iterations", "iterations_published")),
        ]
        for row in content["rows"]
    ]
    head = "start, end", "expected decrease < 1e-9 (crocoddyl 3): mean / median / p99 / worst"
    yield from _table([*head, "Σ ‖Q_u‖² < 1e-9 (crocoddyl 1, as published)"], rows)


def _bellman(content: dict[str, Any]) -> Iterator[str]:
    value = content["value"]
    long = content["conditions"]["long"]
    yield f"Mean squared error of V to V_{long}: {value['mse']:.2e}; mean V {value['mean']:.3f}."
    yield ""
    rows = [
        [
            str(row["horizon"]),
            *(f"{100 * row[of][key]:.2f} %" for of in ("bellman", "to_long") for key in ("mean", "worst")),
        ]
        for row in content["rows"]
    ]
    yield from _table(
        ("T", "|OCP_2T - OCP_T| / OCP_2T, mean", "worst", "|OCP_T - V_long| / V_long, mean", "worst"), rows
    )


def _throughput(content: dict[str, Any]) -> Iterator[str]:
    rows = [[f"{row['executor']:.2f}", f"{row['loop']:.2f}"] for row in content["rows"]]
    yield from _table(("with the executor, labelled, per second", "a loop in one process, per second"), rows)
    yield from ("", f"Median ratio: {content['ratio']:.2f}.")


def _ablation(content: dict[str, Any]) -> Iterator[str]:
    rows = []
    for variant in [*OWN, *PUBLISHED]:
        seeds = [row for row in content["rows"] if row["variant"] == variant]
        cells = (f"{np.mean(v):.3f} ± {np.std(v):.3f}" for v in ([row[error] for row in seeds] for error in ERRORS))
        rows.append([variant, *cells])
    yield from _table(("matched with", *ERRORS.values()), rows)
    ratios = (content["verdict"][error]["mean_square_ratio"] for error in ("gradient", "gradient_in_metric"))
    text = "Squared error of the gradient, values alone over Sobolev: {:.1f}; in units of cost: {:.1f}."
    yield from ("", text.format(*ratios))


def _disturbance(content: dict[str, Any]) -> Iterator[str]:
    pushes = [
        [row["way"], f"{np.linalg.norm(push['force']):.0f}", f"{push['peak']:.3f}", _seconds(push["back_after"])]
        for row in content["rows"]
        for push in row.get("pushes", ())
    ]
    yield from _table(("way to plan", "force [N]", "peak [m]", "back within 1 cm after [s]"), pushes)
    rows = [
        [
            row["case"],
            row["way"],
            str(row["runs"]),
            f"{100 * row['success_rate']:.0f} %",
            f"{100 * row['within_1cm']:.0f} %",
        ]
        + [
            f"{1e3 * row['final_error'][key]:.1f}" if row["final_error"][key] is not None else "-"
            for key in ("p50", "p90")
        ]
        for row in content.get("summary", ())
    ]
    yield ""
    head = "case", "way to plan", "runs", "success", "ends within 1 cm", "final error p50 [mm]", "p90"
    yield from _table(head, rows)


def _tracking(content: dict[str, Any]) -> Iterator[str]:
    rows = [
        [row["way"], row["case"], str(row["runs"])]
        + [f"{1e3 * value:.2f}" for value in (row["rms"]["mean"], row["rms"]["worst"], row["largest"]["worst"])]
        for row in content["rows"]
    ]
    yield from _table(("way to plan", "plant", "runs", "rms error, mean [mm]", "worst", "largest error"), rows)


def _starts(content: dict[str, Any]) -> Iterator[str]:
    rows = []
    for row in content["rows"]:
        first = f"{row['first_ratio']['median']:.3g} / {row['first_ratio']['p90']:.3g}"
        counts = [f"{row[key]['mean']:.1f} / {row[key]['median']:.0f} / {row[key]['p90']:.0f}" for key in _COUNTED]
        times = [f"{row[key]['mean']:.1f}" for key in ("guess_ms", "total_ms", "enough_ms")]
        rows.append([row["since"], row["guess"], str(row["count"]), first, *counts, *times, str(row["poorer"])])
    head = "after", "guess", "plans", "cost after the first iteration, beside the optimum: median / p90"
    until = "iterations until it stops: mean / median / p90", "until within 1 %"
    clock = "guess [ms]", "until it stops [ms]", "until within 1 % [ms]"
    yield from _table([*head, *until, *clock, "not the best optimum"], rows)
    yield from ("", "Times are means of processor time, with that of the guess.")


def _lost(content: dict[str, Any]) -> Iterator[str]:
    rows = []
    for row in content["rows"]:
        won = ", ".join(f"{name} {count}" for name, count in sorted(row["cold_guesses"].items()))
        figures = [f"{row[key]['median']:.3g} / {row[key]['p90']:.3g}" for key in ("first", "after")]
        upright, error = f"{row['upright']} of {row['outings']}", f"{row['error']['mean']:.3f}"
        rows.append([row["guesses"], upright, error, *figures, won, str(row["unusable"])])
    columns = "guesses", "upright", "rms error [m/s]", "cost of plans without one before: median / p90"
    more = "of these and the nine after", "their guesses", "unusable plans"
    yield from _table([*columns, *more], rows)


def _seconds(value: float | None) -> str:
    return "not" if value is None else f"{value:.2f}"


TABLES = {
    "closed_loop": _closed_loop,
    "iterations": _iterations,
    "bellman": _bellman,
    "throughput": _throughput,
    "ablation": _ablation,
    "disturbance": _disturbance,
    "tracking": _tracking,
    "starts": _starts,
    "lost": _lost,
}
# what a study sets when all its rows are there
LAST = {
    "bellman": "value",
    "closed_loop": "times",
    "throughput": "ratio",
    "ablation": "verdict",
    "disturbance": "summary",
    "tracking": "complete",
    "starts": "complete",
    "lost": "complete",
}
