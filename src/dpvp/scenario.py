"""Scenario: one YAML in `config/` that says which robot does which task, how it plans and at which rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from dpvp.config import Config, override, read_yaml, share_directory, validate
from dpvp.description import robot_folder
from dpvp.errors import ConfigError
from dpvp.robot import Robot, load_robot_from
from dpvp.tasks.reach import ReachConfig, ReachTask
from dpvp.tasks.task import Task, TerminalWeights
from dpvp.tasks.track import TrackConfig, TrackTask
from dpvp.tasks.walk import WalkConfig, WalkTask
from dpvp.untrusted import UnreadableError, is_file, located

GuessName = Literal["hold", "shift", "reference", "policy", "trajectory"]
LEARNED: frozenset[GuessName] = frozenset(("policy", "trajectory"))
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0)]
TaskConfig = Annotated[ReachConfig | TrackConfig | WalkConfig, Field(discriminator="kind")]


class RobotChoice(Config):
    """Which robot, and the names it goes by."""

    name: str = Field(description="folder below urdf/ or, with a /, a path")
    prefix: str | None = Field(None, description="comes before the joint names; that of robot.yaml when absent")
    joint_stem: str | None = Field(None, description="replaces the stem of the joint names, for other drivers")


class TerminalConfig(Config):
    """How the horizon ends; the weights are also the fallback of `value` outside its trained range."""

    kind: Literal["zero", "quadratic", "value"] = "zero"
    goal: float = Field(0.0, ge=0.0, description="weight of ½‖goal residual‖²")
    velocity: float = Field(0.0, ge=0.0, description="weight of ½‖q̇‖², s²/rad²")

    @property
    def weights(self) -> TerminalWeights:
        """The quadratic terminal cost, zero for kind `zero`."""
        return TerminalWeights() if self.kind == "zero" else TerminalWeights(self.goal, self.velocity)


class PlannerConfig(Config):
    """How plans are made."""

    kind: Literal["ddp", "csqp"] = "csqp"
    horizon: int = Field(gt=0, le=1000, description="control nodes T")
    terminal: TerminalConfig = TerminalConfig()
    guesses: tuple[GuessName, ...] = Field(("hold", "shift"), min_length=1, description="the cheapest one wins")
    iterations: int = Field(3, gt=0, description="most solver iterations of one plan")
    budget: Seconds = Field(
        0.007, description="from state to plan, guess included; no further iteration starts that would end later, s"
    )
    limit_window: Seconds = Field(0.3, description="share of the plan that must keep the robot's limits, s")
    limit_slack: Share = Field(0.02, description="share of a limit by which a plan may exceed it")


class RatesConfig(Config):
    """How often things happen, Hz."""

    plan: float = Field(100.0, gt=0, le=2000, description="plans per second")
    command: float | None = Field(
        None,
        gt=0,
        le=2000,
        description="commands per second; those between plans are read off the last; null: one a plan",
    )
    feedback: float = Field(1000.0, gt=0, le=10000, description="feedback law and physics of the simulated plant")
    sensor: float = Field(1000.0, gt=0, le=10000, description="`sensor` messages of the simulated plant")
    joint_states: float = Field(100.0, gt=0, le=10000, description="`joint_states` messages of the simulated plant")

    @property
    def command_period(self) -> float:
        """Time between two commands, s."""
        return 1.0 / (self.command or self.plan)


class ObserverConfig(Config):
    """Torques that the model does not know, which the loop takes off its feed-forward; see `TorqueObserver`."""

    bandwidth: float = Field(
        0.0, ge=0, le=50, description="disturbances slower than this are made up for, rad/s; 0: none"
    )
    share: Share = Field(0.15, description="of the effort limits, that at most is made up for")


class LoopConfig(Config):
    """When the loop stops trusting what it has."""

    sensor_timeout: Seconds = Field(0.05, description="a state older than this is stale, s")
    plan_timeout: Seconds = Field(0.1, description="without a usable plan for so long the loop holds, s")
    lead: float = Field(
        0.0,
        ge=0,
        description="commands are what the plan says so long after its state: about the time until the middle of the "
        "span in which the command is in force, s",
    )
    observer: ObserverConfig = ObserverConfig()
    solver_timeout: Seconds = Field(1.0, description="a solver that is silent for so long is started again, s")
    supervisor_timeout: Seconds = Field(
        0.5, description="without a word of the supervisor for so long the loop holds, s"
    )


class FeedbackConfig(Config):
    """The feedback law at the plant, as linear_feedback_controller has it, and what follows a silent planner."""

    velocity_filter: Share = Field(0.9, description="weight of the new sample in the velocity filter; 1 is no filter")
    transition: float = Field(0.1, ge=0, description="blend from PD to linear feedback, s")
    command_timeout: Seconds | None = Field(0.2, description="hold when commands stop for so long, s; null: never")
    damping_timeout: Seconds | None = Field(2.0, description="damping when commands stop for so long, s; null: never")


class SafetyConfig(Config):
    """What guard and supervisor allow. Shares are of the limits in robot.yaml; scales are for first runs."""

    velocity_scale: float = Field(
        1.0, gt=0, le=1, description="of the joints' velocity limits, for planner and supervisor"
    )
    torque_scale: float = Field(
        1.0, gt=0, le=1, description="of the joints' torque limits: commands may differ from gravity by no more"
    )
    torque_rate: float = Field(
        200.0, gt=0, description="commanded torque changes by no more, in shares of the limit per second"
    )
    gain: float = Field(20.0, gt=0, description="gains beyond so many times the hold gains are refused")
    drive: float = Field(
        3.0,
        gt=0,
        description="commands that ask for so many times a joint's torque in the direction of its motion are refused",
    )
    velocity: float = Field(1.05, gt=0, description="share of a joint's velocity limit beyond which the robot holds")
    effort: float = Field(1.05, gt=0, description="share of a joint's measured torque beyond which the robot holds")
    position: Seconds = Field(0.02, description="rad that a joint may be beyond its range before the robot holds")
    speed: float = Field(2.0, gt=0, description="of the end effector of a robot with a fixed base, m/s")
    tracking: float = Field(0.5, gt=0, description="rad that a joint may be away from where the command has it")
    tilt: float = Field(1.0, gt=0, description="rad that a base that floats may be tilted before the plant damps")
    contradiction: float = Field(
        0.1,
        gt=0,
        description="rad by which positions may differ from the velocities' integral over a tenth of a second",
    )
    hard: float = Field(1.25, ge=1, description="at so many times one of these limits the plant damps")
    calm: Seconds = Field(0.5, description="all has to be well for so long before a robot that held goes on, s")
    strikes: int = Field(5, gt=0, description="the plant damps when limits are left so often within `strike_window`")
    strike_window: Seconds = Field(5.0, description="s")
    bellman: float = Field(
        1.0, gt=0, description="a learned value that differs from its plans by more than this share is doubted"
    )
    plain_for: Seconds = Field(
        2.0, description="planning without what was learned, when that is doubted, lasts so long, s"
    )


class RunConfig(Config):
    """What `dpvp run` waits for."""

    within: Seconds = Field(8.0, description="the goal has to be reached within so long, s")
    settle: Seconds = Field(0.5, description="and stay reached for so long, s")


class ScenarioConfig(Config):
    """The content of a scenario file."""

    robot: RobotChoice
    task: TaskConfig
    planner: PlannerConfig
    artifact: str | None = Field(None, description="folder below config/artifacts/ or a path; null: nothing learned")
    rates: RatesConfig = RatesConfig()
    loop: LoopConfig = LoopConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    safety: SafetyConfig = SafetyConfig()
    run: RunConfig = RunConfig()


class Scenario:
    """A scenario with its robot and task ready for use.

    Attributes:
        name: what a user calls it.
        config: the validated content of its file.
        robot, task: built from it.
    """

    def __init__(self, name: str, config: ScenarioConfig, file: Path | str = "scenario") -> None:
        """Load the robot and build the task; `file` is named in errors.

        Raises:
            ConfigError, ModelMismatchError: the description cannot work.
        """
        self.name, self.config, self.file = name, config, str(file)
        choice = config.robot
        folder = robot_folder(choice.name, self.file)
        robot = load_robot_from(folder, choice.prefix, choice.joint_stem)
        self.robot: Robot = robot.slowed(config.safety.velocity_scale)
        self.task = _build_task(self.robot, config.task, self.file)

    @property
    def goal(self) -> tuple[float, ...]:
        """The goal that the scenario starts with, in the task's units."""
        return self.config.task.goal

    def save(self, file: Path) -> None:
        """Write the resolved configuration, every default included, so that `load_scenario(file)` gives it back."""
        text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
        file.write_text(f"# scenario {self.name}, resolved\n{text}", encoding="utf-8")


def _build_task(robot: Robot, config: ReachConfig | TrackConfig | WalkConfig, file: str) -> Task:
    if isinstance(config, WalkConfig):
        return WalkTask(robot, config, file)
    return TrackTask(robot, config) if isinstance(config, TrackConfig) else ReachTask(robot, config, file)


def scenario_names() -> list[str]:
    """Names of the scenarios that come with dpvp, sorted."""
    return sorted(file.stem for file in (share_directory() / "config").glob("*.yaml"))


def load_scenario(name: str, overrides: tuple[str, ...] = ()) -> Scenario:
    """Load a scenario by name or by path of its file.

    Paths of robot and artifact, which have a `/`, count from the folder of the file; in overrides from where we are.

    Args:
        name: one of `scenario_names()` or a path that ends in .yaml.
        overrides: `dotted.key=value` each, the value in YAML; for example `planner.horizon=50`.

    Raises:
        ConfigError: unknown scenario, unknown key or unusable value.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else share_directory() / "config" / f"{name}.yaml"
    if not is_file(file) and file.parent == share_directory() / "config":
        raise ConfigError(file, "scenario", name, f"must be one of {', '.join(scenario_names())} or a path to a .yaml")
    content = read_yaml(file)
    _anchor(content, file.parent, file)
    for text in overrides:
        override(content, text)
    _anchor(content, Path(), file)
    stem = file.parent.name if file.stem == "scenario" else file.stem
    return Scenario(stem, validate(ScenarioConfig, content, file), file)


def _anchor(content: dict[str, Any], folder: Path, file: Path) -> None:
    """Make the paths in `content` absolute, counted from `folder`: a run saves its scenario somewhere else."""
    for place, key, name in ((content.get("robot"), "name", "robot.name"), (content, "artifact", "artifact")):
        if isinstance(place, dict) and isinstance(path := place.get(key), str) and "/" in path:
            try:
                place[key] = str(located(path, folder))
            except UnreadableError as error:
                raise ConfigError(file, name, path, str(error)) from None
