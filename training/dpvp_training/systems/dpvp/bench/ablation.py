"""Study: what the orders of the Sobolev loss and the structure of the value are worth, on the same labelled nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from dpvp.errors import EnvironmentProblem
from dpvp.plan import Array
from dpvp.view.plots import BLUE, COLOURS, FAINT, GREEN, INK, ORANGE, STYLE, save_png
from dpvp_training.core.executor import Executor, make_executor
from dpvp_training.core.fit import Fit, FitConfig, Losses
from dpvp_training.core.losses import Relative
from dpvp_training.envs.registry import load_problem
from dpvp_training.systems.dpvp.bench.report import Results, asks_of, new_progress, output, spread
from dpvp_training.systems.dpvp.config import DpvpConfig, load_config
from dpvp_training.systems.dpvp.fitting import ValueLoss, frame_of, shape_of
from dpvp_training.systems.dpvp.label import Study, label
from dpvp_training.systems.dpvp.nets import ValueNet
from dpvp_training.systems.dpvp.nodes import Nodes
from dpvp_training.systems.dpvp.paper.config import PaperConfig
from dpvp_training.systems.dpvp.paper.fit import Labels, SobolevLoss
from dpvp_training.systems.dpvp.paper.nets import ResidualValue

Residuals = Callable[[Tensor, Tensor], Tensor]  # of x (N, nx) and f (N, nf): r (N, nr), with V = ½ ‖r‖²

# variant -> weights of value, gradient and curvature in own mode's loss; of value and gradient in the published one
OWN = {"value alone": (1.0, 0.0, 0.0), "Sobolev": (1.0, 1.0, 0.0), "Sobolev + Hessian": (1.0, 1.0, 0.1)}
PUBLISHED = {"published net, value alone": (1.0, 0.0), "published net, Sobolev": (0.5, 0.5)}
ERRORS = {
    "value": "Value",
    "gradient": "Gradient",
    "gradient_in_metric": "Gradient, in units of cost",
    "hessian": "Gauss-Newton Hessian",
}
WANTED = 5.0  # times that Sobolev's squared error of the gradient is to be below that of values alone


@dataclass(frozen=True)
class Args:
    """Errors of value, gradient and Hessian on held-out nodes, by what the nets are matched with."""

    task: str = "cartpole"
    """Benchmark system or scenario."""
    count: int = 60
    """Problems solved for each seed; all from the task's start box to its default goal."""
    seeds: int = 3
    """Repetitions, each with other starts and other nets."""
    steps: int = 2000
    """Of the optimiser, the same for all."""
    held_out: float = 0.2
    """Share of the problems that nothing is fitted to."""
    workers: int | None = None
    """Processes."""
    json: Path | None = None
    """File for the results; docs/bench/dpvp/ablation_<task>.json if absent."""
    png: Path | None = None
    """File for the picture; beside the results if absent."""


@dataclass(frozen=True, eq=False)
class Work:
    """One fit: a variant, a seed, and nodes to fit to and to measure on."""

    task: str
    variant: str
    seed: int
    steps: int
    fitted: Nodes
    held_out: Nodes


def run(args: Args) -> int:
    """Measure; exit code 0."""
    config, file = load_config(args.task, ()), output(args.json, "ablation", args.task)
    conditions = {"task": args.task, "count": args.count, "seeds": args.seeds, "steps": args.steps}
    results = Results(file, "ablation", conditions | {"study": config.study.model_dump(mode="json")})
    with make_executor("local", args.workers) as executor, new_progress() as progress:
        bar = progress.add_task("fitting", total=args.seeds * len([*OWN, *PUBLISHED]))
        for seed in range(args.seeds):
            fitted, held_out = labelled(args, config, seed, executor, progress)
            works = [Work(args.task, name, seed, args.steps, fitted, held_out) for name in [*OWN, *PUBLISHED]]
            for index, errors in executor.map(measure, works):
                if errors is None:
                    raise EnvironmentProblem(f"{works[index].variant}: the fit has taken its process down")
                results.add({"variant": works[index].variant, "seed": seed} | errors)
                text = f"{works[index].variant}: gradient error {errors['gradient']:.3f}"
                progress.update(bar, advance=1, description=text)
    results.set("verdict", verdict(results.content["rows"]))
    draw_ablation(results.content, args.png or file.with_suffix(".png"))
    Console().print(_table(results.content["rows"]))
    Console().print(_sentence(results.content["verdict"]))
    return 0


def labelled(args: Args, config: DpvpConfig, seed: int, executor: Executor, progress: Progress) -> tuple[Nodes, Nodes]:
    """Solve the problems of a seed: nodes to fit to, and nodes of other problems to measure on."""
    problem, own = load_problem(args.task, config.problem), config.study
    where = args.task, config.problem, None, own.scout_horizon, own.scout_keep, own.stride
    study = Study(*where, approach=own.approach)
    asks = asks_of(problem.task, problem.goal, args.count, seed, default=True)
    answers = spread(executor, progress, f"seed {seed}: solving", functools.partial(label, study), asks)
    solved = [answer.nodes for answer in answers if answer.nodes is not None]
    held = max(1, int(args.held_out * len(solved)))
    return Nodes.joined(solved[held:]), Nodes.joined(solved[:held])


def measure(work: Work) -> dict[str, float]:
    """Fit a net and return its errors; runs in worker processes."""
    generator = torch.Generator().manual_seed(work.seed)
    fit = _own if work.variant in OWN else _published
    value, gradient, hessian = derivatives(fit(work, generator), work.held_out)
    return errors_of(value, gradient, hessian, work.fitted, work.held_out)


def derivatives(residuals: Residuals, nodes: Nodes) -> tuple[Array, Array, Array]:
    """Return V (N,), its gradient (N, ndx) and its Gauss-Newton Hessian (N, ndx, ndx) of ½ ‖r‖² at nodes."""
    x, f = (torch.tensor(array, requires_grad=True) for array in (nodes.x, nodes.f))
    f_x = np.asarray(nodes.f_x, np.float64)
    embed, r, rows = np.eye(x.shape[1], f_x.shape[2]), residuals(x, f), list[Array]()
    for k in range(r.shape[1]):
        r_x, r_f = torch.autograd.grad(r[:, k].sum(), (x, f), retain_graph=True, materialize_grads=True)
        rows.append(r_x.numpy() @ embed + np.einsum("nf,nfx->nx", r_f.numpy(), f_x))
    found, slope = r.detach().numpy(), np.stack(rows, axis=1)
    hessian = np.einsum("nri,nrj->nij", slope, slope)
    return 0.5 * np.sum(found**2, axis=1), np.einsum("nr,nrx->nx", found, slope), hessian


def errors_of(value: Array, gradient: Array, hessian: Array, fitted: Nodes, held_out: Nodes) -> dict[str, float]:
    """Compare with the held-out nodes.

    Returns:
        Root mean square errors relative to that of what is right; of the Hessian in the Frobenius norm, and of the
        gradient also in the metric of own mode's loss, as the share of the value that it costs (`core.losses`).
    """
    config = DpvpConfig().value.loss
    relative = Relative.of(fitted.v, np.asarray(fitted.v_xx, np.float64), config.floor)
    single = [torch.as_tensor(array, dtype=torch.float32) for array in (gradient, held_out.v_x, held_out.v)]

    def share(found: Array, right: Array) -> float:
        return float(np.linalg.norm(found - right) / np.linalg.norm(right))

    return {
        "value": share(value, held_out.v),
        "gradient": share(gradient, held_out.v_x),
        "gradient_in_metric": float(relative.gradient(*single)) ** 0.5,
        "hessian": share(hessian, np.asarray(held_out.v_xx, np.float64)),
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say how many times Sobolev's squared error of the gradient is below that of values alone, seed by seed."""
    found: dict[str, Any] = {"wanted": WANTED}
    for error in ("gradient", "gradient_in_metric"):
        alone, sobolev = (np.array([row[error] for row in rows if row["variant"] == name]) for name in list(OWN)[:2])
        found[error] = {"mean_square_ratio": float(np.mean(alone**2) / np.mean(sobolev**2))}
    found["reached"] = all(found[error]["mean_square_ratio"] >= WANTED for error in ("gradient", "gradient_in_metric"))
    return found


def draw_ablation(content: Mapping[str, Any], file: Path) -> None:
    """Draw every error of every variant, one dot a seed and a line at their mean."""
    variants, conditions = [*OWN, *PUBLISHED], content["conditions"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.6))
        title = f"{conditions['task']}: errors on held-out nodes, relative, {conditions['seeds']} seeds"
        figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        for axis, (error, name) in zip(figure.subplots(1, len(ERRORS), sharey=True), ERRORS.items(), strict=True):
            axis.set_title(name)
            axis.set(xscale="log", ylim=(len(variants) - 0.5, -0.5))
            axis.set_yticks(range(len(variants)), variants)
            axis.axhline(len(OWN) - 0.5, color=FAINT, linewidth=0.9, linestyle=":")
            for place, variant in enumerate(variants):
                values = [row[error] for row in content["rows"] if row["variant"] == variant]
                colour = (FAINT, BLUE, GREEN, FAINT, ORANGE, *COLOURS)[place]
                axis.plot(values, [place] * len(values), "o", color=colour, markersize=6.0, alpha=0.75)
                axis.plot([np.mean(values)], [place], "|", color=INK, markersize=15.0, markeredgewidth=1.6)
                note: dict[str, Any] = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
                axis.annotate(f"{np.mean(values):.2g}", (np.mean(values), place), color=INK, fontsize=8.0, **note)
            axis.margins(x=0.18)
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        save_png(figure, file)


def _own(work: Work, generator: torch.Generator) -> Residuals:
    """Fit own mode's value, of a single member."""
    problem, config, nodes = load_problem(work.task), load_config(work.task, ()), work.fitted
    shape = shape_of(problem)
    size = config.value.rows or shape.nz + 2, config.value.net.width, config.value.net.depth
    net = ValueNet(frame_of(shape, nodes), 1, *size, generator)
    weights = dict(zip(("value", "gradient", "curvature"), OWN[work.variant], strict=True))
    loss = ValueLoss(net, nodes, config.value.loss.model_copy(update=weights))
    _fit(net, loss, work, generator)
    net.double()
    return lambda x, f: net(x[None], f[None])[0]


def _published(work: Work, generator: torch.Generator) -> Residuals:
    """Fit the published net, which sees nothing but the state, with costs in units of their mean as on the arm."""
    nodes, constants = work.fitted, PaperConfig()
    unit, sees_state = float(np.mean(nodes.v)), nodes.x.shape[1] == nodes.v_x.shape[1]
    s, s_x = (nodes.x, np.tile(np.eye(nodes.x.shape[1]), (len(nodes), 1, 1))) if sees_state else (nodes.f, nodes.f_x)
    net = ResidualValue(s.shape[1], constants.nets.value, constants.nets.residuals, generator)
    value, gradient = PUBLISHED[work.variant]
    config = constants.fit.model_copy(update={"value": value, "gradient": gradient})
    loss = SobolevLoss(net, Labels(s, np.asarray(s_x, np.float64), nodes.v / unit, nodes.v_x / unit), config)

    def of_rows(rows: Tensor, _: torch.Generator) -> Losses:
        return loss(rows[0])

    _fit(net, of_rows, work, generator)
    root = (2.0 * unit) ** 0.5
    return lambda x, f: root * net(x if sees_state else f)


def _fit(net: torch.nn.Module, loss: Callable[..., Losses], work: Work, generator: torch.Generator) -> None:
    """Take `work.steps` steps, or a few more to end with an epoch, and leave the net with the mean of its weights."""
    config = load_config(work.task, ())
    rows = len(work.fitted)
    epochs = -(-work.steps // max(1, rows // min(config.batch, rows)))
    fit = Fit(net, loss, rows, 1, FitConfig(epochs=epochs, batch=config.batch, rate=config.rate), generator)
    while not fit.finished:
        fit.epoch()
    net.load_state_dict(fit.result)


def _sentence(found: Mapping[str, Any]) -> str:
    plain, weighed = (found[error]["mean_square_ratio"] for error in ("gradient", "gradient_in_metric"))
    return (
        f"Sobolev's squared error of the gradient is {plain:.1f} times below that of values alone, {weighed:.1f} times "
        f"in units of cost: at least {found['wanted']:g} times {'is reached' if found['reached'] else 'is NOT reached'}"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="errors on held-out nodes, mean over the seeds")
    table.add_column("matched with")
    for name in ERRORS.values():
        table.add_column(name, justify="right")
    for variant in [*OWN, *PUBLISHED]:
        means = (np.mean([row[error] for row in rows if row["variant"] == variant]) for error in ERRORS)
        table.add_row(variant, *(f"{mean:.3g}" for mean in means))
    return table
