"""dpvp: learned policies and value functions inside a real-time MPC that drives robots through ROS 2."""

__version__ = "0.1.0"
