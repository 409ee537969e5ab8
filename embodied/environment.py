"""Environment variables that must be set before torch, MuJoCo or SAPIEN are imported, in this process and its children.

A user's own setting always wins.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

DEFAULTS = {
    "OMP_NUM_THREADS": "1",  # one thread for each process: with more, small networks wait 10 to 300 times longer
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",  # of the software Vulkan driver
    "MUJOCO_GL": "egl",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONSAFEPATH": "1",  # a stranger's folder in the working directory must not answer to our names
}


def software_driver() -> Path:
    """Where `make setup` puts the description of a software Vulkan driver for machines without a GPU."""
    return Path(sys.prefix) / "share" / "mesa" / "lvp_icd.json"


def has_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or bool(list(Path("/dev/dri").glob("renderD*")))


def prepare() -> None:
    """Set what is not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not has_gpu() and software_driver().is_file():
        os.environ.setdefault("VK_ICD_FILENAMES", str(software_driver()))
