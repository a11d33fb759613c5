"""Signatures: the names and shapes of the graphs of each head, as the table of `dpvp.learned.contract` has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpvp.learned.contract import ArtifactError, Contract, GraphSpec

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Signature:
    """Names and shapes that a head must have; letters stand for sizes, see the table of `dpvp.learned.contract`."""

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]


_ASKED: Mapping[str, Shape] = {"x": (1, "nx"), "goal": (1, "goal")}
_SEEN: Mapping[str, Shape] = {"x": (1, "nx"), "f": (1, "nf")}
SIGNATURES: Mapping[str, Signature] = {
    "policy": Signature(_ASKED, {"u": (1, "nu")}),
    "trajectory": Signature(_ASKED, {"xs": ("T+1", "nx"), "us": ("T", "nu")}),
    "value": Signature(_SEEN, {"r": (1, "nr"), "R_x": ("nr", "ndx"), "R_f": ("nr", "nf")}),
    "residual": Signature(_SEEN, {"r": (1, "nr")}),
    "critic": Signature({**_ASKED, "u": (1, "nu")}, {"Q": (1,)}),
    "primitive": Signature(_ASKED, {"weights": ("nb", "nv"), "attractor": (1, "nv"), "xs": ("T+1", "nx")}),
}


def check_signatures(file: Path, contract: Contract, sizes: Mapping[str, int]) -> None:
    """Refuse graphs that are not described as their heads demand.

    Args:
        file: artifact.yaml, for the message.
        contract: its content.
        sizes: what letters stand for. One that is absent is free: it means what the first tensor that has it says, in
            all graphs.

    Raises:
        ArtifactError: naming the tensor, its expected and its found shape.
    """
    known = dict(sizes)
    for head, spec in contract.graphs.items():
        for side in ("inputs", "outputs"):
            _check_side(file, head, spec, side, known)
    if contract.ensemble is not None and known["nr"] % contract.ensemble.members:
        wanted = f"(1, nr) with nr a multiple of the {contract.ensemble.members} members of the ensemble"
        raise ArtifactError(file, "graphs.value.outputs.r.shape", wanted, (1, known["nr"]))


def _check_side(file: Path, head: str, spec: GraphSpec, side: str, known: dict[str, int]) -> None:
    """Check the inputs or outputs of one graph and note the sizes that they fix."""
    wanted: Mapping[str, Shape] = getattr(SIGNATURES[head], side)
    given: dict[str, tuple[int, ...]] = {tensor.name: tensor.shape for tensor in getattr(spec, side)}
    field = f"graphs.{head}.{side}"
    if sorted(given) != sorted(wanted) or len(getattr(spec, side)) != len(given):
        names = [tensor.name for tensor in getattr(spec, side)]
        raise ArtifactError(file, field, ", ".join(wanted), ", ".join(names))
    for name, shape in wanted.items():
        for size, found in zip(shape, given[name], strict=False):
            if isinstance(size, str):
                known.setdefault(size, found)
        expected = tuple(known.get(size, 0) if isinstance(size, str) else size for size in shape)
        if given[name] != expected:
            raise ArtifactError(file, f"{field}.{name}.shape", f"{expected} = {_words(shape)}", given[name])


def _words(shape: Shape) -> str:
    return f"({', '.join(str(size) for size in shape)})"
