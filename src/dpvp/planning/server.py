"""The solver process itself: answers the newest state with a plan until the other side is gone.

Started by `SolverProcess` as `python -m dpvp.planning.server SCENARIO FD FD FD FD`.
"""

from __future__ import annotations

import argparse
import gc
import logging
import socket
import sys

import numpy as np

from dpvp.errors import DpvpError
from dpvp.planning.mailbox import Mailbox
from dpvp.planning.sequence import PlanSequence
from dpvp.planning.wire import LOOK, READY, goal_layout, plan_layout, plan_to_record, state_layout
from dpvp.realtime import SOLVER, settle
from dpvp.scenario import Scenario, load_scenario

logger = logging.getLogger(__name__)


def serve(scenario: Scenario, fds: list[int]) -> None:
    """Answer states with plans until the other side is gone."""
    robot, horizon = scenario.robot, scenario.config.planner.horizon
    layout = plan_layout(horizon, robot.nx, robot.nu, robot.ndx)
    states = Mailbox(state_layout(robot.nx), fds[0])
    goals = Mailbox(goal_layout(scenario.task.goal_size), fds[1])
    plans = Mailbox(layout, fds[2])
    with socket.socket(fileno=fds[3]) as signal:
        sequence = PlanSequence(scenario)
        gc.collect()
        gc.freeze()
        settle(logger, SOLVER)
        signal.send(READY)
        goal = np.array(scenario.goal)
        while signal.recv(4096):
            if (state := states.take()) is None:
                continue
            if (wanted := goals.take()) is not None:
                goal = np.array(wanted["goal"])
            x, t = np.array(state["x"]), float(state["t"])
            plan = sequence.plan(x, goal, t, fresh=bool(state["fresh"]), plain=bool(state["plain"]))
            plans.post(plan_to_record(plan, layout))
            signal.send(LOOK)


def main() -> int:
    """Run the solver on the scenario and the file descriptors given on the command line."""
    parser = argparse.ArgumentParser(description="dpvp solver process; started by SolverProcess, not by hand")
    parser.add_argument("scenario")
    parser.add_argument("fds", type=int, nargs=4)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(levelname)s solver: %(message)s")
    logger.setLevel(logging.INFO)
    try:
        serve(load_scenario(arguments.scenario), arguments.fds)
    except DpvpError as error:
        logger.error(str(error))
        return 1
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass  # the other side is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
