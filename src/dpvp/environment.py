"""What this machine and this installation offer, compared with what dpvp needs.

`examine` answers with one `Finding` for each question and never raises for what it finds; `require_pins` and
`require_messages` are the two questions that a program asks before it starts. Importing this module loads neither
crocoddyl nor rclpy: what can crash is tried in a process of its own.
"""

from __future__ import annotations

import enum
import functools
import math
import os
import subprocess
import sys
from dataclasses import dataclass

from dpvp import kernel
from dpvp.errors import EnvironmentProblem
from dpvp.interfaces import CHECK, INTERFACES, how_to_get, interface_problem
from dpvp.pins import SOLVER_PACKAGES, install_command, installed_version, pinned_versions, solver_shadow
from dpvp.realtime import GROUP, LIMITS, RANKS, highest_priority, lockable_memory

_PYTHONS = ((3, 10), (3, 12))
_CORES = 4  # planner, world or driver, controller, everything else
_PROBE_SECONDS = 120.0
_KERNEL = "boot a PREEMPT_RT kernel for hardware (linux-image-rt of Debian, Ubuntu Pro's real-time kernel)"
_FEW_CORES = "expect later plans under load"
_SPARE = 6  # cores with which two can be kept for solver and plant
_ISOLATE = (
    f"two, of {_SPARE} or more",
    "boot with isolcpus=N,M nohz_full=N,M: then only solver and plant use these cores",
)
_GOVERNOR = ("performance", "cpupower frequency-set -g performance")
_SHARE = "sysctl kernel.sched_rt_runtime_us=950000: real-time processes run, and one that spins leaves a way in"
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies")
_CLOCK = "boot with clocksource=tsc tsc=reliable if the processor's is good: others cost microseconds a look"

# Builds every residual that the tasks use, and lets each compute once: a wrong pin raises or crashes here.
_RESIDUALS_PROBE = """
import numpy as np, pinocchio, crocoddyl, mim_solvers
model = pinocchio.buildSampleModelManipulator()
state = crocoddyl.StateMultibody(model)
actuation = crocoddyl.ActuationModelFull(state)
costs = crocoddyl.CostModelSum(state, actuation.nu)
residuals = {
    "state": crocoddyl.ResidualModelState(state, state.zero(), actuation.nu),
    "control": crocoddyl.ResidualModelControl(state, actuation.nu),
    "gravity": crocoddyl.ResidualModelControlGrav(state, actuation.nu),
    "frame": crocoddyl.ResidualModelFrameTranslation(state, model.nframes - 1, np.zeros(3), actuation.nu),
}
for name, residual in residuals.items():
    costs.addCost(name, crocoddyl.CostModelResidual(state, residual), 1.0)
running = crocoddyl.DifferentialActionModelFreeFwdDynamics(state, actuation, costs)
running = crocoddyl.IntegratedActionModelEuler(running, 0.01)
problem = crocoddyl.ShootingProblem(state.zero(), [running] * 2, running)
solver = mim_solvers.SolverCSQP(problem)
solver.solve([state.zero()] * 3, [np.zeros(actuation.nu)] * 2, 1)
assert np.isfinite(solver.cost), "the cost is not finite"
"""


class Level(enum.Enum):
    """How much a finding matters: `WARNING` costs quality, `FAILED` means that dpvp will not work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The answer to one question about the machine or the installation.

    Attributes:
        name: what was looked at.
        level: whether that is good enough.
        found: what is there.
        expected: what would be right.
        remedy: how to mend it; empty when there is nothing to mend.
    """

    name: str
    level: Level
    found: str
    expected: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether dpvp works with what was found (a warning is good enough)."""
        return self.level is not Level.FAILED


def examine() -> list[Finding]:
    """Ask every question; takes some seconds, because it starts processes that try what could crash."""
    parts = (_python, _solver_versions, _solver_libraries, _other_versions, _residuals, _rclpy, _messages, _real_time)
    return [finding for part in parts for finding in part()]


def require_pins() -> None:
    """Refuse to go on with other solver packages than the pinned ones; looks at files only and loads nothing.

    Raises:
        EnvironmentProblem: naming the package, both versions and the command that mends it; or the file of another
            installation (apt's pinocchio, after `source /opt/ros/.../setup.bash`) that would be loaded in its place.
    """
    pinned = pinned_versions()
    for name in SOLVER_PACKAGES:
        installed = installed_version(name)
        if installed != pinned[name]:
            raise EnvironmentProblem(
                f"{name} {installed or 'is not installed'}: dpvp works with {name}=={pinned[name]} only, others import "
                f"and then crash; mend it with: {install_command(SOLVER_PACKAGES)}"
            )
    shadow, remedy = solver_shadow()
    if shadow:
        raise EnvironmentProblem(f"{shadow} would be loaded beside pip's crocoddyl and crash it; {remedy}")


def require_messages() -> None:
    """Make sure that the message packages can be imported and have the fields that dpvp reads and writes.

    Raises:
        EnvironmentProblem: saying what is missing or different and how to get it.
    """
    for package in INTERFACES:
        problem = interface_problem(package)
        if problem:
            raise EnvironmentProblem(f"{problem}; {how_to_get(package)}")


def _judge(name: str, good: bool, found: str, expected: str, remedy: str, bad: Level = Level.FAILED) -> Finding:
    return Finding(name, Level.OK if good else bad, found, expected, "" if good else remedy)


def _python() -> list[Finding]:
    good = _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]
    found = ".".join(str(n) for n in sys.version_info[:3])
    return [_judge("Python", good, found, "3.10 to 3.12", "make clean, then make venv PYTHON=/path/to/python3.11")]


def _solver_versions() -> list[Finding]:
    remedy = install_command(SOLVER_PACKAGES)
    versions = ((name, installed_version(name), pinned_versions()[name]) for name in SOLVER_PACKAGES)
    return [
        _judge(name, installed == pinned, installed or "not installed", pinned, remedy)
        for name, installed, pinned in versions
    ]


def _solver_libraries() -> list[Finding]:
    shadow, remedy = solver_shadow()
    return [_judge("solver libraries", not shadow, shadow or "from the wheels", "from the wheels", remedy)]


def _other_versions() -> list[Finding]:
    """One finding for all other pinned packages; those that are not installed belong to extras nobody asked for."""
    others = {name: version for name, version in pinned_versions().items() if name not in SOLVER_PACKAGES}
    installed = {name: found for name in others if (found := installed_version(name))}
    wrong = [name for name, found in installed.items() if found.partition("+")[0] != others[name].partition("+")[0]]
    if not wrong:
        return [Finding("other packages", Level.OK, f"{len(installed)} as pinned", "as pinned")]
    found = ", ".join(f"{name} {installed[name]}" for name in wrong)
    expected = ", ".join(f"{name} {others[name]}" for name in wrong)
    return [Finding("other packages", Level.WARNING, found, expected, install_command(wrong))]


def _residuals() -> list[Finding]:
    problem = _probe(_RESIDUALS_PROBE)
    expected = "every residual dpvp uses can be built"
    return [_judge("solver", not problem, problem or "builds and solves", expected, install_command(SOLVER_PACKAGES))]


def _rclpy() -> list[Finding]:
    problem = _probe("import rclpy")
    remedy = f"{install_command(['ros-rclpy[fastrtps]', 'ros-common-interfaces'])}, or source /opt/ros/jazzy/setup.bash"
    return [_judge("rclpy", not problem, problem or "can be imported", "can be imported", remedy)]


def _messages() -> list[Finding]:
    return [_interface(package) for package in INTERFACES]


def _interface(package: str) -> Finding:
    problem = _probe(CHECK.format(package))
    return _judge(package, not problem, problem or "as expected", ", ".join(INTERFACES[package]), how_to_get(package))


def _real_time() -> list[Finding]:
    """What a control loop on hardware wants; simulation works without, so nothing here is a failure."""
    priority, memory = highest_priority(), lockable_memory()
    wanted, cores, isolated = max(RANKS.values()), len(os.sched_getaffinity(0)), kernel.isolated_cores()
    share, budget, swap = kernel.real_time_share(), kernel.group_budget(), kernel.swap_areas()
    governor, clock, model = kernel.governor(), kernel.clock_source(), kernel.preemption()
    advice = functools.partial(_judge, bad=Level.WARNING)
    return [
        advice("real-time priority", priority >= wanted, f"{priority:g}", f"{wanted} or more", LIMITS),
        advice("locked memory, MiB", math.isinf(memory), f"{memory / 2**20:g}", "inf", LIMITS),
        advice("kernel", kernel.is_real_time(), f"{os.uname().release}, preemption {model}", "PREEMPT_RT", _KERNEL),
        advice("processor cores", cores + len(isolated) >= _CORES, str(cores), f"{_CORES} or more", _FEW_CORES),
        advice("isolated cores", bool(isolated) or cores < _SPARE, str(sorted(isolated)), *_ISOLATE),
        advice("frequency governor", governor in ("performance", ""), governor or "not adjustable", *_GOVERNOR),
        advice("swap", not swap, ", ".join(swap) or "none", "none", "swapoff -a; locked memory is not swapped"),
        advice("real-time share", 0.0 < share < 1.0, f"{share:.0%} of a core", "less than 100 %, not 0", _SHARE),
        advice("real-time cgroup", budget != 0, "no accounts" if budget is None else f"{budget} us", "not 0", GROUP),
        advice("clock source", clock not in _SLOW_CLOCKS, clock or "unknown", "tsc or another fast one", _CLOCK),
    ]


def _probe(code: str) -> str:
    """Run `code` in a Python of its own; return "" when it ends well, else its last words."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_SECONDS:g} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"crashed with signal {-done.returncode}"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
