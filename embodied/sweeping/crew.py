"""Runs of a sweep, some at a time, each a child process with its run folder and its log.

A run that finished is not started again, one that left a checkpoint is continued, and one that fails is named while the
others go on. Ctrl-C is for the sweep alone: children are in sessions of their own and are told by a signal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embodied.interrupt import Interrupt
from embodied.learner import checkpoint as checkpoints
from embodied.run_folder import held, state_of
from embodied.sweeping import job as child
from embodied.sweeping.plan import Job
from embodied.sweeping.progress import Progress

PAUSE_S = 0.1
PLAIN = re.compile(r"[A-Za-z0-9_./+@-]+")  # what Hydra reads as it stands


@dataclass(frozen=True, slots=True)
class Ended:
    job: Job
    how: Literal["finished", "stopped", "failed"]
    why: str = ""


class Running:
    """running.stop() asks it to; running.ended() is None while it lives; running.close() ends it."""

    def __init__(self, job: Job, sweep: Path) -> None:
        self.job, self.folder, self.log = job, sweep / job.path, log_of(job, sweep)
        words = _words(job, self.folder)
        self.log.parent.mkdir(exist_ok=True)
        watched, self.alive = os.pipe()
        told = {"alive": watched, "path": sys.path, "words": words}
        try:
            with self.log.open("a") as output:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", str(child.__file__), json.dumps(told)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(watched,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self.alive)
            raise
        finally:
            os.close(watched)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ended(self) -> Ended | None:
        status = self.process.poll()
        if status is None:
            return None
        if status == 0:
            return Ended(self.job, "finished")
        was_stopped = status in (130, -signal.SIGINT)  # the second: while it was still starting
        return Ended(self.job, "stopped") if was_stopped else Ended(self.job, "failed", _why(status, self.log))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.alive)


def run_all(jobs: Sequence[Job], folder: Path, at_once: int, interrupt: Interrupt, progress: Progress) -> list[Ended]:
    """How each of `jobs` ended whose run folder lies in `folder`; once interrupted, of those that had begun."""
    waiting, running, ended = deque(jobs), list[Running](), list[Ended]()
    told_to_stop = False
    try:
        while running or (waiting and not interrupt.asked):
            while waiting and len(running) < at_once and not interrupt.asked:
                running.append(Running(waiting.popleft(), folder))
                progress.begin(running[-1].job, running[-1].folder)
            if interrupt.asked and not told_to_stop:
                told_to_stop = True
                for each in running:
                    each.stop()
            for each, found in [(each, found) for each in running if (found := each.ended())]:
                running.remove(each)
                each.close()
                ended.append(found)
                progress.end(found.job, found.how, found.why)
            progress.show()
            time.sleep(PAUSE_S)
    finally:
        for each in running:
            each.close()
    return ended


def finished(job: Job, folder: Path) -> bool:
    return (folder / job.path).is_dir() and state_of(folder / job.path) == "finished"


def log_of(job: Job, folder: Path) -> Path:
    return folder / "logs" / f"{job.path.as_posix().replace('/', '_')}.txt"


def _words(job: Job, folder: Path) -> list[str]:
    """Of `embodied train`: from its last checkpoint, or from the beginning where it left none."""
    if checkpoints.all_in(folder):
        return [f"resume={folder}"]
    if folder.exists() and not held(folder):
        shutil.rmtree(folder)  # it ended before there was anything to continue
    place = str(folder)
    return [*job.words, f"run_dir={place}" if PLAIN.fullmatch(place) else f"run_dir={json.dumps(place)}"]


def _why(status: int, log: Path) -> str:
    """What the run said last of itself."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line.partition(": ")[2] for line in lines if line.startswith("embodied train: ")]
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return (said or lines or ["it said nothing"])[-1]
