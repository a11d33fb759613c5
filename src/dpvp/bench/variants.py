"""Ways to plan that a bench compares. Combinations from which nothing could be learned are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dpvp.learned.artifact import artifact_folder
from dpvp.learned.contract import FILE, read_contract
from dpvp.scenario import GuessName, PlannerConfig, ScenarioConfig, TerminalConfig

PlannerName = Literal["ddp", "csqp"]
TerminalName = Literal["zero", "quadratic", "value"]
LEARNED_UP_TO = 20  # nodes; what comes after a longer horizon hardly counts, and following a policy for long takes long
COLD = range(10, 51)  # nodes; shorter, the guess hardly counts, and longer, one iteration from rest leads nowhere
LONG = 100  # nodes, of the horizon without learning that short ones with a learned value are compared with
_GUESSES: dict[GuessName, tuple[GuessName, ...]] = {
    "hold": ("hold",),
    "shift": ("hold", "shift"),
    "policy": ("hold", "shift", "policy"),
}


@dataclass(frozen=True)
class Variant:
    """One way to plan.

    Attributes:
        planner: kind of the planner.
        horizon: control nodes.
        terminal: kind of the terminal cost; its weights are the scenario's.
        guess: the best source of guesses that it has; `hold` has no other, `shift` has `hold` as well.
    """

    planner: PlannerName
    horizon: int
    terminal: TerminalName
    guess: GuessName

    def of(self, config: ScenarioConfig) -> ScenarioConfig:
        """Return `config` with this way to plan, one iteration for each plan."""
        given = config.planner
        weights = {} if self.terminal == "zero" else {"goal": given.terminal.goal, "velocity": given.terminal.velocity}
        changes: dict[str, object] = {
            "kind": self.planner,
            "horizon": self.horizon,
            "terminal": TerminalConfig(kind=self.terminal, **weights),
            "guesses": _GUESSES[self.guess],
            "iterations": 1,
        }
        planner = PlannerConfig.model_validate(given.model_dump() | changes)
        return config.model_copy(update={"planner": planner})


def variants(config: ScenarioConfig, horizons: tuple[int, ...]) -> Iterator[Variant]:
    """Yield the ways to plan that `config` has the means for, planner by planner and horizon by horizon.

    Left out are: a learned value or policy at horizons above `LEARNED_UP_TO`; the policy with a horizon that ends in
    nothing; and the guess `hold` alone but for the scenario's planner and its best end without learning, in `COLD`.
    """
    heads, plain = _heads(config), _plain(config)
    terminals: list[TerminalName] = ["zero"]
    terminals += ["quadratic"] * (plain == "quadratic")
    terminals += ["value"] * ("value" in heads)
    guesses: list[GuessName] = ["hold", "shift"]
    guesses += ["policy"] * ("policy" in heads)
    planners: tuple[PlannerName, ...] = ("ddp", "csqp")
    for planner in planners:
        for horizon in horizons:
            for terminal in terminals:
                for guess in guesses:
                    way = Variant(planner, horizon, terminal, guess)
                    if _tells(way, config.planner.kind, plain):
                        yield way


def rate_variants(config: ScenarioConfig, *, few: bool = False) -> tuple[Variant, ...]:
    """Return the ways to plan whose rates are compared: short horizons, and a long one that has nothing learned.

    `few` leaves only the shortest and the long one.
    """
    own, plain = config.planner.kind, _plain(config)
    long = Variant(own, LONG, plain, "shift")
    if "value" not in _heads(config):
        return (Variant(own, 10, plain, "shift"), long)
    short = (Variant(own, 5, "value", "shift"), Variant(own, 10, "value", "shift"))
    other: PlannerName = "ddp" if own == "csqp" else "csqp"
    return (short[0], long) if few else (*short, Variant(other, 5, "value", "shift"), long)


def _tells(way: Variant, own: PlannerName, plain: TerminalName) -> bool:
    if way.guess == "hold":
        return (way.planner, way.terminal) == (own, plain) and way.horizon in COLD
    if way.guess == "policy" and way.terminal not in (plain, "value"):
        return False
    learned = way.guess == "policy" or way.terminal == "value"
    return way.horizon <= LEARNED_UP_TO or not learned


def _plain(config: ScenarioConfig) -> TerminalName:
    """Return the best terminal cost of a scenario without anything learned."""
    terminal = config.planner.terminal
    return "quadratic" if terminal.goal > 0.0 or terminal.velocity > 0.0 else "zero"


def _heads(config: ScenarioConfig) -> frozenset[str]:
    """Return what the scenario's artifact has that a planner can use; a value needs a fallback."""
    if config.artifact is None:
        return frozenset()
    heads = read_contract(artifact_folder(config.artifact) / FILE).graphs.keys()
    return frozenset(heads) - (frozenset() if config.planner.terminal.goal > 0.0 else {"value"})
