"""Story: what happened in a recorded run besides motion: states, verdicts, phases, plans, latencies, warnings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dpvp.errors import ConfigError, MessageError
from dpvp.plan import Array
from dpvp.record.feed import LOOP_STATUS
from dpvp.record.recording import read_messages
from dpvp.record.replay import SOLVED, recorded_of
from dpvp.robot import Robot

_WARNING = re.compile(r"\[(WARN|ERROR|FATAL)\]|^(WARNING|ERROR|CRITICAL|Traceback|Fatal)\b")
_STAMP = re.compile(r"\[(\d{9,11}\.\d{1,9})\]")
_MOST_LOGGED = 2_000_000  # characters of a log that are looked at, from its end
_LONGEST = 400  # characters of a line that are shown


@dataclass(frozen=True)
class Change:
    """Someone entered a state: `t` log time, s; `lane` whose; `state` in a word; `why` in words."""

    t: float
    lane: str
    state: str
    why: str = ""


@dataclass(frozen=True)
class Warned:
    """A line of a log that warns; `t` is the log time, s, NaN where it has none."""

    t: float
    source: str
    text: str


@dataclass
class Story:
    """What the recording of a run says, in the order of the file.

    Attributes:
        changes: of states, by whoever reports them.
        begin, end: log time of the first message and of the last, s; NaN in an empty recording.
        loop: last values in the loop's diagnostics.
        latencies: last values of `latency_*` in any diagnostics, as they were written, by whose and name.
        plans: asks, statuses, guesses and advice, counted.
        iterations: of the plans, counted.
        waited_ms: from ask to plan, of every plan, ms.
        shadow: log time, s, and feed-forward (nu,), Nm, of each control that was not given to the robot.
        warnings: from the logs.
        unreadable: messages that could not be used.
    """

    changes: list[Change] = field(default_factory=list)
    begin: float = math.nan
    end: float = math.nan
    loop: dict[str, str] = field(default_factory=dict)
    latencies: dict[str, str] = field(default_factory=dict)
    plans: Counter[str] = field(default_factory=Counter)
    iterations: Counter[int] = field(default_factory=Counter)
    waited_ms: list[float] = field(default_factory=list)
    shadow: list[tuple[float, Array]] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    unreadable: int = 0

    def lanes(self) -> dict[str, list[tuple[Change, float]]]:
        """Return for each who reports states the changes and until when each state lasted, log time, s."""
        found: dict[str, list[tuple[Change, float]]] = {}
        for change in self.changes:
            found.setdefault(change.lane, []).append((change, self.end))
        for stretches in found.values():
            ends = [after.t for after, _ in stretches[1:]]
            stretches[: len(ends)] = [
                (change, end) for (change, _), end in zip(stretches[: len(ends)], ends, strict=True)
            ]
        return found


class StoryReader:
    """Takes the messages of a run of one robot and tells the story."""

    def __init__(self, robot: Robot) -> None:
        """Begin a story of `robot`."""
        self.story = Story()
        self._robot = robot
        self._last: dict[str, tuple[str, str]] = {}
        self._takers: dict[str, Callable[[float, Any], None]] = {
            "diagnostics": self._take_diagnostics,
            "supervisor_node/verdict": self._take_verdict,
            "world_node/phase": lambda t, message: self._change(t, "plant", str(message.data)),
            "estop": lambda t, message: self._change(t, "emergency stop", "PRESSED" if message.data else "released"),
            SOLVED: self._take_solved,
            "mpc_node/shadow_control": self._take_shadow,
        }

    def take(self, topic: str, t: float, message: Any) -> None:
        """Take a message of a topic with any namespace, received at log time `t`, s; other topics say nothing."""
        taker = self._taker(topic)
        if taker is None:
            return
        story = self.story
        story.begin, story.end = t if math.isnan(story.begin) else story.begin, t
        try:
            taker(t, message)
        except (MessageError, AttributeError, TypeError, ValueError):  # written by others, or of another type
            story.unreadable += 1

    def wants(self, topic: str) -> bool:
        """True of topics that say something."""
        return self._taker(topic) is not None

    def _taker(self, topic: str) -> Callable[[float, Any], None] | None:
        return next((taker for name, taker in self._takers.items() if topic.endswith(f"/{name}")), None)

    def _change(self, t: float, lane: str, state: str, why: str = "") -> None:
        if self._last.get(lane) != (state, why):
            self._last[lane] = (state, why)
            self.story.changes.append(Change(t, lane, state, why))

    def _take_diagnostics(self, t: float, message: Any) -> None:
        for status in message.status:
            values = {str(item.key): str(item.value) for item in status.values}
            late = {k: v for k, v in values.items() if k.startswith("latency_")}
            self.story.latencies |= {f"{status.name}: {key}": value for key, value in late.items()}
            if status.name.endswith(LOOP_STATUS):
                self.story.loop = values
                self._change(t, "loop", values.get("state", "?"), values.get("reason_text", ""))

    def _take_verdict(self, t: float, message: Any) -> None:
        values = {str(item.key): str(item.value) for item in message.values}
        without = ", without what was learned" if values.get("learned", "").lower() in ("false", "0", "no") else ""
        self._change(t, "supervisor", values.get("state", "?"), f"{message.message}{without}")

    def _take_solved(self, t: float, message: Any) -> None:
        recorded, story = recorded_of(message, self._robot), self.story
        story.plans["asked"] += 1
        if recorded.outcome is None:
            story.plans["never answered"] += 1
            return
        plan = recorded.outcome.plan
        story.waited_ms.append(1e3 * recorded.waited)
        story.iterations[plan.iterations] += 1
        story.plans.update([f"status {plan.status.name}", f"guess {plan.guess}"])
        story.plans.update(f"advice {key}" for key in plan.advice.keys)

    def _take_shadow(self, t: float, message: Any) -> None:
        u0 = np.array(message.feedforward.data, dtype=np.float64)
        if u0.shape != (self._robot.nu,):
            raise MessageError(f"shadow_control has {len(u0)} torques: {self._robot.name} needs {self._robot.nu}")
        self.story.shadow.append((t, u0))


def read_story(folder: Path, recording: Path, robot: Robot) -> Story:
    """Return the story that `recording` and the logs in `folder` tell.

    Raises:
        ConfigError: there is no such recording.
    """
    reader = StoryReader(robot)
    for topic, t, message in read_messages(recording, reader.wants):
        reader.take(topic, t, message)
    reader.story.warnings = [warned for file in sorted(folder.glob("*.log")) for warned in _warnings(file)]
    return reader.story


def _warnings(file: Path) -> Iterator[Warned]:
    try:
        text = file.read_bytes()[-_MOST_LOGGED:].decode("utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(file, "(file)", file.name, f"must be readable: {error.strerror}") from None
    for line in text.splitlines():
        if _WARNING.search(line):
            stamp = _STAMP.search(line)
            short = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
            yield Warned(float(stamp[1]) if stamp else math.nan, file.stem, short)
