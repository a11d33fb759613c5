"""config.py: YAML in, typed values out, and errors that name file and key."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from dpvp.config import Config, load, read_yaml, share_directory, validate
from dpvp.errors import ConfigError, EnvironmentProblem


class Rate(Config):
    """A nested part."""

    plan: float = pydantic.Field(gt=0)
    feedback: float = 1000.0


class Settings(Config):
    """What the tests read."""

    name: str
    rate: Rate
    gains: tuple[float, ...] = ()
    parts: tuple[Rate, ...] = ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the tests write their YAML."""
    return tmp_path / "settings.yaml"


def test_good_file(file: Path) -> None:
    file.write_text("name: reach\nrate: {plan: 250}\ngains: [1, 2.5]\n", encoding="utf-8")
    assert load(Settings, file) == Settings(name="reach", rate=Rate(plan=250.0), gains=(1.0, 2.5))


def test_values_cannot_be_changed(file: Path) -> None:
    file.write_text("name: reach\nrate: {plan: 250}\n", encoding="utf-8")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        load(Settings, file).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: a\nrate: {plan: 1}\nrates: 2\n", "rates = 2: unknown key; known here: gains, name, parts, rate"),
        ("name: a\nrate: {plan: 1, plans: 2}\n", "rate.plans = 2: unknown key; known here: feedback, plan"),
        (
            "name: a\nrate: {plan: 1}\nparts: [{plan: 1, x: 2}]\n",
            "parts.0.x = 2: unknown key; known here: feedback, plan",
        ),
        ("rate: {plan: 1}\n", "name = '(absent)': Field required"),
        ("name: a\nrate: {plan: 0}\n", "rate.plan = 0: Input should be greater than 0"),
        ("name: a\nrate: {plan: fast}\n", "rate.plan = 'fast': Input should be a valid number"),
        ("name: a\nrate: {plan: .nan}\n", "rate.plan = nan: Input should be a finite number"),
        ("name: a\nrate: {plan: .inf}\n", "rate.plan = inf: Input should be a finite number"),
        ("name: a\nrate: {plan: 1}\ngains: [1, .nan]\n", "gains.1 = nan: Input should be a finite number"),
    ],
)
def test_value_that_does_not_fit(file: Path, content: str, message: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(Settings, file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert caught.value.file == str(file)


def test_missing_file(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings\.yaml: \(file\) = 'missing': this file must exist"):
        read_yaml(file)


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this file must exist"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("content", [b"name: [1, 2\n", b"a: 1\n  b: 2\n", b"name: \xff\xfe\n", b"\tname: a\n"])
def test_bad_syntax(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"settings\.yaml: \(syntax\) = .*: must be YAML 1\.1 in UTF-8") as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "kind"), [("", "NoneType"), ("- 1\n- 2\n", "list"), ("words\n", "str")])
def test_root_that_is_no_mapping(file: Path, content: str, kind: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"\(root\) = '{kind}': must be a mapping of keys to values"):
        read_yaml(file)


def test_yaml_makes_no_objects(file: Path) -> None:
    file.write_text("name: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read_yaml(file)


def test_validate_takes_any_name_for_the_file() -> None:
    with pytest.raises(ConfigError, match="parameters of /mpc_node: name = "):
        validate(Settings, {"name": 1, "rate": {"plan": 1}}, "parameters of /mpc_node")


class TestShareDirectory:
    """Where the robots are."""

    def test_checkout(self) -> None:
        assert (share_directory() / "urdf").is_dir()

    @pytest.fixture
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Pretend that the package lies somewhere without a checkout around it."""
        monkeypatch.setattr("dpvp.config.__file__", str(tmp_path / "a" / "b" / "dpvp" / "config.py"))
        monkeypatch.setattr("sys.prefix", str(tmp_path / "environment"))
        monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
        return tmp_path

    def test_ros_workspace(self, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("urdf", "config"):
            (installed / "ws" / "share" / "dpvp" / name).mkdir(parents=True)
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"{installed / 'other'}:{installed / 'ws'}")
        assert share_directory() == installed / "ws" / "share" / "dpvp"

    def test_python_environment(self, installed: Path) -> None:
        for name in ("urdf", "config"):
            (installed / "environment" / "share" / "dpvp" / name).mkdir(parents=True)
        assert share_directory() == installed / "environment" / "share" / "dpvp"

    def test_nowhere(self, installed: Path) -> None:
        with pytest.raises(EnvironmentProblem, match=f"not found .looked in .*{installed.name}.*install dpvp again"):
            share_directory()
