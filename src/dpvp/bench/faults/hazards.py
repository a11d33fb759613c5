"""The hazard table of docs/safety.md: what can go wrong, what notices, what is done, and what the campaign measured.

python -m dpvp.bench.faults.hazards docs/bench/faults.json docs/safety.md
"""

# ruff: noqa: E501 (a row of a table is a line)
from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

BEGIN, END = "<!-- hazards: begin -->", "<!-- hazards: end -->"
HEAD = "| hazard | detection | reaction | measured | test |"


@dataclass(frozen=True)
class Hazard:
    """A row.

    Attributes:
        text: what can go wrong.
        detection: who notices, and by what.
        reaction: what is done.
        kinds: of faults that stand for it.
        test: what proves it, besides the campaign.
    """

    text: str
    detection: str
    reaction: str
    kinds: tuple[str, ...]
    test: str


# fmt: off
HAZARDS = (
    Hazard("States stay away: cable, driver, network", "loop and supervisor: age of the newest state (STALE_STATE, STATE_LOST)", "hold after 50 ms, damp after 2 s", ("state_lost", "state_overdue", "pause_world"), "test_supervisor.py, test_loop.py"),
    Hazard("States are lost in part, late, out of order or doubled", "nobody has to", "the newest is used; plans go on", ("state_thinned", "state_delayed", "state_reordered", "state_repeated"), "test_faults.py"),
    Hazard("States are NaN, infinite or misshapen", "guard of the loop (`check_state`)", "rejected; hold when it lasts", ("state_nan", "state_nan_brief", "state_infinite", "state_misshapen"), "test_guard.py"),
    Hazard("A driver hangs and repeats its last state", "supervisor: positions do not move although velocities say so (STATE_CONTRADICTS)", "damp", ("state_frozen",), "test_supervisor.py"),
    Hazard("An encoder jumps or flickers", "supervisor: no robot moves so far so fast (STATE_CONTRADICTS); loop: plans from before are forgotten", "damp", ("state_jumping", "state_flickering"), "test_supervisor.py, test_loop.py"),
    Hazard("A velocity is measured wrong", "loop: no motor is so fast (`check_speed`); supervisor (VELOCITY, TOO_FAR)", "rejected, hold, damp", ("state_spiking",), "test_loop.py, test_supervisor.py"),
    Hazard("The clock of the plant jumps", "loop: states too old or from before; supervisor", "rejected, hold, damp", ("clock_ahead", "clock_behind", "clock_turned"), "test_mpc_node.py"),
    Hazard("Commands stay away: loop dead, stopped or cut off", "law at the plant (`valid_until`), supervisor (COMMANDS_STOPPED, COMMANDS_LOST)", "hold after 0.2 s, damp after 2 s", ("command_lost", "command_lost_long", "command_expired", "loop_silent", "pause_mpc_node", "pause_mpc_node_long", "kill_mpc_node", "kill_mpc_node_long"), "test_feedback.py, test_world_node.py"),
    Hazard("Commands are lost in part, late, out of order or doubled", "nobody has to", "the newest is applied", ("command_thinned", "command_delayed", "command_reordered", "command_repeated"), "test_faults.py"),
    Hazard("Commands are NaN, misshapen or far too strong", "guard at the plant (`CommandGuard`), supervisor (COMMAND_UNSOUND)", "refused; hold", ("command_nan", "command_misshapen", "command_huge_torque", "command_huge_gain"), "test_guard.py"),
    Hazard("The solver diverges", "`PlanCheck` in the solver, `is_sound` in the loop (PLANS_REJECTED)", "rejected, the plan before stays in force; hold after 0.1 s (walk: 0.2 s)", ("plan_nan", "plan_nan_lying", "plan_huge", "plan_rejected", "plan_rejected_some", "plan_outdated"), "test_check_plan.py, test_loop.py"),
    Hazard("The solver hangs, is late or dies", "loop: age of the plan (NO_PLAN), the process (SOLVER_LOST)", "hold; started again", ("solver_hung", "solver_slow", "solver_stuck", "solver_dead", "pause_solver", "kill_solver"), "test_loop.py, test_solver_process.py"),
    Hazard("What was learned answers nonsense", "cost of the guess, trust of the value, its Bellman residual (LEARNED_DOUBTED)", "advice is not taken; planning without it", ("learned_nonsense", "learned_noise", "learned_nan"), "test_guess.py, test_terminal.py"),
    Hazard("The wrong artifact lies on the disk", "contract of the artifact (SHA-256)", "the solver does not start; hold", ("artifact_swapped",), "test_artifact_refusals.py"),
    Hazard("Somebody presses the stop", "supervisor (ESTOP)", "damp until reset", ("stop", "stop_pressed"), "test_supervisor.py"),
    Hazard("The supervisor dies or hangs", "loop: age of its verdict (SUPERVISOR_LOST)", "hold after 0.5 s", ("supervisor_silent", "pause_supervisor", "kill_supervisor"), "test_gate.py, test_loop.py"),
    Hazard("The recorder dies, hangs or has no room", "nobody has to", "motion goes on", ("pause_recorder", "kill_recorder", "disk_full"), "test_record_node.py"),
    Hazard("Something else takes the processor", "loop: missed periods, age of plans", "the plan before stays in force; hold when it lasts", ("cpu_hog",), "campaign alone"),
    Hazard("Somebody pushes the robot", "supervisor, when limits are left", "plans go on from where it is", ("push",), "test_plant.py"),
)
# fmt: on


def hazard_table(content: Mapping[str, Any]) -> str:
    """Return the table for the results of a campaign, `content` as in its JSON."""
    found = {row["kind"]: row for row in (*content["rows"], *content["real"])}
    lines = [HEAD, "|" + "---|" * 5]
    for hazard in HAZARDS:
        rows = [found[kind] for kind in hazard.kinds if kind in found]
        cells = (hazard.text, hazard.detection, hazard.reaction, _measured(rows), hazard.test)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _measured(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "not measured"
    count, crossings = sum(row["count"] for row in rows), sum(row["crossings"] for row in rows)
    parts = [f"{count} faults, {crossings} beyond limits"]
    detected, periods = _most(rows, "detected_s"), _most(rows, "safe_periods")
    if math.isfinite(detected):
        parts.append(f"detected within {detected:.2f} s, safe {periods:.2f} periods later")
    if missing := count - sum(row["back"] for row in rows):
        parts.append(f"{missing} did not come back")
    return "; ".join(parts)


def _most(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [row[key]["most"] for row in rows if row[key]["most"] is not None]
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def filled(text: str, content: Mapping[str, Any]) -> str:
    """Return `text` with the table of `content` between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{hazard_table(content)}{END}{after}"


def main(results: tyro.conf.Positional[Path], document: tyro.conf.Positional[Path]) -> None:
    """Write the hazard table for the results of a campaign into a document."""
    content = json.loads(results.read_text(encoding="utf-8"))
    document.write_text(filled(document.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
