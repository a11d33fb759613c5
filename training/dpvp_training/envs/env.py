"""The benchmark systems as environments of gymnasium, like those of `dpvp.worlds.env`. Importing this registers them.

    env = gymnasium.make("dpvp_training.envs.env:dpvp/CartPole-v0")

A system moves as its own problem says, and an episode is as long as its `horizon`. See `dpvp.worlds.env` for what
observations, actions and rewards are.
"""

from __future__ import annotations

from dpvp.worlds.env import TaskEnv, register
from dpvp_training.envs.registry import load_system

NAMES = {
    "CartPole": "cartpole",
    "DoublePendulum": "double_pendulum",
    "Pendulum": "pendulum",
    "Quadrotor": "quadrotor",
    "Unicycle": "unicycle",
}


class SystemEnv(TaskEnv):
    """A benchmark system."""

    def __init__(self, system: str, overrides: tuple[str, ...] = ()) -> None:
        """Load the system; `overrides` are `dotted.key=value` each, of its configuration.

        Raises:
            ConfigError: unknown system or key, or an unusable value.
        """
        task = load_system(system, overrides)
        super().__init__(task, task.config.controls)


for _name, _system in NAMES.items():
    register(_name, f"{__name__}:SystemEnv", load_system(_system).config.horizon, system=_system)
