"""Ctrl-C in a command that would rather finish what it is at: once asks it to, twice ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

SHOW_CURSOR = "\x1b[?25h"  # which a progress bar hides


@dataclass(slots=True)
class Interrupt:
    """Ctrl-C once: `asked`, and `once` is said. Twice: `twice` is said and the program is over."""

    once: str
    twice: str
    asked: bool = False

    def __call__(self, *_: object) -> None:
        if self.asked:
            os.write(1, f"{SHOW_CURSOR}{self.twice}\n".encode())
            os._exit(130)  # waiting for threads and stages would not be at once; processes end with this one
        self.asked = True
        os.write(1, f"\n{self.once}\n".encode())


@contextmanager
def catching_ctrl_c(*, once: str, twice: str) -> Generator[Interrupt]:
    """SIGTERM counts, too."""
    interrupt = Interrupt(once, twice)
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
