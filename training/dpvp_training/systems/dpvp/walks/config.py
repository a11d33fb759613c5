"""Configuration of what starts walks: `config/training/dpvp_<scenario>.yaml` over the defaults here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dpvp.config import Config, override, read_yaml, share_directory, validate
from dpvp_training.envs.outing import OutingConfig


class Stray(Config):
    """Standard deviations by which the second state is off the first."""

    tilt: float = Field(0.05, ge=0, description="of the base, rad")
    joints: float = Field(0.06, ge=0, description="rad; a foot is off by about 2 cm then")
    speed: float = Field(0.2, ge=0, description="of the base, m/s")
    turn: float = Field(0.4, ge=0, description="of the base, rad/s")
    joint_speed: float = Field(1.0, ge=0, description="rad/s")


class LabelConfig(Config):
    """What is solved."""

    outings: int = Field(200, gt=1)
    outing: OutingConfig = OutingConfig()
    every: int = Field(3, gt=0, description="of so many plans of an outing one is solved, from two states")
    at_rest: int = Field(10, ge=0, description="robots at rest per outing, from two states each, too")
    stray: Stray = Stray()
    stop: float = Field(1e-3, gt=0, description="expected decrease of the cost at which a solve ends")
    iterations: int = Field(150, gt=0, description="of a solve; one that needs more is thrown away")
    chunk: int = Field(10, gt=0, description="outings whose labels are written together")


class WalksConfig(Config):
    """A run."""

    seed: int = 0
    label: LabelConfig = LabelConfig()
    hidden: tuple[Annotated[int, Field(gt=0)], ...] = Field((256, 256), description="sizes of the hidden layers")
    epochs: int = Field(60, gt=0)
    batch: int = Field(256, gt=0)
    rate: float = Field(5e-3, gt=0)
    held_out: float = Field(0.05, gt=0, lt=1, description="share of outings that nothing is fitted to")
    assessed: int = Field(8, gt=0, description="outings on which the result is assessed as a start of plans")
    checkpoint_every: int = Field(2, gt=0, description="epochs")
    problem: tuple[str, ...] = Field((), description="overrides of the scenario, dotted.key=value")


def load_walks_config(task: str, overrides: tuple[str, ...]) -> WalksConfig:
    """Read the configuration of `task`, where there is one, and apply `overrides`.

    Raises:
        ConfigError: naming the key that cannot be used.
    """
    file = share_directory() / "config" / "training" / f"dpvp_{Path(task).stem}.yaml"
    content: dict[str, Any] = read_yaml(file) if file.is_file() else {}
    for text in overrides:
        override(content, text)
    return validate(WalksConfig, content, file)
