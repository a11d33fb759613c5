"""What a bring-up is asked for: the arguments of the launch files, and what follows from them alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dpvp.config import Config
from dpvp.description import Mode


class Bringup(Config):
    """What to start; every field is an argument of the launch files."""

    mode: Mode = Field("mujoco", description="the plant; mock has no physics, topic is a plant of your own on topics")
    plant: Literal["auto", "dpvp", "ros2_control", "none"] = Field(
        "auto",
        description="who runs the plant: dpvp's own MuJoCo world (mode mujoco), ros2_control, or none of these because "
        "it runs already; auto is ros2_control, and dpvp where mode mujoco lacks packages for that",
    )
    driver: str = Field("", description="hardware driver, one of those in the robot's robot.yaml; empty: its first")
    robot_ip: str = Field("", description="address of the robot's controller, mode hardware; empty: as in the URDF")
    namespace: str = Field("", pattern=r"^[A-Za-z0-9_/]*$", description="namespace of all nodes and topics")
    goal: str = Field("", description="goal at start in the task's units, as 'x y z'; empty: that of the scenario")
    start: Literal["auto", "true", "false"] = Field(
        "auto", description="follow plans at once; auto: only in simulation, elsewhere call mpc_node/start"
    )
    lock_step: bool = Field(False, description="plant and planner wait for each other (dpvp's world only)")
    shadow: bool = Field(False, description="plan beside whoever moves the robot, without commanding it")
    supervised: bool = Field(True, description="let supervisor_node watch over plant and loop")
    controllers_file: str = Field("", description="controllers.yaml to use instead of the robot's own")
    rviz: bool = Field(False, description="start rviz2")
    foxglove: bool = Field(False, description="start foxglove_bridge")
    view: bool = Field(False, description="start dpvp's view in the browser")
    record: bool = Field(True, description="record the run into run_dir")
    run_dir: str = Field("", description="folder of the run; empty: runs/<time>_<scenario>")
    security: str = Field(
        "", description="keystore of SROS2 with an enclave for each node (docs/security.md); empty: as the environment"
    )
    headless: bool = Field(True, description="no window of the simulator")
    realtime: bool = Field(
        False, description="dpvp's nodes and solver lock memory and go before ordinary processes, as far as permitted"
    )

    @field_validator("goal")
    @classmethod
    def _numbers(cls, goal: str) -> str:
        """Accept `0.4 0.1 0.6`, `0.4, 0.1, 0.6` and `[0.4, 0.1, 0.6]`."""
        plain = " ".join(goal.replace(",", " ").strip("[] ").split())
        try:
            [float(number) for number in plain.split()]
        except ValueError:
            raise ValueError("must be numbers, as 'x y z'") from None
        return plain

    @property
    def goal_numbers(self) -> tuple[float, ...]:
        """The goal as numbers; empty: that of the scenario."""
        return tuple(map(float, self.goal.split()))

    @property
    def use_sim_time(self) -> bool:
        """True where a simulator publishes /clock."""
        return self.mode in ("mujoco", "gazebo")

    @property
    def track_at_once(self) -> bool:
        """True if plans are followed without waiting for a service call."""
        return self.use_sim_time if self.start == "auto" else self.start == "true"
