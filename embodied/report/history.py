"""What the folder of one run tells: its curve, its clocks and counters, where it stands, what was asked of it.

Only files are read; no recipe is built, so a run of an older version of the code is still reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.comparing.reading import read_json, read_yaml
from embodied.comparing.whole import reached, unfinished
from embodied.errors import ConfigError
from embodied.metrics.axis import AXES, Axis
from embodied.run_folder import State, state_of

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    folder: Path
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    evaluation: Mapping[str, Any]  # summary.json of the final one; empty where there is none
    axis: Axis
    rows: tuple[Mapping[str, Any], ...]  # of metrics.jsonl
    state: State

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def purpose(self) -> str:
        return str(self.config.get("purpose", "test"))

    @property
    def done(self) -> int:
        """Along the axis."""
        return int(self.rows[-1][self.axis.key])

    @property
    def wall_s(self) -> float:
        return float(self.rows[-1].get("wall_s", math.nan))

    @property
    def planned(self) -> int | None:
        """Along the axis; None where the config does not say."""
        return reached(self.rows[-1], self.config)[1]

    @property
    def standing(self) -> str:
        """`finished`, `stopped at 40 %`, `killed at 99 %`."""
        if self.state == "finished" or not self.planned:
            return self.state
        return f"{self.state} at {min(100.0, 100 * self.done / self.planned):.0f} %"

    @cached_property
    def curve(self) -> tuple[Numbers, Numbers, Numbers]:
        """Progress, wall seconds and success, wherever success is known."""
        keys = (self.axis.key, "wall_s", "success_once")
        points = [[float(row.get(key, math.nan)) for key in keys] for row in self.rows]
        found = np.array(points).reshape(-1, 3)
        found = found[np.isfinite(found).all(axis=1)]
        return found[:, 0], found[:, 1], found[:, 2]

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Spent in each part, over the whole run; `evaluation` is the one after training."""
        total: dict[str, float] = {}
        for row in self.rows:
            for key, value in row.items():
                if key.startswith("seconds/"):
                    name = key.removeprefix("seconds/")
                    total[name] = total.get(name, 0.0) + float(value)
        if "seconds" in self.evaluation:
            total["evaluation"] = float(self.evaluation["seconds"])
        return total

    def counter(self, name: str) -> float | None:
        """The last value of a counter that only grows; None where it was not recorded."""
        return next((float(row[name]) for row in reversed(self.rows) if name in row), None)


def read_history(folder: Path) -> History:
    """Raises ConfigError, with the reason, for a run that cannot be read."""
    rows = _rows(folder / "metrics.jsonl")
    axis = next((axis for axis in AXES if axis.key in rows[-1]), None)
    if axis is None:
        raise ConfigError(
            f"{folder}/metrics.jsonl counts neither {' nor '.join(axis.name for axis in AXES)}, so it has no curve."
        )
    summary = folder / "evaluation" / "final" / "summary.json"
    state, config = state_of(folder), read_yaml(folder / "config.yaml")
    if not config:
        raise ConfigError(f"{folder}/config.yaml holds no settings.")
    return History(
        folder=folder,
        config=config,
        facts=read_json(folder / "facts.json"),
        evaluation=read_json(summary) if summary.is_file() else {},
        axis=axis,
        rows=tuple(rows),
        state="finished" if state == "killed" and unfinished(folder, config) is None else state,  # before end.json
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    """A last line without an end is being written, or was when the run died: it is left out."""
    if not path.is_file():
        raise ConfigError(f"{path} is not there, so nothing is known of the training.")
    whole = path.read_text().split("\n")[:-1]
    try:
        rows = [json.loads(line) for line in whole]
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} holds a line that is not JSON ({error}).") from None
    if not rows:
        raise ConfigError(f"{path} holds no iteration yet.")
    return rows
