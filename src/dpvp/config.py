"""Where configuration comes from: YAML read once, validated by pydantic, with errors that name file and key."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp.untrusted import LARGEST_TEXT, UnreadableError, parse_yaml, read_bounded

if int(pydantic.VERSION.split(".")[0]) < 2:
    raise EnvironmentProblem(
        f"pydantic {pydantic.VERSION} from {pydantic.__file__}: dpvp needs pydantic 2. On a ROS machine make a virtual "
        "environment (python3 -m venv --system-site-packages) and install with config/constraints/ros.txt."
    )


class Config(pydantic.BaseModel):
    """Base of every configuration: immutable, and an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


def share_directory() -> Path:
    """Return the folder that holds `urdf/`, `config/` and `launch/`.

    The checkout when dpvp runs from one (also editable installs), else `share/dpvp` of the ROS workspace on
    AMENT_PREFIX_PATH, else of the Python environment.

    Raises:
        EnvironmentProblem: none of these places holds the robots.
    """
    checkout = Path(__file__).resolve().parents[2]
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [Path(sys.prefix)]
    candidates = [checkout, *(prefix / "share" / "dpvp" for prefix in prefixes)]
    for folder in candidates:
        if (folder / "urdf").is_dir() and (folder / "config").is_dir():
            return folder
    looked = ", ".join(str(c) for c in candidates)
    raise EnvironmentProblem(f"dpvp's urdf/ and config/ were not found (looked in {looked}); install dpvp again")


def read_yaml(file: Path) -> dict[str, Any]:
    """Read one YAML mapping of plain values; `dpvp.untrusted.parse_yaml` says what these are.

    Raises:
        ConfigError: the file is missing, cannot be read, is not YAML or is not a mapping.
    """
    try:
        content = parse_yaml(read_bounded(file, LARGEST_TEXT).decode("utf-8"))
    except OSError as error:
        found = "missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigError(file, "(file)", found, "this file must exist and be readable") from None
    except ValueError as error:  # UnreadableError, UnicodeDecodeError
        raise ConfigError(file, "(syntax)", str(error), "must be YAML 1.1 in UTF-8") from None
    if not isinstance(content, dict):
        raise ConfigError(file, "(root)", type(content).__name__, "must be a mapping of keys to values")
    return content


def validate(model: type[ConfigT], content: dict[str, Any], file: Path | str) -> ConfigT:
    """Turn `content`, read from `file`, into a `model`.

    Raises:
        ConfigError: naming the first key that does not fit, its value and what it must be.
    """
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, _as_written(first["loc"], content))) or "(root)"
        expected = first["msg"]
        if first["type"] == "extra_forbidden":
            known = sorted(_fields_at(model, first["loc"][:-1]))
            expected = f"unknown key; known here: {', '.join(known)}"
        value = first["input"] if first["type"] != "missing" else "(absent)"
        raise ConfigError(file, key, value, expected) from None


def override(content: dict[str, Any], text: str) -> None:
    """Apply `text`, `dotted.key=value` with the value in YAML, to `content`, as `--set` of the commands does.

    Raises:
        ConfigError: it is not written like that, or leads through a value.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError("--set", key or text, text, "must be written dotted.key=value")
    *path, last = key.split(".")
    for part in path:
        below = content.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError("--set", key, value, f"{part} is a value and has no keys below it")
        content = below
    try:
        content[last] = parse_yaml(value)
    except UnreadableError as error:
        raise ConfigError("--set", key, value, f"must be a YAML value: {error}") from None


def load(model: type[ConfigT], file: Path) -> ConfigT:
    """Read and validate one YAML file; see `read_yaml` and `validate` for the errors."""
    return validate(model, read_yaml(file), file)


def _fields_at(model: type[pydantic.BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that are allowed at `path` inside `model` (best effort, for messages)."""
    here: list[type[pydantic.BaseModel]] = [model]
    for part in path:
        of_kind = [m for m in here if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        kinds = [m.model_fields[part].annotation for m in here if part in m.model_fields]
        below = [t for kind in kinds for t in (kind, *getattr(kind, "__args__", ())) if _is_model(t)]
        here = of_kind or below or here
    return [name for m in here for name in m.model_fields]


def _as_written(path: tuple[int | str, ...], content: Any) -> list[int | str]:
    """Return `path` as it is in the file: pydantic adds the `kind` by which it has chosen among models."""
    written: list[int | str] = []
    for part in path:
        if isinstance(content, dict) and part not in content and part == content.get("kind"):
            continue
        written.append(part)
        inside = isinstance(content, list) and isinstance(part, int) and part < len(content)  # or what should follow
        content = content[part] if inside or (isinstance(content, dict) and part in content) else None
    return written


def _is_model(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, pydantic.BaseModel)
