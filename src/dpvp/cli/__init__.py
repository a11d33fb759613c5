"""The command `dpvp`: one verb, one file.

Exit codes: 0 it worked, 1 it ran but did not succeed, 2 it could not run (the message says why), 130 Ctrl-C.
"""

from __future__ import annotations

import importlib
import signal
import sys

import tyro

from dpvp import __version__
from dpvp.errors import DpvpError

VERBS = {
    "run": "start the nodes of a scenario, bring the robot to its goal and record the run",
    "demo": "show that everything works: one run in real time, then random starts and goals in lock-step",
    "bench": "measure planners, horizons, guesses and rates; JSON and PNG",
    "train": "train a policy or a value; `dpvp train` lists the systems that can",
    "artifact": "show what is in an artifact, or verify that it may be used",
    "robot": "write the scene and the controllers that the folder of a robot lacks, and check that its files agree",
    "check": "say whether this machine has what dpvp needs, and how to mend what it lacks",
    "report": "rebuild the picture and the metrics of a recorded run",
    "replay": "ask the planner again what it was asked in a recorded run, as it was or changed",
    "video": "render the motion of a recorded run as GIF or MP4",
}


def main(args: list[str] | None = None) -> int:
    """Run `dpvp VERB ...`; returns the exit code."""
    words = sys.argv[1:] if args is None else args
    if words and words[0] in VERBS:
        return _run_verb(words[0], words[1:])
    if words[:1] == ["--version"]:
        print(f"dpvp {__version__}")
        return 0
    wants_help = not words or words[0] in ("-h", "--help")
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    head = "usage: dpvp VERB [options]     dpvp VERB --help explains one" if wants_help else f"no verb '{words[0]}'"
    print("\n".join([head, "", "verbs:", *lines]), file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2


def _run_verb(verb: str, words: list[str]) -> int:
    # imported here: `dpvp check` must work where the solvers or rclpy do not even load
    for sign in (signal.SIGINT, signal.SIGTERM):  # also where a script has started us with SIGINT ignored
        signal.signal(sign, signal.default_int_handler)
    try:
        module = importlib.import_module(f"dpvp.cli.{verb}")
        function = getattr(module, verb)
        if verb == "train":  # its options are those of the system, which tyro does not know
            return int(function(words))
        arguments = getattr(module, f"{verb.capitalize()}Args")
        return int(function(tyro.cli(arguments, args=words, prog=f"dpvp {verb}", description=VERBS[verb])))
    except ModuleNotFoundError as error:
        print(f"dpvp {verb}: the Python package '{error.name}' is missing; see `dpvp check`", file=sys.stderr)
        return 2
    except DpvpError as error:
        print(f"dpvp {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
