"""Only dpvp.ros may load rclpy, and only dpvp_training torch: every module is imported in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dpvp
import dpvp_training

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
PACKAGE, TRAINING = Path(dpvp.__file__).parent, Path(dpvp_training.__file__).parent
OF_ROS = ["rclpy", "linear_feedback_controller_msgs", "sensor_msgs"]
VIEWERS = ["imageio", "networkx", "scipy", "trimesh", "viser"]
# what takes long to load and is allowed
LOADED = ["crocoddyl", "matplotlib.figure", "mcap_ros2.decoder", "mim_solvers", "mujoco", "numpy", "onnxruntime"]
LOADED += [
    "packaging.version",
    "pinocchio",
    "pydantic",
    "rich.progress",
    "rich.table",
    "tyro",
    "viser",
    "xacro",
    "yaml",
]

# One Python that loads the packages named in its first argument, but nothing of dpvp; for each module of the third it
# forks a child that imports it and answers with the packages of the second that came along, or with the error.
IMPORTER = """
import importlib, json, os, sys, traceback
loaded, forbidden, modules = (words.split() for words in sys.argv[1:])
for name in loaded:
    importlib.import_module(name)
answers = {}
for name in modules:
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            importlib.import_module(name)
            answer = [package for package in forbidden if package in sys.modules]
        except BaseException:
            answer = traceback.format_exc()
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answered:
        answers[name] = json.loads(answered.read() or '"it crashed"')
    os.wait()
print(json.dumps(answers))
"""


def modules(package: Path = PACKAGE) -> list[str]:
    """Every module of a package outside dpvp.ros, found in the file tree (so that finding them imports nothing)."""
    found = []
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not f"{name}.".startswith("dpvp.ros.") and file.name != "__main__.py":
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("words", "allowed"), [("rclpy", {"dpvp.ros"}), ("solver libraries", {"dpvp.planning", "dpvp.tasks"})]
)
def test_a_contract_covers_every_part_of_dpvp(words: str, allowed: set[str]) -> None:
    contracts = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["name"].startswith(words))
    parts = {".".join(name.split(".")[:2]) for name in modules()} - {"dpvp"}
    assert set(contract["source_modules"]) == (parts | {"dpvp.ros"}) - allowed


def test_modules_are_found() -> None:
    assert {"dpvp", "dpvp.environment", "dpvp.cli.check", "dpvp.planning"} <= set(modules())
    assert {"dpvp_training", "dpvp_training.core.run", "dpvp_training.systems"} <= set(modules(TRAINING))


def load(modules: list[str], loaded: list[str], forbidden: list[str]) -> dict[str, Any]:
    """Module -> the forbidden packages that it loads, or the text of its error."""
    command = [sys.executable, "-c", IMPORTER, *map(" ".join, (loaded, forbidden, modules))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    runtime = load(modules(), LOADED, ["torch", "dpvp_training", *OF_ROS])
    return runtime | load(modules(TRAINING), [*LOADED, "torch"], OF_ROS)


@pytest.mark.parametrize("module", [*modules(), *modules(TRAINING)])
def test_module_loads_neither_rclpy_nor_without_need_torch(module: str, answers: dict[str, Any]) -> None:
    assert answers[module] == [], f"importing {module}: {answers[module]}"


def test_crocoddyl_comes_without_the_viewers_of_pinocchio() -> None:
    """They take ten times as long to load as crocoddyl itself, in every process; who asks for them still gets them."""
    answers = load(["dpvp.scenario", "dpvp.planning.build", "dpvp_training.envs.system"], [], ["crocoddyl", *VIEWERS])
    assert set(map(tuple, answers.values())) == {("crocoddyl",)}
    whole = "import dpvp.scenario, pinocchio.visualize as v; assert v.viser_visualizer.import_viser_succeed"
    subprocess.run([sys.executable, "-c", whole], check=True, timeout=300)
