"""The learning curve of a run as one picture, drawn from its own files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.metrics.stats import wilson

WINDOW = 100  # episodes


def draw_curve(run: Path, title: str) -> Path:
    """Success with its 95 % interval, return and speed against environment steps, to RUN/curve.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps, success, low, high = success_curve(run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), constrained_layout=True)
    figure.suptitle(title)
    axes[0].fill_between(steps, 100 * low, 100 * high, alpha=0.25, linewidth=0)
    axes[0].plot(steps, 100 * success)
    axes[0].set(title=f"success, last {WINDOW} episodes (95 % Wilson interval)", ylabel="%", ylim=(0, 100))
    for axis, key, name in ((axes[1], "return", "return per episode"), (axes[2], "steps_per_s", "environment steps/s")):
        points = [(row["env_steps"], row[key]) for row in rows if key in row]
        axis.plot(*np.array(points).T if points else ([], []))
        axis.set(title=name)
        if key == "steps_per_s":
            axis.set_ylim(bottom=0)
    for axis in axes:
        axis.set_xlabel("environment steps")
        axis.grid(alpha=0.3)
        axis.ticklabel_format(axis="x", style="sci", scilimits=(3, 3))
    figure.savefig(run / "curve.png", dpi=110)
    pyplot.close(figure)
    return run / "curve.png"


def success_curve(run: Path) -> tuple[NDArray[Any], ...]:
    """Environment steps, success over the last episodes, and its interval, one entry for each rollout."""
    with (run / "episodes.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lost"] == "False"]
    steps = np.array([int(row["env_steps"]) for row in rows])
    hits = np.array([row["success_once"] == "True" for row in rows], dtype=float)
    total = np.concatenate([[0.0], hits.cumsum()])
    counts = np.minimum(np.arange(1, len(hits) + 1), WINDOW)
    sums = total[1:] - total[np.arange(len(hits)) + 1 - counts]
    last = np.append(steps[1:] != steps[:-1], True)[: len(steps)]  # one point for each rollout
    steps, sums, counts = steps[last], sums[last], counts[last]
    bounds = np.array([wilson(int(s), int(c)) for s, c in zip(sums, counts, strict=True)]).reshape(-1, 2)
    return steps, sums / counts, bounds[:, 0], bounds[:, 1]
