"""What `rliable` and the released `adastop` make of our numbers; run by `statistics_checks.py`, in their environment.

    python statistics_other_side.py DRAWS.npz ANSWER.npz

rliable takes its draws from `np.random.choice`; here that hands out ours, so both resample alike. Nothing of ours is
imported.
"""

from __future__ import annotations

import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

TIMED = 5000  # replicates of rliable's own, from which 50,000 are extrapolated
NULLS = 400


def main() -> None:
    warnings.simplefilter("ignore")  # arch's about its random state, once for each call
    given = dict(np.load(sys.argv[1]))
    answer = intervals(given) | timing(given["x"]) | released_level()
    packages = ("rliable", "arch", "adastop", "numpy", "scipy", "pandas")
    np.savez(sys.argv[2], **answer, versions=np.array([f"{name} {version(name)}" for name in packages]))


def intervals(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Point estimates and 95 % intervals on the draws that were given."""
    from rliable import library, metrics

    alone = {
        "mean": metrics.aggregate_mean,
        "median": metrics.aggregate_median,
        "iqm": metrics.aggregate_iqm,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
    found, own = {}, np.random.choice
    try:
        for name, aggregate in alone.items():
            np.random.choice = handed_out(given["draws_x"])
            found[name] = estimated(library, given["x"], lambda s, f=aggregate: np.array([f(s)]), len(given["draws_x"]))
        np.random.choice = handed_out(given["draws_x"])
        found["profile"] = estimated(
            library, given["x"], lambda s: library.score_distributions(s, given["thresholds"]), len(given["draws_x"])
        )
        np.random.choice = handed_out(given["draws_x"], given["draws_y"])
        pair = [given["x"], given["y"]]
        found["improvement"] = estimated(
            library, pair, lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), len(given["draws_y"])
        )
    finally:
        np.random.choice = own
    return found


def handed_out(*draws: np.ndarray):
    """A `choice` that returns the rows of each of `draws` in turn."""
    rows = (row for together in zip(*draws, strict=False) for row in together)  # the shorter ends it
    return lambda *_, **__: next(rows)


def estimated(library, scores, function, replicates: int) -> np.ndarray:
    """(3, values) point, low, high."""
    points, ends = library.get_interval_estimates({"_": scores}, function, reps=replicates)
    return np.concatenate([points["_"][None], ends["_"]])


def timing(x: np.ndarray) -> dict[str, np.ndarray]:
    from rliable import library, metrics

    began = time.perf_counter()
    library.get_interval_estimates({"_": x}, lambda s: np.array([metrics.aggregate_iqm(s)]), reps=TIMED)
    iqm = time.perf_counter() - began
    began = time.perf_counter()
    library.get_interval_estimates(
        {"_": [x, x[::-1] + 0.1]},
        lambda a, b: np.array([metrics.probability_of_improvement(a, b)]),
        reps=TIMED // 100,
    )
    improvement = time.perf_counter() - began
    return {"seconds_iqm": np.array(iqm * 50_000 / TIMED),
            "seconds_improvement": np.array(improvement * 50_000 / (TIMED // 100))}  # fmt: skip


def released_level() -> dict[str, np.ndarray]:
    """Share of null comparisons in which the released AdaStop claims a difference."""
    from adastop import MultipleAgentsComparator

    generator, wrong = np.random.default_rng(0), 0
    for run in range(NULLS):
        test = MultipleAgentsComparator(n=5, K=5, B=2000, alpha=0.05, seed=run)
        scores = {"a": np.empty(0), "b": np.empty(0)}
        while not test.is_finished:
            scores = {name: np.append(x, generator.normal(size=5)) for name, x in scores.items()}
            test.partial_compare(scores, verbose=False)
        wrong += next(iter(test.decisions.values())) != "equal"
    return {"released_level": np.array(wrong / NULLS), "released_nulls": np.array(NULLS)}


if __name__ == "__main__":
    main()
