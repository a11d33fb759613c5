"""Labels: what a solve says at its nodes is of the problem alone, not of how the solver got there."""

import numpy as np
import pytest

from dpvp_training.systems.dpvp.label import Labeller, Study


def test_labels_are_free_of_what_regularised_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solves end with whatever regularisation their last iteration needed; it is added to V_xx and shrinks K."""
    labeller = Labeller(Study("unicycle", (), None, 60, 60, 1, approach=20))
    task, rng, solver, hold = labeller._problem.task, np.random.default_rng(0), labeller._solver, labeller._hold
    start, goal = task.sample_state(rng), task.sample_goal(rng)
    labeller.solve(start, goal, [], [])
    plain, spoiled = labeller._nodes(goal), []

    def spoil_and_hold(xs: list[np.ndarray], us: list[np.ndarray]) -> None:
        solver.preg = solver.dreg = 1e3
        solver.computeDirection(True)
        spoiled.append(float(np.max(np.abs(np.array(solver.Vxx[0]) - plain.v_xx[0]))))
        hold(xs, us)

    monkeypatch.setattr(labeller, "_hold", spoil_and_hold)
    labeller.solve(start, goal, [], [])
    again = labeller._nodes(goal)
    assert spoiled[0] > 100.0
    for name, array in plain.arrays().items():
        np.testing.assert_allclose(again.arrays()[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
