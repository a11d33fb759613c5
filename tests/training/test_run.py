"""The run folder: what it holds, and that nothing is lost when a run is interrupted, killed or out of space."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dpvp.config import Config, load
from dpvp.errors import ConfigError, EnvironmentProblem
from dpvp_training.core import provenance
from dpvp_training.core.checkpoint import CheckpointError
from dpvp_training.core.provenance import RunSpec, library_versions, source_commit
from dpvp_training.core.run import RunFolder, generator_state, restore_generator


class Net(Config):
    width: int = 8
    rate: float = 1e-3


class Training(Config):
    episodes: int = 3
    workers: int | None = None
    net: Net = Net()


SPEC = RunSpec("dpvp", "cartpole", Training(), ("dpvp", "train", "dpvp", "--task", "a name"))


def ticks() -> Callable[[], float]:
    """A clock that goes a second at every look."""
    return itertools.count().__next__


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def changed(**changes: Any) -> RunSpec:
    return RunSpec("dpvp", "cartpole", Training(**changes), ("again",))


class TestContent:
    def test_a_run_says_what_it_is(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path / "runs" / "train", SPEC) as run:
            assert run.path.parent == tmp_path / "runs" / "train"
            assert run.path.name.endswith("_dpvp_cartpole")
            assert run.checkpoint is None
        assert load(Training, run.path / "config.yaml") == Training()
        assert (run.path / "command.txt").read_text() == "dpvp train dpvp --task 'a name'\n"
        environment = json.loads((run.path / "environment.json").read_text())
        assert (environment["system"], environment["task"]) == ("dpvp", "cartpole")
        (start,) = environment["starts"]
        assert start["versions"] == library_versions()
        assert start["versions"]["torch"] == torch.__version__
        assert start["machine"]["cores"] >= 1
        assert start["commit"] == source_commit()

    def test_two_runs_of_a_second_do_not_meet(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, SPEC) as one, RunFolder.create(tmp_path, SPEC) as two:
            assert one.path != two.path

    def test_every_start_is_noted(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, SPEC) as run:
            pass
        with RunFolder.open(run.path, changed(workers=2), free={"workers"}):
            pass
        assert (run.path / "command.txt").read_text().splitlines()[1] == "again"
        assert len(json.loads((run.path / "environment.json").read_text())["starts"]) == 2
        assert load(Training, run.path / "config.yaml").workers == 2

    def test_records_are_there_at_once_and_in_tensorboard(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, SPEC, ticks()) as run:
            run.record(1, {"losses/value": 0.5, "charts/cost": float("nan")})
            run.record(2, {"losses/value": np.float32(0.25), "charts/cost": torch.tensor(1.0)})
            assert lines(run.path) == [
                {"step": 1, "time": 1, "losses/value": 0.5, "charts/cost": None},
                {"step": 2, "time": 2, "losses/value": 0.25, "charts/cost": 1.0},
            ]
        events = EventAccumulator(str(run.path / "tensorboard")).Reload()
        assert [(event.step, event.value) for event in events.Scalars("losses/value")] == [(1, 0.5), (2, 0.25)]

    def test_tensorboard_forgets_what_a_resumed_run_does_again(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, SPEC) as run:
            run.record(1, {"charts/cost": 1.0})
            run.save_checkpoint(1, {})
            run.record(2, {"charts/cost": 2.0})
        with RunFolder.open(run.path, SPEC) as run:
            run.record(2, {"charts/cost": 3.0})
        events = EventAccumulator(str(run.path / "tensorboard")).Reload()
        assert [event.value for event in events.Scalars("charts/cost")] == [1.0, 3.0]


class Learner:
    """A small training with everything that has a state: network, optimiser, two generators."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.rng, self.generator = np.random.default_rng(1), torch.Generator().manual_seed(2)
        self.net = torch.nn.Linear(3, 1, dtype=torch.float64)
        torch.nn.init.ones_(self.net.weight)
        torch.nn.init.zeros_(self.net.bias)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.done = 0
        if run.checkpoint is not None:
            state = run.checkpoint.state
            self.done = run.checkpoint.step
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            restore_generator(self.rng, state["rng"])
            restore_generator(self.generator, state["generator"])

    def go(self, until: int) -> None:
        while self.done < until:
            x = torch.from_numpy(self.rng.normal(size=(8, 3)))
            x = x + torch.randn(8, 3, dtype=torch.float64, generator=self.generator)
            loss = (self.net(x) - x.sum(1, keepdim=True).sin()).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.done += 1
            self.run.record(self.done, {"losses/value": loss.item()})
            if self.done % 3 == 0:
                self.run.save_checkpoint(self.done, self.state())

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": generator_state(self.rng),
            "generator": generator_state(self.generator),
        }


class TestResuming:
    @pytest.mark.parametrize("interrupted", [0, 2, 3, 5, 8])
    def test_figures_are_those_of_a_run_that_was_not_interrupted(self, tmp_path: Path, interrupted: int) -> None:
        with RunFolder.create(tmp_path, SPEC) as whole:
            Learner(whole).go(11)
        with RunFolder.create(tmp_path, SPEC) as run:
            Learner(run).go(interrupted)
        with RunFolder.open(run.path, SPEC) as run:
            learner = Learner(run)
            assert learner.done == interrupted // 3 * 3
            learner.go(11)

        def figures(path: Path) -> list[tuple[int, float]]:
            return [(line["step"], line["losses/value"]) for line in lines(path)]

        assert figures(run.path) == figures(whole.path)
        assert [step for step, _ in figures(run.path)] == list(range(1, 12))

    def test_time_goes_on(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, SPEC, ticks()) as run:
            run.record(1, {})
            run.save_checkpoint(1, {})
        with RunFolder.open(run.path, SPEC, clock=ticks()) as run:
            run.record(2, {})
        assert [line["time"] for line in lines(run.path)] == [1, 3]

    def test_the_last_two_checkpoints_stay_and_those_with_a_name(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, SPEC) as run:
            for step in (1, 2, 10, 100):
                run.save_checkpoint(step, {"step": step})
                if step == 2:
                    run.save_checkpoint(step, {"step": step}, "best")
        assert sorted(file.stem for file in (run.path / "checkpoints").iterdir()) == ["00000010", "00000100", "best"]
        with RunFolder.open(run.path, SPEC) as run:
            assert run.checkpoint is not None
            assert run.checkpoint.step == 100
            assert run.checkpoints.load("best").state == {"step": 2}
            with pytest.raises(CheckpointError, match=r"worst\.pt: cannot be read \(.*No such file"):
                run.checkpoints.load("worst")

    def test_no_more_than_plain_values_can_be_kept(self, tmp_path: Path) -> None:
        plain = {"a": [1, 2.0, (True, None)], "b": {"c": "text", 4: torch.zeros(2)}}
        with RunFolder.create(tmp_path, SPEC) as run:
            for value, kind in ((np.zeros(3), "ndarray"), (np.float64(1.0), "float64"), (Net(), "Net")):
                with pytest.raises(CheckpointError, match=rf"00000001\.pt: state\.net\.1 is a .*{kind}: only tensors"):
                    run.save_checkpoint(1, {"net": [plain, value]})
            assert not list((run.path / "checkpoints").iterdir())
            run.save_checkpoint(1, plain, "plain")
            assert str(run.checkpoints.load("plain").state) == str(plain)

    @given(seed=st.integers(0, 2**63), drawn=st.integers(0, 5))
    def test_generators_go_on_where_they_were(self, seed: int, drawn: int) -> None:
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        rng.random(drawn, dtype=np.float32), torch.randn(drawn, generator=generator)
        kept = generator_state(rng), generator_state(generator)
        expected = rng.random(3), torch.randn(3, generator=generator)
        others = np.random.default_rng(0), torch.Generator()
        for other, state in zip(others, kept, strict=True):
            restore_generator(other, state)
        assert np.array_equal(others[0].random(3), expected[0])
        assert torch.equal(torch.randn(3, generator=others[1]), expected[1])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    """Change a bit of a tensor."""
    content = file.read_bytes()
    place = content.index(np.full(3, 1.25).tobytes())
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def empty(file: Path) -> None:
    file.write_bytes(b"")


class TestDamage:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        with RunFolder.create(tmp_path, SPEC) as run:
            for step in (1, 2, 3):
                run.record(step, {"charts/cost": 1.0})
                run.save_checkpoint(step, {"tensor": torch.full((3,), 1.25, dtype=torch.float64), "step": step})
        return run.path

    @pytest.mark.parametrize("damage", [cut, flip, empty])
    def test_a_damaged_checkpoint_is_passed_over(
        self, path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        damage(path / "checkpoints" / "00000003.pt")
        with caplog.at_level(logging.WARNING), RunFolder.open(path, SPEC) as run:
            assert run.checkpoint is not None
            assert run.checkpoint.state["step"] == 2
            assert "00000003.pt: cannot be read" in caplog.text
            assert len(lines(path)) == 2
            run.save_checkpoint(4, {})
        # the damaged one does not count as one of the last two
        assert [file.stem for file in sorted((path / "checkpoints").glob("*.pt"))] == ["00000002", "00000004"]

    def test_a_run_without_any_intact_checkpoint_is_refused(self, path: Path) -> None:
        for file in (path / "checkpoints").iterdir():
            cut(file)
        with pytest.raises(CheckpointError, match="checkpoints: no checkpoint is intact; start a new run"):
            RunFolder.open(path, SPEC)

    def test_metrics_that_were_cut_by_hand_are_noticed(self, path: Path) -> None:
        cut(path / "metrics.jsonl")
        with pytest.raises(ConfigError, match=r"metrics\.jsonl: \(length\)"):
            RunFolder.open(path, SPEC)

    def test_half_a_line_and_half_a_file_are_cleared_away(self, path: Path) -> None:
        with (path / "metrics.jsonl").open("a") as metrics:
            metrics.write('{"step": 4, "ti')
        (path / "checkpoints" / "00000004.pt.part").write_bytes(b"half")
        with RunFolder.open(path, SPEC) as run:
            run.record(4, {})
        assert [line["step"] for line in lines(path)] == [1, 2, 3, 4]
        assert not list(path.rglob("*.part"))


class TestRefusals:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        with RunFolder.create(tmp_path, SPEC) as run:
            return run.path

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (RunSpec("pods", "cartpole", Training(), ()), r"environment\.json: system = 'dpvp': is not|is 'pods' now"),
            (RunSpec("dpvp", "unicycle", Training(), ()), r"environment\.json: task = 'cartpole': is 'unicycle' now"),
            (changed(net=Net(width=16)), r"config\.yaml: net\.width = 8: is 16 now"),
            (changed(workers=2), r"config\.yaml: workers = None: is 2 now"),
            (RunSpec("dpvp", "cartpole", Net(), ()), r"config\.yaml: episodes = 3: is '\(absent\)' now"),
        ],
    )
    def test_another_run_is_refused_by_the_key(self, path: Path, spec: RunSpec, message: str) -> None:
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        with pytest.raises(ConfigError, match=message):
            RunFolder.open(path, spec, free={"episodes"} if "net.width" in message else ())
        assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def test_a_folder_that_is_no_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"environment\.json: .*must be what a training run left there"):
            RunFolder.open(tmp_path, SPEC)

    def test_a_run_has_one_writer(self, path: Path) -> None:
        with RunFolder.open(path, SPEC), pytest.raises(EnvironmentProblem, match="another process writes this run"):
            RunFolder.open(path, SPEC)
        with RunFolder.open(path, SPEC):
            pass

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(
            EnvironmentProblem, match=r"file: cannot be written \(Not a directory\); \d+ bytes are free"
        ):
            RunFolder.create(tmp_path / "file", SPEC)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path_factory.mktemp("runs"), SPEC) as run:
        yield run


class TestArrays:
    @given(content=arrays.arrays(np.float64, arrays.array_shapes(min_side=0, max_dims=3)))
    def test_come_back_as_they_were(self, run: RunFolder, content: Any) -> None:
        run.save_arrays("episode_001", {"xs": content, "status": np.array(["solved", "diverged"])})
        found = run.load_arrays("episode_001")
        assert np.array_equal(found["xs"], content, equal_nan=True)
        assert found["status"].tolist() == ["solved", "diverged"]

    def test_damaged_or_missing_ones_are_named(self, run: RunFolder) -> None:
        cut(run.save_arrays("shard", {"xs": np.zeros(100)}))
        for name in ("shard", "missing"):
            with pytest.raises(EnvironmentProblem, match=rf"data/{name}\.npz: cannot be read"):
                run.load_arrays(name)


class HasRoomFor:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room, self.truncate = file, room, file.truncate

    def write(self, content: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = int(self.file.write(content[: self.room]))
        self.room -= done
        return done


class TestNoSpaceLeft:
    """Writing to /dev/full fails as on a disk that is full."""

    def test_arrays_stay_as_they_were(self, run: RunFolder) -> None:
        run.save_arrays("shard", {"xs": np.ones(3)})
        (run.path / "data" / "shard.npz.part").symlink_to("/dev/full")
        problem = r"shard\.npz: cannot be written \(No space left on device\); \d+ bytes are free in .*data\."
        with pytest.raises(EnvironmentProblem, match=problem):
            run.save_arrays("shard", {"xs": np.zeros(3)})
        assert run.load_arrays("shard")["xs"].tolist() == [1, 1, 1]
        assert not list(run.path.rglob("*.part"))

    def test_checkpoints_stay_as_they_were(self, run: RunFolder) -> None:
        run.save_checkpoint(1, {"step": 1}, "best")
        (run.path / "checkpoints" / "best.pt.part").symlink_to("/dev/full")
        with pytest.raises(EnvironmentProblem, match=r"best\.pt: cannot be written \(No space left on device\)"):
            run.save_checkpoint(2, {"step": 2}, "best")
        assert run.checkpoints.load("best").step == 1

    def test_no_half_line_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with RunFolder.create(tmp_path, SPEC) as run:
            run.record(1, {"charts/cost": 1.0})
            with monkeypatch.context() as patch:
                patch.setattr(run, "_metrics", HasRoomFor(run._metrics, 10))
                with pytest.raises(EnvironmentProblem, match=r"metrics\.jsonl: cannot be written \(No space left"):
                    run.record(2, {"charts/cost": 2.0})
            assert [line["step"] for line in lines(run.path)] == [1]
            run.record(3, {"charts/cost": 3.0})
        assert [line["step"] for line in lines(run.path)] == [1, 3]


# Trains until it is stopped: by SIGKILL, or by a limit on the size of files (argument 2), which is a disk that is full.
ENDLESS = """
import itertools, resource, sys
from pathlib import Path
import numpy as np, torch
from dpvp.config import Config
from dpvp.errors import EnvironmentProblem
from dpvp_training.core.provenance import RunSpec
from dpvp_training.core.run import RunFolder

def train(run):
    for step in itertools.count(1):
        size = 100 * step if len(sys.argv) > 2 else 100_000
        run.record(step, {f"charts/{i}": 1 / 3 for i in range(40)})
        run.save_arrays("shard", {"xs": np.full(size, step)})
        run.save_checkpoint(step, {"tensor": torch.full((size,), float(step)), "step": step})
        print(step, flush=True)

try:
    with RunFolder.create(Path(sys.argv[1]), RunSpec("dpvp", "cartpole", Config(), ())) as run:
        print(run.path, flush=True)
        if len(sys.argv) > 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        train(run)
except EnvironmentProblem as error:
    sys.exit(f"EnvironmentProblem: {error}")
"""


def check_intact(path: Path, least: int) -> None:
    """The folder opens at `least` or one step later, and everything in it is whole."""
    with RunFolder.open(path, RunSpec("dpvp", "cartpole", Config(), ())) as run:
        assert run.checkpoint is not None
        assert run.checkpoint.step in (least, least + 1)
        assert (run.checkpoint.state["tensor"] == run.checkpoint.step).all()
        assert [line["step"] for line in lines(path)] == list(range(1, run.checkpoint.step + 1))
        assert len(set(run.load_arrays("shard")["xs"].tolist())) == 1


class TestSuddenEnds:
    def test_killed_while_writing(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
        for _ in range(2):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                path = Path(process.stdout.readline().strip())
                for _ in range(int(rng.integers(5, 15))):
                    step = int(process.stdout.readline())
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(float(rng.uniform(0, 0.03)))
                process.send_signal(signal.SIGKILL)
                step = max([step, *map(int, process.stdout.read().split())])
            check_intact(path, step)

    @pytest.mark.parametrize("limit", [50_000, 51_800])
    def test_no_space_left(self, tmp_path: Path, limit: int) -> None:
        command = [sys.executable, "-c", ENDLESS, str(tmp_path), str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert re.search(r"EnvironmentProblem: .*cannot be written \(File too large\); \d+ bytes are free", done.stderr)
        path, *steps = done.stdout.split()
        assert json.loads((Path(path) / "metrics.jsonl").read_text().splitlines()[-1])["step"] >= len(steps)
        check_intact(Path(path), len(steps))


class TestProvenance:
    def test_commit_is_that_of_the_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def git(*words: str) -> str:
            identity = ["-c", "user.name=n", "-c", "user.email=e"]
            done = subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
            return done.stdout.strip()

        file = tmp_path / "provenance.py"
        file.write_text("1\n")
        monkeypatch.setattr(provenance, "__file__", str(file))
        assert source_commit() == "unknown"
        git("init")
        assert source_commit() == "unknown"  # a checkout, but of something else
        git("add", "provenance.py")
        git("commit", "-m", "one")
        assert source_commit() == git("rev-parse", "HEAD")
        file.write_text("2\n")
        assert source_commit() == git("rev-parse", "HEAD") + "-dirty"

    def test_without_git_it_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        assert source_commit() == "unknown"
