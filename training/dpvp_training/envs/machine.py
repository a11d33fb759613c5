"""SystemMachine: a benchmark system as tasks, planners and artifacts want a machine to be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True)
class SystemMachine:
    """A system of which nobody has a URDF; a `dpvp.tasks.task.Machine`.

    Attributes:
        name: what an artifact calls it.
        own_names: of its coordinates, one per entry of a velocity.
        nx: length of a state.
        ndx: length of a difference of two states.
        nv: length of a velocity.
        nu: length of a control.
        parameters: everything that its motion depends on, as plain YAML.
    """

    name: str
    own_names: tuple[str, ...]
    nx: int
    ndx: int
    nv: int
    nu: int
    parameters: Mapping[str, JsonValue]

    @property
    def model_hash(self) -> str:
        """SHA-256 of the name and the parameters as JSON."""
        content = json.dumps([self.name, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
