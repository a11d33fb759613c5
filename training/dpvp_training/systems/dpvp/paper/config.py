"""Constants of the published algorithm; every one can be changed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dpvp.config import Config, override, validate
from dpvp_training.envs.registry import load_problem
from dpvp_training.envs.system import SystemTask

Activation = Literal["elu", "relu", "tanh"]
Layers = tuple[tuple[int, Activation], ...]

TRUNK: Layers = ((32, "relu"), (32, "elu"), (128, "tanh"), (128, "tanh"), (256, "relu"))


class PaperNetsConfig(Config):
    """Hidden layers (width, activation) of the three nets."""

    value: Layers = Field(((64, "elu"), (64, "tanh"), (64, "tanh")), min_length=1)
    residuals: int = Field(3, gt=0, description="of the value, which is the sum of their squares")
    states: Layers = Field(TRUNK, min_length=1)
    controls: Layers = Field(TRUNK, min_length=1)
    max_action: float = Field(20.0, gt=0, description="scale of the predicted controls; it bounds nothing")


class PaperFitConfig(Config):
    """How a net is fitted (step 2); every fit starts a new Adam."""

    epochs: int = Field(20_000, gt=0)
    rate: float = Field(1e-3, gt=0, description="of Adam, constant")
    batch_share: float = Field(0.6, gt=0, le=1, description="rows of a batch, as a share of all, rounded down")
    value: float = Field(0.5, ge=0, description="weight of the mean squared error of the value")
    gradient: float = Field(0.5, ge=0, description="weight of that of its gradient, a mean over its entries, too")
    stop: float = Field(5e-6, ge=0, description="sum of squared errors of the value at which its fit ends early")


class PaperConfig(Config):
    """Fidelity mode, `--preset paper`."""

    seed: int = 0
    horizon: int = Field(200, ge=4, description="T, nodes")
    starts: int = Field(150, gt=0, description="N, of an episode")
    episodes: int = Field(20, gt=0, description="K")
    fresh: int = Field(37, ge=0, description="fresh starts from the second episode on")
    chosen: int = Field(111, gt=0, description="most trajectories of the episode before that give two starts each")
    reject: float | None = Field(
        1.0, gt=0, description="cost above which a start is left out; null: whatever has not converged is"
    )
    iterations: int = Field(1000, gt=0, description="most of a solve")
    approach: int = Field(
        0, ge=0, description="nodes of a first, easier solve with a quadratic end where nothing is predicted; 0: none"
    )
    nets: PaperNetsConfig = PaperNetsConfig()
    fit: PaperFitConfig = PaperFitConfig()
    held_out: int = Field(50, gt=0, description="starts on which values are assessed; nothing is fitted to them")
    truth: int = Field(400, gt=0, description="nodes of the problems, without terminal cost, that they are assessed by")
    record_every: int = Field(200, gt=0, description="epochs")
    checkpoint_every: int = Field(1000, gt=0, description="epochs")
    problem: tuple[str, ...] = Field((), description="overrides of the task, dotted.key=value")


def load_paper_config(task: str, overrides: tuple[str, ...]) -> PaperConfig:
    """Return the published constants, those that benchmark systems need in their place, and `overrides` over both.

    Raises:
        ConfigError: naming the key that cannot be used.
    """
    content: dict[str, Any] = {}
    system = load_problem(task).task
    if isinstance(system, SystemTask):
        content |= {"approach": system.config.approach, "reject": None}
    for text in overrides:
        override(content, text)
    return validate(PaperConfig, content, "--preset paper")
