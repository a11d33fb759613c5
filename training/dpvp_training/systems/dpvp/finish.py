"""The end of a run: what the artifact is worth in closed loop, its picture, and its place."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from rich.progress import Progress

from dpvp.config import read_yaml
from dpvp.learned.contract import FILE, Metric
from dpvp_training.core.checkpoint import written
from dpvp_training.core.executor import Executor
from dpvp_training.core.run import RunFolder
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.closed_loop import Setting, Way, optimum, run_trial
from dpvp_training.systems.dpvp.config import DpvpConfig
from dpvp_training.systems.dpvp.label import Ask
from dpvp_training.systems.dpvp.portrait import draw_portrait
from dpvp_training.systems.dpvp.train import draw

HORIZONS = 5, 10


def finish(
    folder: RunFolder,
    task: str,
    config: DpvpConfig,
    artifact: Path,
    executor: Executor,
    progress: Progress,
    out: Path | None,
) -> None:
    """Assess the artifact, note the figures in it and copy it to `out`, with the configuration that made it."""
    setting = Setting.of(task, config, artifact)
    metrics = assess(setting, config, executor, progress)
    _note(artifact, metrics)
    asks = _asks(setting, config)
    draw_portrait(setting, asks, folder.path / "metrics.jsonl", folder.path / "plot.png", executor, progress)
    shutil.copy(folder.path / "plot.png", artifact / "plot.png")
    shutil.copy(folder.path / "config.yaml", artifact / "config.yaml")
    shutil.copy(folder.path / "command.txt", artifact / "command.txt")
    if out is not None:
        shutil.copytree(artifact, out, dirs_exist_ok=True)


def assess(setting: Setting, config: DpvpConfig, executor: Executor, progress: Progress) -> dict[str, Metric]:
    """Return cost beside the optimum for short horizons with the value, and, as baselines, without."""
    asks = _asks(setting, config)
    ways = [way for horizon in HORIZONS for way in (Way(horizon, "value", policy=True), Way(horizon, "zero"))]
    bar = progress.add_task("assessing in closed loop", total=len(asks) * (1 + len(ways)))

    def spread(cost: Callable[[Ask], float]) -> list[float]:
        costs = [np.inf] * len(asks)
        for index, answer in executor.map(cost, asks):
            costs[index] = np.inf if answer is None else answer
            progress.advance(bar)
        return costs

    best = spread(functools.partial(_optimum, setting))
    ratios: dict[Way, float] = {}
    for way in ways:
        ratios[way] = float(np.mean(np.divide(spread(functools.partial(_cost, setting, way)), best)))
        progress.update(bar, description=f"closed loop {way.name}: {ratios[way]:.3f} x the optimum")
    return {
        f"closed_loop_cost_ratio_T{way.horizon}": _metric(ratios[way], ratios[Way(way.horizon, "zero")])
        for way in ways
        if way.terminal == "value"
    }


def _asks(setting: Setting, config: DpvpConfig) -> list[Ask]:
    """Draw starts and goals that nothing was trained on."""
    problem, share = load_problem(setting.problem, setting.overrides), config.study.default_share
    rngs = [np.random.default_rng([config.seed, 99, i]) for i in range(config.assessed)]
    return [Ask(*draw(problem.task, problem.goal, share, rng), 0) for rng in rngs]


def _optimum(setting: Setting, ask: Ask) -> float:
    return optimum(setting, ask)[0]


def _cost(setting: Setting, way: Way, ask: Ask) -> float:
    return run_trial(setting, way, ask).cost


def _metric(value: float, baseline: float) -> Metric:
    largest = 1e6  # a state that diverged has no finite cost, a contract no infinite numbers
    return Metric(value=min(value, largest), baseline=min(baseline, largest))


def _note(artifact: Path, metrics: dict[str, Metric]) -> None:
    """Add metrics to the contract of a sealed artifact, whose graphs they do not touch."""
    content = read_yaml(artifact / FILE)
    content["metrics"] |= {name: metric.model_dump() for name, metric in metrics.items()}
    with written(artifact / FILE) as stream:
        stream.write(yaml.safe_dump(content, sort_keys=False).encode())
