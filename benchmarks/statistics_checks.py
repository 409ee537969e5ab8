"""Do the statistics keep their word: levels, power and coverage by simulation, agreement with rliable, and speed.

    python benchmarks/statistics_checks.py [runs=2000] [python=...]

`rliable` and the released `adastop` get an environment of their own in the cache folder (about 500 MB; once), or
`python=` names an interpreter that has them. About two minutes on one core. Not called `statistics.py`, which would
hide the standard library's from the other scripts here.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import CONSOLE, Target, finish, table
from embodied.data.cache import cache_folder
from embodied.metrics.adastop import AdaStop
from embodied.metrics.aggregates import AGGREGATES, improvement, profile
from embodied.metrics.bootstrap import aggregate_intervals, cluster_bootstrap, improvement_interval, take
from embodied.metrics.intervals import clopper_pearson, newcombe, paired, wilson
from embodied.metrics.scaling import forecast

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

POWER = {0.0: (0.02, 24.9), 0.5: (0.33, 22.1), 1.0: (0.92, 15.2), 1.5: (1.0, 10.6), 2.0: (1.0, 8.2)}
PACKAGES = ("rliable==1.2.0", "adastop==0.1.3", "numpy==1.26.4", "pandas<3")  # arch 7.2 fails to import with pandas 3


def normal(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    return generator.normal(size=count)


def rates(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Of twenty episodes each: with ties."""
    return generator.binomial(20, 0.9, size=count) / 20


def heavy(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    return generator.standard_t(2, size=count)


def compared(means: dict[str, float], runs: int, draw: Draw = normal, **settings: Any) -> tuple[float, float, float]:
    """Share of runs with a claim between equal agents, with one between unequal ones, and seeds of each agent."""
    generator, wrong, right, seeds = np.random.default_rng(0), 0, 0, 0
    equal = [pair for pair in itertools.combinations(means, 2) if means[pair[0]] == means[pair[1]]]
    for run in range(runs):
        test = AdaStop(tuple(means), seed=run, **settings)
        while test.wanted:
            test = test.add({a: means[a] + draw(generator, test.seeds_per_interim) for a in test.wanted})
        found = test.decisions()
        wrong += any(found[pair] != "equal" for pair in equal)
        right += any(found[pair] != "equal" for pair in found if pair not in equal)
        seeds += sum(len(x) for x in test.scores().values()) / len(means)
    return wrong / runs, right / runs, seeds / runs


def adastop_level(runs: int) -> list[Target]:
    two, three = {"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0, "c": 0.0}
    cases: list[tuple[str, dict[str, float], Draw, dict[str, int]]] = [
        ("2 agents, n=5, K=5, B=2,000", two, normal, {"permutations": 2000}),
        ("2 agents, n=5, K=5, B=10,000", two, normal, {}),
        ("2 agents, n=5, K=1", two, normal, {"interims": 1}),
        ("2 agents, n=10, K=3, B=1,000", two, normal, {"seeds_per_interim": 10, "interims": 3, "permutations": 1000}),
        ("2 agents, success rates with ties", two, rates, {"permutations": 2000}),
        ("2 agents, heavy tails (t, 2 df)", two, heavy, {"permutations": 2000}),
        ("3 agents, K=3, B=2,000", three, normal, {"interims": 3, "permutations": 2000}),
        ("3 agents, K=5, B=2,000", three, normal, {"permutations": 2000}),
        ("3 agents, one of them 3 std better", three | {"c": 3.0}, normal, {"permutations": 2000}),
    ]
    levels = {name: compared(means, runs, draw, **settings)[0] for name, means, draw, settings in cases}
    levels["signed sums, n=5, K=1 (the released way)"] = signed_level(20_000)
    table(f"AdaStop: wrong claims at level 0.05, {runs:,} null runs", ("case", "level"), list(levels.items()))
    ours = [value for name, value in levels.items() if not name.startswith("signed")]
    return [
        Target("AdaStop level, 2 agents, n=5, K=5, B=2000", levels[cases[0][0]], "rate", 0.06, "most"),
        Target("AdaStop level, same, from below", levels[cases[0][0]], "rate", 0.03),
        Target("AdaStop level, highest of all cases", max(ours), "rate", 0.06, "most"),
        Target("AdaStop level, lowest of all cases", min(ours), "rate", 0.03),
        Target("level with signed sums", levels["signed sums, n=5, K=1 (the released way)"], "rate", 0.075),
    ]


def signed_level(runs: int) -> float:
    signs = np.array([[1 if i in chosen else -1 for i in range(10)] for chosen in itertools.combinations(range(10), 5)])
    differences = np.random.default_rng(0).normal(size=(runs, 10)) @ signs.T  # (runs, 252), the first is observed
    bound = np.sort(differences, axis=1)[:, 251 - 12]
    return float((np.abs(differences[:, 0]) > bound).mean())


def adastop_power(runs: int) -> list[Target]:
    rows, worst = [], 0.0
    for shift, (power, seeds) in POWER.items():
        wrong, right, used = compared({"a": shift, "b": 0.0}, runs, permutations=2000)
        found = right if shift else wrong
        rows.append((f"{shift} std", 100 * found, 100 * power, used, seeds))
        worst = max(worst, 100 * abs(found - power))
    columns = ("shift", "claims, %", "table of 7.4, %", "seeds per agent", "table of 7.4")
    table(f"AdaStop: power, n=5, K=5, B=2,000, {runs:,} runs", columns, rows)
    targets = [Target(f"AdaStop power at {row[0]}", row[1], "%", row[2] - 8) for row in rows[1:]]
    return [*targets, Target("AdaStop power, farthest from the table", worst, "points", 8, "most")]


def coverage(runs: int) -> list[Target]:
    """Of 95 % bootstrap intervals on 10 tasks."""
    spread = np.linspace(0, 2, 10)  # means of the tasks
    population = (np.random.default_rng(1).normal(size=(400_000, 10)) + spread)[None]
    rows, found = [], {}
    for name, offset, seeds in (
        ("10 runs, standard normal", np.zeros(10), 10),
        ("10 runs, tasks 0 to 2 std apart", spread, 10),
        ("5 runs, standard normal", np.zeros(10), 5),
    ):
        truth = {key: float(f(population - spread + offset)[0]) for key, f in AGGREGATES.items()}
        generator, inside = np.random.default_rng(0), dict.fromkeys(AGGREGATES, 0)
        for run in range(runs):
            scores = generator.normal(size=(seeds, 10)) + offset
            for key, interval in aggregate_intervals(scores, replicates=2000, seed=run).items():
                inside[key] += not interval.excludes(truth[key])
        found[name] = {key: 100 * count / runs for key, count in inside.items()}
        rows.append((name, *found[name].values()))
    table(f"coverage of 95 % intervals over 10 tasks, {runs:,} comparisons, %", ("scores", *AGGREGATES), rows)
    iqm = found["10 runs, standard normal"]["iqm"]
    return [Target("coverage of the IQM's interval", iqm, "%", 92), Target("same, at most", iqm, "%", 97, "most")]


def rate_coverage(runs: int) -> None:
    generator, rows = np.random.default_rng(0), []
    for rate, trials in ((0.5, 20), (0.9, 20), (0.98, 100), (0.985, 500)):
        counts = generator.binomial(trials, rate, size=(runs, 2))
        scored, exact = ([f(int(k), trials) for k in counts[:, 0]] for f in (wilson, clopper_pearson))
        differences = [newcombe((int(a), trials), (int(b), trials)) for a, b in counts]
        rows.append((f"{rate} of {trials}", *(100 * np.mean([low <= rate <= high for low, high in x])
                                             for x in (scored, exact)),
                     100 * np.mean([not x.excludes(0) for x in differences])))  # fmt: skip
    columns = ("rate", "Wilson", "Clopper-Pearson", "Newcombe, difference")
    table(f"coverage of 95 % intervals of rates, {runs:,} runs, %", columns, rows)


def paired_level(runs: int) -> list[Target]:
    """Two policies whose success depends alike on the start, and so on average alike."""
    generator, rows = np.random.default_rng(0), []
    for trials, hard, name in (
        (20, (1, 1), "20 starts"),
        (100, (1, 1), "100 starts"),
        (500, (4, 0.5), "500 starts, 89 %"),
    ):
        wrong = np.zeros(4)
        for _ in range(runs):
            chance = generator.beta(*hard, size=trials)
            a, b = generator.random((2, trials)) < chance
            found, apart = paired(a, b), newcombe((int(a.sum()), trials), (int(b.sum()), trials))
            wrong += found.p_exact < 0.05, found.p_mid < 0.05, found.difference.excludes(0), apart.excludes(0)
        rows.append((name, *(100 * wrong / runs).tolist()))
    columns = ("starts", "McNemar, exact", "McNemar, mid-p", "Newcombe, paired", "Newcombe, unpaired")
    table(f"wrong claims at 5 %, {runs:,} runs, %", columns, rows)
    return [
        Target("level of McNemar's exact test, highest", max(row[1] for row in rows) / 100, "rate", 0.06, "most"),
        Target("level of Newcombe's paired interval, highest", max(row[3] for row in rows) / 100, "rate", 0.07, "most"),
    ]


def clustered_coverage(runs: int) -> None:
    """Success that depends on start and training seed (logistic, their std), 50 starts."""
    generator, rows = np.random.default_rng(0), []
    for hard, seeds in ((1.0, 3), (1.0, 5), (1.0, 10), (1.0, 20), (0.2, 3), (0.2, 5), (0.2, 10)):
        noise = generator.normal(size=1_000_000) * (hard**2 + 1) ** 0.5
        truth, inside = float((1 / (1 + np.exp(-1 - noise))).mean()), np.zeros(3)
        for run in range(runs):
            logits = 1 + hard * generator.normal(size=(50, 1)) + generator.normal(size=(1, seeds))
            solved = (generator.random((50, seeds)) < 1 / (1 + np.exp(-logits))).reshape(-1)
            start, number = np.repeat(np.arange(50), seeds), np.tile(np.arange(seeds), 50)
            low, high = wilson(int(solved.sum()), solved.size)
            inside[0] += low <= truth <= high
            inside[1] += not cluster_bootstrap(solved, start, replicates=1000, seed=run).excludes(truth)
            inside[2] += not cluster_bootstrap(solved, start, number, replicates=1000, seed=run).excludes(truth)
        rows.append((f"{seeds} (std 1), starts {hard:g}", *(100 * inside / runs).tolist()))
    columns = ("training seeds", "Wilson, all episodes", "clusters: starts", "clusters: starts and seeds")
    table(f"coverage of 95 % intervals over new starts and seeds, {runs:,} runs, %", columns, rows)


def forecasts(runs: int) -> None:
    """Curves of 50 points with noise of 0.02, from 0.1 to 0.9; half of the compute is fitted."""
    steps, generator, rows = np.linspace(0.02, 1, 50), np.random.default_rng(0), []
    for midpoint in (0.1, 0.2, 0.3, 0.6):
        curve = 0.1 + 0.8 / (1 + (midpoint / steps) ** 2)
        found = [forecast(steps, curve + 0.02 * generator.normal(size=50)) for _ in range(runs)]
        told = [x for x in found if x.growth.is_determined]
        errors = [np.median([x.error for x in some]) if some else float("nan") for some in (found, told)]
        inside = [abs(x.growth.asymptote - 0.9) < 2 * x.growth.asymptote_error for x in told]
        rows.append((f"{midpoint} of the compute", 100 * len(told) / runs, *errors,
                     100 * float(np.mean(inside)) if inside else float("nan")))  # fmt: skip
    columns = ("midpoint", "determined, %", "error, median", "error where determined", "asymptote within 2 errors, %")
    table(f"a sigmoid fitted to the first half, {runs} curves", columns, rows)


def agreement(python: Path) -> list[Target]:
    generator = np.random.default_rng(0)
    x, y = generator.normal(0.6, 0.3, (10, 50)), generator.normal(0.5, 0.3, (8, 50))
    given = {"x": x, "y": y, "draws_x": generator.integers(10, size=(2000, 10, 50)),
             "draws_y": generator.integers(8, size=(200, 8, 50)), "thresholds": np.linspace(-0.2, 1.4, 33)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        draws, answer = Path(folder) / "draws.npz", Path(folder) / "answer.npz"
        np.savez(draws, **given)
        script = str(Path(__file__).with_name("statistics_other_side.py"))
        variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        subprocess.run([str(python), script, str(draws), str(answer)], check=True, env=variables)
        theirs = dict(np.load(answer))
    drawn_x, drawn_y = take(x, given["draws_x"]), take(y, given["draws_y"])
    ours = {name: _ends(f(x), f(drawn_x)) for name, f in AGGREGATES.items()}
    ours["profile"] = _ends(profile(x, given["thresholds"]), profile(drawn_x, given["thresholds"]))
    ours["improvement"] = _ends(improvement(x, y), improvement(drawn_x[:200], drawn_y))
    rows = [(name, float(np.abs(numbers - theirs[name]).max())) for name, numbers in ours.items()]
    table("estimates and interval ends against rliable, same draws", ("aggregate", "largest difference"), rows)
    seconds = _seconds(lambda: aggregate_intervals(x)), _seconds(lambda: improvement_interval(x, x[::-1] + 0.1))
    pairs = [("IQM (ours: with mean, median and optimality gap)", seconds[0], float(theirs["seconds_iqm"])),
             ("probability of improvement", seconds[1], float(theirs["seconds_improvement"]))]  # fmt: skip
    table("seconds for 50,000 replicates of 10 x 50, one core", ("what", "ours", "rliable (extrapolated)"), pairs)
    table("the other side", ("package",), [(name,) for name in theirs["versions"].tolist()])
    name = f"level of the released adastop, {int(theirs['released_nulls'])} null runs"
    return [
        Target("agreement with rliable, largest difference", max(row[1] for row in rows), "score", 1e-9, "most"),
        Target("50,000 replicates of 10 x 50, four aggregates", seconds[0], "s", 5, "most"),
        Target("same, probability of improvement", seconds[1], "s", 5, "most"),
        Target(name, float(theirs["released_level"]), "rate", 0.06, note="above: what ours must not do"),
    ]


def _ends(estimate: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, values) point, low, high."""
    return np.stack([np.atleast_1d(estimate), *np.atleast_2d(np.percentile(found, (2.5, 97.5), axis=0).reshape(2, -1))])


def _seconds(work: Callable[[], object]) -> float:
    """Median of three."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return sorted(found)[1]


def environment() -> Path:
    """An interpreter that has the other packages."""
    folder = cache_folder() / "statistics-peers"
    python = folder / "bin" / "python"
    if not (folder / "made").is_file():
        CONSOLE.print(f"making {folder} with {', '.join(PACKAGES)} (about 500 MB, once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (folder / "made").touch()
    return python


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    runs = int(words.get("runs", "2000"))
    targets = [*adastop_level(runs), *adastop_power(runs // 2), *coverage(runs), *paired_level(runs)]
    rate_coverage(runs)
    clustered_coverage(runs // 4)
    forecasts(max(1, runs // 20))
    targets += agreement(Path(words["python"]) if "python" in words else environment())
    finish("statistics_checks", targets)


if __name__ == "__main__":
    main()
