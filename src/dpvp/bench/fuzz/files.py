"""What people write by hand: scenarios, robots with their URDF and scene, controllers, `--set`."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dpvp.scenario
from dpvp.bench.fuzz.format import Format
from dpvp.bench.fuzz.mutation import NASTY_YAML, damaged, mutated_yaml
from dpvp.config import override, read_yaml, share_directory
from dpvp.robot import load_robot, load_robot_from
from dpvp.ros.controllers import controller_groups
from dpvp.scenario import load_scenario, scenario_names
from dpvp.worlds.mujoco import MujocoWorld

ROBOT = "leg2r"  # the smallest
# robots are spoiled by themselves; xacro is slow
dpvp.scenario.load_robot_from = functools.cache(load_robot_from)  # type: ignore[attr-defined]
SCENE_STEPS = 3


def formats() -> dict[str, Callable[[], Format]]:
    """Return what makes each of these formats, by name."""
    return {
        "scenario": _scenario,
        "override": _override,
        "controllers": _controllers,
        "robot": functools.partial(_robot, "robot.yaml", ".yaml", _mutated_robot),
        "urdf": functools.partial(_robot, f"{ROBOT}.urdf.xacro", ".xacro", _mutated_text),
        "scene": functools.partial(_robot, "scene.xml", ".xml", _mutated_text),
    }


def _scenario() -> Format:
    folder = share_directory() / "config"
    texts = [(folder / f"{name}.yaml").read_text(encoding="utf-8") for name in scenario_names()]

    def mutated(rng: np.random.Generator) -> bytes:
        chosen, other = rng.choice(len(texts), 2)
        return mutated_yaml(rng, texts[chosen], texts[other])

    def read(content: bytes, where: Path) -> None:
        file = where / "scenario.yaml"
        file.write_bytes(content)
        scenario = load_scenario(str(file))
        scenario.save(file)
        assert load_scenario(str(file)).config == scenario.config, "saved and read again it is another"

    return Format(".yaml", mutated, read)


def _override() -> Format:
    content = read_yaml(share_directory() / "config" / "kuka_reach.yaml")
    keys = ("planner.horizon", "task.goal", "robot", "robot.name", "artifact", "rates.plan.x", "x", "", ".", "task..x")

    def mutated(rng: np.random.Generator) -> bytes:
        words = f"{keys[rng.integers(len(keys))]}={NASTY_YAML[rng.integers(len(NASTY_YAML))]}"
        return words.encode("utf-8", "surrogatepass") if rng.random() < 0.5 else damaged(rng, words.encode())

    def read(given: bytes, where: Path) -> None:
        override(dict(content), given.decode("utf-8", "replace"))

    return Format(".txt", mutated, read)


def _controllers() -> Format:
    robot = load_robot("iiwa14")
    texts = [file.read_text(encoding="utf-8") for file in sorted(robot.folder.glob("controllers*.yaml"))]

    def mutated(rng: np.random.Generator) -> bytes:
        return mutated_yaml(rng, texts[-1], texts[0])

    def read(content: bytes, where: Path) -> None:
        file = where / "controllers.yaml"
        file.write_bytes(content)
        controller_groups([file], robot, "mujoco")

    return Format(".yaml", mutated, read)


def _robot(name: str, suffix: str, mutate: Callable[[np.random.Generator, str], bytes]) -> Format:
    source = share_directory() / "urdf" / ROBOT
    plain = load_robot(ROBOT).urdf_xml
    text = plain if name.endswith(".xacro") else (source / name).read_text(encoding="utf-8")

    def read(content: bytes, where: Path) -> None:
        folder = where / ROBOT
        if not folder.exists():
            shutil.copytree(source, folder)
            (folder / f"{ROBOT}.urdf.xacro").write_text(plain, encoding="utf-8")
        (folder / name).write_bytes(content)
        robot = load_robot_from(folder)
        assert all(np.isfinite(posture).all() for posture in robot.postures.values())
        if name == "scene.xml":
            world = MujocoWorld(robot)
            for _ in range(SCENE_STEPS):
                world.step()

    return Format(suffix, lambda rng: mutate(rng, text), read)


def _mutated_robot(rng: np.random.Generator, text: str) -> bytes:
    return mutated_yaml(rng, text)


def _mutated_text(rng: np.random.Generator, text: str) -> bytes:
    """Spoil values between quotes, or bytes."""
    if rng.random() < 0.4:
        return damaged(rng, text.encode())
    pieces = text.split('"')
    for _ in range(int(rng.integers(1, 4))):
        place = 2 * int(rng.integers(len(pieces) // 2)) + 1
        other = pieces[rng.integers(len(pieces))]
        pieces[place] = NASTY_XML[rng.integers(len(NASTY_XML))] if rng.random() < 0.7 else other
    return '"'.join(pieces).encode()


NASTY_XML = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    "1e-320",
    "0",
    "-1",
    "0 0",
    "0 0 0",
    "nan nan nan",
    "1 2 3 4 5 6 7 8 9",
    "99999999999999999999",
    "x",
    5000 * "9",
    5000 * "a",
    "${1/0}",
    "${().__class__}",
    "${open('/etc/passwd').read()}",
    "$(arg nothing)",
    "$(find nothing)",
    "$(env HOME)",
    "$(eval 1+1)",
    "${load_yaml('/etc/passwd')}",
    "../../../../etc/passwd",
    "/dev/zero",
    "file:///dev/zero",
    "package://nothing/x.stl",
    "continuous",
    "planar",
    "floating",
    "prismatic",
    "&#0;",
    "&lt;",
    "&x;",
)
