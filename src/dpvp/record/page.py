"""The page of a run: one HTML file that needs no network, for people who were not there."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dpvp.plan import Array
from dpvp.record.metrics import described
from dpvp.record.report import METRICS, PICTURE, RECORDING, SCENARIO, load_run
from dpvp.record.story import Story, read_story
from dpvp.scenario import Scenario
from dpvp.view.html import Html, histogram, join, lane, table, tag
from dpvp.view.plots import RunSeries

PAGE = "report.html"
_ALIKE = 1e-3  # ms; of latencies that are all the same, as in lock-step, there is no distribution to show
_SHOWN = 200  # warnings and changes at most; the files have the rest
_KINDS = {  # of states, by the first of these words in them; others are neutral
    "good": ("TRACK", "FEEDBACK", "BLEND", "released"),
    "held": ("HOLD", "PD"),
    "bad": ("FAULT", "DAMP", "PRESSED"),
}
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2429; --faint: #68717a; --paper: #fbfbfa; --card: #fff; --line: #dfe3e7;
  --good: #009e73; --held: #e69f00; --bad: #d55e00; --quiet: #aab2ba; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --faint: #98a2ac; --paper: #15181b; --card: #1d2125;
  --line: #333a41; --good: #35c69c; --held: #f0b840; --bad: #f0804a; --quiet: #59626b; --bar: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: .5rem 0 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } small, .axis, .note { color: var(--faint); font-size: .85rem; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; color: #fff; font-size: .95rem;
  font-weight: 600; vertical-align: .15rem; }
.badge.good { background: #007a59; } .badge.bad { background: #b34700; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem; }
.cards b { display: block; font-size: 1.05rem; } .cards span { color: var(--faint); font-size: .85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
td, th { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 500; } td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; border: 1px solid var(--line); border-radius: .5rem; background: #fff; }
svg { display: block; width: 100%; background: var(--card); border: 1px solid var(--line); border-radius: .25rem; }
svg.histogram { height: 7rem; fill: var(--bar); } svg.lane { height: 1.5rem; margin-bottom: .5rem; }
.axis { display: flex; justify-content: space-between; gap: .5rem; flex-wrap: wrap; }
.good { fill: var(--good); } .held { fill: var(--held); } .bad { fill: var(--bad); } .quiet { fill: var(--quiet); }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin: 0 .3rem 0 .8rem; }
.key.good { background: var(--good); } .key.held { background: var(--held); } .key.bad { background: var(--bad); }
.key.quiet { background: var(--quiet); }
pre { overflow-x: auto; font-size: .8rem; background: var(--card); border: 1px solid var(--line); padding: .6rem;
  border-radius: .5rem; white-space: pre-wrap; } code { font-size: .9em; } a { color: var(--bar); }
summary { cursor: pointer; }
"""


def write_page(folder: Path, summary: Mapping[str, Any], series: RunSeries) -> Path:
    """Write `report.html` into the `folder` of a run and return its path.

    Args:
        folder: of the run; the picture in it is put into the page.
        summary: metrics of the run.
        series: its course; the page counts time as it does.

    Raises:
        ConfigError: the folder does not hold a run.
    """
    scenario = load_run(folder)
    story = read_story(folder, folder / RECORDING, scenario.robot)
    file = folder / PAGE
    part = file.with_name(f".{PAGE}.part")
    part.write_text(page(scenario, summary, series, story, folder), encoding="utf-8")
    part.replace(file)
    return file


def page(scenario: Scenario, summary: Mapping[str, Any], series: RunSeries, story: Story, folder: Path) -> str:
    """Return the page as HTML; `folder` gives the picture, the settings and the list of files."""
    parts = [
        _heading(scenario, summary, series),
        _cards(summary),
        _section("Metrics", table(described(dict(summary)))),
        _section("What happened", _timeline(story, series.begin)),
        _section("Course", _picture(folder / PICTURE)),
        _section("Plans", _plans(story)),
        _section("Latencies", _latencies(story, series)),
        _section("Shadow", _shadow(scenario, story, series)) if story.shadow else Html(),
        _section("Warnings", _warnings(story, series.begin)),
        _section("Files", _files(folder)),
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", f"{scenario.name}: report of a run"),
        tag("style", Html(_STYLE)),
    ]
    return f"<!DOCTYPE html>\n{tag('html', tag('head', *head), tag('body', *parts), lang='en')}\n"


def _section(title: str, *content: Html) -> Html:
    return tag("section", tag("h2", title), *content)


def _heading(scenario: Scenario, summary: Mapping[str, Any], series: RunSeries) -> Html:
    config, goal = scenario.config, summary["goal"]
    names = ", ".join(f"{name} [{unit}]" for name, unit in scenario.task.goal_layout)
    planner = config.planner
    rows = [
        ("robot", scenario.robot.name),
        ("task", config.task.kind),
        ("goal", "none" if goal is None else f"{' '.join(f'{number:.4g}' for number in goal)}   ({names})"),
        (
            "planner",
            f"{planner.kind}, {planner.horizon} nodes of {1e3 * scenario.task.dt:g} ms, end {planner.terminal.kind}, "
            f"guesses {', '.join(planner.guesses)}, iterations up to {planner.iterations}, {config.rates.plan:g} Hz",
        ),
        ("artifact", config.artifact or "none: nothing learned"),
    ]
    good = bool(summary["success"])
    badge = tag("span", "goal reached" if good else "goal not reached", class_=f"badge {'good' if good else 'bad'}")
    when = f"{datetime.fromtimestamp(series.begin, timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if series.begin else "unknown"
    return join([tag("h1", f"{scenario.name} ", badge), tag("p", tag("small", f"recorded {when}")), table(rows)])


def _cards(summary: Mapping[str, Any]) -> Html:
    chosen = ("reached after", "final error", "plan time", "missed periods", "peak torque", "peak velocity")
    cards = [tag("div", tag("b", text), tag("span", name)) for name, text in described(dict(summary)) if name in chosen]
    return tag("div", *cards, class_="cards")


def _timeline(story: Story, begin: float) -> Html:
    if not story.changes:
        return tag("p", "No diagnostics, verdicts or phases were recorded.", class_="note")
    parts: list[object] = []
    for name, stretches in story.lanes().items():
        shown = [(c.t, end, kind_of(c.state), f"{c.state}: {c.why} ({c.t - begin:.2f} s)") for c, end in stretches]
        totals: dict[str, float] = {}
        for change, end in stretches:
            totals[change.state] = totals.get(change.state, 0.0) + end - change.t
        parts.append(tag("p", name, " ", tag("small", ", ".join(f"{k} {v:.1f} s" for k, v in totals.items()))))
        parts.append(lane(shown, story.begin, story.end))
    ends = (story.begin - begin, story.end - begin)
    parts.append(tag("div", *(tag("span", f"{end:.1f} s") for end in ends), class_="axis"))
    kinds = (("good", "drives"), ("held", "holds"), ("bad", "fault"), ("quiet", "other"))
    keys = [piece for kind, words in kinds for piece in (tag("span", "", class_=f"key {kind}"), words)]
    rows = [(f"{c.t - begin:.2f}", c.lane, c.state, c.why) for c in story.changes[:_SHOWN]]
    left = len(story.changes) - len(rows)
    changes = table([*rows, *([("", "", "", f"and {left} more")] if left else [])], ("t [s]", "who", "state", "why"))
    return join([*parts, tag("p", *keys, class_="note"), changes])


def kind_of(state: str) -> str:
    """Return which colour a state has: good, held, bad or quiet."""
    return next((kind for kind, words in _KINDS.items() if any(word in state for word in words)), "quiet")


def _picture(file: Path) -> Html:
    if not file.is_file():
        return tag("p", f"{file.name} is missing.", class_="note")
    data = base64.b64encode(file.read_bytes()).decode()
    text = "distance from the goal, torques, velocities and timing over time"
    return tag("img", src=f"data:image/png;base64,{data}", alt=text)


def _plans(story: Story) -> Html:
    if not story.plans:
        text = "What the solver was asked was not recorded; mpc_node/solved has it."
        return tag("p", text, class_="note")
    asked = story.plans["asked"]
    rows = [(name, count, f"{count / asked:.1%}") for name, count in sorted(story.plans.items()) if name != "asked"]
    rows += [(f"iterations {n}", count, f"{count / asked:.1%}") for n, count in sorted(story.iterations.items())]
    hint = tag("p", "Ask again with ", tag("code", "dpvp replay RUN"), class_="note")
    return join([table([("asked", asked, ""), *rows], ("plans", "count", "share")), hint])


def _latencies(story: Story, series: RunSeries) -> Html:
    known = (
        ("time of a plan in the solver", series.plan_ms),
        ("from ask to plan, as the loop waits for it", np.array(story.waited_ms)),
        ("age of the state behind each control at the plant", series.age_ms),
    )
    parts = [part for name, values in known if np.isfinite(values).any() for part in _distribution(name, values)]
    if story.latencies:
        parts.append(table(sorted(story.latencies.items()), ("stage", "as last reported")))
    return join(parts) if parts else tag("p", "No timing was recorded.", class_="note")


def _distribution(name: str, values: Array) -> Iterable[Html]:
    middle, high = np.nanpercentile(values, [50, 99])
    text = f"p50 {middle:.2f} ms, p99 {high:.2f} ms, largest {np.nanmax(values):.2f} ms, {len(values)} values"
    heading = tag("p", name, " ", tag("small", text))
    return (heading, histogram(values, "ms")) if np.nanmax(values) - np.nanmin(values) > _ALIKE else (heading,)


def _shadow(scenario: Scenario, story: Story, series: RunSeries) -> Html:
    times, limits = np.array([t for t, _ in story.shadow]) - series.begin, scenario.robot.limits.effort
    wanted = np.array([u0 for _, u0 in story.shadow])
    peaks, apart = np.nanmax(np.abs(wanted) / limits, axis=0), _apart(times, wanted, series)
    rows = [
        (joint, f"{peak:.1%}", *("-" if math.isnan(value) else f"{value:.3g} Nm" for value in difference))
        for joint, peak, difference in zip(scenario.robot.joint_names, peaks, apart.T, strict=True)
    ]
    text = (
        f"{len(times)} controls were computed and not given to the robot, from {times[0]:.1f} to {times[-1]:.1f} s. "
        f"The largest torque among them is {np.max(peaks):.1%} of its joint's limit. What the robot did meanwhile is "
        "its measured torque."
    )
    head = ("joint", "peak, of the limit", "rms difference to the robot", "largest")
    return join([tag("p", text), table(rows, head)])


def _apart(times: Array, wanted: Array, series: RunSeries) -> Array:
    """Return the rms and the largest difference of each joint's torque to what was measured, (2, nu), Nm; NaN: none."""
    if not len(series.t):
        return np.full((2, wanted.shape[1]), math.nan)
    after = np.searchsorted(series.t, times).clip(max=len(series.t) - 1)
    difference = wanted - series.effort[after]
    known = np.isfinite(difference).all(axis=1)
    if not known.any():
        return np.full((2, wanted.shape[1]), math.nan)
    return np.stack([np.sqrt(np.mean(difference[known] ** 2, axis=0)), np.abs(difference[known]).max(axis=0)])


def _warnings(story: Story, begin: float) -> Html:
    unreadable = f"{story.unreadable} recorded messages could not be used." if story.unreadable else ""
    if not story.warnings:
        return tag("p", f"None in the logs. {unreadable}", class_="note")
    rows = [("" if math.isnan(w.t) else f"{w.t - begin:.2f}", w.source, w.text) for w in story.warnings[:_SHOWN]]
    left = len(story.warnings) - len(rows)
    more = f"and {left} more in the logs. " if left else ""
    return join([table(rows, ("t [s]", "log", "line")), tag("p", f"{more}{unreadable}", class_="note")])


def _files(folder: Path) -> Html:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    rows = [
        (
            tag("a", file.name, href=f"./{quote(file.name)}"),
            f"{file.stat().st_size / 1e3:.0f} kB",
            _ABOUT.get(file.name, ""),
        )
        for file in files
        if file.name != PAGE
    ]
    settings = (folder / SCENARIO).read_text(encoding="utf-8", errors="replace")
    return join([table(rows), tag("details", tag("summary", "all settings"), tag("pre", settings))])


_ABOUT = {
    SCENARIO: "every setting, resolved",
    RECORDING: "all messages; for Foxglove, ros2 bag, dpvp replay and dpvp video",
    METRICS: "the figures above",
    PICTURE: "the picture above",
}
