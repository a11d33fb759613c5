"""MpcLoop: states in, commands out. Everything of the MPC node that is not ROS."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from numpy.typing import ArrayLike

from dpvp.control.course import Course
from dpvp.control.gate import Decision, Health, Ruling, decide
from dpvp.control.guard import CommandGuard, check_speed, hold_command, is_sound, posture_to_hold
from dpvp.control.latency import Latencies
from dpvp.control.learned_watch import LearnedWatch
from dpvp.control.monitors import begun_anew, jumped
from dpvp.control.observer import TorqueObserver
from dpvp.control.onboard import left_to_joints
from dpvp.control.states import LoopState, Reason
from dpvp.errors import MessageError
from dpvp.plan import SAME_TIME, Array, Command, Plan, State
from dpvp.planning.process import SolverProcess
from dpvp.scenario import Scenario

logger = logging.getLogger(__name__)

COMPLAIN_EVERY = 1.0  # s between two log lines about states and commands that cannot be used
LOCK_STEP_PATIENCE = 10.0  # s; in lock-step the plant waits for the plan, however long it takes


@dataclass(frozen=True)
class Answer:
    """A command, the state that it answers and, where there is one, the new plan behind it."""

    command: Command
    state: State
    plan: Plan | None = None


@dataclass
class LoopCounters:
    """What happened since the start; of the missed periods, the loop slept through `missed_asleep` of them."""

    periods: int = 0
    missed: int = 0
    missed_asleep: int = 0
    plans: int = 0
    bad_states: int = 0
    withheld: int = 0
    solver_restarts: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    guesses: Counter[str] = field(default_factory=Counter)
    advice: Counter[str] = field(default_factory=Counter)


class MpcLoop:
    """The loop between a plant that sends states and a solver process that answers with plans.

    Attributes:
        counters: what happened since the start.
        latencies: how long everything took since the start.
        decision: state of the loop and its reason, as of the last tick.
        plan: the newest usable plan.
        course: where the robot is to go.
    """

    def __init__(
        self,
        scenario: Scenario,
        start_solver: Callable[[], SolverProcess],
        *,
        supervised: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the solver; `start_solver` is called again whenever it has to be replaced.

        A loop that is `supervised` holds until the supervisor has allowed more, and whenever it falls silent.
        """
        self._scenario, self._robot, self._limits = scenario, scenario.robot, scenario.config.loop
        self._start_solver, self._clock = start_solver, clock
        observer = self._limits.observer
        self._observer = TorqueObserver(self._robot, observer.bandwidth, observer.share)
        self._guard = CommandGuard(self._robot, scenario.config.safety, scenario.config.rates.command_period)
        self._learned = LearnedWatch(scenario.config.safety)
        self.solver = start_solver()
        self.course = Course(scenario.task, 1.0 / scenario.config.rates.plan)
        self.counters = LoopCounters()
        self.latencies = Latencies()
        self.decision = Decision(LoopState.IDLE, Reason.ASKED, solve=False)
        self.plan: Plan | None = None
        self._asked = LoopState.IDLE
        self._state: State | None = None
        self._state_at = self._plan_at = self._posted_at = -math.inf
        self._ruling = Ruling()
        self._ruled_at = -math.inf if supervised else math.inf
        self._rejecting = False
        self._posted: State | None = None
        self._anchor: Array | None = None
        self._was_tracking = False
        self._fresh = True
        self._complained_at = -math.inf

    def ask(self, state: LoopState) -> None:
        """Ask for IDLE, HOLD or TRACK; `decide` says whether it can be had. Asking for HOLD holds anew from here."""
        self._asked = state
        self._forget_plans()
        self._anchor = None

    def obey(self, ruling: Ruling) -> None:
        """Take what the supervisor allows at most. A fault ends what was asked for: after it the loop holds."""
        self._ruling, self._ruled_at = ruling, self._clock()
        if ruling.state is LoopState.FAULT and self._asked is LoopState.TRACK:
            self.ask(LoopState.HOLD)

    def steer(self, command: ArrayLike) -> None:
        """Go on at another velocity from the newest state; see `Course.steer`."""
        self.course.steer(command, self._state)

    def sense(self, state: State) -> None:
        """Take a measured state; a repeated one does not count as news.

        Raises:
            MessageError: a joint of it is faster than any motor of its makes it: plans from there would be wrong.
        """
        if self._state is not None and state.t == self._state.t:
            return
        check_speed(self._robot, state.x, self._scenario.config.safety)
        if self._state is not None and jumped(self._robot, self._state.x, state.x, state.t - self._state.t):
            logger.warning("the state jumped: holding from the new posture")
            self._begin_anew()
        self._state, self._state_at = state, self._clock()
        self._observer.sense(state.t, state.x)

    def _begin_anew(self) -> None:
        """Take what comes for what has not become of what was before."""
        self._forget_plans()
        self._observer.reset()
        self._guard.forget()
        self._anchor, self._was_tracking = None, False

    def refuse_state(self, error: MessageError) -> None:
        """Count a state that could not be used."""
        self.counters.bad_states += 1
        self._complain(f"state refused ({self.counters.bad_states} so far): {error}")

    def tick(self, skipped: int = 0) -> Answer | None:
        """Do what is due once a period: look after the solver, ask it, hold where that is all that can be done."""
        self._look_after_solver()
        self._decide()
        if self.decision.state is LoopState.TRACK:
            self.counters.periods += 1 + skipped
            self.counters.missed += skipped + (self.solver.busy_since is not None)
            self.counters.missed_asleep += skipped
        if self.decision.solve and self.solver.busy_since is None:
            self._post()
        if self._state is not None and self.decision.state is LoopState.TRACK:
            self.course.note_arrival(self._state)
        return self._hold() if self.decision.state is LoopState.HOLD else None

    def poll(self) -> Answer | None:
        """Take a plan, if there is a new one, and return the command that follows from it while tracking."""
        plan = self.solver.take()
        return None if plan is None else self._follow(plan, self._limits.lead)

    def go_on(self) -> Answer | None:
        """Return what the plan in force commands in the newest state; for commands between plans."""
        return self._command(self._state, self._limits.lead)

    def step(self, state: State) -> Answer | None:
        """Answer one state and wait for it: the loop in lock-step with its plant."""
        if self._state is not None and begun_anew(state.t - self._state.t, 1.0 / self._scenario.config.rates.plan):
            self._begin_anew()
        self.sense(state)
        self._pass_no_time()
        if self._plan_at > -math.inf and self.plan is not None:
            self._plan_at = self._state_at - (state.t - self.plan.t0)
        if self._plan_in_force(state.t):
            self._decide()
            return self._command(self._state, 0.0)
        held = self.tick()
        if self.decision.solve and self._posted is self._state:
            plan = self.solver.wait(LOCK_STEP_PATIENCE)
            self._pass_no_time()
            return held if plan is None else self._follow(plan, 0.0) or held  # the plant waits: no time passes
        return held

    def _pass_no_time(self) -> None:
        """The plant has waited: states and rulings do not age, and plans by the plant's time alone."""
        self._state_at = self._clock()
        if self._ruled_at > -math.inf:
            self._ruled_at = max(self._ruled_at, self._state_at)

    def close(self) -> None:
        """End the solver process."""
        self.solver.close()

    def report(self) -> dict[str, str]:
        """Return what people and monitors want to know, as text."""
        now, counters = self._clock(), self.counters
        share = counters.missed / counters.periods if counters.periods else 0.0
        report = {
            "state": self.decision.state.name,
            "reason": self.decision.reason.name,
            "reason_text": self.decision.reason.text,
            "periods": str(counters.periods),
            "missed": str(counters.missed),
            "missed_asleep": str(counters.missed_asleep),
            "missed_share": f"{share:.5f}",
            "plans": str(counters.plans),
            **self.latencies.report(),
            "state_age_ms": f"{1e3 * (now - self._state_at):.2f}",
            "plan_age_ms": f"{1e3 * (now - self._plan_at):.2f}",
            "bad_states": str(counters.bad_states),
            "withheld": str(counters.withheld),
            "solver_restarts": str(counters.solver_restarts),
            "solver_pid": str(self.solver.pid),
        }
        if self.plan is not None:
            report |= {"plan_cost": f"{self.plan.cost:.5g}", "plan_iterations": str(self.plan.iterations)}
        if (error := self.course.error(self._state)) is not None:
            report["goal_error"] = f"{error:.5f}"
        report |= {f"guess_{name}": str(count) for name, count in sorted(counters.guesses.items())}
        report |= {name: str(count) for name, count in sorted(counters.advice.items())}
        report |= {f"rejected_{name.lower()}": str(count) for name, count in sorted(counters.rejected.items())}
        return report

    def _decide(self) -> None:
        now = self._clock()
        health = Health(
            state_age=now - self._state_at,
            plan_age=now - self._plan_at,
            goal_set=self.course.goal is not None,
            solver_ready=self.solver.ready,
            solver_restarted=self.counters.solver_restarts > 0,
            rejecting=self._rejecting,
            learned_doubted=self._learned.doubts(now),
            ruling=self._ruling,
            ruling_age=max(0.0, now - self._ruled_at),
        )
        before, self.decision = self.decision, decide(self._asked, health, self._limits)
        if (before.state, before.reason) != (self.decision.state, self.decision.reason):
            logger.info(f"{self.decision.state.name}: {self.decision.reason.text}")
        if before.state is LoopState.TRACK and self.decision.state is not LoopState.TRACK:
            self._plan_at, self._fresh = -math.inf, True  # no plan from before a hold is followed after it
            self.course.stop(self._state)
        if before.state is not LoopState.HOLD:
            self._anchor, self._was_tracking = None, before.state is LoopState.TRACK

    def _look_after_solver(self) -> None:
        busy = self.solver.busy_since
        hung = busy is not None and self._clock() - busy > self._limits.solver_timeout
        if self.solver.alive and not hung:
            return
        logger.error(f"solver process {self.solver.pid} {'hangs' if hung else 'ended'}: starting another")
        self.solver.close()
        self.solver = self._start_solver()
        self.counters.solver_restarts += 1
        self._forget_plans()

    def _forget_plans(self) -> None:
        """Follow no plan that was asked for before now, and let the next one start afresh."""
        self._posted, self._fresh, self._plan_at = None, True, -math.inf

    def _post(self) -> None:
        assert self._state is not None
        goal, plain = self.course.take_up(self._state), self._learned.doubts(self._clock())
        self.solver.post(self._state.x, goal, self._state.t, fresh=self._fresh, plain=plain)
        self._posted, self._posted_at, self._fresh = self._state, self._clock(), False

    def _follow(self, plan: Plan, lead: float) -> Answer | None:
        """Count and judge a plan; command what it, or the last usable one, says `lead` seconds after its state."""
        state, self._posted = self._posted, None
        self.counters.plans += 1
        self.counters.guesses[plan.guess] += 1
        self.counters.advice.update(plan.advice.keys)
        self.latencies.add_plan(plan.timings, self._clock() - self._posted_at)
        if state is None or state.t != plan.t0:  # asked for before the state jumped or something else was wanted
            return None
        self._learned.look(plan, self._clock())
        latest = state if self._scenario.config.rates.command is None else self._state
        refused = self._why_not(plan)
        self._rejecting = refused is not None
        if refused is not None:
            self.counters.rejected[refused] += 1
            return self._command(latest, lead)
        before, self.plan, self._plan_at = (self.plan, self._plan_at), plan, self._clock()
        self._decide()
        withheld = self.counters.withheld
        answer = self._command(latest, lead, plan)
        if self.counters.withheld > withheld:  # what it commands would break a limit
            (self.plan, self._plan_at), self._rejecting = before, True
        return answer

    def _why_not(self, plan: Plan) -> str | None:
        """Return why a plan is not followed, None if it is; what its solver says of it is not all that counts."""
        assert self._state is not None
        if not plan.status.usable:
            return plan.status.name
        if not is_sound(self._robot, plan):
            return "UNSOUND"
        if self._state.t - plan.t0 > self._limits.plan_timeout:  # the robot has held meanwhile: it is elsewhere
            self._fresh = True
            return "TOO_LATE"
        return None

    def _command(self, state: State | None, lead: float, plan: Plan | None = None) -> Answer | None:
        """Return what the plan in force, new if it is `plan`, says `lead` seconds after `state`."""
        if self.decision.state is not LoopState.TRACK or self.plan is None or state is None:
            return None
        command = self._observer.corrected(self.plan.command(state.t + lead, self._valid_for - lead))
        return self._checked(replace(command, stands=self.course.stands(state)), state, plan)

    def _plan_in_force(self, t: float) -> bool:
        """True if at time `t` of a plant in lock-step the last plan is to be followed on, the next not being due."""
        if self._scenario.config.rates.command is None or self.plan is None or self._plan_at == -math.inf:
            return False
        period = 1.0 / self._scenario.config.rates.plan
        return self.decision.state is LoopState.TRACK and 0.0 <= t - self.plan.t0 < period - SAME_TIME

    def _hold(self) -> Answer | None:
        if self._state is None:
            return None
        if self._anchor is None:
            self._anchor = posture_to_hold(self._robot, self._state.x, tracking=self._was_tracking)
        valid_until = self._state.t + self._valid_for
        command = hold_command(self._robot, self._anchor, self._state.t, valid_until)
        return self._checked(self._observer.note(command), self._state)

    def _checked(self, command: Command, state: State, plan: Plan | None = None) -> Answer | None:
        try:
            command = left_to_joints(self._robot, command, state.x)
            return Answer(self._guard(command, state.x, state.t + self._age), state, plan)
        except MessageError as error:  # cannot come from a usable plan; if it does, the plant must not see it
            self.counters.withheld += 1
            self._complain(f"command withheld ({self.counters.withheld} so far): {error}")
            return None

    @property
    def _age(self) -> float:
        """Seconds since the newest state arrived."""
        return max(0.0, self._clock() - self._state_at)

    @property
    def _valid_for(self) -> float:
        timeout = self._scenario.config.feedback.command_timeout
        return math.inf if timeout is None else timeout

    def _complain(self, text: str) -> None:
        """Log an error, of many one in a while."""
        now = self._clock()
        if now - self._complained_at > COMPLAIN_EVERY:
            self._complained_at = now
            logger.error(text)
