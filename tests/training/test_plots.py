"""The picture of a training run: every panel shows its data, follows them, and says so where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from dpvp.view.plots import BLUE, GREEN, ORANGE, RED
from dpvp_training.systems.dpvp.plots import RunPicture, ValueSlice, draw_run, read_curves


def curves() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Three rounds of 20 epochs, a policy of 30, and what labels took before each round."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    epochs = np.arange(20.0)
    for k in range(3):
        steps = 6.0 + 26.0 * k + epochs
        for name, scale in (("value", 3e-3), ("gradient", 2e-2), ("curvature", 6e-2), ("total", 3e-2)):
            found[f"losses/value-{k}/{name}"] = steps, scale * (np.exp(-epochs / 4.0) + 0.05) / (k + 1)
    for name, scale in (("control", 4e-2), ("gain", 2e-1)):
        found[f"losses/policy/{name}"] = 90.0 + np.arange(30.0), scale * (np.exp(-np.arange(30.0) / 6.0) + 0.03)
    batches = np.concatenate([np.arange(6.0) + 26.0 * k for k in range(3)])
    found["charts/iterations"] = batches, np.repeat([14.0, 6.0, 4.0], 6) + np.sin(batches)
    return found


def value_slice() -> ValueSlice:
    first, second = np.linspace(-1.0, 1.0, 41), np.linspace(-2.0, 2.0, 31)
    labels = first[None, :] ** 2 + 0.3 * second[:, None] ** 2 + 0.5 * first[None, :] * second[:, None]
    learned = labels * (1.0 + 0.1 * np.sin(4.0 * first[None, :]))
    labels[25:, 36:] = np.nan
    return ValueSlice(("pole angle [rad]", "cart position [m]"), first, second, learned, labels, (0.0, 0.0))


def example() -> RunPicture:
    rng, t = np.random.default_rng(0), np.linspace(0.0, 6.0, 121)
    optimal = rng.uniform(0.3, 1.2, (8, 1)) * np.exp(-rng.uniform(0.8, 1.4, (8, 1)) * t)
    return RunPicture(
        title="cartpole: held-out errors: value 1.2 %, gradient 3.4 %",
        curves=curves(),
        value=value_slice(),
        cold=rng.poisson(9.0, 300) + 2.0,
        warm=rng.poisson(1.5, 300) + 2.0,
        t=t,
        learned=optimal * (1.0 + 0.3 * np.sin(3.0 * t)) + 2e-3,
        optimal=optimal,
        error="‖e‖",
        tolerance=0.02,
    )


def pixels(picture: RunPicture, folder: Path) -> np.ndarray:
    draw_run(picture, folder / "plot.png")
    assert [file.name for file in folder.iterdir()] == ["plot.png"]
    return matplotlib.image.imread(folder / "plot.png")[:, :, :3]


def panel(image: np.ndarray, row: int, column: float) -> np.ndarray:
    """Part of the picture: rows from the top, columns as shares of the width, each half of it wide."""
    height, width = image.shape[:2]
    top, bottom = ((0.03, 0.33), (0.34, 0.67), (0.69, 1.0))[row]
    return image[int(top * height) : int(bottom * height), int(column * width) : int((column + 0.5) * width)]


def count(image: np.ndarray, colour: str) -> int:
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0
    return int((np.abs(image - wanted).max(axis=2) < 0.04).sum())


def test_every_panel_shows_its_data(tmp_path: Path) -> None:
    image = pixels(example(), tmp_path)
    assert min(image.shape[:2]) > 1200
    for colour in (BLUE, ORANGE, GREEN):
        assert count(panel(image, 0, 0.0), colour) > 50  # losses
    assert count(panel(image, 0, 0.5), BLUE) > 1000  # bars
    for column in (0.0, 0.5):
        assert count(panel(image, 1, column), GREEN) > 20  # the equilibrium
    assert count(panel(image, 2, 0.0), BLUE) > 1000
    assert count(panel(image, 2, 0.0), ORANGE) > 1000
    assert count(panel(image, 2, 0.5), BLUE) > 100
    assert count(panel(image, 2, 0.5), GREEN) > 50


def test_the_picture_follows_the_data(tmp_path: Path) -> None:
    run = example()
    image = pixels(run, tmp_path)
    wrong = pixels(replace(run, value=replace(value_slice(), learned=3.0 * value_slice().learned)), tmp_path)
    assert np.any(panel(image, 1, 0.0) != panel(wrong, 1, 0.0))
    slow = pixels(replace(run, warm=run.cold), tmp_path)
    assert count(panel(slow, 2, 0.0), BLUE) != count(panel(image, 2, 0.0), BLUE)


def test_few_labels_make_a_map_and_none_leave_the_value_alone(tmp_path: Path) -> None:
    run, full = example(), value_slice()
    few, none = np.full_like(full.labels, np.nan), np.full_like(full.labels, np.nan)
    few[::5, ::5] = full.labels[::5, ::5]
    for labels, shown in ((few, True), (none, False)):
        image = pixels(replace(run, value=replace(full, labels=labels)), tmp_path)
        assert count(panel(image, 1, 0.0), GREEN) > 20
        assert (count(panel(image, 1, 0.5), GREEN) > 20) == shown
    assert len(pixels(replace(run, value=None), tmp_path)) < 0.75 * len(image)


@pytest.mark.parametrize("outlier", [5.0, 300.0])
def test_one_long_solve_does_not_squeeze_the_others(tmp_path: Path, outlier: float) -> None:
    run = example()
    image = pixels(replace(run, cold=np.append(run.cold[:-1], outlier)), tmp_path)
    assert count(panel(image, 2, 0.0), BLUE) > 1000


def test_a_run_without_anything_says_so(tmp_path: Path) -> None:
    none, nothing = np.zeros(0), np.zeros((0, 0))
    empty = RunPicture("nothing", {}, None, none, none, none, nothing, nothing, "m", 0.01)
    image = pixels(empty, tmp_path)
    assert all(count(image, colour) == 0 for colour in (BLUE, ORANGE, GREEN, RED))


def test_curves_are_read_from_the_run(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"step": 1, "time": 0.5, "charts/iterations": 7.0}\n'
        '{"step": 2, "time": 0.6, "losses/policy/gain": 0.25, "losses/policy/control": null}\n'
        '{"step": 4, "time": 0.9, "losses/policy/gain": 0.125}\n'
    )
    found = read_curves(file)
    assert set(found) == {"charts/iterations", "losses/policy/gain", "losses/policy/control"}
    assert [array.tolist() for array in found["losses/policy/gain"]] == [[2.0, 4.0], [0.25, 0.125]]
    assert np.isnan(found["losses/policy/control"][1]).all()
