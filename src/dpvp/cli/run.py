"""`dpvp run`: one scenario, real nodes, real time."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from dpvp.errors import GoalError
from dpvp.record.rundir import new_run_dir, resolved
from dpvp.scenario import Scenario, load_scenario
from dpvp.tasks.task import Steered

if TYPE_CHECKING:
    from dpvp.ros.session import Session

UNHURRIED = ("planner.budget=10.0",)  # of lock-step: plans are bounded by iterations alone, on every machine alike
AFTERWARDS = 0.5  # s that the recorder sees of the robot after it has settled
REPORTED = (
    "scenario",
    "success",
    "goal",
    "final_error",
    "error_unit",
    "settled_rms_error",
    "final_speed_rad_s",
    "plan_ms",
    "state_age_ms",
    "missed_share",
    "run_dir",
)


@dataclass(frozen=True)
class RunArgs:
    """Options of `dpvp run`."""

    scenario: Annotated[str, tyro.conf.Positional]
    """Name of a scenario (kuka_reach) or path of a scenario file."""
    goal: tuple[float, ...] | None = None
    """Where to go, in the task's units: of a reach x y z in metres in the robot's base frame, of a track the phase at
    time 0 in rad, length and height in metres; that of the scenario if absent."""
    cmd_vel: tuple[float, float, float] | None = None
    """Velocity of a robot that walks: forwards and to the left, m/s, and turn, rad/s; commanded on `cmd_vel`."""
    headless: bool = False
    """End after the run. Without it a view opens in the browser and the nodes stay until Ctrl-C."""
    lock_step: bool = False
    """Let plant and planner wait for each other: the motion does not depend on how fast this machine is."""
    realtime: bool = False
    """Let nodes and solver lock their memory and go before ordinary processes, as far as they are permitted to."""
    json: Path | None = None
    """Write the result to this file."""
    runs: Path = Path("runs")
    """Folder in which the run's own folder is made."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default_factory=tuple)
    """Change the scenario: dotted.key=value, may be given more than once."""


def run(args: RunArgs) -> int:
    """Run; exit code 0 only if the goal was reached in time."""
    console = Console(stderr=True)
    scenario = load_scenario(args.scenario, (*(UNHURRIED if args.lock_step else ()), *args.set))
    scenario.task.check_goal(args.goal or scenario.goal)
    if args.cmd_vel is not None:
        _check_velocity(scenario, args.cmd_vel)
    result = run_once(
        scenario,
        args.goal,
        args.runs,
        console,
        cmd_vel=args.cmd_vel,
        view=not args.headless,
        lock_step=args.lock_step,
        realtime=args.realtime,
    )
    report = {key: result[key] for key in REPORTED}
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    return 0 if result["success"] else 1


def _check_velocity(scenario: Scenario, velocity: tuple[float, float, float]) -> None:
    """Raise `GoalError` if the task does not take this velocity."""
    task = scenario.task
    if not isinstance(task, Steered):
        raise GoalError(f"--cmd-vel: {scenario.name} does not walk; give --goal")
    task.commanded(np.array(scenario.goal), velocity, scenario.robot.at_rest(), 0.0)


def run_once(
    scenario: Scenario,
    goal: tuple[float, ...] | None,
    runs: Path,
    console: Console,
    *,
    cmd_vel: tuple[float, float, float] | None = None,
    view: bool = False,
    lock_step: bool = False,
    realtime: bool = False,
) -> dict[str, Any]:
    """Start the nodes, go to `goal`, or on at `cmd_vel`, and record.

    Returns:
        What the recorder measured (the content of metrics.json).
    """
    from dpvp.ros.bringup import Bringup
    from dpvp.ros.session import session

    run_dir = new_run_dir(scenario, runs)
    scenario = resolved(scenario, run_dir)
    console.print(f"{scenario.name}: starting the nodes; everything goes to {run_dir}", soft_wrap=True)
    bringup = Bringup(plant="dpvp", start="false", view=view, lock_step=lock_step, realtime=realtime)
    with session(scenario, bringup, run_dir) as running:
        if view and sys.stdin.isatty():
            console.input("open http://localhost:8080 in a browser, then press Enter to move ")
        _reach(scenario, goal or scenario.goal, cmd_vel, running, run_dir, console)
        if view:
            _stay(running, console)
    metrics: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    console.print(f"picture: {run_dir / 'run.png'}; a page on what happened: dpvp report {run_dir}", soft_wrap=True)
    return metrics


def _reach(
    scenario: Scenario,
    goal: tuple[float, ...],
    cmd_vel: tuple[float, float, float] | None,
    running: Session,
    run_dir: Path,
    console: Console,
) -> None:
    pilot = running.pilot
    pilot.wait_recorder(run_dir / "metrics.json")
    wanted = np.array(goal)
    pilot.aim(wanted)
    with console.status(f"moving to {list(goal)}" if cmd_vel is None else f"walking at {list(cmd_vel)}"):
        pilot.ask("mpc_node/start")
        if cmd_vel is not None:
            wanted = pilot.steer(*cmd_vel)
        episode = pilot.follow(wanted, pilot.now)
        pilot.wait(AFTERWARDS)
    verdict = f"reached after {episode.reached_at:.2f} s" if episode.success else "[red]not reached[/red]"
    console.print(
        f"{verdict}: {1e3 * episode.error:.1f} m{scenario.task.error_unit} from the goal, {episode.speed:.4f} rad/s"
    )


def _stay(running: Session, console: Console) -> None:
    """Let people play until they press Ctrl-C, which here is the regular end."""
    console.print("the nodes keep running: drag the goal in http://localhost:8080; Ctrl-C ends")
    with contextlib.suppress(KeyboardInterrupt):
        running.pilot.wait(float("inf"))
