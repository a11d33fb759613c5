"""What dpvp finds out about the machine: levels, messages that say how to mend things, and probes that may crash."""

from __future__ import annotations

import resource
import sys
import types
from pathlib import Path

import pytest

from dpvp import environment, pins, realtime
from dpvp.environment import Finding, Level, examine, require_messages, require_pins
from dpvp.errors import EnvironmentProblem
from dpvp.interfaces import INTERFACES
from dpvp.pins import SOLVER_PACKAGES, pinned_versions


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let the packages named here (with _ for -) seem installed in these versions."""
    real = pins.installed_version
    pretended = {name.replace("_", "-"): version for name, version in versions.items()}
    for module in (pins, environment):
        monkeypatch.setattr(
            module, "installed_version", lambda name: pretended[name] if name in pretended else real(name)
        )


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def messages_package(fields: dict[str, dict[str, str]]) -> types.ModuleType:
    """A stand-in for linear_feedback_controller_msgs.msg."""
    module = types.ModuleType("linear_feedback_controller_msgs.msg")
    module.__file__ = "/somewhere/msg/__init__.py"
    for message, content in fields.items():
        setattr(
            module, message, types.SimpleNamespace(get_fields_and_field_types=lambda content=content: dict(content))
        )
    return module


@pytest.mark.parametrize(("level", "ok"), [(Level.OK, True), (Level.WARNING, True), (Level.FAILED, False)])
def test_a_warning_is_good_enough(level: Level, ok: bool) -> None:
    assert Finding("name", level, "found", "expected").ok is ok


def test_this_environment_has_what_dpvp_needs() -> None:
    findings = by_name(examine())
    assert not [finding for finding in findings.values() if not finding.ok]
    assert {"Python", "solver", "rclpy", *INTERFACES, *SOLVER_PACKAGES} <= set(findings)
    assert all(finding.remedy for finding in findings.values() if finding.level is not Level.OK)


def test_the_pins_of_this_environment_are_accepted() -> None:
    require_pins()


@pytest.mark.parametrize("name", SOLVER_PACKAGES)
@pytest.mark.parametrize(("version", "found"), [("9.9.9", "9.9.9"), (None, "is not installed")])
def test_a_wrong_solver_package_is_refused_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str | None, found: str
) -> None:
    pretend(monkeypatch, **{name.replace("-", "_"): version})
    pinned = pinned_versions()[name]
    with pytest.raises(EnvironmentProblem) as caught:
        require_pins()
    message = str(caught.value)
    assert message.startswith(f"{name} {found}")
    assert f"{name}=={pinned}" in message
    assert f"{sys.executable} -m pip install -c " in message
    failed = by_name(environment._solver_versions())[name]
    assert (failed.level, failed.expected) == (Level.FAILED, pinned)


def test_another_version_of_another_package_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tyro="0.0.1", rich=None)
    (finding,) = environment._other_versions()
    assert finding.level is Level.WARNING
    assert finding.found == "tyro 0.0.1"
    assert finding.remedy.endswith(" tyro")


def test_a_local_version_is_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, torch="2.13.0+cpu")
    assert "torch" not in environment._other_versions()[0].found


def test_pins_follow_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpu.txt"
    file.write_text(
        "# a comment\n\nfirst==1.0\n"
        'second==2.0 ; python_version < "3.0"\n'
        'second==2.1 ; python_version >= "3.0"\n'
        'third==3.0 ; python_version < "3.0"\n'
    )
    monkeypatch.setattr(pins, "_constraints", lambda: file)
    assert pinned_versions.__wrapped__() == {"first": "1.0", "second": "2.1"}


def test_a_missing_constraints_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "_constraints", lambda: tmp_path / "cpu.txt")
    with pytest.raises(EnvironmentProblem, match=r"cpu\.txt is missing"):
        pinned_versions.__wrapped__()


def test_a_ros_machine_is_compared_with_its_own_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    pretend(monkeypatch, ros_rclpy=None)
    assert pins._constraints().name == "ros.txt"
    monkeypatch.delenv("ROS_DISTRO")
    assert pins._constraints().name == "cpu.txt"


def test_another_pinocchio_on_the_library_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libeigenpy.so").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}")
    with pytest.raises(EnvironmentProblem, match=r"libeigenpy\.so would be loaded .*export LD_LIBRARY_PATH=") as caught:
        require_pins()
    (finding,) = environment._solver_libraries()
    assert (finding.level, finding.found) == (Level.FAILED, str(tmp_path / "libeigenpy.so"))
    first = str(caught.value).partition("LD_LIBRARY_PATH=")[2].partition(":")[0]
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{first}:{tmp_path}")
    require_pins()


def test_another_pinocchio_on_the_module_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pinocchio").mkdir()
    (tmp_path / "pinocchio" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "pinocchio", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentProblem, match=f"{tmp_path}/pinocchio/__init__.py would be loaded"):
        require_pins()


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("pass", ""),
        ("raise MemoryError('no room')", "MemoryError: no room"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with signal 11"),
    ],
)
def test_a_probe_survives_what_it_tries(code: str, answer: str) -> None:
    assert environment._probe(code) == answer


def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PROBE_SECONDS", 0.5)
    assert environment._probe("import time; time.sleep(60)") == "no answer within 0.5 s"


@pytest.mark.parametrize("package", INTERFACES)
def test_missing_messages_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.msg", raising=False)
    with pytest.raises(EnvironmentProblem, match="make msgs") as caught:
        require_messages()
    assert f"apt install ros-jazzy-{package.replace('_', '-')}" in str(caught.value)


def test_messages_with_other_fields_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    package = INTERFACES["linear_feedback_controller_msgs"]
    right = {name.removeprefix("msg."): fields for name, fields in package.items()}
    stand_in = messages_package({**right, "Control": {**right["Control"], "feedforward": "std_msgs/Float32MultiArray"}})
    monkeypatch.setitem(sys.modules, "linear_feedback_controller_msgs", types.ModuleType("parent"))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    with pytest.raises(EnvironmentProblem, match=r"Control in /somewhere/msg.* has fields .*Float32MultiArray"):
        require_messages()
    stand_in.Control = messages_package(right).Control
    require_messages()
    del stand_in.Contact
    with pytest.raises(EnvironmentProblem, match=r"Contact .*has fields None"):
        require_messages()


@pytest.mark.parametrize(("limit", "level"), [(0, Level.WARNING), (98, Level.OK), (resource.RLIM_INFINITY, Level.OK)])
def test_real_time_is_advice_only(monkeypatch: pytest.MonkeyPatch, limit: int, level: Level) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    monkeypatch.setattr(realtime, "_capable", lambda capability: False)
    findings = by_name(environment._real_time())
    assert findings["real-time priority"].level is level
    assert all(finding.ok for finding in findings.values())


def test_who_may_everything_needs_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, 0))
    monkeypatch.setattr(realtime, "_capable", lambda capability: True)
    findings = by_name(environment._real_time())
    assert {findings[name].level for name in ("real-time priority", "locked memory, MiB")} == {Level.OK}


@pytest.mark.parametrize(
    ("question", "answer", "name", "remedy"),
    [
        ("is_real_time", False, "kernel", "boot a PREEMPT_RT kernel"),
        ("governor", "powersave", "frequency governor", "cpupower frequency-set -g performance"),
        ("swap_areas", ["/dev/sda2"], "swap", "swapoff -a"),
        ("real_time_share", 1.0, "real-time share", "sched_rt_runtime_us=950000"),
        ("real_time_share", 0.0, "real-time share", "sched_rt_runtime_us=950000"),
        ("group_budget", 0, "real-time cgroup", "cpu.rt_runtime_us"),
        ("clock_source", "hpet", "clock source", "clocksource=tsc"),
    ],
)
def test_what_spoils_timing_comes_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, question: str, answer: object, name: str, remedy: str
) -> None:
    monkeypatch.setattr(environment.kernel, question, lambda: answer)
    finding = by_name(environment._real_time())[name]
    assert finding.level is Level.WARNING
    assert remedy in finding.remedy
