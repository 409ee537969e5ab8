"""A process of ours at the other end of a socket, in this interpreter or in another, with its last words in a file.

Started afresh, not forked: a fork after a Vulkan device was opened hangs. It ends when its parent is gone, whatever
either is doing, and leaves no file behind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embodied.environment import variables
from embodied.errors import StageError
from embodied.packaging import NAMES
from embodied.runtime import worker
from embodied.runtime.wire import Script, Wire

GRACE_S = 2.0  # for a child to end by itself
PATIENCE_S = 60.0  # for a child to read what it is told


class Child:
    """child.launch(); child.tell(...); child.hear(timeout_s); child.close()

    `target(wire, *args)` runs in it. `python` is the interpreter of another environment, which needs torch, numpy and
    pydantic, and not our packages; None is this one.
    """

    def __init__(self, name: str, target: Callable[..., None], *args: Any, python: Path | None = None) -> None:
        self.name, self.target, self.args, self.python = name, target, args, python
        self.process: subprocess.Popen[bytes] | None = None
        self.wire: Wire | None = None
        self.alive = -1  # our end of a pipe: while it is open, the child may live
        self.is_ending = False  # it hung up
        self.log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def launch(self) -> None:
        """Start it (again)."""
        if Script.is_loading:
            raise StageError(
                "a process was to be started while the script that defines a recipe was only being read by another "
                'process; nothing was started. Put what the script does under `if __name__ == "__main__":`.'
            )
        self.stop(grace_s=0.0)
        os.ftruncate(self.log.fileno(), 0)
        self.log.seek(0)
        ours, theirs = socket.socketpair()
        watched, self.alive = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the parent
        try:
            self.process = subprocess.Popen(
                self._command(theirs.fileno(), watched),
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env=variables(self.python),
                pass_fds=(theirs.fileno(), watched),
            )
        except OSError as error:
            ours.close()
            os.close(self.alive)
            raise StageError(
                f"the process {self.name} could not be started ({error}); nothing runs in it. Is "
                f"{self.python or sys.executable} there, and is there memory?"
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()  # so that the child's death is an end of file here
            os.close(watched)
        self.wire, self.is_ending = Wire(ours, PATIENCE_S), False
        self.tell((self.target, self.args))

    def tell(self, what: Any) -> bool:
        """Send bytes as they are, anything else pickled; whether it could be sent."""
        try:
            self._wire().tell(what)
        except TimeoutError:
            return False
        except OSError:
            self.is_ending = True
            return False
        return True

    def hear(self, timeout_s: float | None, *, spin_s: float = 0.0) -> Any:
        """What it says next; None when it died or stayed silent for `timeout_s`."""
        try:
            return self._wire().hear(timeout_s, spin_s=spin_s)
        except TimeoutError:
            return None
        except (EOFError, OSError):
            self.is_ending = True
            return None

    def fate(self) -> str:
        """What became of a child that did not answer."""
        if self.process is None:
            return "was not running"
        try:
            status = self.process.wait(5.0 if self.is_ending else 0.0)
        except subprocess.TimeoutExpired:
            return "hung up" if self.is_ending else "stayed silent"
        if status >= 0:
            return f"ended with status {status}"
        return f"was ended by {signal.Signals(-status).name}"

    def last_words(self, count: int = 3) -> str:
        end = os.fstat(self.log.fileno()).st_size
        lines = os.pread(self.log.fileno(), 8192, max(0, end - 8192)).decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-count:]) or "(none)"

    def hang_up(self) -> None:
        """It finishes what it does, closes what it built and ends."""
        if self.wire is not None:
            self.wire.close()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Hang up; it ends by itself within `grace_s`, or is killed."""
        if self.process is None:
            return
        self.hang_up()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.alive)
        self.process = self.wire = None

    def close(self) -> None:
        self.stop()
        self.log.close()

    def _wire(self) -> Wire:
        if self.wire is None:
            raise BrokenPipeError(f"{self.name} is not running")
        return self.wire

    def _command(self, theirs: int, watched: int) -> list[str]:
        script = getattr(sys.modules["__main__"], "__file__", None)
        told = {
            "alive": watched,
            "wire": theirs,
            "path": [] if self.python else sys.path,
            "borrowed": _folders() if self.python else {},
            "script": None if script is None else str(Path(script).resolve()),
        }
        return [str(self.python or sys.executable), "-P", "-u", worker.__file__, self.name, json.dumps(told)]


def _folders() -> dict[str, str]:
    """Where our packages, and those that EMBODIED_MODULES names, lie."""
    folders: dict[str, str] = {}
    for name in (*NAMES, *filter(None, os.environ.get("EMBODIED_MODULES", "").split(","))):
        top = name.partition(".")[0]
        spec = importlib.util.find_spec(top)
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin)
            folders[top] = str(file.parent.parent if file.name == "__init__.py" else file.parent)
    return folders
