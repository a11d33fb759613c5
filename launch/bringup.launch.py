"""Bring a scenario up: plant, controllers, planner, recorder. `ros2 launch dpvp bringup.launch.py --show-args`."""

import os
import site
import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import OpaqueFunction


def generate_launch_description():
    """Declare the arguments; everything else is decided when they are known."""
    _see_virtual_environment()
    try:
        from dpvp.ros.launching import declared_arguments, start
    except ImportError as error:
        reason = f"{error}. Activate the virtual environment in which dpvp's packages are (Python: {sys.executable})"
        raise RuntimeError(reason) from error
    return LaunchDescription([*declared_arguments(), OpaqueFunction(function=start)])


def _see_virtual_environment():
    """Let this process import from the active virtual environment.

    `ros2` runs under the Python of the system, and the packages that dpvp needs from pip are in the environment.
    """
    active = os.environ.get("VIRTUAL_ENV")
    if not active or Path(active).resolve() == Path(sys.prefix).resolve():
        return
    before = list(sys.path)
    site.addsitedir(str(Path(active, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")))
    sys.path[:] = [*(entry for entry in sys.path if entry not in before), *before]
