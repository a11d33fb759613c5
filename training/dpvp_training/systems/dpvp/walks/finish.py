"""The end of a run: the artifact, what it is worth as a start of plans, its picture, and its place."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress

from dpvp.learned.contract import Box, Metric, RangesSpec, TrainingSpec
from dpvp.plan import Array
from dpvp.scenario import load_scenario
from dpvp.view.plots import BLUE, COLOURS, GREEN, ORANGE, STYLE, save_png
from dpvp_training.core.executor import Executor
from dpvp_training.core.export import HeadExport, Meaning, write_artifact
from dpvp_training.core.provenance import library_versions, source_commit
from dpvp_training.core.run import RunFolder
from dpvp_training.systems.dpvp.plots import read_curves
from dpvp_training.systems.dpvp.walks.config import WalksConfig
from dpvp_training.systems.dpvp.walks.nets import PathGraph, PathNet
from dpvp_training.systems.dpvp.walks.paths import Paths
from dpvp_training.systems.dpvp.walks.starts import Setting, Start, measure, metrics_of, of

SYSTEM = "dpvp"
ROOM = 0.15  # of the width of the data, by which a prediction is still worth a try: plans compare costs anyway
TINY = 1e-3  # least half-width of a range, so that a number that was always the same has one
PLACE, QUATERNION = 1e6, 1.001  # a base may be anywhere and head anywhere: m, and a unit with room for rounding
EVERY, SEED = 10, 99  # of so many plans of an outing one is assessed; of outings that nothing was trained on


def finish(
    folder: RunFolder,
    task: str,
    config: WalksConfig,
    learned: tuple[PathNet, Paths, Paths],
    executor: Executor,
    progress: Progress,
    out: Path | None,
) -> Path:
    """Write the artifact of a run, with what it is worth, and copy it to `out`; return its folder."""
    net, fitted, held_out = learned
    artifact, errors = folder.path / "artifact", held_out_errors(net, held_out)
    write_result(artifact, task, config, net, fitted, errors)
    starts = _starts(task, config, artifact, executor, progress)
    write_result(artifact, task, config, net, fitted, errors | metrics_of(starts))
    draw(task, folder.path / "metrics.jsonl", starts, folder.path / "plot.png")
    for name in ("plot.png", "config.yaml", "command.txt"):
        shutil.copy(folder.path / name, artifact / name)
    if out is not None:
        shutil.copytree(artifact, out, dirs_exist_ok=True)
    return out or artifact


def write_result(
    folder: Path, name: str, config: WalksConfig, net: PathNet, fitted: Paths, metrics: dict[str, Metric]
) -> Path:
    """Write the artifact, in single precision."""
    scenario, box = load_scenario(name, config.problem), _box(fitted.x)
    lower, upper = list(box.lower), list(box.upper)
    for entries, most in ((range(3), PLACE), (range(3, 7), QUATERNION)):
        for entry in entries:
            lower[entry], upper[entry] = -most, most
    head = HeadExport(
        PathGraph(net),
        {"x": Meaning("m, rad, m/s, rad/s", "state"), "goal": Meaning("task", "goal, as it is now")},
        {
            "xs": Meaning("m, rad, m/s, rad/s", "states, the first of them x; predicted and not simulated"),
            "us": Meaning("Nm", "total controls, gravity included"),
        },
    )
    return write_artifact(
        folder,
        task=scenario.task,
        heads={"trajectory": head},
        horizon=fitted.us.shape[1],
        ranges=RangesSpec(x=Box(lower=tuple(lower), upper=tuple(upper)), goal=_box(fitted.goal)),
        training=TrainingSpec(
            system=SYSTEM,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            commit=source_commit(),
            libraries=library_versions(),
        ),
        metrics=metrics,
        rng=np.random.default_rng(config.seed),
    )


def held_out_errors(net: PathNet, paths: Paths) -> dict[str, Metric]:
    """Return the errors on paths that nothing was fitted to, as shares of what they deviate by; of their mean: 1."""
    names = "held_out_state_error", "held_out_control_error"
    return {name: Metric(value=error, baseline=1.0) for name, error in zip(names, net.errors(paths), strict=True)}


def _starts(task: str, config: WalksConfig, artifact: Path, executor: Executor, progress: Progress) -> list[Start]:
    """Go on outings that nothing was trained on, and measure what predictions are worth."""
    setting = Setting(task, config.problem, artifact, config.label.outing, EVERY)
    seeds = [(config.seed, SEED, i) for i in range(config.assessed)]
    bar, starts = progress.add_task("assessing on outings", total=len(seeds)), dict[int, list[Start]]()
    for index, answer in executor.map(functools.partial(measure, setting), seeds):
        starts[index] = answer or []
        progress.advance(bar)
    return [start for index in sorted(starts) for start in starts[index]]


def draw(title: str, losses: Path, starts: Sequence[Start], file: Path) -> None:
    """Draw the losses of the fit and the iterations of plans from the guesses that need no plan before them."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6))
        figure.suptitle(f"{title}: learned trajectories", x=0.012, ha="left", fontsize=13, fontweight="bold")
        left, right = figure.subplots(1, 2)
        curves = {key: curve for key, curve in read_curves(losses).items() if key.startswith("losses/")}
        for k, (key, (steps, values)) in enumerate(curves.items()):
            left.plot(steps, values, color=COLOURS[k % len(COLOURS)], label=key.rpartition("/")[2])
        left.set(yscale="log", xlabel="step", title="Loss")
        left.legend(loc="upper right")
        for guess, colour in (("hold", ORANGE), ("reference", GREEN), ("trajectory", BLUE)):
            counts = np.sort([one.iterations for _, one in of(starts, guess)])
            if len(counts):
                shares = 100.0 * np.arange(1, len(counts) + 1) / len(counts)
                right.step(counts, shares, where="post", color=colour, label=f"{guess}: mean {counts.mean():.1f}")
        right.set(xscale="log", xlabel="iterations", ylabel="share of the plans [%]", title="Until convergence, from")
        right.legend(loc="lower right")
        save_png(figure, file)


def _box(values: Array) -> Box:
    lower, upper = values.min(axis=0), values.max(axis=0)
    wider = ROOM * (upper - lower) + TINY
    return Box(lower=tuple((lower - wider).tolist()), upper=tuple((upper + wider).tolist()))
