"""Errors that a user or a programmer can mend; each message says where, what was found and what would be right.

Failures that are expected while running (a solve that ran out of time, a sensor that went silent) are not
errors: they are a `PlanStatus` or a `LoopState` in a result, with a counter in the diagnostics.
"""

from __future__ import annotations

from pathlib import Path

from dpvp.untrusted import clipped, shortened

LONGEST_MESSAGE = 4000  # characters; what is quoted may come from a file that somebody has made to flood a log


class DpvpError(Exception):
    """Root of everything that dpvp raises on purpose."""

    def __init__(self, message: str) -> None:
        """Say what is wrong; of a message without end only its beginning is kept."""
        super().__init__(clipped(message, LONGEST_MESSAGE))


class ConfigError(DpvpError):
    """A value in a configuration file that cannot be used."""

    def __init__(self, file: Path | str, key: str, value: object, expected: str) -> None:
        """Name the `file`, the dotted `key`, the `value` found there and what was `expected` instead."""
        self.file, self.key, self.value, self.expected = str(file), key, value, expected
        super().__init__(f"{clipped(str(file))}: {clipped(key)} = {shortened(value)}: {expected}")


class ModelMismatchError(DpvpError):
    """Two descriptions of the same robot disagree (URDF, MJCF, robot.yaml, artifact, running driver)."""

    def __init__(self, what: str, expected: object, found: object, hint: str = "") -> None:
        """State `what` differs, the `expected` and the `found` value and, where it helps, a `hint`."""
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"{what}: expected {expected}, found {found}" + (f"; {hint}" if hint else ""))


class GoalError(DpvpError):
    """A goal that the task refuses: not finite, of the wrong size or out of the robot's reach."""


class MessageError(DpvpError):
    """A message or a state whose content cannot be used: names, order, shape or NaN."""


class SafetyError(DpvpError):
    """What is asked for is not safe now; the message says what has to be over first."""


class SwitchError(DpvpError):
    """A change of controllers that a controller manager refuses."""


class EnvironmentProblem(DpvpError):  # noqa: N818  (EnvironmentError is a builtin)
    """The machine lacks something or has it in a version that does not work; the message says how to mend it."""
