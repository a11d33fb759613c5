"""Own mode: value iteration with trajectory optimisation, from nothing to an artifact.

A round solves problems and fits the value ensemble to every node of every solve so far. The first round's horizons are
long and end without a cost; later ones are short and end with the last round's value, start where the short-horizon
controller leads (guesses and states), and the cheapest guess counts. The policy is fitted last, to the same nodes.

Everything is written as it goes: labels in chunks, fits every few epochs. A run that is resumed does what is left.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import nn

from dpvp.plan import Array
from dpvp_training.core.executor import Executor
from dpvp_training.core.fit import Fit
from dpvp_training.core.run import Arrays, RunFolder
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.config import DpvpConfig
from dpvp_training.systems.dpvp.fitting import PolicyLoss, ValueLoss, frame_of, policy_start, shape_of
from dpvp_training.systems.dpvp.label import Answer, Ask, Study, label
from dpvp_training.systems.dpvp.nets import PolicyNet, ValueNet
from dpvp_training.systems.dpvp.nodes import Nodes
from dpvp_training.systems.dpvp.result import write_result, write_value

CHUNK = 100  # items whose labels are written together
SCOUT = 0  # the round without a value


@dataclass(frozen=True, eq=False)
class Data:
    """Everything that was solved: what nets are fitted to, and what is held out."""

    fitted: Nodes
    held_out: Nodes

    def with_more(self, other: Data | None) -> Data:
        """Return the data of both."""
        if other is None:
            return self
        pairs = (self.fitted, other.fitted), (self.held_out, other.held_out)
        return Data(*(Nodes.joined(pair) for pair in pairs))


class Training:
    """One run in its folder; `run` does what is left to do of it."""

    def __init__(
        self, name: str, config: DpvpConfig, folder: RunFolder, executor: Executor, progress: Progress
    ) -> None:
        """Load the problem `name`."""
        self._name, self._config, self._folder = name, config, folder
        self._executor, self._progress = executor, progress
        self._problem = load_problem(name, config.problem)
        self._shape = shape_of(self._problem)
        checkpoint = folder.checkpoint
        self._step = checkpoint.step if checkpoint else 0
        self._passed: list[str] = list(checkpoint.state["passed"]) if checkpoint else []
        self._half_done: dict[str, Any] = checkpoint.state["fits"] if checkpoint else {}

    def run(self) -> Path:
        """Train, or go on training; return the folder of the artifact, whose metrics are still those of the fits."""
        data: Data | None = None
        value: ValueNet | None = None
        for k in range(len(self._config.rounds)):
            data = self._label(k).with_more(data)
            value = self._fit_value(k, data.fitted, value)
            if k + 1 < len(self._config.rounds):
                self._end_horizons_with(k, value, data.fitted)
        assert data is not None
        assert value is not None
        policy = self._fit_policy(data.fitted, value)
        out = self._folder.path / "artifact"
        with _shown(self._progress, "exporting"):
            return write_result(out, self._problem, value, policy, data.fitted, data.held_out, self._config)

    def _label(self, k: int) -> Data:
        """Solve the items of round `k`, or read what was solved before."""
        items, stage = self._config.rounds[k].items, f"label-{k}"
        held = max(1, int(self._config.held_out * items))
        parts: list[tuple[int, Arrays]] = []
        bar = self._progress.add_task(f"round {k}: solving", total=items)
        for first in range(0, items, CHUNK):
            file = f"{stage}-{first:05d}"
            if not (self._folder.path / "data" / f"{file}.npz").is_file():
                asks = [self._ask(k, i) for i in range(first, min(first + CHUNK, items))]
                self._folder.save_arrays(file, self._solve(k, asks, lambda: self._progress.advance(bar)))
            arrays = self._folder.load_arrays(file)
            parts.append((first, arrays))
            figures = {"iterations": arrays["iterations"].mean(), "converged": arrays["converged"].mean()}
            self._record(stage, {f"charts/{name}": float(value) for name, value in figures.items()})
            solved = f"{figures['iterations']:.1f} iterations a solve, {100 * figures['converged']:.0f} % converged"
            self._progress.update(bar, completed=min(first + CHUNK, items), description=f"round {k}: {solved}")
        self._pass(stage)
        nodes = Nodes.joined([Nodes.of(arrays) for _, arrays in parts])
        item = np.concatenate([first + arrays["item"] for first, arrays in parts])
        return Data(nodes.take(np.flatnonzero(item >= held)), nodes.take(np.flatnonzero(item < held)))

    def _solve(self, k: int, asks: list[Ask], advance: Callable[[], None]) -> Arrays:
        answers: dict[int, Answer] = {}
        for index, answer in self._executor.map(functools.partial(label, self._study(k)), asks):
            advance()
            if answer is not None:
                answers[index] = answer
        solved = [(i, answers[i].nodes) for i in sorted(answers)]
        good = [(i, nodes) for i, nodes in solved if nodes is not None]
        arrays: dict[str, Any] = dict(Nodes.joined([nodes for _, nodes in good]).arrays())
        arrays["item"] = np.concatenate([np.full(len(nodes), i) for i, nodes in good])
        arrays["iterations"] = np.concatenate([answers[i].iterations for i in sorted(answers)])
        arrays["converged"] = np.array([answers[i].converged / answers[i].solves for i in sorted(answers)])
        return arrays

    def _study(self, k: int) -> Study:
        study, name = self._config.study, self._name
        if k == SCOUT:
            scout = study.scout_horizon, study.scout_keep, study.stride
            return Study(name, self._config.problem, None, *scout, approach=study.approach)
        value, later = self._folder.path / f"value-{k - 1}", (study.horizon, study.keep, study.stride)
        names = ("approach", "preview", "fallback", "from_rest")
        more: dict[str, Any] = {name: getattr(study, name) for name in names}
        return Study(name, self._config.problem, value, *later, **more)

    def _ask(self, k: int, i: int) -> Ask:
        """Draw item `i` of round `k`; depends on nothing else, so that neither workers nor interruptions matter."""
        seed = [self._config.seed, k, i]
        rng = np.random.default_rng(seed)
        start, goal = draw(self._problem.task, self._problem.goal, self._config.study.default_share, rng)
        return Ask(start, goal, int(rng.integers(2**31)))

    def _fit_value(self, k: int, nodes: Nodes, before: ValueNet | None) -> ValueNet:
        """Fit the ensemble to `nodes`, from where it was `before`."""
        config, generator = self._config.value, self._generator(k)
        frame = frame_of(self._shape, nodes) if before is None else before.frame
        rows, net = config.rows or self._shape.nz + 2, config.net
        value = ValueNet(frame, config.members, rows, net.width, net.depth, generator)
        if before is not None:
            value.load_state_dict(before.state_dict())
        loss = ValueLoss(value, nodes, config.loss)
        fit = Fit(value, loss, len(nodes), config.members, self._config.fit(self._config.rounds[k].epochs), generator)
        self._fit(f"value-{k}", fit, "gradient")
        return value

    def _fit_policy(self, nodes: Nodes, value: ValueNet) -> PolicyNet:
        config, generator = self._config.policy, self._generator(len(self._config.rounds))
        start = policy_start(self._shape, value.frame, nodes, self._problem)
        policy = PolicyNet(value.frame, *start, config.net.width, config.net.depth, generator)
        relative = ValueLoss(value, nodes, self._config.value.loss).relative
        loss = PolicyLoss(policy, nodes, self._problem, relative, config.loss)
        fit = Fit(policy, loss, len(nodes), 1, self._config.fit(config.epochs), generator)
        self._fit("policy", fit, "control")
        return policy

    def _fit(self, stage: str, fit: Fit, figure: str) -> None:
        """Fit, or load what was fitted; afterwards the net has the mean of the weights."""
        net: nn.Module = fit.net
        if stage in self._passed:
            net.load_state_dict(self._folder.checkpoints.load(stage).state)
            return
        if stage in self._half_done:
            fit.load_state_dict(self._half_done[stage])
        bar = self._progress.add_task(f"{stage}: fitting", total=fit.epochs, completed=fit.done)
        while not fit.finished:
            losses = fit.epoch()
            self._record(stage, {f"losses/{stage}/{key}": value for key, value in losses.items()})
            self._progress.update(bar, advance=1, description=f"{stage}: {figure} error {losses[figure] ** 0.5:.4f}")
            if fit.done % self._config.checkpoint_every == 0:
                state = {"passed": self._passed, "fits": {stage: fit.state_dict()}}
                self._folder.save_checkpoint(self._step, state)
        net.load_state_dict(fit.result)
        self._folder.save_checkpoint(self._step, fit.result, stage)
        self._pass(stage)

    def _end_horizons_with(self, k: int, value: ValueNet, nodes: Nodes) -> None:
        folder = self._folder.path / f"value-{k}"
        if not folder.is_dir():
            with _shown(self._progress, f"round {k}: exporting the value"):
                write_value(folder, self._problem, value, nodes, self._config)

    def _record(self, stage: str, figures: dict[str, float]) -> None:
        if stage not in self._passed:
            self._step += 1
            self._folder.record(self._step, figures)

    def _pass(self, stage: str) -> None:
        """Note that a stage is done, so that no resumed run does it again."""
        if stage not in self._passed:
            self._passed.append(stage)
            self._folder.save_checkpoint(self._step, {"passed": self._passed, "fits": {}})

    def _generator(self, k: int) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * self._config.seed + k)


def draw(task: Any, goal: Array, default_share: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a start and a goal: the task's own start box and `goal`, or anything within its reach."""
    if rng.random() < default_share:
        return task.sample_start(rng), goal
    return task.sample_state(rng), task.sample_goal(rng)


class _shown:  # noqa: N801  (reads as a verb)
    """Shows a line without a length while something is done."""

    def __init__(self, progress: Progress, text: str) -> None:
        self._progress, self._bar = progress, progress.add_task(text, total=None)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._progress.update(self._bar, total=1, completed=1)
