"""A spawned process at the other end of a pipe, with its last words in a file.

Spawned, not forked: a fork after a Vulkan device was opened hangs. The pipe reaches our own children only, so what is
pickled on it is ours.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp


class Child:
    """child.launch(); child.tell(...); child.hear(timeout_s); child.close()"""

    def __init__(self, name: str, target: Callable[..., None], *args: Any) -> None:
        self.name, self.target, self.args = name, target, args
        self.connection: Connection = None  # type: ignore[assignment]
        self.process: Any = None
        self.log_file = tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=".log")  # noqa: SIM115

    def launch(self) -> None:
        """Start it (again)."""
        self.stop()
        context = mp.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_enter, args=(self.target, theirs, self.log_file.name, *self.args), daemon=True, name=self.name
        )
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the parent
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that the child's death is an end of file here

    def tell(self, what: Any) -> bool:
        """Send bytes as they are, anything else pickled; whether it could be sent."""
        try:
            if isinstance(what, bytes):
                self.connection.send_bytes(what)
            else:
                self.connection.send(what)
        except (ConnectionError, OSError):
            return False
        return True

    def hear(self, timeout_s: float | None, *, raw: bool = False) -> Any:
        """What it says next; None when it died or stayed silent for `timeout_s`."""
        try:
            if not self.connection.poll(timeout_s):
                return None
            return self.connection.recv_bytes() if raw else self.connection.recv()
        except (EOFError, ConnectionError, OSError):
            return None

    def last_words(self, count: int = 3) -> str:
        lines = Path(self.log_file.name).read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-count:]) or "(none)"

    def stop(self) -> None:
        """Hang up; it ends by itself, or is killed."""
        if self.process is None:
            return
        self.connection.close()
        self.process.join(timeout=2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process = None

    def close(self) -> None:
        self.stop()
        self.log_file.close()


def _enter(target: Callable[..., None], connection: Connection, log_path: str, *args: Any) -> None:
    """The child's first lines: one thread, no Ctrl-C, output to its log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_file = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    os.dup2(log_file, 1)
    os.dup2(log_file, 2)
    torch.set_num_threads(1)
    target(connection, *args)
