"""LIBERO's tasks as its package lists them: names, instructions, files, time limits, sizes. Nothing of it is imported.

The order within a suite is the benchmark's (task order 0), so an index means what it means in papers.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embodied.errors import ConfigError, PackageError
from simulators.nearest import nearest, unknown

MAX_STEPS = {"spatial": 220, "object": 280, "goal": 300, "10": 520, "90": 400}  # actions, as VLA papers evaluate
UNION = "130"  # all of them
SUITES = (*MAX_STEPS, UNION)
ROBOT_QPOS = 9  # seven joints and two fingers come first in every scene


@dataclass(frozen=True, slots=True)
class Task:
    suite: str
    name: str
    package: Path  # LIBERO's folder

    @property
    def instruction(self) -> str:
        """As evaluations of policies say it: the name without its scene."""
        return re.sub(r"^[A-Z_]+SCENE\d+_", "", self.name).replace("_", " ")

    @property
    def bddl(self) -> Path:
        """The file that says what stands where and what the goal is."""
        return self.package / "bddl_files" / f"libero_{self.suite}" / f"{self.name}.bddl"

    def initial_states(self) -> NDArray[np.float64]:
        """(I, 1 + nq + nv) stored ones: time, positions, velocities."""
        path = self.package / "init_files" / f"libero_{self.suite}" / f"{self.name}.pruned_init"
        found: Any = torch.load(path, weights_only=False)  # a pickled array of the package: as trusted as its code
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Size:
    """Of a task's scene, known without building it."""

    initial_states: int
    positions: int  # nq
    velocities: int  # nv
    fixtures: int


def size(task: Task) -> Size:
    """Each object has 7 positions and 6 velocities; what else the stored states hold are drawers, doors and knobs."""
    rows, width = task.initial_states().shape
    text = task.bddl.read_text()
    objects = len(_instances(text, "objects"))
    joints = (width - 1 - 2 * ROBOT_QPOS - 13 * objects) // 2
    positions = ROBOT_QPOS + 7 * objects + joints
    return Size(rows, positions, width - 1 - positions, len(_instances(text, "fixtures")))


def _instances(bddl: str, section: str) -> list[str]:
    """Names in `(:section a b - type c - type)`."""
    found = re.search(rf"\(:{section}\b(.*?)\)", bddl, re.DOTALL)
    return re.sub(r"-\s+\S+", "", found[1]).split() if found else []


def choose(suite: str, tasks: Sequence[str | int]) -> list[Task]:
    """`tasks` of `suite` by name, instruction or index; none named means all."""
    everything = _listed(suite)
    return [_find(everything, suite, task) for task in tasks] if tasks else everything


def check_suite(suite: str) -> None:
    if suite not in SUITES:
        raise ValueError(f"LIBERO has no suite `{suite}`. {nearest(suite.removeprefix('libero_'), SUITES)}")


def _listed(suite: str) -> list[Task]:
    package = libero_folder()
    names: dict[str, list[str]] = runpy.run_path(str(package / "benchmark" / "libero_suite_task_map.py"))[
        "libero_task_map"
    ]
    suites = tuple(MAX_STEPS) if suite == UNION else (suite,)
    return [Task(one, name, package) for one in suites for name in names[f"libero_{one}"]]


def _find(tasks: list[Task], suite: str, wanted: str | int) -> Task:
    if isinstance(wanted, int):
        if 0 <= wanted < len(tasks):
            return tasks[wanted]
        raise ConfigError(
            f"task {wanted} of LIBERO's suite {suite} was asked for, and it has {len(tasks)}; nothing was built. "
            f"Count from 0 to {len(tasks) - 1}."
        )
    key = wanted.replace(" ", "_")
    said = {id(task): task.instruction.replace(" ", "_") for task in tasks}
    found = [task for task in tasks if task.name == wanted] or [
        task for task in tasks if key in (task.name, said[id(task)])
    ]
    if not found:
        known = dict.fromkeys((*(task.name for task in tasks), *said.values()))
        raise unknown(f"LIBERO's suite {suite} has no task", key, known, cutoff=0.3)  # names are long
    if len(found) > 1:
        raise ConfigError(
            f"`{wanted}` was asked for, which LIBERO's suite {suite} says of {len(found)} tasks; nothing was built. "
            f"Name one of them: {', '.join(task.name for task in found)}."
        )
    return found[0]


def libero_folder() -> Path:
    """Where the package lies, found without running it: importing it unprepared asks questions and writes files."""
    package = importlib.util.find_spec("libero")
    if package is None or not package.origin:
        raise PackageError(
            "LIBERO was asked for and its package is not installed; nothing was built. Type: "
            'pip install -c constraints.txt -e ".[libero]" && pip install -c constraints.txt --no-deps hf-libero'
        )
    folder = Path(package.origin).parent / "libero"
    if not (folder / "bddl_files").is_dir():
        raise PackageError(
            f"`import libero` would find {package.origin}, which is not LIBERO (it has no bddl_files); nothing was "
            f"built. Install hf-libero in a clean environment."
        )
    return folder
