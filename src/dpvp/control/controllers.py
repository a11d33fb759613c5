"""Which controllers command a plant, and which changes are refused: the rules of ros2_control's controller manager.

States and refusals are those of ros2_control 4.46: a controller is loaded (unconfigured), configured (inactive), and
then active or not. What is written to has one writer, and whoever writes to another controller needs that one to run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from dpvp.errors import SwitchError


class ControllerPhase(Enum):
    """States of a loaded controller, as they are called in messages."""

    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    ACTIVE = "active"


@dataclass(frozen=True)
class Controller:
    """What is known of a controller before it is loaded.

    Attributes:
        name: within its manager.
        type: package/Class.
        writes: interfaces that it commands while it is active.
        offers: interfaces of its own that others write to, which feed it.
        fallbacks: controllers that must be configured before it runs, as they take over when it fails.
    """

    name: str
    type: str
    writes: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()


class Controllers:
    """The controllers of one plant and the state of each.

    Attributes:
        known: those that can be loaded.
        phases: of each that is loaded, by name.
    """

    def __init__(self, known: Sequence[Controller], running: Iterable[str]) -> None:
        """Load and configure all of `known`, and let those named `running` be active."""
        self.known = {controller.name: controller for controller in known}
        active = set(running)
        self.phases = {
            name: ControllerPhase.ACTIVE if name in active else ControllerPhase.INACTIVE for name in self.known
        }

    def active(self, names: Iterable[str]) -> bool:
        """Whether all of `names` are active."""
        return all(self.phases.get(name) is ControllerPhase.ACTIVE for name in names)

    def load(self, name: str) -> None:
        """Make a controller; raises `SwitchError` if there is none of that name, or one already."""
        if name not in self.known:
            raise SwitchError(f"cannot load '{name}': there is no such controller, but {', '.join(self.known)}")
        if name in self.phases:
            raise SwitchError(f"cannot load '{name}': it is loaded already")
        self.phases[name] = ControllerPhase.UNCONFIGURED

    def configure(self, name: str) -> None:
        """Give a controller its parameters (again); raises `SwitchError` if it is not loaded, or active."""
        self._require_idle("configure", name)
        self.phases[name] = ControllerPhase.INACTIVE

    def unload(self, name: str) -> None:
        """Remove a controller; raises `SwitchError` if it is not loaded, or active."""
        self._require_idle("unload", name)
        del self.phases[name]

    def switch(self, activate: Sequence[str], deactivate: Sequence[str], *, strict: bool) -> None:
        """Stop some controllers and start others at once.

        Args:
            activate: names of those to start.
            deactivate: names of those to stop.
            strict: refuse what cannot be done as asked; else do the part that can.

        Raises:
            SwitchError: nothing was switched; says why.
        """
        stop = [name for name in deactivate if self._possible(self._why_not_stop(name), strict)]
        start = [name for name in activate if self._possible(self._why_not_start(name, stop), strict)]
        if not stop and not start and self.phases.keys().isdisjoint([*activate, *deactivate]):
            raise SwitchError(f"none of {', '.join([*activate, *deactivate])} is loaded")
        before = {name for name in self.phases if self.active([name])}
        after = (before - set(stop)) | set(start)
        self._require_order(after)
        for name in (*stop, *start):
            self.phases[name] = ControllerPhase.ACTIVE if name in after else ControllerPhase.INACTIVE

    @staticmethod
    def _possible(why_not: str, strict: bool) -> bool:
        if why_not and strict:
            raise SwitchError(why_not)
        return not why_not

    def _why_not_stop(self, name: str) -> str:
        if name not in self.phases:
            return f"cannot deactivate '{name}': no such controller is loaded"
        return "" if self.phases[name] is ControllerPhase.ACTIVE else f"cannot deactivate '{name}': it is not active"

    def _why_not_start(self, name: str, stop: Collection[str]) -> str:
        phase = self.phases.get(name)
        if phase is None:
            return f"cannot activate '{name}': no such controller is loaded"
        if phase is ControllerPhase.UNCONFIGURED:
            return f"cannot activate '{name}': it is not configured"
        if phase is ControllerPhase.ACTIVE and name not in stop:
            return f"cannot activate '{name}': it is active already"
        for fallback in self.known[name].fallbacks:
            if self.phases.get(fallback) in (None, ControllerPhase.UNCONFIGURED):
                return f"cannot activate '{name}': its fallback '{fallback}' is not loaded and configured"
        return ""

    def _require_idle(self, what: str, name: str) -> None:
        if name not in self.phases:
            raise SwitchError(f"cannot {what} '{name}': no such controller is loaded")
        if self.phases[name] is ControllerPhase.ACTIVE:
            raise SwitchError(f"cannot {what} '{name}': it is active")

    def _require_order(self, active: Collection[str]) -> None:
        """Refuse two writers of one interface, and a writer to a controller that does not run."""
        writers: dict[str, str] = {}
        owners = {interface: name for name, known in self.known.items() for interface in known.offers}
        for name in (each for each in self.known if each in active):
            for interface in self.known[name].writes:
                if interface in writers:
                    raise SwitchError(f"'{interface}' would be commanded by '{writers[interface]}' and '{name}'")
                if (owner := owners.get(interface, name)) not in active:
                    raise SwitchError(f"'{name}' would write to '{owner}', which would not be active")
                writers[interface] = name
