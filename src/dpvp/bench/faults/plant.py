"""SimulatedPlant: MuJoCo under the feedback law, as `world_node` runs it, with a record of what was true."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import mujoco
import numpy as np

from dpvp.bench.faults.fault import Mode
from dpvp.control.feedback import FeedbackLaw, FeedbackPhase, FeedbackTiming
from dpvp.control.guard import CommandGuard, holds
from dpvp.errors import MessageError
from dpvp.plan import Array, Command, State
from dpvp.robot import Robot, load_robot_from
from dpvp.scenario import Scenario
from dpvp.worlds.mujoco import MujocoWorld

MODES = {
    FeedbackPhase.PD: Mode.HOLD,
    FeedbackPhase.HOLD: Mode.HOLD,
    FeedbackPhase.DAMPING: Mode.DAMP,
}


@dataclass
class Truth:
    """What the plant did, a number for every step.

    Attributes:
        t: s since it began.
        position, velocity, torque: largest share of a joint's limit; a position of 1 is at the end of its range.
        asked: the torque that the law asked for, of which the motor gives what it can.
        mode: index of the `Mode`.
        spoilt: 1 where the command in force was changed by a fault.
    """

    t: array[float]
    position: array[float]
    velocity: array[float]
    torque: array[float]
    asked: array[float]
    mode: array[int]
    spoilt: array[int]


class SimulatedPlant:
    """The robot in its world with the law at its joints; times count from its start.

    Attributes:
        truth: what happened so far.
        refused: commands that the guard at the plant refused.
        damped: whether the controllers were switched to the fallback, which damps.
    """

    def __init__(self, scenario: Scenario, world: MujocoWorld, start: Array) -> None:
        """Put the robot of `world` into the (nx,) state `start`, and on its feet where it has any."""
        robot, config = scenario.robot, scenario.config
        self._robot, self.world = robot, world
        feedback = config.feedback
        self.law = FeedbackLaw(
            robot,
            FeedbackTiming(
                feedback.transition, feedback.velocity_filter, feedback.command_timeout, feedback.damping_timeout
            ),
        )
        self._limits = load_robot_from(robot.folder).limits  # of the data sheet, however the scenario scales them
        upper, lower = self._limits.position_upper, self._limits.position_lower
        self._middle, self._half = 0.5 * (upper + lower), 0.5 * (upper - lower)
        self._body = mujoco.mj_name2id(self.world.model, mujoco.mjtObj.mjOBJ_BODY, pushed(robot))
        self.world.reset(start[: robot.nq], start[robot.nq :])
        if robot.floating:
            self.world.come_to_rest()
        self._steps = 0
        self._velocity = self.law.filtered(self.world.read().v)
        self.truth = Truth(array("d"), array("d"), array("d"), array("d"), array("d"), array("b"), array("b"))
        self._guard = CommandGuard(robot, config.safety, config.rates.command_period)
        self.refused, self.damped, self._spoilt, self._holds = 0, False, False, False

    @property
    def t(self) -> float:
        """Time, s; counted, so that it does not depend on what the world did before."""
        return self._steps * self.world.dt

    def sensed(self) -> State:
        """Return what the sensors say, with the torques (nu,), Nm, as mark; velocities are filtered."""
        now = self.world.read()
        return State(self.t, np.concatenate([now.q, self._velocity]), now.effort)

    def receive(self, command: Command, *, spoilt: bool) -> None:
        """Take a command that arrived; `spoilt` if it is not as it was sent."""
        if self.damped:
            return
        try:
            command = self._guard(command, self.sensed().x, self.t)
        except MessageError:
            self.refused += 1
            return
        self.law.receive(command, self.t)
        self._spoilt, self._holds = spoilt, holds(self._robot, command)

    @property
    def mode(self) -> Mode:
        """What the law does."""
        return MODES.get(self.law.phase, Mode.HOLD if self._holds else Mode.TRACK)

    def switch(self, *, damped: bool) -> None:
        """Switch to the fallback, or back to a law that was started anew."""
        if damped:
            self.law.damp()
        elif self.damped:
            self.law.reset()
            self._guard.forget()
            self._velocity = self.law.filtered(self.world.read().v)
        self.damped = damped

    def step(self, force: Array) -> None:
        """Let a cycle of the law pass under the force (3,), N, on the body that faults push."""
        now = self.world.read()
        self._velocity = self.law.filtered(now.v)
        effort = self.law.update(self.t, now.q, self._velocity, now.effort)
        self.world.apply(effort)
        self.world.data.xfrc_applied[self._body, :3] = force
        self.world.step()
        self._steps += 1
        self._note(effort)

    def fell(self) -> bool:
        """Return whether a robot on feet is on the floor or on its side."""
        if not self._robot.floating:
            return False
        q = self.world.read().q
        upright = 1.0 - 2.0 * (q[3] ** 2 + q[4] ** 2)
        return bool(q[2] < 0.5 * self._robot.nominal[2] or upright < 0.5)

    def _note(self, asked: Array) -> None:
        now, truth, limits, n = self.world.read(), self.truth, self._limits, self._robot.nu
        truth.t.append(self.t)
        truth.position.append(float((np.abs(now.q[-n:] - self._middle) / self._half).max()))
        truth.velocity.append(float((np.abs(now.v[-n:]) / limits.velocity).max()))
        truth.torque.append(float((np.abs(now.effort) / limits.effort).max()))
        truth.asked.append(float((np.abs(asked) / limits.effort).max()))
        truth.mode.append(list(Mode).index(self.mode))
        truth.spoilt.append(self._spoilt and self.law.phase in (FeedbackPhase.BLEND, FeedbackPhase.FEEDBACK))


def pushed(robot: Robot) -> str:
    """Return the body that faults push."""
    return robot.base if robot.floating else robot.end_effector
