"""How long a report takes to make, and how large it is: 20 runs of 1,000 points each, written by hand.

    python benchmarks/report_page.py [runs=20] [points=1000] [tasks=10]

The command runs as a process of its own, from its start to its end, with imports and with the cache of files warm. The groups are nearly alike, so that seeds that would tell them apart are sought for each pair.
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

GROUPS = 4
REPEATS = 3


def main() -> None:
    settings = {"runs": 20, "points": 1000, "tasks": 10} | {
        key: int(value) for key, _, value in (word.partition("=") for word in sys.argv[1:])
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = [f"task {index}" for index in range(settings["tasks"])]
        for run in range(settings["runs"]):
            group, seed = run % GROUPS, run // GROUPS
            write_run(
                folder / "runs" / f"{group}-{seed}", seed=seed, points=settings["points"], tasks=tasks, episodes=50,
                rate=0.6 + 0.02 * group, learning_rate=[1e-4, 3e-4, 1e-3, 3e-3][group],
            )  # fmt: skip
        measured = [_seconds(folder) for _ in range(REPEATS)]
        seconds, cpu = (Spread.of(column) for column in zip(*measured, strict=True))
        page = folder / "report.html"
        megabytes = page.stat().st_size / 1e6
        pictures = sorted((folder / "report-pictures").glob("*.png"))
        rows = [(path.name, f"{path.stat().st_size / 1e3:.0f} kB") for path in pictures]
        table("pictures of the page", ("file", "size"), rows)
    what = f"{settings['runs']} runs of {settings['points']} points, {settings['tasks']} tasks"
    finish(
        "report_page",
        [
            Target("time to make the page", seconds.median, "s", 20, "most", f"{what}; {seconds}; CPU {cpu}"),
            Target("size without videos", megabytes, "MB", 5, "most"),
        ],
    )


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
