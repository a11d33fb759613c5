"""Planner, feedback law and MuJoCo in one process and in simulated time: what a disturbed plant makes of plans.

The plant is that of `world_node`: physics and the law u = u0 + K (x0 ⊖ x) at `rates.feedback`, velocities filtered.
Plans are asked for at `rates.plan`, from what the sensor shows at that moment, and reach the law some time later,
however long the solver really took: every machine finds the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from dpvp.bench.follower import Follower
from dpvp.control.feedback import FeedbackLaw, FeedbackTiming
from dpvp.control.guard import check_command
from dpvp.control.observer import TorqueObserver
from dpvp.errors import ModelMismatchError
from dpvp.plan import Array, Command, Plan
from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario
from dpvp.worlds.mujoco import MujocoWorld


@dataclass(frozen=True)
class Push:
    """A force on the end effector.

    Attributes:
        at: when it begins, s.
        duration: s.
        force: (3,) in the axes of the world, N.
    """

    at: float
    duration: float
    force: tuple[float, ...]


@dataclass(frozen=True)
class Disturbance:
    """What is not as the planner believes.

    Attributes:
        pushes: forces on the end effector.
        payload: the mass of what is at the end effector is wrong by up to this share.
        mass: every other link's mass is wrong by up to this share.
        inertia: every link's inertia about its centre is wrong by up to this share.
        friction: Coulomb friction of every joint, of which the planner knows nothing, up to this, Nm.
        noise: standard deviation of white noise on the torques at the plant's rate, as a share of each joint's limit.
        sensor_delay: age of what the sensor shows, s.
        plan_delay: from asking for a plan to following it, s; one plan period where it is None.
    """

    pushes: tuple[Push, ...] = ()
    payload: float = 0.0
    mass: float = 0.0
    inertia: float = 0.0
    friction: float = 0.0
    noise: float = 0.0
    sensor_delay: float = 0.0
    plan_delay: float | None = None


@dataclass(frozen=True, eq=False)
class Course:
    """What the arm did, one sample for every plan.

    Attributes:
        t: (n,) times, s.
        error: (n,) distance from the goal, in the unit of the task.
        reached: (n,) the task's verdict.
        statuses: number of plans by `PlanStatus`; `guesses` by the guess that won, `advice` by what became of it.
        held: plans in whose place the arm was held.
    """

    t: Array
    error: Array
    reached: Array
    statuses: Mapping[str, int]
    guesses: Mapping[str, int]
    advice: Mapping[str, int]
    held: int

    def reached_at(self, settle: float) -> float:
        """Return when the goal was first reached to stay so for `settle` seconds, s; NaN if it never was."""
        since = np.nan
        for t, reached in zip(self.t, self.reached, strict=True):
            if not reached:
                since = np.nan
            elif np.isnan(since):
                since = t
            if t - since >= settle - 1e-9:
                return float(since)
        return np.nan

    def recovery(self, at: float, end: float, near: float) -> dict[str, float]:
        """Return the `peak` error from `at` to `end`, s, and `back_after` how long it is below `near` for good there.

        The latter is counted from `at`; NaN if the error is not below `near` at the end.
        """
        here = (self.t >= at) & (self.t < end)
        t, error = self.t[here], self.error[here]
        away = np.flatnonzero(error >= near)
        last = away[-1] + 1 if len(away) else 0
        return {"peak": float(np.max(error)), "back_after": float(t[last] - at) if last < len(t) else np.nan}


class DisturbedLoop:
    """The planner of a scenario with the plant of its robot; iterations alone bound plans.

    Attributes:
        scenario: as it was given.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Build the problem and the solver."""
        self.scenario = scenario
        planning = build_planning(scenario)
        self._planning = replace(planning, budget=Budget(scenario.config.planner.iterations))

    def run(
        self, start: Array, goal: Array, seconds: float, disturbance: Disturbance, rng: np.random.Generator
    ) -> Course:
        """Go from the (nx,) state `start` towards `goal` for so long; `rng` draws what `disturbance` leaves open."""
        task, config = self.scenario.task, self.scenario.config
        plant = _Plant(self.scenario, start, disturbance, rng)
        follower = Follower(self.scenario.robot, config.loop.plan_timeout, config.loop.lead)
        observer = TorqueObserver(self.scenario.robot, config.loop.observer.bandwidth, config.loop.observer.share)
        plans, samples = list[Plan](), list[tuple[float, float, bool]]()
        every = max(1, round(config.rates.feedback / config.rates.plan))
        for step in range(round(seconds * config.rates.feedback)):
            plant.sense()
            if step % every == 0:
                now = task.later(goal, plant.t)
                samples.append((plant.t, task.error(plant.x, now), task.reached(plant.x, now)))
                plans.append(self._planning.plan(plant.shown, goal, plant.t, plans[-1] if plans else None))
                observer.sense(plant.t, plant.shown)
                plant.send(observer.corrected(follower.command(plans[-1], plant.shown)))
            plant.step()
        t, error, reached = (np.array(column) for column in zip(*samples, strict=True))
        return Course(
            t,
            error,
            reached,
            statuses=Counter(plan.status.name for plan in plans),
            guesses=Counter(plan.guess for plan in plans),
            advice=Counter(key for plan in plans for key in plan.advice.keys),
            held=follower.held,
        )


class _Plant:
    """The arm with its feedback law, and the delays around them.

    Attributes:
        t: time, s.
        x: (nx,) true state.
        shown: (nx,) state that the sensor shows, velocities filtered.
    """

    def __init__(self, scenario: Scenario, start: Array, disturbance: Disturbance, rng: np.random.Generator) -> None:
        """Put the arm into the (nx,) state `start`."""
        robot, config = scenario.robot, scenario.config
        self._robot, self._disturbance, self._rng = robot, disturbance, rng
        self._world = MujocoWorld(robot, 1.0 / config.rates.feedback)
        self._tip = mujoco.mj_name2id(self._world.model, mujoco.mjtObj.mjOBJ_BODY, robot.end_effector)
        if self._tip < 0:
            raise ModelMismatchError(f"{robot.scene}: bodies", robot.end_effector, "none of this name")
        self._falsify()
        self._world.reset(start[: robot.nq], start[robot.nq :])
        self._law = FeedbackLaw(robot, FeedbackTiming(config.feedback.transition, config.feedback.velocity_filter))
        self._plan_delay = 1.0 / config.rates.plan if disturbance.plan_delay is None else disturbance.plan_delay
        self._sent = deque[tuple[float, Command]]()
        self._past = deque([self._world.read()], round(disturbance.sensor_delay / self._world.dt) + 1)
        self.t, self.x, self.shown = 0.0, start, start

    def sense(self) -> None:
        """Look at the sensor; once a step."""
        now = self._world.read()
        self._past.append(now)
        late = self._past[0]
        self.t, self.x = now.t, np.concatenate([now.q, now.v])
        self.shown = np.concatenate([late.q, self._law.filtered(late.v)])

    def send(self, command: Command) -> None:
        """Send a command on its way to the law."""
        self._sent.append((self.t + self._plan_delay, check_command(self._robot, command)))

    def step(self) -> None:
        """Let one time step pass under the law, the noise and the pushes."""
        tick = 0.5 * self._world.dt  # times are multiples of dt up to rounding
        while self._sent and self._sent[0][0] <= self.t + tick:
            self._law.receive(self._sent.popleft()[1], self.t)
        q, v = np.split(self.shown, 2)
        effort = self._law.update(self.t, q, v, self._world.read().effort)
        limit = self._robot.limits.effort
        self._world.apply(effort + self._disturbance.noise * limit * self._rng.standard_normal(len(limit)))
        force = np.zeros(3)
        for push in self._disturbance.pushes:
            force += np.array(push.force) * (-tick < self.t - push.at < push.duration - tick)
        self._world.data.xfrc_applied[self._tip, :3] = force
        self._world.step()

    def _falsify(self) -> None:
        """Make the plant's inertia another than that of the planner's model."""
        model, wrong = self._world.model, self._disturbance
        share = np.full(model.nbody, wrong.mass)
        share[self._tip] = wrong.payload
        model.body_mass *= 1.0 + share * self._rng.uniform(-1.0, 1.0, model.nbody)
        model.body_inertia *= 1.0 + wrong.inertia * self._rng.uniform(-1.0, 1.0, (model.nbody, 1))
        model.dof_frictionloss += wrong.friction * self._rng.uniform(0.0, 1.0, model.nv)
        mujoco.mj_setConst(model, self._world.data)
