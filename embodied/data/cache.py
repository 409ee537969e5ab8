"""Where what was computed from datasets is kept: outside the dataset, which is never changed, and shared by processes.

EMBODIED_CACHE, or $XDG_CACHE_HOME/embodied-rl, or ~/.cache/embodied-rl. Anything in it may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from embodied.errors import DatasetError

RESERVE = 1 << 30  # bytes of the disk that are left to others


def cache_folder() -> Path:
    named = os.environ.get("EMBODIED_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embodied-rl"


def identity(path: Path) -> str:
    """Of a file or folder as it is now: changes with any name, size or time of change in it."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@contextmanager
def alone(path: Path) -> Generator[None]:
    """One process at a time is here for `path`; the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_room(folder: Path, needed: int) -> None:
    """Refuse what would fill the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise DatasetError(
            f"the frames of this dataset need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free "
            f"and {RESERVE / 1e9:.1f} GB are kept; nothing was decoded. Set EMBODIED_CACHE to a larger disk."
        )
