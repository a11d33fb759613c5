"""The page of a run: what happened is on it, and nothing in a log or a message can do more than be read."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="serialises messages with ROS")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from linear_feedback_controller_msgs.msg import Control
from std_msgs.msg import Bool, Float64, Float64MultiArray, String

from dpvp.cli.report import ReportArgs, report
from dpvp.errors import DpvpError
from dpvp.record.page import PAGE, kind_of
from dpvp.record.story import read_story
from dpvp.scenario import Scenario
from dpvp.view.html import Html, histogram, join, lane, table, tag
from recordings import T0, Recording

EVIL = '<script src="https://evil.example/x.js">alert(1)</script>'


class Links(HTMLParser):
    """All elements and all attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes = set[str](), list[tuple[str, str]]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(key, value or "") for key, value in attrs]


def status(name: str, message: str = "", **values: str) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(name=name, message=message, values=pairs)


def loop(state: str, why: str = "as asked", **more: str) -> DiagnosticArray:
    return DiagnosticArray(status=[status("mpc_node: loop", state=state, reason_text=why, **more)])


def record(folder: Path, scenario: Scenario) -> None:
    """A run in which everything happened that a page tells of."""
    robot = scenario.robot
    with Recording(folder, scenario) as recording:
        recording.goal(scenario.goal)
        recording.write("/diagnostics", loop("HOLD"))
        recording.write("/world_node/phase", String(data="PD"))
        for k in range(20):
            recording.joints(0.01 * k, robot.nominal, np.zeros(robot.nv))
            recording.write("/mpc_node/plan_ms", Float64(data=2.0 + 0.1 * k))
            shadow = Control()
            shadow.feedforward.data = 0.25 * robot.limits.effort * np.sin(k)
            recording.write("/mpc_node/shadow_control", shadow)
        recording.write("/diagnostics", loop("TRACK", latency_sense_ms="0.31", missed_share="0.01", periods="20"))
        recording.write("/world_node/phase", String(data="FEEDBACK"))
        verdict = status("supervisor", EVIL, state="FAULT", reason="ESTOP", learned="False")
        recording.write("/supervisor_node/verdict", verdict)
        recording.write("/estop", Bool(data=True))
    (folder / "mpc_node.log").write_text(
        f"[INFO] [1790000000.1] [mpc_node]: fine\n[WARN] [1790000000.5] [mpc_node]: careful {EVIL}\n"
        f"Traceback (most recent call last):\n{'[ERROR] ' + 'x' * 9000}\n",
        encoding="utf-8",
    )
    (folder / "odd <&>.log").write_bytes(b"\xff\xfe[ERROR] no UTF-8 \x00\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    record(folder, scenario)
    assert report(ReportArgs(folder)) == 1  # the goal was not reached
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / PAGE).read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    found = Links(page)
    assert not {"script", "link", "iframe", "object", "form", "base"} & found.tags
    for key, value in found.attributes:
        assert not key.startswith("on")
        assert "//" not in value or (key == "src" and value.startswith("data:image/png;base64,")), (key, value[:80])
        assert key != "href" or value.startswith("./")
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src &#x27;none&#x27;" in page
    assert "width=device-width" in page
    assert "prefers-color-scheme: dark" in page


def test_what_logs_and_messages_say_is_only_text(page: str, run: Path) -> None:
    assert "<script" not in page
    assert "&lt;script src=&quot;https://evil.example/x.js&quot;&gt;alert(1)&lt;/script&gt;" in page
    assert 'href="./odd%20%3C%26%3E.log"' in page
    assert "odd &lt;&amp;&gt;.log" in page


def test_the_page_tells_what_happened_and_when(page: str, run: Path, scenario: Scenario) -> None:
    story = read_story(run, run / "run.mcap", scenario.robot)
    told = [(change.lane, change.state) for change in story.changes]
    assert told == [
        ("loop", "HOLD"),
        ("plant", "PD"),
        ("loop", "TRACK"),
        ("plant", "FEEDBACK"),
        ("supervisor", "FAULT"),
        ("emergency stop", "PRESSED"),
    ]
    hold, track = story.lanes()["loop"]
    assert (hold[0].t, hold[1]) == (pytest.approx(T0 + 0.01), track[0].t)
    assert track[1] == story.end
    for text in ("goal not reached", "without what was learned", "mpc_node: loop: latency_sense_ms", "0.31", "PRESSED"):
        assert text in page
    assert story.loop["periods"] == "20"


def test_warnings_are_those_of_the_logs_cut_to_a_readable_length(run: Path, scenario: Scenario) -> None:
    warned = read_story(run, run / "run.mcap", scenario.robot).warnings
    assert [w.source for w in warned] == ["mpc_node", "mpc_node", "mpc_node", "odd <&>"]
    assert warned[0].t == 1790000000.5
    assert max(len(w.text) for w in warned) < 500


def test_the_shadow_is_compared_with_the_limits_and_with_what_the_robot_did(page: str, scenario: Scenario) -> None:
    peak = 0.25 * max(abs(np.sin(k)) for k in range(20))
    assert "20 controls were computed and not given to the robot" in page
    assert f"is {peak:.1%} of its joint" in page
    assert page.count(f"<td>{peak:.1%}</td><td>-</td><td>-</td>") == scenario.robot.nu  # no torque was measured


def test_messages_of_other_types_are_counted_and_left_out(tmp_path: Path, scenario: Scenario) -> None:
    with Recording(tmp_path / "run", scenario) as recording:
        for topic in ("diagnostics", "supervisor_node/verdict", "mpc_node/solved", "mpc_node/shadow_control"):
            recording.write(f"/{topic}", Float64(data=1.0))
        recording.write("/mpc_node/solved", Float64MultiArray(data=[1.0]))
    story = read_story(tmp_path / "run", tmp_path / "run" / "run.mcap", scenario.robot)
    assert (story.unreadable, story.changes, story.shadow) == (5, [], [])


def test_an_empty_run_has_a_page(tmp_path: Path, scenario: Scenario) -> None:
    with Recording(tmp_path / "run", scenario):
        pass
    assert report(ReportArgs(tmp_path / "run")) == 1
    text = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
    for said in (
        "No diagnostics",
        "was not recorded",
        "No timing was recorded",
        "None in the logs",
        "recorded unknown",
    ):
        assert said in text


def test_torn_recordings_are_told_in_part_or_refused(run: Path, tmp_path: Path, scenario: Scenario) -> None:
    content, rng = (run / "run.mcap").read_bytes(), np.random.default_rng(3)
    whole = len(read_story(run, run / "run.mcap", scenario.robot).changes)
    shutil.copy(run / "scenario.yaml", tmp_path)
    for _ in range(60):
        torn = bytearray(content[: rng.integers(1, len(content) + 1)])
        for _ in range(rng.integers(0, 3)):
            torn[rng.integers(0, len(torn))] = rng.integers(0, 256)
        (tmp_path / "run.mcap").write_bytes(torn)
        try:
            story = read_story(tmp_path, tmp_path / "run.mcap", scenario.robot)
        except DpvpError:
            continue
        assert len(story.changes) <= whole


def test_content_is_escaped_unless_it_is_html() -> None:
    assert tag("p", "a < b", tag("b", "&"), class_='x"y') == '<p class="x&quot;y">a &lt; b<b>&amp;</b></p>'
    assert join(["<", Html("<br>"), 3]) == "&lt;<br>3"
    assert table([("<i>", 1)], ("<h>",)).count("&lt;") == 2
    assert re.findall("[<>]", re.sub(r"</?(svg|rect|title)[^<>]*>", "", lane([(0, 1, "good", "<x>")], 0, 2))) == []


def test_a_histogram_has_a_bar_where_values_are() -> None:
    bars = re.findall(r'<rect x="(\d+)"', histogram(np.array([1.0] * 50 + [2.0] + [np.nan]), "ms", bins=10))
    assert bars == ["0", "9"]


@pytest.mark.parametrize(
    ("state", "kind"),
    [("TRACK", "good"), ("HOLD", "held"), ("FAULT", "bad"), ("DAMPING", "bad"), ("IDLE", "quiet"), ("", "quiet")],
)
def test_states_have_colours(state: str, kind: str) -> None:
    assert kind_of(state) == kind
