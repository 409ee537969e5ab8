"""The learning curve of a run as one picture, drawn from its own files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.metrics.axis import AXES, ENV_STEPS, Axis
from embodied.metrics.intervals import wilson
from embodied.metrics.success import RECENT, RECENT_OF_EACH


def draw_curve(run: Path, title: str) -> Path:
    """Success with its 95 % interval, return or losses, and speed against the progress of the run, to RUN/curve.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axis, steps, success, low, high = success_curve(run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), constrained_layout=True)
    figure.suptitle(title)
    last = "last episodes" if axis is ENV_STEPS else "fresh episodes"
    axes[0].fill_between(steps, 100 * low, 100 * high, alpha=0.25, linewidth=0)
    axes[0].plot(steps, 100 * success)
    axes[0].set(title=f"success, {last} (95 % interval)", ylabel="%", ylim=(0, 100))
    if axis is ENV_STEPS:
        _plot(axes[1], axis, rows, {"return": ""}, "return per episode")
    else:
        _plot(axes[1], axis, rows, {"loss": "learned from", "validation_loss": "held out"}, "loss")
        axes[1].set_yscale("log")
    _plot(axes[2], axis, rows, {axis.rate: ""}, f"{axis.name}/s")
    axes[2].set_ylim(bottom=0)
    for each in axes:
        each.set_xlabel(axis.name)
        each.grid(alpha=0.3)
        each.ticklabel_format(axis="x", style="sci", scilimits=(3, 3))
    figure.savefig(run / "curve.png", dpi=110)
    pyplot.close(figure)
    return run / "curve.png"


def _plot(panel: Any, axis: Axis, rows: list[dict[str, Any]], keys: dict[str, str], title: str) -> None:
    """Metrics against progress, with a legend of those that `keys` gives a name."""
    for key, name in keys.items():
        points = [(row[axis.key], row[key]) for row in rows if key in row]
        panel.plot(*np.array(points).T if points else ([], []), label=name)
    panel.set(title=title)
    if any(keys.values()):
        panel.legend()


def success_curve(run: Path) -> tuple[Axis, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Axis and progress, success over the last episodes and the ends of its interval, an entry for each rollout.

    Where nothing is collected, an entry stands for one round of fresh episodes. With several tasks success is the mean
    over those played so far, each judged by its own last episodes.
    """
    with (run / "episodes.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        axis = next(axis for axis in AXES if axis.key in (reader.fieldnames or ()))
        rows = [row for row in reader if row["lost"] == "False"]
    steps = np.array([int(row[axis.key]) for row in rows])
    tasks = np.array([int(row["task"]) for row in rows])
    hits = np.array([row["success_once"] == "True" for row in rows], dtype=float)
    last = np.append(steps[1:] != steps[:-1], True)[: len(steps)]  # one point for each rollout
    if axis is ENV_STEPS and len(set(tasks.tolist())) > 1:
        mean, low, high = (x[last] for x in _mean_over_tasks(tasks, hits))
        return axis, steps[last], mean, low, high
    sums, counts = _over_last(hits, RECENT)
    if axis is not ENV_STEPS:
        counts = np.array([(steps == step).sum() for step in steps])
        sums = np.array([hits[steps == step].sum() for step in steps])
    bounds = np.array([wilson(int(s), int(c)) for s, c in zip(sums[last], counts[last], strict=True)]).reshape(-1, 2)
    return axis, steps[last], sums[last] / counts[last], bounds[:, 0], bounds[:, 1]


def _over_last(hits: NDArray[Any], window: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sum of the last `window` entries up to each, and how many these are."""
    total = np.concatenate([[0.0], hits.cumsum()])
    counts = np.minimum(np.arange(1, len(hits) + 1), window)
    return total[1:] - total[np.arange(len(hits)) + 1 - counts], counts


def _mean_over_tasks(tasks: NDArray[Any], hits: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Success after each episode, and its 95 % interval (normal: the mean of several)."""
    rate, variance, seen = (np.zeros(len(hits)) for _ in range(3))
    for task in np.unique(tasks):
        own = (tasks == task).nonzero()[0]
        sums, counts = _over_last(hits[own], RECENT_OF_EACH)
        latest = np.searchsorted(own, np.arange(len(hits)), side="right") - 1  # of its episodes so far, -1: none
        known = latest >= 0
        rate[known] += (sums / counts)[latest[known]]
        shrunk = (sums + 1) / (counts + 2)  # so that five successes out of five are not certainty
        variance[known] += (shrunk * (1 - shrunk) / counts)[latest[known]]
        seen += known
    mean, half = rate / seen, 1.96 * np.sqrt(variance) / seen
    return mean, np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)
