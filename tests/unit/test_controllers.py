"""controllers.py: which changes of a plant's controllers are made and which refused, by the rules of ros2_control."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.control.controllers import Controller, ControllerPhase, Controllers
from dpvp.errors import SwitchError

LAW = Controller("law", "package/Law", ("hip/effort",), ("law/hip/position",), ("damper",))
FEED = Controller("feed", "package/Feed", ("law/hip/position",), (), ("damper",))
DAMPER = Controller("damper", "package/Damper", ("hip/effort",))
NAMES = ("law", "feed", "damper")
UNCONFIGURED, INACTIVE, ACTIVE = ControllerPhase


@pytest.fixture
def plant() -> Controllers:
    """A plant whose law runs."""
    return Controllers((LAW, FEED, DAMPER), ("law", "feed"))


def test_what_damps_takes_over_and_a_new_law_comes_back(plant: Controllers) -> None:
    plant.switch(["damper"], ["law", "feed"], strict=True)
    assert plant.phases == {"law": INACTIVE, "feed": INACTIVE, "damper": ACTIVE}
    for name in ("feed", "law"):
        plant.unload(name)
    assert plant.phases == {"damper": ACTIVE}
    for name in ("law", "feed"):
        plant.load(name)
        assert plant.phases[name] is UNCONFIGURED
        plant.configure(name)
    plant.switch(["law", "feed"], ["damper"], strict=True)
    assert plant.active(["law", "feed"])
    assert plant.phases["damper"] is INACTIVE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.load("other"), "no such controller, but law, feed, damper"),
        (lambda p: p.load("law"), "loaded already"),
        (lambda p: p.unload("law"), "is active"),
        (lambda p: p.unload("other"), "no such controller is loaded"),
        (lambda p: p.configure("law"), "is active"),
        (lambda p: p.configure("other"), "no such controller is loaded"),
        (lambda p: p.switch(["other"], [], strict=True), "'other': no such controller is loaded"),
        (lambda p: p.switch(["other"], [], strict=False), "none of other is loaded"),
        (lambda p: p.switch([], ["damper"], strict=True), "'damper': it is not active"),
        (lambda p: p.switch(["law"], [], strict=True), "'law': it is active already"),
        (lambda p: p.switch(["damper"], [], strict=True), "'hip/effort' would be commanded by 'law' and 'damper'"),
        (lambda p: p.switch(["damper"], [], strict=False), "'hip/effort' would be commanded by 'law' and 'damper'"),
        (lambda p: p.switch(["damper"], ["law"], strict=True), "'feed' would write to 'law'"),
    ],
)
def test_refusals_say_why_and_change_nothing(
    plant: Controllers, change: Callable[[Controllers], None], words: str
) -> None:
    before = dict(plant.phases)
    with pytest.raises(SwitchError, match=words):
        change(plant)
    assert plant.phases == before


def test_what_is_not_configured_cannot_run(plant: Controllers) -> None:
    plant.switch([], ["law", "feed"], strict=True)
    plant.unload("law")
    plant.load("law")
    with pytest.raises(SwitchError, match="'law': it is not configured"):
        plant.switch(["law", "feed"], [], strict=True)
    plant.configure("law")
    plant.unload("damper")
    with pytest.raises(SwitchError, match="fallback 'damper' is not loaded and configured"):
        plant.switch(["law", "feed"], [], strict=True)


def test_best_effort_does_the_part_that_can_be_done(plant: Controllers) -> None:
    plant.switch(["damper", "other"], ["law", "feed"], strict=False)
    assert plant.phases == {"law": INACTIVE, "feed": INACTIVE, "damper": ACTIVE}
    plant.switch(["damper"], ["law", "feed"], strict=False)  # as it is already
    assert plant.phases["damper"] is ACTIVE


@given(st.data())
def test_joints_never_have_two_masters(data: st.DataObject) -> None:
    """Whatever is asked, in whatever order."""
    plant = Controllers((LAW, FEED, DAMPER), ("law", "feed"))
    some = st.lists(st.sampled_from(NAMES), unique=True)
    for _ in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from(NAMES))
        switch = (data.draw(some), data.draw(some), data.draw(st.booleans()))
        changes: list[Callable[[], None]] = [
            lambda name=name: plant.load(name),
            lambda name=name: plant.unload(name),
            lambda name=name: plant.configure(name),
            lambda switch=switch: plant.switch(switch[0], switch[1], strict=switch[2]),
        ]
        with contextlib.suppress(SwitchError):
            data.draw(st.sampled_from(changes))()
        assert not plant.active(["law", "damper"])
        assert not plant.active(["feed"]) or plant.active(["law"])
