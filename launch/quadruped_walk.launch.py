"""The quadruped walks. `ros2 launch dpvp quadruped_walk.launch.py mode:=mujoco`; --show-args lists the rest."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import get_launch_description_from_python_launch_file


def generate_launch_description():
    """bringup.launch.py with this scenario; not included but taken in, so that --show-args reports what goes wrong."""
    bringup = get_launch_description_from_python_launch_file(str(Path(__file__).with_name("bringup.launch.py")))
    scenario = DeclareLaunchArgument(
        "scenario", default_value="quadruped_walk", description="name of a scenario or path of a scenario file."
    )
    return LaunchDescription([scenario, *bringup.entities])
