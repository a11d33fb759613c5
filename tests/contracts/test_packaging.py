"""One tree, three ways to install it (pip, editable, colcon), and one list of versions: they must agree."""

from __future__ import annotations

import ast
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import pytest
import setuptools

import dpvp
from dpvp.errors import EnvironmentProblem
from dpvp.interfaces import INTERFACES
from dpvp.pins import SOLVER_PACKAGES
from dpvp.ros.interfaces import build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "config" / "constraints"
SOURCES = ROOT / "src" / "dpvp" / "ros" / "interfaces"
SOLVER = {
    "crocoddyl": "3.2.1",
    "libcrocoddyl": "3.2.1",
    "pin": "4.0.0",
    "libpinocchio": "4.0.0",
    "mim-solvers": "0.3.0",
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def training() -> dict[str, Any]:
    """The [project] table of the second package."""
    return tomllib.loads((ROOT / "training" / "pyproject.toml").read_text())["project"]


@pytest.fixture
def colcon(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py gives to setup()."""
    given: dict[str, Any] = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    runpy.run_path("setup.py")
    return given


def canonical(requirement: str) -> str:
    """The normalised name in a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>!~; ]", requirement, maxsplit=1)[0]).lower()


def pinned(kind: str) -> dict[str, set[str]]:
    """Name -> the versions that `<kind>.txt` allows (more than one where they depend on the Python version)."""
    pins: dict[str, set[str]] = {}
    for line in (CONSTRAINTS / f"{kind}.txt").read_text().splitlines():
        name, _, version = line.partition("#")[0].partition(";")[0].strip().partition("==")
        if name:
            pins.setdefault(name, set()).add(version)
    return pins


def test_constraints_are_what_the_list_says() -> None:
    generate = [sys.executable, str(CONSTRAINTS / "generate.py"), "--check"]
    done = subprocess.run(generate, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stale_constraints_file_is_noticed_and_mended(tmp_path: Path) -> None:
    for name in ("generate.py", "pins.toml"):
        shutil.copy(CONSTRAINTS / name, tmp_path)
    generate = [sys.executable, str(tmp_path / "generate.py")]
    stale = subprocess.run([*generate, "--check"], capture_output=True, text=True, check=False)
    assert stale.returncode == 1
    assert "cpu.txt" in stale.stderr
    assert subprocess.run(generate, check=False).returncode == 0
    assert subprocess.run([*generate, "--check"], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["cpu", "gpu", "ros"])
def test_solver_packages_are_the_same_everywhere(kind: str, project: dict[str, Any]) -> None:
    assert {name: {version} for name, version in SOLVER.items()} == {name: pinned(kind)[name] for name in SOLVER}
    assert {f"{name}=={version}" for name, version in SOLVER.items()} <= set(project["dependencies"])
    assert set(SOLVER_PACKAGES) == set(SOLVER)


def asked_by(project: dict[str, Any]) -> set[str]:
    """Every package that a project or one of its extras names."""
    extras = project.get("optional-dependencies", {}).values()
    return {canonical(r) for r in [*project["dependencies"], *(r for extra in extras for r in extra)]}


def test_torch_is_pinned_on_cpu_only_and_never_asked_for_at_run_time(
    project: dict[str, Any], training: dict[str, Any]
) -> None:
    assert pinned("cpu")["torch"] == {"2.13.0"}
    assert "torch" not in pinned("gpu") | pinned("ros")
    assert not {"torch", "stable-baselines3"} & asked_by(project)
    assert "torch" in map(canonical, training["dependencies"])


def test_a_ros_machine_keeps_its_own_ros() -> None:
    assert not [name for name in pinned("ros") if name.startswith("ros-") or name == "empy"]
    assert pinned("cpu")["ros-rclpy"] == {"7.1.6"}


def test_everything_asked_for_by_name_is_pinned(project: dict[str, Any], training: dict[str, Any]) -> None:
    assert asked_by(project) <= set(pinned("cpu"))
    assert asked_by(training) - {"dpvp"} <= set(pinned("cpu"))
    assert asked_by(training) - {"dpvp", "torch"} <= set(pinned("gpu"))


def test_names_and_versions_agree(project: dict[str, Any], colcon: dict[str, Any]) -> None:
    package = ET.parse(ROOT / "package.xml").getroot()
    assert package.findtext("name") == project["name"] == colcon["name"] == "dpvp"
    assert package.findtext("version") == colcon["version"] == dpvp.__version__
    assert package.findtext("license") == colcon["license"] == "Apache-2.0"
    assert package.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / "dpvp").is_file()


def test_the_second_package_agrees_with_the_first(training: dict[str, Any], colcon: dict[str, Any]) -> None:
    assert training["name"] == "dpvp_training"
    assert training["version"] == dpvp.__version__
    assert training["requires-python"] == colcon["python_requires"]
    assert training["license"]["text"] == colcon["license"]
    assert training["dependencies"][0] == "dpvp[sim]"
    assert training["optional-dependencies"] == {"cluster": ["ray"], "baselines": ["stable-baselines3"]}


def test_every_training_system_can_be_started_by_name(training: dict[str, Any]) -> None:
    systems = ROOT / "training" / "dpvp_training" / "systems"
    folders = {file.parent.name for file in systems.glob("*/__init__.py")}
    commands = training["entry-points"]["dpvp.systems"]
    assert commands == {name: f"dpvp_training.systems.{name}.cli:main" for name in folders}
    for name in folders:
        assert re.search(r"^def main\(", (systems / name / "cli.py").read_text(), re.MULTILINE), f"{name} has no main"


@pytest.mark.parametrize(("target", "installs"), [("demo", False), ("bench", False), ("test", True), ("check", True)])
def test_torch_is_installed_for_tests_and_checks_only(target: str, installs: bool) -> None:
    make = ["make", "--dry-run", "--always-make", f"PYTHON={sys.executable}", target]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-e '.[" in done.stdout
    assert ("-e './training[" in done.stdout) == installs


def test_colcon_can_read_what_setup_is_given(colcon: dict[str, Any]) -> None:
    assert ast.literal_eval(repr(colcon)) == colcon


def test_commands_have_a_main(colcon: dict[str, Any]) -> None:
    commands = dict(re.split(" = ", line) for line in colcon["entry_points"]["console_scripts"])
    assert set(commands) == {
        "dpvp",
        "mpc_node",
        "world_node",
        "supervisor_node",
        "record_node",
        "view_node",
        "estimator_node",
    }
    for target in commands.values():
        module, _, function = target.partition(":")
        path = ROOT / "src" / Path(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert re.search(rf"^def {function}\(", file.read_text(), re.MULTILINE), f"{file} has no function {function}"


def test_every_shared_file_is_installed(colcon: dict[str, Any]) -> None:
    installed = {f"{target}/{Path(file).name}" for target, files in colcon["data_files"] for file in files}
    shared = {
        f"share/dpvp/{file.relative_to(ROOT).as_posix()}"
        for top in ("launch", "config", "urdf")
        for file in (ROOT / top).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    index = {"share/ament_index/resource_index/packages/dpvp", "share/dpvp/package.xml"}
    assert installed == shared | index


def python_type(name: str, package: str, local: set[str]) -> str:
    """How Python names a type that an interface definition names."""
    base = name.removesuffix("[]")
    full = {"bool": "boolean", **{each: f"{package}/{each}" for each in local}}.get(base, base)
    return full if base == name else f"sequence<{full}>"


@pytest.mark.parametrize("package", INTERFACES)
def test_message_sources_are_the_fields_that_dpvp_needs(package: str) -> None:
    folder = SOURCES / package
    halves: dict[str, list[str]] = {}
    for file in [*folder.glob("msg/*.msg"), *folder.glob("srv/*.srv")]:
        names = ("",) if file.suffix == ".msg" else (".Request", ".Response")
        parts = re.split("^---$", file.read_text(), flags=re.MULTILINE)
        halves |= {f"{file.parent.name}.{file.stem}{n}": p.splitlines() for n, p in zip(names, parts, strict=True)}
    local = {name.removeprefix("msg.") for name in halves}
    found = {}
    for name, lines in halves.items():
        fields = (line.partition("#")[0].split() for line in lines if "=" not in line.partition("#")[0])
        found[name] = [(words[1], python_type(words[0], package, local)) for words in fields if words]
    # with their order, which is what goes over the wire
    assert found == {name: list(fields.items()) for name, fields in INTERFACES[package].items()}
    cmake = (folder / "CMakeLists.txt").read_text()
    assert all(str(file.relative_to(folder)) in cmake for file in folder.glob("*/*.[ms][sr][gv]"))
    assert (SOURCES / "COLCON_IGNORE").is_file()


def test_a_machine_that_cannot_build_messages_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    build._check_machine()
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(EnvironmentProblem, match=r"no compiler .* apt install gcc g\+\+"):
        build._check_machine()
    monkeypatch.setattr(build, "installed_version", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"apt install ros-.*-linear-feedback-controller-msgs ros-.*"):
        build._check_machine()


def test_a_build_step_that_fails_shows_its_output() -> None:
    with pytest.raises(EnvironmentProblem, match=r"(?s)configuring failed \(exit code 3\):.*no such thing"):
        build._run("configuring", [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"])


def test_built_messages_are_not_built_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main() == 0
    assert "up to date" in capsys.readouterr().out


def wheel_of(source: Path, folder: Path) -> set[str]:
    """Build the wheel of the tree at `source` and return what is in it."""
    pip = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    done = subprocess.run(pip, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("dpvp*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_what_a_robot_needs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "setup.cfg", "package.xml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    for name in ("src", "resource", "launch", "config", "urdf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    names = wheel_of(source, tmp_path)
    shared = f"dpvp-{dpvp.__version__}.data/data/share"
    assert {
        "dpvp/py.typed",
        "dpvp/ros/interfaces/linear_feedback_controller_msgs/msg/Control.msg",
        "dpvp/ros/interfaces/controller_manager_msgs/srv/SwitchController.srv",
        "dpvp/ros/interfaces/COLCON_IGNORE",
        f"{shared}/dpvp/config/constraints/cpu.txt",
        f"{shared}/dpvp/package.xml",
        f"{shared}/ament_index/resource_index/packages/dpvp",
    } <= names
    assert not [name for name in names if name.startswith("dpvp_training") or "__pycache__" in name]


def test_the_wheel_of_the_second_package_holds_nothing_else(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "runs")
    source = Path(shutil.copytree(ROOT / "training", tmp_path / "source", ignore=ignored))
    names = wheel_of(source, tmp_path)
    assert {"dpvp_training/py.typed", "dpvp_training/core/run.py", "dpvp_training/systems/dpvp/__init__.py"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"dpvp_training"}
    assert not [name for name in names if "__pycache__" in name]
