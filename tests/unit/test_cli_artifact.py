"""`dpvp artifact`: what it shows, what it verifies and when it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import dpvp.learned.artifact
import handmade
from dpvp import cli
from dpvp.scenario import Scenario
from handmade import edit, random_policy, random_value


@pytest.fixture(scope="module")
def sealed(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "sealed"
    value, policy = random_value(members=3), random_policy()
    return handmade.write_artifact(
        folder, scenario.robot, scenario.task, value=value, policy=policy, spread=0.07, upper=np.full(14, 3.25)
    )


@pytest.fixture
def folder(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "artifact"))


class TestShow:
    def test_shows_what_is_in_the_contract(self, sealed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["artifact", "show", str(sealed)]) == 0
        shown = capsys.readouterr().out
        facts = (
            "iiwa14, model",
            "A1 A2 A3 A4 A5 A6 A7",
            "reach, goal x [m] y [m] z [m]",
            "30 of 0.03 s",
            "dpvp train handmade, seed 0, commit none",
            "onnx any",
            "3 members, believed where their standard deviation is below 0.07 (V + 0.01)",
            "(30, 24)",
            "3.25",
            "A7, rate",
            "goal z [m]",
            "baseline",
            "soft_velocity: 1.0",
        )
        assert [fact for fact in facts if fact not in shown] == []

    def test_asks_neither_robot_nor_graphs(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(folder, lambda c: c["robot"].update(name="[ur5]", joint_names=["a", "b"]))
        (folder / "value.onnx").unlink()
        assert cli.main(["artifact", "show", str(folder)]) == 0
        shown = capsys.readouterr().out
        assert "[ur5]" in shown
        assert "x[13]" in shown

    def test_lists_what_there_is(
        self, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(dpvp.learned.artifact, "share_directory", lambda: tmp_path)
        assert cli.main(["artifact"]) == 0
        assert "there are none" in capsys.readouterr().out
        for name in ("one", "another"):
            shutil.copytree(sealed, tmp_path / "config" / "artifacts" / name)
        assert cli.main(["artifact", "verify"]) == 0
        assert capsys.readouterr().out.split() == ["another", "one"]

    def test_refuses_what_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["artifact", "show", "nothing"]) == 2
        assert "artifact: expected a path with a / or one of" in capsys.readouterr().err


class TestVerify:
    @pytest.mark.parametrize("words", [[], ["--scenario", "kuka_reach"]])
    def test_everything_for_a_scenario(
        self, words: list[str], sealed: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["artifact", "verify", str(sealed), *words]) == 0
        assert capsys.readouterr().out == f"{sealed}: good for kuka_reach (policy, value, residual)\n"

    def test_finds_a_robot_that_changed(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(folder, lambda c: c["robot"].update(model_hash="0" * 64))
        assert cli.main(["artifact", "verify", str(folder)]) == 2
        assert "robot.model_hash: expected" in capsys.readouterr().err

    @pytest.mark.parametrize(("section", "key"), [("robot", "name"), ("task", "kind")])
    def test_says_that_the_owner_was_not_checked(
        self, section: str, key: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit(folder, lambda c: c[section].update({key: "cartpole"}))
        assert cli.main(["artifact", "verify", str(folder)]) == 0
        shown = capsys.readouterr().out
        assert f"{section} cartpole" in shown
        assert "was not checked" in shown

    def test_checks_the_rest_without_an_owner(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(folder, lambda c: c["robot"].update(name="cartpole"))
        (folder / "policy.onnx").write_bytes(b"")
        assert cli.main(["artifact", "verify", str(folder)]) == 2
        assert "graphs.policy.sha256: expected" in capsys.readouterr().err

    def test_holds_shapes_against_each_other_without_an_owner(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit(folder, lambda c: c["robot"].update(name="cartpole"))
        edit(folder, lambda c: c["graphs"]["residual"]["inputs"][1].update(shape=[1, 3]))
        assert cli.main(["artifact", "verify", str(folder)]) == 2
        assert "graphs.residual.inputs.f.shape: expected (1, 24) = (1, nf), found (1, 3)" in capsys.readouterr().err

    def test_a_scenario_that_is_named_must_fit(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(folder, lambda c: c["robot"].update(name="cartpole"))
        assert cli.main(["artifact", "verify", str(folder), "--scenario", "kuka_reach"]) == 2
        assert "robot.name: expected iiwa14, found cartpole" in capsys.readouterr().err
