"""What a reader needs to repeat a run: command, code, packages, machine; after Open RL Benchmark (Huang et al. 2024).

Commit and diff are of the checkout that is imported. Where there is none, `sources` still says whether two runs had the
same code: a hash over our packages and configs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from embodied import __version__
from embodied.environment import DEFAULTS
from embodied.packaging import NAMES

PACKAGES = (  # those that numbers depend on; packages.txt has all
    "torch", "numpy", "scipy", "gymnasium", "mujoco", "hydra-core", "pydantic", "mani_skill", "sapien", "mplib",
    "robosuite", "hf-libero", "ray", "transformers", "pyarrow", "optuna",
)  # fmt: skip
VARIABLES = (*DEFAULTS, "CUDA_VISIBLE_DEVICES", "EMBODIED_MODULES", "MUJOCO_GL", "VK_ICD_FILENAMES")
SOURCES = (*NAMES, "configs")
DIFF_BYTES = 1_000_000  # of code.diff
PATCH = ("--binary", "--no-color", "--no-ext-diff")


def session() -> dict[str, Any]:
    """Of this process, as it is now."""
    return {
        "command": shlex.join(["embodied", *sys.argv[1:]]),
        "directory": str(Path.cwd()),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "started": now(),
        "embodied": __version__,
        "git": _git("describe", "--always", "--dirty", "--abbrev=12"),
        "code": {"commit": _git("rev-parse", "HEAD"), "sources": sources_hash(root())},
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": machine(),
    }


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def root() -> Path:
    """The folder that our packages lie in: a checkout, or site-packages."""
    return Path(__file__).parents[1]


def machine() -> dict[str, Any]:
    import torch  # here: who only reads runs can do without

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found: dict[str, Any] = {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [{"name": gpu.name, "memory_gb": round(gpu.total_memory / 2**30, 1)} for gpu in gpus],
    }
    return found | ({"cuda": torch.version.cuda, "driver": _driver()} if gpus else {})


def all_packages() -> str:
    """A line `name==version` for each that is installed, as `pip freeze` would."""
    known = [(str(told["Name"]), told["Version"]) for each in distributions() if (told := each.metadata)["Name"]]
    found = {name.lower(): f"{name}=={number}\n" for name, number in reversed(known)}  # the first is the one imported
    return "".join(found[name] for name in sorted(found))


def sources_hash(folder: Path) -> str:
    """SHA-256 over names and contents of our Python and YAML files in `folder`."""
    digest = hashlib.sha256()
    for top in SOURCES:
        for path in sorted(x for x in (folder / top).rglob("*") if x.suffix in (".py", ".yaml")):
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def code_diff(folder: Path, limit: int = DIFF_BYTES) -> str:
    """What `git apply` makes of the commit: our packages as they are in the checkout `folder`; empty if unchanged.

    New files that git does not ignore are in it. What would make it longer than `limit` bytes is left out, file by
    file, and named at its end.
    """
    kept, left_out, room = list[str](), list[str](), limit
    for name, text in (*_changed(folder), *_new(folder, limit)):
        size = len(text.encode())
        if 0 < size <= room:
            kept.append(text)
            room -= size
        else:
            left_out.append(name)
    note = f"# left out, for there is room for {limit} bytes: {', '.join(left_out)}\n" if left_out else ""
    return "".join(kept) + note


def _changed(folder: Path) -> list[tuple[str, str]]:
    """Name and diff of each file of ours that git knows."""
    whole = _output(folder, "diff", "HEAD", *PATCH, "--", *SOURCES) or ""
    parts = [part for part in re.split(r"(?=^diff --git )", whole, flags=re.MULTILINE) if part]
    return [(part.partition("\n")[0].rpartition(" b/")[2], part) for part in parts]


def _new(folder: Path, limit: int) -> list[tuple[str, str]]:
    """The same of files that git does not know; no diff of one that is longer than `limit`."""
    names = (_output(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", *SOURCES) or "").split("\0")
    compare = ("diff", "--no-index", *PATCH, "--", os.devnull)
    return [
        (name, (_output(folder, *compare, name) or "") if (folder / name).stat().st_size <= limit else "")
        for name in names
        if name
    ]


def _git(*words: str) -> str | None:
    """The answer of git about our checkout; None outside of one."""
    return (_output(root(), *words) or "").strip() or None


def _output(folder: Path, *words: str) -> str | None:
    """None where git is not installed, `folder` is no checkout, or git fails; 1 means that files differ."""
    if shutil.which("git") is None or not (folder / ".git").exists():
        return None
    found = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    return found.stdout.decode(errors="replace") if found.returncode in (0, 1) else None


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


def _driver() -> str | None:
    """Version of NVIDIA's driver."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module\D*(\d+(?:\.\d+)+)", text)
    return found[1] if found else None
