"""The folder of one run: what was asked, by which code, on what machine, and everything that came of it.

config.yaml  facts.json  metrics.jsonl  episodes.csv  tensorboard/  checkpoints/  evaluation/  curve.png  video.mp4
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from embodied import __version__
from embodied.config import from_dict, to_dict
from embodied.errors import CheckpointError, ConfigError

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "mani_skill", "sapien", "ray", "transformers")


def check_free(folder: Path) -> None:
    """Refuse to begin a run where one is."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} already holds a run; nothing was started and nothing was overwritten. Continue it with "
            f"`embodied train resume={folder}`, or choose another with run_dir=..."
        )


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """One process at a time writes to a run: a second one would cut back the logs under the first."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder} is being written by a run that is still alive; nothing was changed. Stop that one first."
            ) from None
        yield


def create(folder: Path, run: Any) -> Path:
    """Make the folder of a new run and write what it is."""
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(to_dict(run)))
    (folder / "facts.json").write_text(json.dumps(facts(), indent=1))
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of the run that `folder` (or the checkpoint folder inside one) belongs to."""
    for candidate in (folder, folder.parent.parent):
        if (candidate / "config.yaml").is_file():
            return OmegaConf.to_container(OmegaConf.load(candidate / "config.yaml"))  # type: ignore[return-value]
    raise CheckpointError(
        f"{folder} is not a run folder: it has no config.yaml. Nothing was loaded. Give the folder that "
        f"`embodied train` printed, or one of its checkpoints."
    )


def read_run(folder: Path) -> Any:
    return from_dict(read_config(folder))


def default_folder(name: str, seed: int) -> Path:
    """runs/NAME/seed1-20260131-235959, under the working directory."""
    return Path("runs") / name / f"seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}"


def facts() -> dict[str, Any]:
    """Command, code, packages and machine: what a reader needs to repeat the run."""
    return {
        "command": " ".join(["embodied", *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "embodied": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": {"system": platform.platform(), "cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": _memory_gb()},
    }


def _git() -> str | None:
    """Commit of the checkout, marked when the working tree differs from it; None outside a checkout."""
    root = Path(__file__).parents[1]
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
