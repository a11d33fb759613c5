"""`dpvp train SYSTEM ...`: hands over to a training system, which another package brings."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from dpvp.errors import ConfigError, EnvironmentProblem

GROUP = "dpvp.systems"  # of entry points: name -> `main(words) -> exit code`
INSTALL = "install them with `make train-venv`, or `pip install ./training` in the checkout"


def train(words: list[str]) -> int:
    """Run the system that the first word names with the others; return its exit code.

    Raises:
        EnvironmentProblem: there are no training systems, or what they need is missing.
        ConfigError: there is none of this name.
    """
    systems = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not systems:
        raise EnvironmentProblem(f"there are no training systems: {INSTALL}")
    known = ", ".join(sorted(systems))
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: dpvp train SYSTEM [options]     dpvp train SYSTEM --help explains one\n\nsystems: {known}")
        return 0
    if words[0] not in systems:
        raise ConfigError("command line", "SYSTEM", words[0], f"must be one of {known}")
    return _run(systems[words[0]], words[1:])


def _run(system: EntryPoint, words: list[str]) -> int:
    try:
        main = system.load()
    except ModuleNotFoundError as error:
        problem = f"the Python package '{error.name}' that system {system.name} needs is missing"
        raise EnvironmentProblem(f"{problem}: {INSTALL}") from None
    return int(main(words))
