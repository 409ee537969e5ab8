"""The first lines of a child process: run by path in any interpreter, `child.py` says how, with one argument in JSON.

    alive     descriptor of a pipe whose other end only the parent holds
    wire      descriptor of the socket to the parent
    path      sys.path of the parent, for a child in the same interpreter
    borrowed  name and folder of packages of ours, for a child whose interpreter does not have them: those and no others
    script    the file that the parent runs

Until our packages are found, nothing but the standard library is here.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def end_with_parent(alive: int) -> None:
    """The kernel ends this process when the parent is gone, even one that is stopped or deep inside a library."""
    fcntl.fcntl(alive, fcntl.F_SETOWN, os.getpid())
    if hasattr(fcntl, "F_SETSIG"):  # elsewhere it is SIGIO, which ends a process, too
        fcntl.fcntl(alive, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(alive, fcntl.F_SETFL, fcntl.fcntl(alive, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([alive], [], [], 0)[0]:  # it was gone before
        os._exit(1)


class Borrowed:
    """Finds packages by name in folders of their own, whatever else lies in those folders."""

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return PathFinder.find_spec(name, [self.folders[name]]) if name in self.folders else None


def main(told: dict[str, Any]) -> None:
    end_with_parent(told["alive"])
    for number in (signal.SIGINT, signal.SIGTERM):  # both are for the parent, which ends its children
        signal.signal(number, signal.SIG_IGN)
    sys.path[:] = told["path"] or sys.path
    sys.meta_path.insert(0, Borrowed(told["borrowed"]))

    import torch

    from embodied.runtime.wire import Script, Wire

    torch.set_num_threads(1)
    Script.path = told["script"]
    wire = Wire(socket.socket(fileno=told["wire"]))
    target, args = wire.hear()
    target(wire, *args)
    os._exit(0)  # taking an interpreter with torch apart takes half a second, and drivers complain while they go


if __name__ == "__main__":
    main(json.loads(sys.argv[2]))
