"""What every dpvp node does alike: start, spin, stop, and say things through the ROS logger."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable

import rclpy
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from dpvp.errors import DpvpError
from dpvp.realtime import settle
from dpvp.ros.lifeline import hold_lifeline

logger = logging.getLogger(__name__)

STREAM = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
# of which none may be lost, nor the one who sends ever wait: seconds of them are kept for a listener that pauses
COMPLETE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)


class RosLogHandler(logging.Handler):
    """Hands what library code logs to a node's logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        """Write to `logger`."""
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one record with the severity it has."""
        text = self.format(record)
        # rcutils ties a severity to the place of the call, so that each needs a call of its own
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)


def run_node(make: Callable[[], Node], args: list[str] | None) -> int:
    """Run a node until Ctrl-C or SIGTERM; return the exit code.

    The node has a method `spin_some(executor)`, called over and over, and `destroy_node`. EventsExecutor with
    `spin_once` is the executor that works and is the fastest in the rclpy versions we support.
    """
    stop, node = False, None  # no threading.Event: a second signal inside its `set` would wait for the first for ever

    def end(*_: object) -> None:
        nonlocal stop
        first, stop = not stop, True
        if first and node is None:  # making one may take a minute, and there is nothing yet to leave in good order
            raise KeyboardInterrupt

    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, end)
    try:
        hold_lifeline()
        # not rclpy's signal handlers: they close the graph before the node can leave the robot in a safe state
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
        logging.getLogger("dpvp").addHandler(RosLogHandler(node.get_logger()))
        logging.getLogger("dpvp").setLevel(logging.INFO)
        executor = EventsExecutor()
        executor.add_node(node)
        settle(logger)  # all is built, and a solver has solved
        while rclpy.ok() and not stop:
            node.spin_some(executor)
    except KeyboardInterrupt:
        return 0
    except DpvpError as error:
        sys.stderr.write(f"{error}\n")  # there may be no ROS to log to
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
