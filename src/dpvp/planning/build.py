"""From a scenario to a planner that is ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass

from dpvp.errors import ConfigError
from dpvp.learned.artifact import Artifact, artifact_folder, load_artifact
from dpvp.learned.policy import Policy
from dpvp.learned.trajectory import Trajectory
from dpvp.plan import Advice, Array, Plan
from dpvp.planning.check import PlanCheck
from dpvp.planning.csqp import CsqpPlanner
from dpvp.planning.ddp import DdpPlanner
from dpvp.planning.guess import GuessSource, HoldGuess, ShiftGuess, best_guess
from dpvp.planning.planner import Budget, Planner, Stopwatch
from dpvp.planning.policy_guess import PolicyGuess
from dpvp.planning.predicted_guess import PredictedGuess, referred
from dpvp.planning.terminal import ValueTerminal, build_terminal
from dpvp.scenario import LEARNED, GuessName, Scenario
from dpvp.tasks.ocp import Ocp
from dpvp.tasks.walk import WalkTask


@dataclass(frozen=True)
class Planning:
    """A planner with the guesses and the budget that its scenario gives it.

    Attributes:
        planner: makes the plans.
        sources: of guesses.
        budget: of a plan, guess included.
        value: the planner's terminal where that is a learned value.
    """

    planner: Planner
    sources: tuple[GuessSource, ...]
    budget: Budget
    value: ValueTerminal | None = None

    def plan(self, x: Array, goal: Array, t: float, previous: Plan | None, *, plain: bool = False) -> Plan:
        """Plan from the best guess; the first plan, without a `previous` one, may take longer.

        Args:
            x: (nx,) state measured at time `t`, s.
            goal: in the task's units, accepted by `Task.check_goal`, as it is at time 0.
            t: s, on the plant's clock.
            previous: the last plan, for guesses that build on it.
            plain: do without what was learned.
        """
        watch = Stopwatch()
        goal = self.planner.ocp.later(goal, t)
        if self.value is not None:
            self.value.drop(dropped=plain)
        sources = tuple(source for source in self.sources if not plain or source.name not in LEARNED)
        guess = best_guess(sources or (HoldGuess(),), self.planner.ocp, x, goal, t, previous)
        spent = watch.split()
        rest = Budget(self.budget.iterations, self.budget.seconds - spent)
        plan = self.planner.plan(x, goal, t, guess, rest)
        refused = PolicyGuess.name in guess.silent
        if self.value is None:
            return plan.told(spent, Advice(policy_refused=refused))
        bellman = self.value.residual(x, plan.cost, plan.xs[-1])
        return plan.told(spent, Advice(self.value.verdict(plan.xs[-1]), refused, bellman))


def build_planning(scenario: Scenario, artifact: Artifact | None = None) -> Planning:
    """Build the optimal control problem, the solver and the guesses that `scenario` asks for.

    Args:
        scenario: what is to be done.
        artifact: loaded already, in place of the one that the scenario names.

    Raises:
        ConfigError: guess `policy` or `trajectory`, or terminal `value`, without an artifact that has such a head;
            guess `reference` of a task that does not walk.
        ArtifactError: the artifact does not belong to this robot and task.
    """
    config, robot, task = scenario.config.planner, scenario.robot, scenario.task
    name = scenario.config.artifact
    if artifact is None and name is not None:
        artifact = load_artifact(artifact_folder(name), robot, task)
    hard = config.kind == "csqp"
    terminal = build_terminal(config.terminal, task, artifact)
    ocp = task.ocp(config.horizon, terminal, hard_limits=hard)
    check = PlanCheck(robot.limits, config.limit_window, config.limit_slack, hard_limits=hard)
    planner: Planner = CsqpPlanner(ocp, check) if hard else DdpPlanner(ocp, check)
    sources = tuple(_source(guess, scenario, artifact, ocp) for guess in config.guesses)
    value = terminal if isinstance(terminal, ValueTerminal) else None
    return Planning(planner, sources, Budget(config.iterations, config.budget), value)


def _source(name: GuessName, scenario: Scenario, artifact: Artifact | None, ocp: Ocp) -> GuessSource:
    file, key, task = scenario.file, "planner.guesses", scenario.task
    if name == "reference":
        if not isinstance(task, WalkTask):
            raise ConfigError(file, key, name, f"needs a task of kind walk, and this one is {task.kind}")
        return PredictedGuess(name, referred(task, ocp), ocp)
    if name not in LEARNED:
        return HoldGuess() if name == "hold" else ShiftGuess()
    if artifact is None:
        raise ConfigError(file, key, name, f"needs `artifact:` with a {name} head")
    return (
        PolicyGuess(Policy(artifact))
        if name == "policy"
        else PredictedGuess(name, Trajectory(artifact, ocp.horizon), ocp)
    )
