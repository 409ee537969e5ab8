"""Environment variables that must be set before torch, MuJoCo or SAPIEN are imported, in this process and its children.

A user's own setting always wins.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

DEFAULTS = {
    "OMP_NUM_THREADS": "1",  # one thread for each process: with more, small networks wait 10 to 300 times longer
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",  # of the software Vulkan driver
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONSAFEPATH": "1",  # a stranger's folder in the working directory must not answer to our names
}


def software_driver() -> Path:
    """Where `make setup` puts the description of a software Vulkan driver for machines without a GPU."""
    return Path(sys.prefix) / "share" / "mesa" / "lvp_icd.json"


def has_gpu() -> bool:
    """An NVIDIA GPU with its own Vulkan driver. Integrated ones are slower than the software driver is dependable."""
    return Path("/dev/nvidiactl").exists()


def prepare() -> None:
    """Set what is not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if _loads("libEGL.so.1"):  # else MuJoCo would fail to import even where no picture is wanted
        os.environ.setdefault("MUJOCO_GL", "egl")
    if not has_gpu() and software_driver().is_file():
        os.environ.setdefault("VK_ICD_FILENAMES", str(software_driver()))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
