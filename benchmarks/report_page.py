"""How long a report takes to make, and how large it is: 20 runs of 1,000 points each, written by hand.

    python benchmarks/report_page.py [runs=20] [points=1000] [tasks=10]

The command runs as a process of its own, from its start to its end, with imports, and with the cache of files warm.
Once the groups differ clearly, and once so little that for each pair the seeds that would settle it are sought.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Spread, Target, finish, table
from tests.made_runs import write_run

RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # of learning: a group each
REPEATS = 3


def main() -> None:
    settings = {"runs": 20, "points": 1000, "tasks": 10} | {
        key: int(value) for key, _, value in (word.partition("=") for word in sys.argv[1:])
    }
    targets: list[Target] = []
    for case, step in (("groups apart", 0.1), ("groups alike", 0.02)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_runs(folder, step, **settings)
            measured = [_seconds(folder) for _ in range(REPEATS)]
            seconds, cpu = (Spread.of(column) for column in zip(*measured, strict=True))
            megabytes = (folder / "report.html").stat().st_size / 1e6
            pictures = sorted((folder / "report-pictures").glob("*.png"))
            rows = [(path.name, f"{path.stat().st_size / 1e3:.0f} kB") for path in pictures]
        table(f"{case}: pictures of the page", ("file", "size"), rows)
        note = f"{seconds}; CPU {cpu}"
        targets.append(Target(f"time to make the page, {case}", seconds.median, "s", 20, "most", note))
        targets.append(Target(f"size without videos, {case}", megabytes, "MB", 5, "most"))
    finish("report_page", targets)


def write_runs(folder: Path, step: float, *, runs: int, points: int, tasks: int) -> None:
    """`step` is what a group succeeds more often than the one before."""
    names = [f"task {index}" for index in range(tasks)]
    for run in range(runs):
        group, seed = run % len(RATES), run // len(RATES)
        write_run(
            folder / "runs" / f"{group}-{seed}", seed=seed, points=points, tasks=names, episodes=50,
            rate=0.5 + step * group, learning_rate=RATES[group],
        )  # fmt: skip


def _seconds(folder: Path) -> tuple[float, float]:
    """On the clock, and of the CPU: the first is larger where others use the machine."""
    began, cpu = time.monotonic(), _cpu()
    command = [sys.executable, "-m", "embodied.cli", "report", "runs", "out=report.html", "videos=none"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, _cpu() - cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
