"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace what is there in one step: who is killed in between leaves the old file, and a hidden part beside it."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)
