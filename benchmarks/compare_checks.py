"""What `embodied compare` claims on runs that are alike, and what the usual bootstrap would: docs/comparing.md.

python benchmarks/compare_checks.py [replicates=400]
"""

from __future__ import annotations

import sys

import numpy as np

from embodied.comparing.permutation import p_of, relabelings
from embodied.comparing.seeds import power_of, seeds_needed
from embodied.metrics.aggregates import Scores, iqm
from embodied.metrics.bootstrap import resamples

CASES = ((3, 1, 0.0), (4, 1, 0.0), (5, 1, 0.0), (10, 1, 0.0), (5, 10, 0.0), (5, 10, 0.5), (10, 10, 0.5))


def draw(generator: np.random.Generator, runs: int, tasks: int, shared: float) -> Scores:
    """Normal scores; `shared` is the part of the variance that all tasks of a run have in common."""
    own = np.sqrt(1 - shared) * generator.normal(size=(runs, tasks))
    return own + np.sqrt(shared) * generator.normal(size=(runs, 1))


def bootstrap_claims(a: Scores, b: Scores, seed: int, whole: bool) -> bool:
    generator = np.random.default_rng(seed)
    both = zip(
        resamples(a, 1000, generator, whole=whole), resamples(b, 1000, generator.spawn(1)[0], whole=whole), strict=True
    )
    low, high = np.percentile(np.concatenate([iqm(x) - iqm(y) for x, y in both]), [2.5, 97.5])
    return not low <= 0 <= high


def main(replicates: int) -> None:
    generator = np.random.default_rng(0)
    print(
        "seeds tasks shared | wrong claims at 5 %: stratified  whole runs  permutation | claims at 2 std: permutation"
    )
    for runs, tasks, shared in CASES:
        orders = relabelings(runs, runs, most=1000, seed=0)
        alike = [[draw(generator, runs, tasks, shared) for _ in "ab"] for _ in range(replicates)]
        apart, whole = (
            np.mean([bootstrap_claims(a, b, i, x) for i, (a, b) in enumerate(alike)]) for x in (False, True)
        )
        wrong = np.mean([p_of(a, b, orders) <= 0.05 for a, b in alike])
        right = np.mean([p_of(a + 2, b, orders) <= 0.05 for a, b in alike])
        print(f"{runs:5} {tasks:5} {shared:6} | {apart:31.3f} {whole:11.3f} {wrong:12.3f} | {right:10.3f}", flush=True)
    print("seeds that five runs of each ask for, one standard deviation apart (17 to 18 would do), quartiles:")
    asked = []
    for _ in range(replicates // 8):
        a, b = (draw(generator, 5, 1, 0.0) for _ in "ab")
        a, b = a - a.mean() + 1, b - b.mean()  # the difference as it is: only the spread is uncertain
        found = seeds_needed(a, b)
        asked.append((found.seeds or 65, (found.fewest or 65) <= 18 <= (found.most or 65)))
    print(*np.percentile([n for n, _ in asked], [25, 50, 75]), "range holds 18 in", np.mean([x for _, x in asked]))
    many = draw(generator, 2000, 1, 0.0)
    print("power with 18 seeds each, spread known:", power_of(many - many.mean() + many.std(), many - many.mean(), 18))


if __name__ == "__main__":
    main(int(next((word.partition("=")[2] for word in sys.argv[1:] if word.startswith("replicates=")), "400")))
