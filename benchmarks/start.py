"""How long a user waits, and what the default run needs: `--help`, the first environment step, memory.

python benchmarks/start.py [repeats=3]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.report import Spread, Target, finish, table


def help_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "embodied.cli", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step_and_memory() -> tuple[float, float]:
    """Seconds to the first environment step of `make train`, and the largest memory of its processes, GB.

    The first line of metrics.jsonl comes after the first rollout; its own collecting and learning time is taken off.
    """
    import json

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["experiment=push_cube_ppo", f"run_dir={run}", "total_steps=20000", "evaluate=0", "film=0"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "embodied.cli", "train", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        peak = Peak(process.pid)
        log = run / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(errors.decode())
        seconds -= json.loads(log.read_text().splitlines()[0])["wall_s"]
        return seconds, peak.stop()


class Peak(threading.Thread):
    """Samples the proportional memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.gb, self.running = psutil.Process(pid), 0.0, True
        self.start()

    def run(self) -> None:
        while self.running:
            self.gb = max(self.gb, self._now())
            time.sleep(0.2)

    def stop(self) -> float:
        self.running = False
        self.join()
        return self.gb

    def _now(self) -> float:
        try:
            family = [self.process, *self.process.children(recursive=True)]
            return sum(member.memory_full_info().pss for member in family) / 2**30
        except psutil.Error:
            return 0.0


def main() -> None:
    repeats = int(next((word.removeprefix("repeats=") for word in sys.argv[1:] if word.startswith("repeats=")), 3))
    helps = Spread.of([help_s() for _ in range(2 * repeats)])
    runs = [first_step_and_memory() for _ in range(repeats)]
    starts, memory = Spread.of([seconds for seconds, _ in runs]), Spread.of([gb for _, gb in runs])
    table(
        "start",
        ("", "median [range]"),
        [("embodied --help, s", str(helps)), ("embodied train to the first environment step, s", str(starts)),
         ("memory of the default run, GB", str(memory))],
    )  # fmt: skip
    finish(
        "start",
        [
            Target("embodied --help", helps.median, "s", 1.0, "most"),
            Target("embodied train to the first environment step", starts.median, "s", 15.0, "most"),
            Target("memory of the default run", memory.high or None, "GB", 6.0, "most"),
        ],
    )


if __name__ == "__main__":
    main()
