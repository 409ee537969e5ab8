"""The experiments behind `make train`, several seeds each: success of 100 fresh episodes, and how long training took.

    python benchmarks/first_run.py [experiments=push_cube_ppo,pick_cube_ppo] [seeds=1,2,3] [out=runs/first_run]

A finished run whose folder is already there is read, not repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import CONSOLE, Spread, Target, finish, table
from embodied.metrics.intervals import percent


@dataclass(frozen=True, slots=True)
class Asked:
    seeds: int
    success: float
    minutes: float


EPISODES = 100
ASKED = {"push_cube_ppo": Asked(5, 0.95, 6.0), "pick_cube_ppo": Asked(3, 0.90, 45.0)}


@dataclass(frozen=True, slots=True)
class Outcome:
    successes: int
    episodes: int
    minutes: float
    env_steps: int

    @property
    def rate(self) -> float:
        """Of all that were asked for: a lost episode is not a success."""
        return self.successes / EPISODES


def outcome_of(folder: Path) -> Outcome | None:
    """What a finished run says of itself; None where it is not finished."""
    summary = folder / "evaluation" / "final" / "summary.json"
    if not summary.is_file():
        return None
    found = json.loads(summary.read_text())["success_once"]
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return Outcome(found["successes"], found["episodes"], last["wall_s"] / 60, last["env_steps"])


def train(experiment: str, seed: int, folder: Path) -> Outcome:
    words = [f"experiment={experiment}", f"seed={seed}", f"run_dir={folder}", "film=0", f"evaluate={EPISODES}"]
    if outcome_of(folder) is None and folder.exists():
        sys.exit(f"{folder} holds an unfinished run, whose time would not be known; nothing was measured. Remove it.")
    if outcome_of(folder) is None:
        CONSOLE.print(f"training {experiment} with seed {seed}")
        subprocess.run([sys.executable, "-m", "embodied.cli", "train", *words], check=True, stdout=subprocess.DEVNULL)
    found = outcome_of(folder)
    if found is None:
        raise RuntimeError(f"{folder} has no evaluation although its run ended well")
    return found


def targets_of(name: str, asked: Asked, found: dict[int, Outcome]) -> list[Target]:
    """The worst seed must meet both numbers; with fewer seeds than asked the claim is not measured."""
    note = "" if len(found) >= asked.seeds else f"{len(found)} of {asked.seeds} seeds"
    worst = min(x.rate for x in found.values())
    slowest = max(x.minutes for x in found.values())
    return [
        Target(f"{name}: success of the worst seed", worst if not note else None, "fraction", asked.success, note=note),
        Target(
            f"{name}: training time of the slowest seed", None if note else slowest, "min", asked.minutes, "most", note
        ),
    ]  # fmt: skip


def main() -> None:
    words = dict(word.split("=") for word in sys.argv[1:])
    out = Path(words.get("out", "runs/first_run"))
    targets: list[Target] = []
    for name in words.get("experiments", ",".join(ASKED)).split(","):
        asked = ASKED[name]
        seeds = [int(s) for s in words["seeds"].split(",")] if "seeds" in words else list(range(1, asked.seeds + 1))
        found = {seed: train(name, seed, out / name / f"seed{seed}") for seed in seeds}
        table(
            f"{name}: 100 fresh episodes after training",
            ("seed", "success (95 % interval)", "training, min", "environment steps"),
            [
                (str(s), percent(x.successes, x.episodes), f"{x.minutes:.1f}", f"{x.env_steps:,}")
                for s, x in found.items()
            ],
        )
        CONSOLE.print(f"training minutes: {Spread.of([x.minutes for x in found.values()])}")
        targets += targets_of(name, asked, found)
    finish("first_run", targets)


if __name__ == "__main__":
    main()
