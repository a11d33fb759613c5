"""The half of the packaging that colcon reads; the other half, for pip, is in pyproject.toml.

colcon builds `--symlink-install` in a folder that has no pyproject.toml, and it evaluates what setup() was given: hence
name, commands and Python versions here. Nothing can be said twice: pyproject.toml calls these fields dynamic.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "dpvp"
SHARED_FOLDERS = ("launch", "config", "urdf")
INTERFACES = ["COLCON_IGNORE", "README.md", "*/package.xml", "*/CMakeLists.txt", "*/msg/*.msg", "*/srv/*.srv"]


def version() -> str:
    """Return `__version__` without importing the package."""
    source = Path("src", PACKAGE, "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]


def shared_files() -> list[tuple[str, list[str]]]:
    """Return (folder below the install prefix, its files) for the ROS index, package.xml and every shared file."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ]
    for top in SHARED_FOLDERS:
        for folder in [Path(top), *sorted(p for p in Path(top).rglob("*") if p.is_dir())]:
            if "__pycache__" in folder.parts:
                continue
            here = sorted(str(p) for p in folder.iterdir() if p.is_file())
            if here:
                files.append((f"share/{PACKAGE}/{folder.as_posix()}", here))
    return files


setup(
    name=PACKAGE,
    version=version(),
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={PACKAGE: ["py.typed"], f"{PACKAGE}.ros.interfaces": INTERFACES},
    data_files=shared_files(),
    entry_points={
        "console_scripts": [
            "dpvp = dpvp.cli:main",
            "mpc_node = dpvp.ros.mpc_node:main",
            "supervisor_node = dpvp.ros.supervisor_node:main",
            "world_node = dpvp.ros.world_node:main",
            "record_node = dpvp.ros.record_node:main",
            "view_node = dpvp.ros.view_node:main",
            "estimator_node = dpvp.ros.estimator_node:main",
        ]
    },
)
