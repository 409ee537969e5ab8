"""LIBERO's meshes for tests: unpacked once, outside of the repository. Without them, tests are skipped by name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from simulators.libero_assets import VARIABLE, LiberoSetup

ARCHIVE = Path(__file__).parents[1].parent / "shared" / "libero-assets.tar.xz"


def meshes() -> str | None:
    """The folder that EMBODIED_LIBERO_ASSETS names, else one with the archive's content; null: where setup put them."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    archive = Path(os.environ.get("EMBODIED_LIBERO_ARCHIVE") or ARCHIVE)
    if not archive.is_file():
        return None
    facts = archive.stat()
    name = f"embodied-libero-{os.getuid()}-{facts.st_size}-{int(facts.st_mtime)}"
    folder = Path(tempfile.gettempdir()) / name / "assets"
    if not folder.is_dir():
        LiberoSetup(source=str(archive), folder=str(folder)).run()
    return str(folder)
