"""The folder of a run: `runs/<time>_<scenario>/`, made before anything starts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dpvp.errors import EnvironmentProblem
from dpvp.scenario import Scenario, load_scenario


def new_run_dir(scenario: Scenario, parent: Path) -> Path:
    """Make a new folder below `parent`, write the resolved `scenario.yaml` into it and return its path.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    stem = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}_{scenario.name}"
    try:
        for attempt in range(100):
            folder = parent / (stem if attempt == 0 else f"{stem}-{attempt}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            scenario.save(folder / "scenario.yaml")
            return folder.resolve()
    except OSError as error:
        raise EnvironmentProblem(f"{parent}: cannot make a run folder ({error.strerror}); choose another") from None
    raise EnvironmentProblem(f"{parent}: holds a hundred runs of this second already")


def resolved(scenario: Scenario, run_dir: Path) -> Scenario:
    """Return the scenario as every process of the run reads it: from the file in its run folder."""
    again = load_scenario(str(run_dir / "scenario.yaml"))
    return Scenario(scenario.name, again.config, again.file)
