"""One run of a sweep in a process of its own, with one argument in JSON: `embodied train` with these words.

alive   descriptor of a pipe whose other end only the sweep holds: the kernel ends the run when the sweep is gone
path    sys.path of the sweep
words   what follows `embodied train`
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any


def main(told: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the sweep may have it ignored
    sys.path[:] = told["path"]
    sys.argv = ["embodied", "train", *told["words"]]

    from embodied.cli import main as command
    from embodied.runtime.worker import end_with_parent

    end_with_parent(told["alive"])
    command()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
