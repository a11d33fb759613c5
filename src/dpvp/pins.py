"""Which versions of which packages fit together, which are installed, and where the solver's libraries come from.

Looks at files and metadata only: nothing that it asks about is loaded.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.markers import Marker

from dpvp.config import share_directory
from dpvp.errors import EnvironmentProblem

SOLVER_PACKAGES = ("crocoddyl", "libcrocoddyl", "pin", "libpinocchio", "mim-solvers")
_SOLVER_LIBRARIES = ("libpinocchio_default.so", "libcrocoddyl.so", "libcoal.so", "libeigenpy.so")


def installed_version(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def pinned_versions() -> dict[str, str]:
    """Package -> the version that dpvp was tested with, for this kind of machine and this Python.

    Raises:
        EnvironmentProblem: the constraints file was not installed.
    """
    file = _constraints()
    if not file.is_file():
        raise EnvironmentProblem(f"{file} is missing; install dpvp again")
    pins = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.partition("#")[0].partition(";")
        name, _, version = requirement.strip().partition("==")
        if name and (not marker or Marker(marker.strip()).evaluate()):
            pins[name] = version
    return pins


def install_command(names: Sequence[str]) -> str:
    """The command that installs `names` in their pinned versions into this environment."""
    return f"{sys.executable} -m pip install -c {_constraints()} {' '.join(names)}"


def solver_shadow() -> tuple[str, str]:
    """Find what would be loaded in place of the solver's own libraries and modules, and say how to prevent it.

    ROS's setup.bash puts apt's pinocchio in front: LD_LIBRARY_PATH and PYTHONPATH win over what a wheel knows about
    itself, and the two do not mix.

    Returns:
        The file that is in the way and the remedy; two empty strings where nothing is.
    """
    if installed_version("pin") is None:
        return "", ""
    prefix = Path(str(importlib.metadata.distribution("pin").locate_file("cmeel.prefix"))).resolve()
    modules = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    found = _foreign_library(prefix / "lib") or _foreign_module(prefix)
    remedy = (
        "put the wheels first, after sourcing ROS: "
        f"export LD_LIBRARY_PATH={prefix / 'lib'}:$LD_LIBRARY_PATH PYTHONPATH={modules}:$PYTHONPATH"
    )
    return (found, remedy) if found else ("", "")


def _foreign_library(own: Path) -> str:
    """The first of the solver's libraries that LD_LIBRARY_PATH finds before the folder `own`."""
    for folder in map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))):
        if folder.resolve() == own:
            break
        for library in _SOLVER_LIBRARIES:
            if (folder / library).exists():
                return str(folder / library)
    return ""


def _foreign_module(prefix: Path) -> str:
    """Where `import pinocchio` leads, if that is not below `prefix`."""
    spec = importlib.util.find_spec("pinocchio")
    if spec is None or spec.origin is None or Path(spec.origin).resolve().is_relative_to(prefix):
        return ""
    return spec.origin


def _constraints() -> Path:
    """The constraints file for this machine: on apt's ROS the one without the ROS wheels."""
    on_ros_machine = "ROS_DISTRO" in os.environ and installed_version("ros-rclpy") is None
    return share_directory() / "config" / "constraints" / ("ros.txt" if on_ros_machine else "cpu.txt")
