"""Walks in MuJoCo, in simulated time: who falls, how well commands are kept, what pushes and wrong masses do.

Plans, commands and the feedback law of the joints have the rates of the scenario, and commands are made as the nodes
make them. A plan is in force a plan period after it was asked for, however long the solver took: every machine finds
the same. All start from what the plant knows of itself: the true state, or an estimate of it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import mujoco
import numpy as np
import pinocchio

from dpvp.bench.plant import Push
from dpvp.control.feedback import FeedbackLaw, FeedbackTiming
from dpvp.control.guard import check_command
from dpvp.control.onboard import left_to_joints
from dpvp.plan import Array, Plan
from dpvp.planning.build import build_planning
from dpvp.planning.planner import Budget
from dpvp.scenario import Scenario
from dpvp.tasks.gait import Flags
from dpvp.tasks.strides import heading
from dpvp.tasks.walk import WalkTask
from dpvp.worlds.mujoco import MujocoWorld

FIRST_ITERATIONS = 20  # the first plan has no plan before it to improve on
SAMPLE = 10  # steps of the law between two samples
FALLEN = 0.5  # of its height, or of the cosine of its tilt, where a robot has fallen
STARTING = 1.0  # s after a new command that do not count in the error of the velocity


@dataclass(frozen=True)
class Walk:
    """What is asked of a robot.

    Attributes:
        name: of the case.
        seconds: how long it lasts.
        command: (3,) speed forwards and to the left, m/s, and rate of turn, rad/s.
        push: largest force on the base, N, from a side that is drawn; 0 is none. It lasts 0.2 s and begins between 2 s
            and a gait period later.
        mass: every link's mass and inertia are wrong by up to this share.
        seeds: how often it is done.
    """

    name: str
    seconds: float
    command: tuple[float, float, float]
    push: float = 0.0
    mass: float = 0.0
    seeds: int = 20


@dataclass(frozen=True, eq=False)
class Course:
    """What the robot did.

    Attributes:
        t: (n,) times of the samples, s.
        xs: (n, nx) true states.
        fell: whether it fell, which ends the course.
        effort: (nu,) largest torques, Nm.
        statuses: number of plans by `PlanStatus`.
        plan_ms: (m,) time of each plan but the first, guess included, ms.
        solve_ms: (m,) what of it the solver took, one iteration each.
    """

    t: Array
    xs: Array
    fell: bool
    effort: Array
    statuses: Mapping[str, int]
    plan_ms: Array = field(default_factory=lambda: np.zeros(0))
    solve_ms: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def yaws(self) -> Array:
        """Yaw of the base, (n,) rad, without jumps."""
        x, y, z, w = self.xs[:, 3:7].T
        return np.unwrap(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))

    def summary(self, walk: Walk, task: WalkTask) -> dict[str, object]:
        """Return what is worth knowing as plain numbers, SI units."""
        goal = np.array([0.0, *walk.command, 0.0])
        counted = self.t >= STARTING
        errors = np.array([task.error(x, goal) for x in self.xs[counted]])
        t, yaws = self.t[counted], self.yaws[counted]
        steps = np.diff(self.xs[:, :2], axis=0)
        return {
            "fell": self.fell,
            "seconds": float(self.t[-1]),
            "way": float(np.linalg.norm(steps, axis=1).sum()),
            "moved": float(np.linalg.norm(self.xs[-1, :2] - self.xs[0, :2])),
            "velocity_rms": float(np.sqrt(np.mean(errors**2))) if len(errors) else np.nan,
            "turn": float((yaws[-1] - yaws[0]) / (t[-1] - t[0])) if len(t) > 1 else np.nan,
            "height": [float(self.xs[:, 2].min()), float(self.xs[:, 2].max())],
            "effort_share": float((self.effort / task.robot.limits.effort).max()),
            "speed_share": float((np.abs(self.xs[:, -task.robot.nu :]) / task.robot.limits.velocity).max()),
            "statuses": dict(self.statuses),
        }


class WalkingLoop:
    """A planner with the plant of its robot; iterations alone bound plans."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        plan_delay: float | None = None,
        plant: Callable[[Scenario, Walk, np.random.Generator], Plant] | None = None,
    ) -> None:
        """Take the scenario, whose task is to walk.

        Args:
            scenario: what is to be done, and how it is planned.
            plan_delay: from asking for a plan to following it, s; a plan period where there is none.
            plant: makes what is to walk; a `Plant`, which knows its true state, where there is none.
        """
        assert isinstance(scenario.task, WalkTask)
        rates, planning = scenario.config.rates, build_planning(scenario)
        self.scenario, self.task = scenario, scenario.task
        self._delay = 1.0 / rates.plan if plan_delay is None else plan_delay
        self._plan_every, self._command_every = (
            round(rates.feedback / rate) for rate in (rates.plan, rates.command or rates.plan)
        )
        self._plant = plant or Plant
        self._first = replace(planning, budget=Budget(FIRST_ITERATIONS))
        self._planning = replace(planning, budget=Budget(scenario.config.planner.iterations))

    def run(self, walk: Walk, rng: np.random.Generator) -> Course:
        """Walk once; `rng` draws the start, the phase, and what the walk leaves open."""
        task, robot = self.task, self.task.robot
        plant, feedback = self._plant(self.scenario, walk, rng), self.scenario.config.rates.feedback
        goal = task.check_goal([rng.uniform(0.0, 2.0 * np.pi), *walk.command, heading(plant.read()[1])[0]])
        law = FeedbackLaw(robot, FeedbackTiming(0.0, self.scenario.config.feedback.velocity_filter))
        coming, plan, followed = deque[tuple[float, Plan, Flags]](), None, None
        t, xs, statuses, times = list[float](), list[Array](), Counter[str](), list[tuple[float, float]]()
        effort = np.zeros(robot.nu)
        for step in range(round(walk.seconds * feedback)):
            now, x = plant.read()
            if step % SAMPLE == 0:
                t.append(now)
                xs.append(x)
            if step % self._plan_every == 0:
                began = time.perf_counter()
                known = plant.known()
                plan = (self._planning if plan else self._first).plan(known, goal, now, plan)
                times.append((time.perf_counter() - began, plan.timings.solve))
                statuses[plan.status.name] += 1
                if plan.status.usable:
                    stands = task.reference(known, task.later(goal, now), round(self._delay / task.dt)).stands[-1]
                    coming.append((now + (self._delay if followed else 0.0), plan, stands))
            while coming and coming[0][0] <= now + 0.5 / feedback:
                _, followed, stands = coming.popleft()
                plant.expect(stands)
            if followed is not None and step % self._command_every == 0:
                command = followed.command(now + 0.5 * self._command_every / feedback, np.inf)
                command = left_to_joints(robot, command, plant.known())
                law.receive(check_command(robot, command), now - 1.0 / feedback)
            effort = np.maximum(effort, np.abs(plant.step(law)))
            if plant.fallen:
                break
        plan_ms, solve_ms = 1e3 * np.array(times[1:]).reshape(-1, 2).T
        return Course(np.array(t), np.array(xs), plant.fallen, effort, statuses, plan_ms, solve_ms)


class Plant:
    """The robot in its world, pushed, with masses of its own; it knows its true state."""

    def __init__(self, scenario: Scenario, walk: Walk, rng: np.random.Generator) -> None:
        """Put the robot of `scenario` on its feet; `rng` draws the start and what `walk` leaves open."""
        task = scenario.task
        assert isinstance(task, WalkTask)
        self.robot, self.world = task.robot, MujocoWorld(task.robot, 1.0 / scenario.config.rates.feedback)
        model = self.world.model
        self._base = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, task.robot.base)
        share = 1.0 + walk.mass * rng.uniform(-1.0, 1.0, model.nbody)
        model.body_mass *= share
        model.body_inertia *= share[:, None]
        mujoco.mj_setConst(model, self.world.data)
        side = rng.choice([-1.0, 1.0])
        self._push = Push(2.0 + rng.uniform(0.0, task.gait.period), 0.2, (0.0, side * walk.push, 0.0))
        x = task.sample_start(rng)
        self._across = pinocchio.Quaternion(x[3:7]).toRotationMatrix() @ np.array(self._push.force)
        self.world.reset(x[: task.robot.nq], x[task.robot.nq :])
        self.world.come_to_rest()
        self._began = self.world.read().t

    def read(self) -> tuple[float, Array]:
        """Return the time since it stood, s, and the true state (nx,)."""
        now = self.world.read()
        return now.t - self._began, np.concatenate([now.q, now.v])

    def known(self) -> Array:
        """Return what the robot knows of its state (nx,)."""
        return self.read()[1]

    def expect(self, stands: Flags) -> None:
        """Take which feet (n,) are to stand from now on."""

    def sense(self) -> None:
        """Learn what there is to know after a step."""

    def step(self, law: FeedbackLaw) -> Array:
        """Let one time step pass and return the torques (nu,), Nm, that the law asked for."""
        (now, _), measured = self.read(), self.world.read()
        q, v = np.split(self.known(), [self.robot.nq])
        effort = law.update(now, q, law.filtered(v), measured.effort)
        self.world.apply(effort)
        pushed = 0.0 < now - self._push.at + 0.5 * self.world.dt < self._push.duration
        self.world.data.xfrc_applied[self._base, :3] = pushed * self._across
        self.world.step()
        self.sense()
        return effort

    @property
    def fallen(self) -> bool:
        """Whether the base is on the floor or on its side."""
        _, x = self.read()
        upright = pinocchio.Quaternion(x[3:7]).toRotationMatrix()[2, 2]
        return bool(x[2] < FALLEN * self.robot.nominal[2] or upright < FALLEN)
