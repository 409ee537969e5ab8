"""Importing LIBERO without its questions, its writes to the home folder and its downloads.

Unprepared, `import libero.libero` asks on the terminal where data sets should go, writes ~/.libero, and fetches meshes
from the hub when the first scene is built.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from embodied.packaging import need
from simulators.libero_suites import libero_folder
from simulators.robosuite_state import import_robosuite

PLACES = {
    "benchmark_root": "",
    "bddl_files": "bddl_files",
    "init_states": "init_files",
    "datasets": "datasets",
    "assets": "assets",
}


def import_libero(assets: Path) -> Any:
    """The module with LIBERO's environments; the next that is built takes its meshes from `assets`."""
    if "libero.libero.envs" not in sys.modules:
        _import()
    package: Any = sys.modules["libero.libero"]
    package._assets_path_cache = str(assets)
    return sys.modules["libero.libero.envs"]


def _import() -> None:
    import_robosuite("libero")
    with tempfile.TemporaryDirectory(prefix="embodied-libero-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib and bddl warn of their own past
        before = {name: os.environ.get(name) for name in ("LIBERO_CONFIG_PATH", "MPLCONFIGDIR")}
        os.environ.setdefault("MPLCONFIGDIR", scratch)  # matplotlib makes a folder at home
        if not (_config_folder() / "config.yaml").is_file():
            os.environ["LIBERO_CONFIG_PATH"] = scratch
            lines = [f"{key}: {libero_folder() / place}\n" for key, place in PLACES.items()]
            (Path(scratch) / "config.yaml").write_text("".join(lines))
        try:
            need("libero.libero.envs", extra="libero")
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _config_folder() -> Path:
    """Where LIBERO looks for its config."""
    return Path(os.environ.get("LIBERO_CONFIG_PATH", "~/.libero")).expanduser()
