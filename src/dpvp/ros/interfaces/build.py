"""Build the message packages of this folder into this Python environment, where rclpy comes from pip.

Run by `make msgs`, or: python -m dpvp.ros.interfaces.build
The tools (CMake, Ninja, the ament packages) live in a temporary folder; the environment itself gets the messages only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from dpvp.config import share_directory
from dpvp.errors import EnvironmentProblem
from dpvp.interfaces import CHECK, INTERFACES
from dpvp.pins import installed_version

_HERE = Path(__file__).resolve().parent
_WHEELS = ("ros-rosidl-generator-py", "ros-rclpy", "ros-common-interfaces")

# The wheels' CMake files name the Python of the machine that made them.
_FOREIGN_NUMPY = re.compile(r'/opt/python/[^;"]*/numpy/(?:_core|core)/include')
_FOREIGN_PYTHON = re.compile(r'/opt/python/[^;"]*/include/python3\.\d+')


def main() -> int:
    """Build the packages that are not there already; return the exit code."""
    try:
        wanted = [package for package in INTERFACES if not _is_current(package)]
        if not wanted:
            print(f"{_listed(INTERFACES)}: up to date")
            return 0
        started = time.monotonic()
        _ensure(wanted)
    except EnvironmentProblem as problem:
        print(f"{_listed(INTERFACES)}: {problem}", file=sys.stderr)
        return 1
    print(f"{_listed(wanted)}: built into {sys.prefix} in {time.monotonic() - started:.0f} s")
    return 0


def _ensure(packages: list[str]) -> None:
    _check_machine()
    with tempfile.TemporaryDirectory(prefix="dpvp-messages-") as folder:
        tools, prefix = Path(folder) / "tools", Path(folder) / "prefix"
        _install_tools(tools)
        _mirror_environment(prefix)
        for package in packages:
            _build(package, tools, prefix, Path(folder) / package)
    for package in packages:
        _stamp(package).write_text(_content_hash(package), encoding="utf-8")
        if not _works(package):
            check = CHECK.format(package)
            raise EnvironmentProblem(f'{package} is built, but cannot be used; try: {sys.executable} -c "{check}"')


def _is_current(package: str) -> bool:
    """Whether the package works and was not made here from something else (elsewhere, it is none of our business)."""
    stamp = _stamp(package)
    if not _works(package):
        return False
    return not stamp.parent.exists() or (stamp.is_file() and stamp.read_text("utf-8") == _content_hash(package))


def _works(package: str) -> bool:
    """Whether a fresh Python imports the messages, from wherever, and they have the right fields."""
    return (
        subprocess.run([sys.executable, "-c", CHECK.format(package)], capture_output=True, check=False).returncode == 0
    )


def _stamp(package: str) -> Path:
    return Path(sys.prefix) / "share" / package / "built_from"


def _listed(packages: Iterable[str]) -> str:
    return ", ".join(packages)


def _content_hash(package: str) -> str:
    """Digest of everything the result depends on: the sources, this Python and the wheels it is built against."""
    digest = hashlib.sha256(sys.version.encode())
    for name in _WHEELS:
        digest.update(f"{name} {installed_version(name)}\n".encode())
    source = _HERE / package
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        digest.update(file.relative_to(source).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _check_machine() -> None:
    """Say what is missing before any work is done.

    Raises:
        EnvironmentProblem: no ROS wheels, no compiler or no Python headers.
    """
    if installed_version("ros-rosidl-generator-py") is None:
        apt = [f"ros-$ROS_DISTRO-{package.replace('_', '-')}" for package in INTERFACES]
        raise EnvironmentProblem(
            "the ROS wheels are not in this environment: install dpvp[ros], or on a ROS machine "
            f"`apt install {' '.join(apt)}`"
        )
    for variable, names in (("CC", ("cc", "gcc", "clang")), ("CXX", ("c++", "g++", "clang++"))):
        if not any(shutil.which(name) for name in (os.environ.get(variable, ""), *names) if name):
            raise EnvironmentProblem(f"no compiler ({', '.join(names)}) on PATH; install one: apt install gcc g++")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise EnvironmentProblem(f"{header} is missing; install Python's headers: apt install python3-dev")


def _build(package: str, tools: Path, prefix: Path, folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(tools),
        "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "AMENT_PREFIX_PATH": f"{tools}{os.pathsep}{prefix}",
    }
    cmake, build = str(tools / "bin" / "cmake"), str(folder)
    configure = [
        cmake, "-G", "Ninja", "-S", str(_HERE / package), "-B", build,
        f"-DCMAKE_PREFIX_PATH={tools};{prefix}",
        f"-DCMAKE_INSTALL_PREFIX={sys.prefix}",
        f"-DPython3_EXECUTABLE={sys.executable}",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_TESTING=OFF",
    ]  # fmt: skip
    _run(f"configuring {package}", configure, environment)
    _run(f"compiling {package}", [cmake, "--build", build], environment)
    _run(f"installing {package}", [cmake, "--install", build], environment)


def _install_tools(tools: Path) -> None:
    """Install the pinned build-only wheels into `tools`, beside and not into this environment."""
    requirements = share_directory() / "config" / "constraints" / "messages.txt"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-deps"]
    _run("installing CMake and the ament tools", [*command, "--target", str(tools), "-r", str(requirements)])


def _mirror_environment(prefix: Path) -> None:
    """Make `prefix` look like this environment, with CMake files that name this Python instead of the builder's."""
    here = Path(sys.prefix)
    prefix.mkdir()
    for name in ("lib", "include"):
        (prefix / name).symlink_to(here / name)
    shutil.copytree(here / "share", prefix / "share", ignore=shutil.ignore_patterns(*INTERFACES, "dpvp"))
    for file in (prefix / "share").rglob("*.cmake"):
        text = file.read_text(encoding="utf-8")
        mended = _FOREIGN_PYTHON.sub(sysconfig.get_path("include"), _FOREIGN_NUMPY.sub(_numpy_include(), text))
        if mended != text:
            file.write_text(mended, encoding="utf-8")


def _numpy_include() -> str:
    import numpy as np

    return np.get_include()


def _run(what: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run quietly; on failure show the end of the output.

    Raises:
        EnvironmentProblem: the command failed.
    """
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-30:])
        raise EnvironmentProblem(f"{what} failed (exit code {done.returncode}):\n{last}")


if __name__ == "__main__":
    sys.exit(main())
