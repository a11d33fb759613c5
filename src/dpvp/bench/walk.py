"""Walks in MuJoCo, in simulated time: who falls, how well commands are kept, what pushes and wrong masses do.

Physics and the law u = u0 + K (x0 ⊖ x) run at `FEEDBACK` Hz; x0, u0 and K are what the newest usable plan says for that
very moment. Plans are asked for at `PLAN` Hz and reach the law a plan period later, however long the solver took: every
machine finds the same. Both start from what the plant knows of itself: the true state, or an estimate of it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import mujoco
import numpy as np
import pinocchio
import tyro

from dpvp.bench.closed_loop import percentiles
from dpvp.bench.plant import Push
from dpvp.bench.results import Results
from dpvp.control.feedback import FeedbackLaw, FeedbackTiming
from dpvp.control.guard import check_command
from dpvp.plan import Array, Plan
from dpvp.planning.build import Planning
from dpvp.planning.check import PlanCheck
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import ShiftGuess
from dpvp.planning.planner import Budget
from dpvp.robot import load_robot
from dpvp.tasks.gait import Flags
from dpvp.tasks.strides import heading
from dpvp.tasks.task import TerminalWeights
from dpvp.tasks.walk import WalkConfig, WalkTask
from dpvp.worlds.mujoco import MujocoWorld

FEEDBACK, PLAN = 1000, 50  # Hz
HORIZON = 20  # nodes
TERMINAL = 0.2  # weight of the terminal cost: what the base costs at the end counts for so many seconds
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


WALKS = (
    Walk("trot 10 m", 21.0, (0.5, 0.0, 0.0)),
    Walk("trot, pushed", 6.0, (0.5, 0.0, 0.0), push=50.0),
    Walk("trot, wrong mass", 6.0, (0.5, 0.0, 0.0), mass=0.15),
    Walk("trot, pushed, wrong mass", 6.0, (0.5, 0.0, 0.0), push=50.0, mass=0.15),
    Walk("trot, turning", 6.0, (0.3, 0.0, 0.5)),
    Walk("stand, pushed", 6.0, (0.0, 0.0, 0.0), push=50.0),
    Walk("stand", 60.0, (0.0, 0.0, 0.0), seeds=2),
)


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


def walk_planning(task: WalkTask) -> Planning:
    """Return how walks are planned here: FDDP from the plan before, judged over three nodes."""
    check = PlanCheck(task.robot.limits, window=3 * task.dt)
    planner = DdpPlanner(task.ocp(HORIZON, TerminalWeights(TERMINAL)), check)
    return Planning(planner, (ShiftGuess(),), Budget(1))


class WalkingLoop:
    """A planner with the plant of its robot; iterations alone bound plans."""

    def __init__(
        self,
        task: WalkTask,
        planning: Planning,
        *,
        iterations: int = 1,
        plan_delay: float = 1.0 / PLAN,
        plant: Callable[[WalkTask, Walk, np.random.Generator], Plant] | None = None,
    ) -> None:
        """Take the task and how it is planned.

        Args:
            task: what is to be done.
            planning: how.
            iterations: of each plan but the first.
            plan_delay: from asking for a plan to following it, s.
            plant: makes what is to walk; a `Plant`, which knows its true state, where there is none.
        """
        self.task, self._delay, self._plant = task, plan_delay, plant or Plant
        self._first = replace(planning, budget=Budget(FIRST_ITERATIONS))
        self._planning = replace(planning, budget=Budget(iterations))

    def run(self, walk: Walk, rng: np.random.Generator) -> Course:
        """Walk once; `rng` draws the start, the phase, and what the walk leaves open."""
        task, robot = self.task, self.task.robot
        plant = self._plant(task, walk, rng)
        goal = task.check_goal([rng.uniform(0.0, 2.0 * np.pi), *walk.command, heading(plant.read()[1])[0]])
        law = FeedbackLaw(robot, FeedbackTiming(transition=0.0, velocity_filter=1.0))
        coming, plan, followed = deque[tuple[float, Plan, Flags]](), None, None
        t, xs, statuses, times = list[float](), list[Array](), Counter[str](), list[tuple[float, float]]()
        effort = np.zeros(robot.nu)
        for step in range(round(walk.seconds * FEEDBACK)):
            now, x = plant.read()
            if step % SAMPLE == 0:
                t.append(now)
                xs.append(x)
            if step % (FEEDBACK // PLAN) == 0:
                began = time.perf_counter()
                known = plant.known()
                plan = (self._planning if plan else self._first).plan(known, goal, now, plan)
                times.append((time.perf_counter() - began, plan.timings.solve))
                statuses[plan.status.name] += 1
                if plan.status.usable:
                    stands = task.reference(known, task.later(goal, now), round(self._delay / task.dt)).stands[-1]
                    coming.append((now + (self._delay if followed else 0.0), plan, stands))
            while coming and coming[0][0] <= now + 0.5 / FEEDBACK:
                _, followed, stands = coming.popleft()
                plant.expect(stands)
            if followed is not None:
                law.receive(check_command(robot, followed.command(now, np.inf)), now - 1.0 / FEEDBACK)
            effort = np.maximum(effort, np.abs(plant.step(law)))
            if plant.fallen:
                break
        plan_ms, solve_ms = 1e3 * np.array(times[1:]).reshape(-1, 2).T
        return Course(np.array(t), np.array(xs), plant.fallen, effort, statuses, plan_ms, solve_ms)


class Plant:
    """The robot in its world, pushed, with masses of its own; it knows its true state."""

    def __init__(self, task: WalkTask, walk: Walk, rng: np.random.Generator) -> None:
        self.robot, self.world = task.robot, MujocoWorld(task.robot, 1.0 / FEEDBACK)
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

    def read(self) -> tuple[float, Array]:
        """Return the time, s, and the true state (nx,)."""
        now = self.world.read()
        return now.t, np.concatenate([now.q, now.v])

    def known(self) -> Array:
        """Return what the robot knows of its state (nx,)."""
        return self.read()[1]

    def expect(self, stands: Flags) -> None:
        """Take which feet (n,) are to stand from now on."""

    def sense(self) -> None:
        """Learn what there is to know after a step."""

    def step(self, law: FeedbackLaw) -> Array:
        """Let one time step pass and return the torques (nu,), Nm, that the law asked for."""
        now = self.world.read()
        q, v = np.split(self.known(), [self.robot.nq])
        effort = law.update(now.t, q, law.filtered(v), now.effort)
        self.world.apply(effort)
        pushed = -0.5 / FEEDBACK < now.t - self._push.at < self._push.duration - 0.5 / FEEDBACK
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


def study(loop: WalkingLoop, walks: Sequence[Walk], most: int) -> Iterator[dict[str, object]]:
    """Do every walk with its seeds, `most` at most; yield a row for each that the JSON of a bench can hold."""
    for walk in walks:
        seeds = range(min(walk.seeds, most))
        courses = [loop.run(walk, np.random.default_rng(seed)) for seed in seeds]
        found = [course.summary(walk, loop.task) for course in courses]
        yield {
            "walk": asdict(walk),
            "survived": sum(not course.fell for course in courses),
            "velocity_rms": [row["velocity_rms"] for row in found],
            "turn": [row["turn"] for row in found],
            "plan_ms": percentiles(np.concatenate([course.plan_ms for course in courses])),
            "solve_ms": percentiles(np.concatenate([course.solve_ms for course in courses])),
            "courses": found,
        }


def main(json: Path, seeds: int = 20, gait: str = "trot") -> None:
    """Study the Go2 and write everything that was found.

    Args:
        json: file for the results, written after every walk.
        seeds: of each walk at most.
        gait: one of those of the task's configuration.
    """
    task = WalkTask(load_robot("go2"), WalkConfig(gait=gait))
    loop = WalkingLoop(task, walk_planning(task))
    conditions = {"horizon": HORIZON, "dt": task.dt, "plan_hz": PLAN, "feedback_hz": FEEDBACK, "plan_delay": 1.0 / PLAN}
    results = Results(json, f"quadruped_walk, gait {gait}", conditions)
    for row in study(loop, WALKS, seeds):
        results.add_row(row)


if __name__ == "__main__":
    tyro.cli(main)
