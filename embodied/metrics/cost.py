"""What the iterations of a run have cost so far, continued over sessions by its checkpoints.

    wall_s     seconds on the clock while iterating: not while building, saving, evaluating or filming
    cpu_s      seconds of all cores in the same time, by this process and all that it started
    device_s   seconds of the device that is paid for: on a GPU, the clock times the GPUs held, busy or not;
               on a CPU, `cpu_s`

What a killed session did after its last checkpoint is done again and counted once. The kernel counts living children
in steps of 10 ms; where it does not list them (outside Linux), a child is counted when it has ended.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # types imports torch, which whoever only reads runs can do without
    from embodied.types import Metrics

COUNTERS: tuple[str, ...] = ("wall_s", "cpu_s", "device_s")
CPU_TIMES = slice(11, 15)  # of /proc/PID/stat after the name: user, system, and both of children that have ended


class Cost:
    """cost.start(); ...; cost.stop() around each iteration; cost.metrics()"""

    def __init__(self, device: str) -> None:
        self.gpus = int(device.startswith("cuda"))
        self.spent = dict.fromkeys(COUNTERS, 0.0)
        self._clock, self._cpu = 0.0, 0.0

    def start(self) -> None:
        self._clock, self._cpu = time.perf_counter(), cpu_seconds()

    def stop(self) -> None:
        wall, cpu = time.perf_counter() - self._clock, max(0.0, cpu_seconds() - self._cpu)
        device = wall * self.gpus if self.gpus else cpu
        for name, seconds in zip(COUNTERS, (wall, cpu, device), strict=True):
            self.spent[name] += seconds

    def metrics(self) -> Metrics:
        return dict(self.spent)

    def load(self, facts: Mapping[str, Any]) -> None:
        """Of a checkpoint, which holds `metrics()`; one from before there were these counters starts them at zero."""
        self.spent = {name: float(facts.get(name, 0.0)) for name in COUNTERS}


def cpu_seconds() -> float:
    """User and system time of this process, of all that it started, and of all that those started."""
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    living = sum(_ticks(pid) for pid in _descendants(os.getpid()))
    return sum(x.ru_utime + x.ru_stime for x in (own, ended)) + living / os.sysconf("SC_CLK_TCK")


def _descendants(pid: int) -> Iterator[int]:
    """Living ones, as far as /proc says."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, _read(path).split()):
            yield child
            yield from _descendants(child)


def _ticks(pid: int) -> int:
    """CPU time of a process and of its children that have ended."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()  # the name may hold anything
    return sum(map(int, fields[CPU_TIMES]))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""
