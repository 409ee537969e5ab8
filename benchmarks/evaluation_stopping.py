"""How often the 95 % interval covers the truth when an evaluation stops as soon as it is narrow enough.

    python -m benchmarks.evaluation_stopping [trials=20000]

Simulated episodes. One task, looked at after every episode; and ten tasks of different difficulty, looked at after
every round, where the truth is the mean over tasks.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Target, finish, table
from embodied.evaluation.queue import NarrowEnough
from embodied.metrics.intervals import wilson

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # what follows above one half is the same, mirrored
WIDTHS = (0.05, 0.1, 0.2, 0.3)
SPREAD = 1.5  # standard deviation of the difficulty of ten tasks, on the logit
JUDGED, LEAST = 0.2, 0.94  # widths up to this one; at 0.3 there are ten episodes, and no interval is exact


def stops(width: float, step: int) -> NDArray[np.int64]:
    """(n,) after so many episodes, in rounds of `step`, the number of successes below which (or n - it) it stops."""
    enough, count, found = NarrowEnough(width), 0, list[int]()
    while not found or found[-1] < count / 2:
        count += step
        narrow = [k for k in range(count // 2 + 1) if enough(k, count)]
        found.append(max(narrow, default=-1))
    return np.array(found)


def covered(
    rates: NDArray[np.float64], width: float, trials: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Share of `trials` whose interval holds the mean of `rates` (tasks,), and mean number of episodes."""
    step, limits = len(rates), stops(width, len(rates))
    successes = np.zeros(trials, dtype=np.int64)
    running, hits, episodes = np.ones(trials, dtype=bool), 0, 0
    for around, limit in enumerate(limits):
        count = (around + 1) * step
        successes[running] += (generator.random((running.sum(), step)) < rates).sum(axis=1)
        ends = running & ((successes <= limit) | (count - successes <= limit))
        for k, number in zip(*np.unique(successes[ends], return_counts=True), strict=True):
            low, high = wilson(int(k), count)
            hits += number * (low <= rates.mean() <= high)
        episodes += int(ends.sum()) * count
        running &= ~ends
    assert not running.any()
    return float(hits / trials), episodes / trials


def measure(trials: int) -> list[Target]:
    generator, least = np.random.default_rng(0), 1.0
    for name, tasks in (("one task", 1), ("ten tasks", 10)):
        rows: list[list[str]] = []
        for rate in RATES:
            row = [f"{100 * rate:g} %"]
            for width in WIDTHS:
                rates = np.full(1, rate)
                if tasks > 1:
                    logit = np.log(rate / (1 - rate)) + SPREAD * np.linspace(-1.5, 1.5, tasks)
                    rates = 1 / (1 + np.exp(-logit))
                share, episodes = covered(rates, width, trials, generator)
                if width <= JUDGED:
                    least = min(least, share)
                row.append(f"{100 * share:.1f} % ({episodes:,.0f})")
            rows.append(row)
        table(f"{name}: covered (episodes), {trials:,} evaluations each", ("success", *map(str, WIDTHS)), rows)
    return [Target(f"coverage, the least up to width {JUDGED}", least, "share", LEAST)]


def main() -> None:
    words = dict(word.split("=") for word in sys.argv[1:])
    finish("evaluation_stopping", measure(int(words.get("trials", 20_000))))


if __name__ == "__main__":
    main()
