"""Nothing that is read can become code: no pickle, no eval, no shell, no YAML loader but ours. Found in the syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for folder in ("src", "training", "launch", "config") for file in (ROOT / folder).rglob("*.py")
) + [ROOT / "setup.py"]

# Modules that turn bytes into objects, or arguments into commands.
MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle", "joblib", "ray", "code",
    "codeop", "commands", "pty", "multiprocessing", "concurrent.futures", "xmlrpc",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
OF_OS = {"system", "popen", "execl", "execle", "execlp", "execv", "execve", "execvp", "execvpe", "spawnl", "spawnv"}
OF_YAML = {"load", "load_all", "safe_load", "safe_load_all", "full_load", "full_load_all", "unsafe_load", "dump_all"}

# What is used all the same. Pickle is how Python's own pools talk: between a process and the children that it has
# started, over pipes that nobody else can write to, never from a file or a socket.
ALLOWED = {
    ("src/dpvp/bench/faults/campaign.py", "multiprocessing"): "children of the fault campaign",
    ("src/dpvp/bench/faults/campaign.py", "concurrent.futures"): "children of the fault campaign",
    ("src/dpvp/bench/worker.py", "multiprocessing"): "one child of `dpvp bench`",
    ("src/dpvp/bench/worker.py", "concurrent.futures"): "one child of `dpvp bench`",
    ("src/dpvp/untrusted.py", "yaml.load"): "with a loader that is a SafeLoader and less",
    ("training/dpvp_training/core/checkpoint.py", "pickle"): "only the error that torch raises for bad files",
    ("training/dpvp_training/core/executor.py", "joblib"): "children of the training, and Ray's cluster",
    ("training/dpvp_training/core/executor.py", "ray"): "a cluster that runs our code anyway",
    ("training/dpvp_training/core/executor.py", "concurrent.futures"): "the error of a pool whose child died",
    ("training/dpvp_training/core/export.py", "multiprocessing"): "one child that may die of the exporter",
    ("training/dpvp_training/core/export.py", "concurrent.futures"): "one child that may die of the exporter",
    ("training/dpvp_training/core/export.py", "torch.load"): "in that child: the network of its parent",
}


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        return [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return []


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_constant(call: ast.Call, keyword: str, value: object) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def of_call(call: ast.Call) -> Iterator[str]:
    name = dotted(call.func)
    module, _, last = name.rpartition(".")
    if name in BUILTINS or (module == "builtins" and last in BUILTINS):
        yield last
    if (module == "os" and last in OF_OS) or (module == "yaml" and last in OF_YAML):
        yield name
    if any(k.arg == "shell" and not is_constant(call, "shell", False) for k in call.keywords):
        yield "shell"
    if any(k.arg == "allow_pickle" and not is_constant(call, "allow_pickle", False) for k in call.keywords):
        yield "allow_pickle"
    if name in ("np.load", "numpy.load") and not is_constant(call, "allow_pickle", False):
        yield "np.load"
    if name == "torch.load" and not is_constant(call, "weights_only", True):
        yield "torch.load"
    if name in ("yaml.dump", "dump") and not any(k.arg == "Dumper" for k in call.keywords):
        yield "yaml.dump"


def findings(tree: ast.AST) -> set[str]:
    found = set[str]()
    for node in ast.walk(tree):
        for name in imported(node):
            found |= {module for module in MODULES if name == module or name.startswith(f"{module}.")}
        if isinstance(node, ast.ImportFrom) and node.module in ("yaml", "os", "numpy", "torch", "builtins"):
            suspicious = OF_YAML | OF_OS | BUILTINS | {"load"}
            found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name in suspicious}
        if isinstance(node, ast.Call):
            found |= set(of_call(node))
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_read_stays_data(file: Path) -> None:
    name = file.relative_to(ROOT).as_posix()
    found = findings(ast.parse(file.read_text(encoding="utf-8")))
    assert {what for what in found if (name, what) not in ALLOWED} == set()


def test_every_exception_is_needed() -> None:
    used = {
        (file.relative_to(ROOT).as_posix(), what)
        for file in SOURCES
        for what in findings(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert set(ALLOWED) - used == set()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("import concurrent.futures as f", "concurrent.futures"),
        ("from yaml import load", "yaml.load"),
        ("yaml.safe_load(text)", "yaml.safe_load"),
        ("yaml.dump(x)", "yaml.dump"),
        ("eval('1')", "eval"),
        ("exec('1')", "exec"),
        ("__import__(name)", "__import__"),
        ("subprocess.run(words, shell=True)", "shell"),
        ("subprocess.run(words, shell=maybe)", "shell"),
        ("os.system('ls')", "os.system"),
        ("np.load(file)", "np.load"),
        ("np.load(file, allow_pickle=True)", "allow_pickle"),
        ("torch.load(file)", "torch.load"),
        ("torch.load(file, weights_only=False)", "torch.load"),
    ],
)
def test_it_is_found(text: str, what: str) -> None:
    assert what in findings(ast.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "np.load(file, allow_pickle=False)",
        "torch.load(file, weights_only=True)",
        "subprocess.run(words, shell=False)",
        "yaml.safe_dump(x)",
        "yaml.dump(x, Dumper=Plain)",
        "re.compile('x')",
        "model.eval()",
    ],
)
def test_what_is_harmless_is_not_found(text: str) -> None:
    assert findings(ast.parse(text)) == set()
