"""Where a result comes from: what the run was, the commit of the source, the versions of the libraries, the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from dpvp.config import Config, read_yaml
from dpvp.errors import ConfigError
from dpvp.pins import installed_version
from dpvp_training.core.checkpoint import writable, written

LIBRARIES = (
    "dpvp", "dpvp_training", "numpy", "torch", "crocoddyl", "mim-solvers", "pin", "mujoco", "onnx", "onnxscript",
    "onnxruntime", "joblib", "ray",
)  # fmt: skip


@dataclass(frozen=True)
class RunSpec:
    """What a run is: whoever resumes it must say the same, except for the command."""

    system: str
    task: str
    config: Config
    command: Sequence[str]


def source_commit() -> str:
    """Return the commit of the checkout that this package runs from, `-dirty` where it was edited, or `unknown`."""
    here = Path(__file__).resolve()
    # an environment may lie in the checkout of another project: ask for the commit only where git knows this file
    if _git(here.parent, "ls-files", "--error-unmatch", here.name):
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "unknown"
    return "unknown"


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on, by name."""
    installed = {name: version for name in LIBRARIES if (version := installed_version(name))}
    return {"python": platform.python_version(), **installed}


def note_start(path: Path, spec: RunSpec) -> None:
    """Write into the run folder at `path` that `spec` starts or goes on here and now.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    text = yaml.safe_dump(spec.config.model_dump(mode="json"), sort_keys=False)
    with written(path / "config.yaml") as stream:
        stream.write(f"# {spec.system} on {spec.task}, resolved\n{text}".encode())
    file = path / "environment.json"
    starts = json.loads(file.read_text(encoding="utf-8"))["starts"] if file.exists() else []
    start = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": source_commit(),
        "versions": library_versions(),
        "machine": _machine(),
    }
    with written(file) as stream:
        content = {"system": spec.system, "task": spec.task, "starts": [*starts, start]}
        stream.write(json.dumps(content, indent=2).encode() + b"\n")
    with writable(path / "command.txt"), (path / "command.txt").open("a", encoding="utf-8") as commands:
        commands.write(f"{shlex.join(spec.command)}\n")


def check_owner(path: Path, spec: RunSpec, free: Collection[str]) -> None:
    """Refuse the run folder of another `spec`; `free` names the keys of the configuration that may differ, dotted.

    Raises:
        ConfigError: naming the first key that differs, or saying that `path` holds no run.
    """
    file = path / "environment.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found = {"system": content["system"], "task": content["task"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(file, "(file)", type(error).__name__, "must be what a training run left there") from None
    _compare(file, found, {"system": spec.system, "task": spec.task}, ())
    file = path / "config.yaml"
    _compare(file, read_yaml(file), spec.config.model_dump(mode="json"), free)


def _compare(file: Path, found: dict[str, Any], asked: dict[str, Any], free: Collection[str]) -> None:
    recorded, wanted = dict(_leaves(found)), dict(_leaves(asked))
    for key in [*recorded, *wanted]:
        before, now = recorded.get(key, "(absent)"), wanted.get(key, "(absent)")
        if before != now and key not in free:
            raise ConfigError(file, key, before, f"is {now!r} now: a run goes on as it began, or start a new one")


def _leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of everything that is not a mapping."""
    if not isinstance(content, dict):
        yield prefix, content
        return
    for key, value in content.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))


def _machine() -> dict[str, Any]:
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "system": platform.platform(),
        "processor": processor[1] if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _git(folder: Path, *words: str) -> str:
    """Return what git answers; nothing where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
