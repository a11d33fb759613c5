"""Runs the processes of a bring-up on this machine without `ros2 launch`: what `dpvp run` uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from dpvp.ros.lifeline import lifeline
from dpvp.ros.processes import ProcessSpec

PATIENCE = (20.0, 5.0)  # s granted after SIGINT (the recorder draws its picture) and after SIGTERM


def ros_environment() -> dict[str, str]:
    """Return the environment for nodes: as it is, but private to this machine unless the user said otherwise."""
    defaults = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "OMP_NUM_THREADS": "1"}
    return defaults | dict(os.environ)


def own(specs: Sequence[ProcessSpec]) -> list[ProcessSpec]:
    """Return those of `specs` that are dpvp's own nodes."""
    return [spec for spec in specs if spec.package == "dpvp"]


class LocalProcesses:
    """Started processes of a bring-up; ends them when the `with` block ends."""

    def __init__(self, specs: Sequence[ProcessSpec], log_dir: Path) -> None:
        """Start dpvp's own nodes among `specs`; what each one says goes to `<log_dir>/<name>.log`.

        What else a bring-up lists, such as robot_state_publisher, serves the tools of a ROS machine: `ros2 launch`
        starts it there.
        """
        specs = own(specs)
        self._files = {spec.name: (log_dir / f"{spec.name}.log") for spec in specs}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for spec in specs:
                self._processes[spec.name] = _start(spec, self._files[spec.name])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LocalProcesses:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes."""
        self.close()

    def ended(self) -> str | None:
        """Return the name of a process that has ended by itself, or None."""
        return next((name for name, process in self._processes.items() if process.poll() is not None), None)

    def last_words(self, name: str) -> str:
        """Return the end of what a process said."""
        return "\n".join(self._files[name].read_text(encoding="utf-8", errors="replace").splitlines()[-12:])

    def pid(self, name: str) -> int:
        """Return the process id of a process."""
        return self._processes[name].pid

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of all that were started, by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def close(self) -> None:
        """End all processes at once: SIGINT, then SIGTERM, then SIGKILL."""
        waiting = list(self._processes.values())
        for sign, patience in zip((signal.SIGINT, signal.SIGTERM), PATIENCE, strict=True):
            for process in waiting:
                process.send_signal(sign)
            end = time.monotonic() + patience
            while waiting and time.monotonic() < end:
                waiting = [process for process in waiting if process.poll() is None]
                time.sleep(0.02)
        for process in waiting:
            process.kill()
            process.wait()


def _start(spec: ProcessSpec, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"dpvp.ros.{spec.executable}", *spec.arguments, "--ros-args"]
    command += ["-r", f"__node:={spec.name}"]
    command += ["--enclave", spec.enclave] if spec.enclave else []
    command += _parameter_arguments(spec.parameters)
    for source, target in spec.remappings:
        command += ["-r", f"{source}:={target}"]
    with log.open("wb") as out:
        # a session of its own: Ctrl-C reaches us alone, and we end the nodes in order
        return subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=ros_environment() | lifeline() | dict(spec.environment),
            start_new_session=True,
        )


def _parameter_arguments(parameters: Mapping[str, object]) -> list[str]:
    # JSON is YAML, which --ros-args reads; strings are quoted so that none turns into a number
    return [word for key, value in parameters.items() for word in ("-p", f"{key}:={json.dumps(value)}")]
