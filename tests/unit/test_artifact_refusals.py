"""Artifacts that were tampered with, or belong to something else, are refused by name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import handmade
from dpvp.errors import DpvpError
from dpvp.learned.artifact import load_artifact
from dpvp.learned.contract import ArtifactError
from dpvp.scenario import Scenario, load_scenario
from handmade import LinearPolicy, edit, random_policy, random_value, replace_graph


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("kuka_reach")


@pytest.fixture(scope="module")
def policy() -> LinearPolicy:
    return random_policy()


@pytest.fixture(scope="module")
def sealed(scenario: Scenario, policy: LinearPolicy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "sealed"
    return handmade.write_artifact(folder, scenario.robot, scenario.task, policy=policy, value=random_value())


@pytest.fixture
def folder(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "artifact"))


def refusal(folder: Path, scenario: Scenario) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        load_artifact(folder, scenario.robot, scenario.task)
    return caught.value


def shorten(content: dict[str, Any]) -> None:
    for side in ("lower", "upper"):
        content["ranges"]["x"][side].pop()


def widen_policy(content: dict[str, Any]) -> None:
    content["graphs"]["policy"]["outputs"][0]["shape"] = [1, 8]


CONTRACT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "schema version": (
        lambda c: c.update(schema_version=2),
        r"artifact\.yaml: schema_version: expected 1, all that this dpvp reads, found 2; export",
    ),
    "no schema version": (lambda c: c.pop("schema_version"), r"schema_version: expected 1, .* found \(absent\)"),
    "unknown key": (
        lambda c: c["graphs"]["value"].update(sha1="0"),
        r"graphs\.value\.sha1: expected unknown key; known here: file, inputs, outputs, sha256, found '0'",
    ),
    "unknown head": (lambda c: c["graphs"].update(actor={}), r"graphs\.actor.*'policy', 'trajectory', 'value'"),
    "missing key": (lambda c: c["training"].pop("seed"), r"training\.seed: expected Field required, found"),
    "robot": (lambda c: c["robot"].update(name="ur5"), r"robot\.name: expected iiwa14, found ur5$"),
    "model": (
        lambda c: c["robot"].update(model_hash="0" * 64),
        r"robot\.model_hash: expected [0-9a-f]{64}, found 0{64}; the model of iiwa14 is not the one of the training",
    ),
    "joint order": (
        lambda c: c["robot"]["joint_names"].reverse(),
        r"robot\.joint_names: expected A1, A2, .*A7, found A7, A6, .*A1; in this order$",
    ),
    "task": (lambda c: c["task"].update(kind="track"), r"task\.kind: expected reach, found track$"),
    "goal": (
        lambda c: c["task"]["goal_layout"].pop(),
        r"task\.goal_layout: expected x \[m\], y \[m\], z \[m\], found x \[m\], y \[m\]$",
    ),
    "costs": (
        lambda c: c["task"]["costs"]["weights"].update(velocity=0.3, effort=7.0),
        r"task\.costs\.weights\.velocity: expected 0\.2, found 0\.3; it was learned under other costs$",
    ),
    "one of several costs": (
        lambda c: c["task"]["costs"]["weights"]["velocity_scale"].__setitem__(1, 1.0),
        r"task\.costs\.weights\.velocity_scale\.1: expected 2\.0, found 1\.0; ",
    ),
    "cost less": (
        lambda c: c["task"]["costs"].pop("soft_velocity"),
        r"task\.costs\.soft_velocity: expected 1\.0, found \(absent\); ",
    ),
    "cost more": (
        lambda c: c["task"]["costs"].update(jerk=[0.0]),
        r"task\.costs\.jerk\.0: expected \(absent\), found 0\.0; ",
    ),
    "features of another convention": (
        lambda c: c["task"]["features"].__setitem__(4, 9.0),
        r"task\.features\.4: expected -?0\.\d+, found 9\.0; it was learned from other features than this dpvp computes",
    ),
    "fewer features": (
        lambda c: c["task"]["features"].pop(),
        r"task\.features: expected 24 numbers, found 23 numbers; it was learned from other features",
    ),
    "value without residual": (
        lambda c: c["graphs"].pop("residual"),
        r"graphs: expected both or none of the heads `value` and `residual`, found policy, value; seal it again$",
    ),
    "residual of another value": (
        lambda c: c["graphs"]["residual"]["outputs"][0].update(shape=[1, 11]),
        r"graphs\.residual\.outputs\.r\.shape: expected \(1, 10\) = \(1, nr\), found \(1, 11\)$",
    ),
    "no ensemble": (
        lambda c: c.pop("ensemble"),
        r"ensemble: expected members, spread and floor of the head `value`, found \(absent\)$",
    ),
    "no member": (lambda c: c["ensemble"].update(members=0), r"ensemble\.members: expected .* found '?0'?$"),
    "never believed": (lambda c: c["ensemble"].update(spread=0.0), r"ensemble\.spread: expected .* found '?0\.0'?$"),
    "members of different size": (
        lambda c: c["ensemble"].update(members=3),
        r"graphs\.value\.outputs\.r\.shape: expected \(1, nr\) with nr a multiple of the 3 members .*, found \(1, 10",
    ),
    "dt": (lambda c: c.update(dt=0.01), r"dt: expected 0\.03, found 0\.01; "),
    "range size": (shorten, r"ranges\.x: expected 14 numbers, found 13 numbers$"),
    "goal range size": (
        lambda c: c["ranges"].update(goal={"lower": [0.0], "upper": [1.0]}),
        r"ranges\.goal: expected 3 numbers, found 1 numbers$",
    ),
    "range order": (
        lambda c: c["ranges"]["goal"]["lower"].__setitem__(1, 9),
        r"ranges\.goal: .*lower\[1\] = 9.* above",
    ),
    "range halves": (lambda c: c["ranges"]["goal"]["lower"].pop(), r"ranges\.goal: .*lower has 2 numbers and upper 3"),
    "shape of a head": (
        widen_policy,
        r"graphs\.policy\.outputs\.u\.shape: expected \(1, 7\) = \(1, nu\), found \(1, 8\)$",
    ),
    "free size twice": (
        lambda c: c["graphs"]["value"]["outputs"][2].update(shape=[11, 24]),
        r"graphs\.value\.outputs\.R_f\.shape: expected \(10, 24\) = \(nr, nf\), found \(11, 24\)$",
    ),
    "names of a head": (
        lambda c: c["graphs"]["policy"]["inputs"][1].update(name="target"),
        r"graphs\.policy\.inputs: expected x, goal, found x, target$",
    ),
    "precision": (
        lambda c: c["graphs"]["policy"]["inputs"][0].update(dtype="float32"),
        r"policy\.onnx: graphs\.policy\.inputs\.x: expected tensor\(float\) \[1, 14\], found tensor\(double\) \[1, 14",
    ),
    "hash": (
        lambda c: c["graphs"]["policy"].update(sha256="a" * 64),
        r"graphs\.policy\.sha256: expected a{64}, found [0-9a-f]{64} of policy\.onnx",
    ),
    "not a hash": (lambda c: c["graphs"]["policy"].update(sha256="abc"), r"graphs\.policy\.sha256: .* found 'abc'$"),
    "parent": (
        lambda c: c["graphs"]["policy"].update(file="../outside.onnx"),
        r"graphs\.policy\.file: expected a file inside the folder of the artifact, found \.\./outside\.onnx",
    ),
    "detour": (
        lambda c: c["graphs"]["policy"].update(file="../artifact/policy.onnx"),
        r"graphs\.policy\.file: expected a file inside the folder",
    ),
    "absolute": (
        lambda c: c["golden"].update(file="/etc/passwd"),
        r"golden\.file: expected a file inside the folder of the artifact, found /etc/passwd",
    ),
    "missing file": (
        lambda c: c["graphs"]["value"].update(file="v.onnx"),
        r"graphs\.value\.file: expected the file .*/artifact/v\.onnx, found no such file$",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("case", CONTRACT)
    def test_contract(self, case: str, folder: Path, scenario: Scenario) -> None:
        change, message = CONTRACT[case]
        (folder.parent / "outside.onnx").write_bytes((folder / "policy.onnx").read_bytes())
        edit(folder, change)
        error = refusal(folder, scenario)
        assert re.search(message, str(error)), str(error)
        assert isinstance(error, DpvpError)

    def test_ensemble_of_no_value(self, policy: LinearPolicy, tmp_path: Path, scenario: Scenario) -> None:
        handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy)
        edit(tmp_path, lambda c: c.update(ensemble={"members": 3, "spread": 0.1, "floor": 0.0}))
        assert "ensemble: expected none, for there is no head `value`, found {" in str(refusal(tmp_path, scenario))

    def test_policy_is_advice_under_any_costs(self, policy: LinearPolicy, tmp_path: Path, scenario: Scenario) -> None:
        handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=policy)
        edit(tmp_path, lambda c: c["task"]["costs"]["weights"].update(velocity=0.3))
        load_artifact(tmp_path, scenario.robot, scenario.task)

    def test_no_contract(self, tmp_path: Path, scenario: Scenario) -> None:
        assert re.search(r"artifact\.yaml: .*no such file", str(refusal(tmp_path, scenario)))

    @pytest.mark.parametrize("text", ["- a list", "schema_version: [", "\0"])
    def test_contract_that_is_no_mapping(self, text: str, folder: Path, scenario: Scenario) -> None:
        (folder / "artifact.yaml").write_text(text)
        assert "artifact.yaml: (" in str(refusal(folder, scenario))

    def test_absolute_path_into_the_folder(self, folder: Path, scenario: Scenario) -> None:
        edit(folder, lambda c: c["golden"].update(file=str(folder / "golden.json")))
        assert "golden.file: expected a file inside the folder" in str(refusal(folder, scenario))

    @pytest.mark.parametrize("name", ["policy.onnx", "golden.json", "artifact.yaml"])
    def test_symlink_that_leaves_the_folder(self, name: str, folder: Path, scenario: Scenario) -> None:
        shutil.move(folder / name, folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)
        assert re.search(r"expected a file inside the folder .* found " + name, str(refusal(folder, scenario)))

    def test_hash_comes_before_onnx_runtime(
        self, folder: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[object] = []
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: opened.append(a))
        for file in folder.glob("*.onnx"):
            file.write_bytes(file.read_bytes() + b"\0")
        assert ".sha256" in str(refusal(folder, scenario))
        assert not opened

    @pytest.mark.parametrize("keep", [0, 1, 100, -1, -200])
    def test_truncated_graph(self, keep: int, folder: Path, scenario: Scenario) -> None:
        whole = (folder / "policy.onnx").read_bytes()
        replace_graph(folder, "policy", whole[:keep])
        message = r"policy\.onnx: graphs\.policy: expected a self-contained graph that ONNX Runtime .* can run, found `"
        assert re.search(message, str(refusal(folder, scenario)))

    def test_weights_outside_the_file(
        self, folder: Path, scenario: Scenario, policy: LinearPolicy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = handmade.policy_model(policy)
        path = folder / "policy.onnx"
        onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=100)
        replace_graph(folder, "policy", path.read_bytes())
        monkeypatch.chdir(folder)
        onnxruntime.InferenceSession(path.read_bytes())  # by itself ONNX Runtime takes them from the working directory
        assert "expected a self-contained graph" in str(refusal(folder, scenario))

    def test_free_batch(self, folder: Path, scenario: Scenario, policy: LinearPolicy) -> None:
        model = handmade.policy_model(policy)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        replace_graph(folder, "policy", model.SerializeToString())
        message = r"inputs\.x: expected tensor\(double\) \[1, 14\], found tensor\(double\) \['batch', 14\]$"
        assert re.search(message, str(refusal(folder, scenario)))

    def test_other_names_in_the_graph(self, folder: Path, scenario: Scenario, policy: LinearPolicy) -> None:
        model = handmade.policy_model(policy)
        model.graph.output[0].name = model.graph.node[-1].output[0] = "torque"
        replace_graph(folder, "policy", model.SerializeToString())
        assert re.search(r"graphs\.policy\.outputs: expected u, found torque$", str(refusal(folder, scenario)))

    def test_graph_that_fails_when_it_runs(self, folder: Path, scenario: Scenario) -> None:
        inputs = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, (1, k)) for n, k in (("x", 14), ("goal", 3))]
        nodes = [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["wide"], to=TensorProto.INT64),
            helper.make_node("Reshape", ["wide", "one"], ["index"]),
            helper.make_node("Gather", ["table", "index"], ["u"]),
        ]
        tables = [
            numpy_helper.from_array(np.zeros((0, 7)), "table"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        ]
        output = helper.make_tensor_value_info("u", TensorProto.DOUBLE, (1, 7))
        graph = helper.make_graph(nodes, "broken", inputs, [output], tables)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        replace_graph(folder, "policy", model.SerializeToString())
        message = r"golden\.policy\.0: expected a graph that runs, found `.*indices"
        assert re.search(message, str(refusal(folder, scenario)))

    def test_other_graph_of_the_same_shape(self, folder: Path, scenario: Scenario, policy: LinearPolicy) -> None:
        other = replace(policy, bias=policy.bias + 1e-3)
        replace_graph(folder, "policy", handmade.policy_model(other).SerializeToString())
        assert re.search(r"golden\.json: golden\.policy\.0\.u: expected .* ± .*, found", str(refusal(folder, scenario)))

    def test_graph_that_answers_nan(self, folder: Path, scenario: Scenario, policy: LinearPolicy) -> None:
        broken = replace(policy, bias=np.full(7, np.nan))
        replace_graph(folder, "policy", handmade.policy_model(broken).SerializeToString())
        assert re.search(r"golden\.policy\.0\.u: expected .*, found nan", str(refusal(folder, scenario)))


class TestGolden:
    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_any_changed_number_is_found(
        self, data: st.DataObject, sealed: Path, scenario: Scenario, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = Path(shutil.copytree(sealed, tmp_path_factory.mktemp("changed") / "artifact"))
        head, tensor = data.draw(st.sampled_from([("policy", "u"), *(("value", n) for n in ("r", "R_x", "R_f"))]))
        pair, by = data.draw(st.integers(0, 9)), data.draw(st.sampled_from([-1e-3, 1e-6, 2.0]))

        def change(golden: dict[str, Any]) -> None:
            numbers = np.array(golden[head][pair]["outputs"][tensor])
            scale = max(np.abs(p["outputs"][tensor]).max() for p in golden[head])
            numbers.flat[data.draw(st.integers(0, numbers.size - 1))] += by * scale
            golden[head][pair]["outputs"][tensor] = numbers.tolist()

        edit(folder, change, "golden.json")
        message = (
            rf"golden\.json: golden\.{head}\.{pair}\.{tensor}: expected .* ± .*, found .*; the graph or the runtime"
        )
        assert re.search(message, str(refusal(folder, scenario)))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda g: g["policy"].pop(), r"golden\.policy: expected 10 pairs, found 9 pairs$"),
            (lambda g: g.pop("value"), r"golden: expected pairs of policy, value, residual, found policy, residual$"),
            (lambda g: g["policy"][3]["inputs"].pop("goal"), r"golden\.policy\.3: expected x, goal, found x$"),
            (
                lambda g: g["policy"][3]["inputs"].update(goal=[1.0, 2.0, 3.0]),
                r"golden\.policy\.3\.goal: expected shape \(1, 3\), found shape \(3,\)$",
            ),
            (
                lambda g: g["value"][0]["outputs"]["r"][0].__setitem__(3, float("nan")),
                r"golden\.value\.0\.r: expected finite numbers, found NaN or infinity$",
            ),
            (lambda g: g["value"][0]["outputs"].update(r=["much"]), r"golden\.value\.0\.r: expected numbers, found"),
            (lambda g: g["value"].__setitem__(0, 7), r"golden: expected JSON of head -> list"),
        ],
    )
    def test_unusable_pairs(
        self, change: Callable[[dict[str, Any]], Any], message: str, folder: Path, scenario: Scenario
    ) -> None:
        edit(folder, change, "golden.json")
        assert re.search(message, str(refusal(folder, scenario)))

    @pytest.mark.parametrize("text", ["", "[1]", '{"policy": 3}', "{"])
    def test_no_pairs(self, text: str, folder: Path, scenario: Scenario) -> None:
        (folder / "golden.json").write_text(text)
        assert "golden.json: golden: expected JSON of head" in str(refusal(folder, scenario))

    def test_small_numbers_do_not_hide_behind_large_ones(
        self, scenario: Scenario, policy: LinearPolicy, tmp_path: Path
    ) -> None:
        tiny = LinearPolicy(1e-9 * policy.of_x, 1e-9 * policy.of_goal, 1e-9 * policy.bias)
        handmade.write_artifact(tmp_path, scenario.robot, scenario.task, policy=tiny)
        load_artifact(tmp_path, scenario.robot, scenario.task)
        replace_graph(tmp_path, "policy", handmade.policy_model(replace(tiny, bias=2 * tiny.bias)).SerializeToString())
        assert "golden.policy.0.u" in str(refusal(tmp_path, scenario))
