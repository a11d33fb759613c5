"""What pyproject.toml cannot say: the files that ROS looks for below share/dpvp. All metadata is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

PACKAGE = "dpvp"
SHARED_FOLDERS = ("launch", "config", "urdf")


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


setup(data_files=shared_files())
