"""ValueTerminal where a state has more numbers than directions: a free body, whose attitude is a quaternion."""

from __future__ import annotations

from typing import Any

import crocoddyl
import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpvp.learned.contract import EnsembleSpec, TrainingRange
from dpvp.learned.value import Derivatives, Estimate
from dpvp.plan import Verdict
from dpvp.planning.terminal import ValueTerminal
from dpvp.tasks.task import TerminalWeights

Array = NDArray[np.float64]
GOAL = np.array([0.1, -0.2, 0.3])
BOX = np.array([0.5] * 3 + [0.3] * 3 + [1.0] + [0.5] * 6)


def free_body() -> pinocchio.Model:
    model = pinocchio.Model()
    joint = model.addJoint(0, pinocchio.JointModelFreeFlyer(), pinocchio.SE3.Identity(), "body")
    model.appendBodyToJoint(joint, pinocchio.Inertia.Random(), pinocchio.SE3.Identity())
    model.addFrame(pinocchio.Frame("centre", joint, 0, pinocchio.SE3.Identity(), pinocchio.FrameType.OP_FRAME))
    return model


class Hover:
    """As much of a task as the terminal asks for."""

    goal_size = 3

    def __init__(self) -> None:
        self.space = crocoddyl.StateMultibody(free_body())
        self.state_bounds = np.full(12, -np.inf), np.full(12, np.inf)

    def terminal_model(self, weights: TerminalWeights) -> tuple[Any, Any]:
        frame = self.space.pinocchio.getFrameId("centre")
        goal = crocoddyl.ResidualModelFrameTranslation(self.space, frame, GOAL, 6)
        costs = crocoddyl.CostModelSum(self.space, 6)
        costs.addCost("goal", crocoddyl.CostModelResidual(self.space, goal), weights.goal)
        actuation = crocoddyl.ActuationModelFull(self.space)
        dynamics = crocoddyl.DifferentialActionModelFreeFwdDynamics(self.space, actuation, costs)
        return crocoddyl.IntegratedActionModelEuler(dynamics, 0.0), goal


class Upright:
    """V = 2 + half the squares of attitude and velocity, as one member says."""

    ranges = TrainingRange(np.stack([-BOX, BOX]), np.array([[-1.0] * 3, [1.0] * 3]))
    ensemble = EnsembleSpec(members=1, spread=0.1, floor=0.0)

    def value(self, x: Array, goal: Array) -> Estimate:
        rows = self.derivatives(x, goal)
        return Estimate(rows.value, rows.members, rows.spread)

    def derivatives(self, x: Array, goal: Array) -> Derivatives:
        r = np.concatenate([x[3:6], x[7:], [2.0]])
        slope = np.zeros((10, 12))
        slope[:3, 3:6] = 0.5 * (x[6] * np.eye(3) + pinocchio.skew(x[3:6]))
        slope[3:9, 6:] = np.eye(6)
        value = float(0.5 * r @ r)
        return Derivatives(value, (value,), 0.0, r, slope, r @ slope, slope.T @ slope)


@pytest.fixture(scope="module")
def terminal() -> ValueTerminal:
    task: Any = Hover()
    value: Any = Upright()
    terminal = ValueTerminal(task, value, TerminalWeights(goal=3.0))
    terminal.aim(GOAL)
    return terminal


def cost(terminal: ValueTerminal, x: Array) -> float:
    data = terminal.createData()
    terminal.calc(data, x)
    return float(data.cost)


@given(seed=st.integers(0, 2**32 - 1), outside=st.floats(0.01, 0.05))
def test_gradient_is_taken_in_the_tangent(seed: int, outside: float, terminal: ValueTerminal) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    vector = 0.2 * axis / np.linalg.norm(axis)
    vector[0] = 0.3 + outside  # the margin ends at 0.36
    x = np.concatenate([rng.uniform(-0.4, 0.4, 3), vector, [np.sqrt(1.0 - vector @ vector)], rng.uniform(-0.4, 0.4, 6)])
    x[1] = 0.5 + outside
    data = terminal.createData()
    terminal.calcDiff(data, x)
    step = 1e-6 * np.eye(12)
    ahead, behind = ([cost(terminal, terminal.state.integrate(x, s * d)) for d in step] for s in (1.0, -1.0))
    assert np.allclose(data.Lx, (np.array(ahead) - behind) / 2e-6, atol=1e-6, rtol=1e-5)
    assert terminal.verdict(x) is Verdict.BLENDED


def test_state_without_bounds_has_no_constraints(terminal: ValueTerminal) -> None:
    assert (terminal.ng, terminal.ng_T) == (0, 0)
    assert terminal.createData().Gx.size == 0
