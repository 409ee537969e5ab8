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
GRAPHICS = {  # what MUJOCO_GL may say where there is no screen, and its library; the first that loads is taken
    "egl": "libEGL.so.1",  # draws on a GPU whose driver offers it, else in software
    "osmesa": "libOSMesa.so.8",  # draws in software
}
OF_AN_INTERPRETER = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # what leads to its packages


def software_driver() -> Path:
    """Where `make setup` puts the description of a software Vulkan driver for machines without a GPU."""
    return Path(sys.prefix) / "share" / "mesa" / "lvp_icd.json"


def has_gpu() -> bool:
    """An NVIDIA GPU with its own Vulkan driver. Integrated ones are slower than the software driver is dependable."""
    return Path("/dev/nvidiactl").exists()


def graphics() -> str | None:
    """What MuJoCo draws with unless the user says otherwise; None where neither library is installed."""
    return next((name for name, library in GRAPHICS.items() if loads(library)), None)


def prepare() -> None:
    """Set what is not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if "MUJOCO_GL" not in os.environ and (found := graphics()):
        os.environ["MUJOCO_GL"] = found  # with none, MuJoCo would fail to import even where no picture is wanted
    if not has_gpu() and software_driver().is_file():
        os.environ.setdefault("VK_ICD_FILENAMES", str(software_driver()))


def variables(python: Path | None) -> dict[str, str]:
    """Of a child of this process in the interpreter `python` of another environment; None: in this one."""
    foreign = OF_AN_INTERPRETER if python else ()
    return {name: value for name, value in os.environ.items() if name not in foreign}


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
