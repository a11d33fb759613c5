"""Configuration of DPVP: `config/training/dpvp_<task>.yaml` over the defaults here, dotted overrides over both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from dpvp.config import Config, override, read_yaml, share_directory, validate
from dpvp_training.core.fit import FitConfig
from dpvp_training.systems.dpvp.fitting import NetConfig, PolicyLossConfig, ValueLossConfig


class RoundConfig(Config):
    """One round: solve, then fit the value to everything that was solved so far."""

    items: int = Field(gt=0, description="starts and goals; from the second round on each gives two solves")
    epochs: int = Field(gt=0, description="of the value")


class StudyConfig(Config):
    """What is solved."""

    scout_horizon: int = Field(150, gt=0, description="nodes of the first round, which has no value to end horizons")
    scout_keep: int = Field(76, gt=0, description="of them, nodes that are far enough from the end to count")
    horizon: int = Field(60, gt=0, description="nodes of later rounds, whose horizons end with the last round's value")
    keep: int = Field(40, gt=0, description="of them, nodes that are far enough from the end to correct that value")
    stride: int = Field(3, gt=0, description="every so many nodes are kept")
    approach: int = Field(
        0, ge=0, description="nodes of a first, easier solve with a quadratic end; 0: straight to the whole horizon"
    )
    preview: int = Field(5, gt=0, description="nodes of the controller that shows where short horizons really go")
    from_rest: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of items of later rounds that are solved from rest too: other optima are there",
    )
    fallback: tuple[float, float] = Field(
        (1.0, 1.0), description="weights of goal and velocity in the quadratic that stands in for a value not believed"
    )
    default_share: float = Field(0.25, ge=0, le=1, description="of items: the task's own start box and default goal")


class ValueConfig(Config):
    """The value ensemble."""

    members: int = Field(3, gt=0)
    rows: int = Field(0, ge=0, description="residuals of a member; 0: two more than z is long")
    net: NetConfig = NetConfig()
    loss: ValueLossConfig = ValueLossConfig()


class PolicyConfig(Config):
    """The feedback policy."""

    net: NetConfig = NetConfig(width=128)
    loss: PolicyLossConfig = PolicyLossConfig()
    epochs: int = Field(30, gt=0)


class DpvpConfig(Config):
    """Own mode, `--preset dpvp`."""

    seed: int = 0
    study: StudyConfig = StudyConfig()
    rounds: tuple[RoundConfig, ...] = Field(
        (RoundConfig(items=800, epochs=20), RoundConfig(items=500, epochs=10), RoundConfig(items=500, epochs=25)),
        min_length=1,
    )
    value: ValueConfig = ValueConfig()
    policy: PolicyConfig = PolicyConfig()
    batch: int = Field(256, gt=0)
    rate: float = Field(3e-3, gt=0)
    held_out: float = Field(0.05, gt=0, lt=1, description="share of items that nothing is fitted to")
    assessed: int = Field(20, ge=0, description="starts and goals on which the result is assessed in closed loop")
    checkpoint_every: int = Field(2, gt=0, description="epochs")
    problem: tuple[str, ...] = Field((), description="overrides of the task, dotted.key=value")

    def fit(self, epochs: int) -> FitConfig:
        """Return how a net is fitted for so many epochs."""
        return FitConfig(epochs=epochs, batch=self.batch, rate=self.rate)


def load_config(task: str, overrides: tuple[str, ...]) -> DpvpConfig:
    """Read the configuration of `task`, where there is one, and apply `overrides`.

    Raises:
        ConfigError: naming the key that cannot be used.
    """
    file = share_directory() / "config" / "training" / f"dpvp_{Path(task).stem}.yaml"
    content: dict[str, Any] = read_yaml(file) if file.is_file() else {}
    for text in overrides:
        override(content, text)
    return validate(DpvpConfig, content, file)
