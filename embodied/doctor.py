"""`embodied doctor`: what this machine can do, and what to type where it cannot. `embodied doctor NAME ...` asks less.

Drivers are tried, not looked up (`drivers.py`): a simulator is built and a picture is drawn. `make setup` decides by
the same checks what it still has to install.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata, util
from pathlib import Path

from embodied.drivers import Check, State, ask, cuda, environments, install, rendering, vulkan
from embodied.environment import prepare
from embodied.errors import ConfigError
from embodied.packaging import NAMES, PROJECT

GIB = 1024**3


def main(argv: list[str]) -> int:
    """0, or 1 if the core is broken; with names of checks, 1 if one of those is not ok."""
    prepare()
    if "--help" in argv or "-h" in argv:
        print(f"embodied doctor [CHECK ...]    checks: {', '.join(CHECKS)}; without a name, all of them")
        return 0
    if unknown := [name for name in argv if name not in CHECKS]:
        raise ConfigError(f"there is no check `{unknown[0]}`; there are: {', '.join(CHECKS)}. Nothing was checked.")
    rows = [row for name in argv or CHECKS for row in CHECKS[name]()]
    show(rows)
    return int(any(row.state != "ok" if argv else row.state == "broken" for row in rows))


def python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        return Check("Python", "ok", f"{version} in {sys.prefix}")
    return Check("Python", "broken", f"{version}; only 3.11 is supported", "rm -rf .venv && make setup")


def pins(text: str, installed: Mapping[str, str]) -> Check:
    """Compare lines `name==version` with versions; a local label such as `+cpu` does not count."""
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    present = {name: installed[_plain(name)] for name in pinned if _plain(name) in installed}
    wrong = {name: found for name, found in present.items() if found.partition("+")[0] != pinned[name]}
    if not wrong:
        return Check("versions", "ok", f"all {len(present)} pinned packages that are installed are at their pins")
    found = ", ".join(f"{name} {version} instead of {pinned[name]}" for name, version in wrong.items())
    return Check("versions", "warning", found, "pip install " + " ".join(f"{n}=={pinned[n]}" for n in wrong))


def ownership(mark: Callable[[str], tuple[str | None, str]], claims: Mapping[str, list[str]]) -> Check:
    """`mark` gives a package's `__project__` and file; `claims` the distributions that ship files under its name."""
    strangers = {name: sorted({d for d in claims.get(name, []) if _plain(d) != PROJECT}) for name in NAMES}
    claimed = "; ".join(f"{', '.join(names)} also ships `{name}`" for name, names in strangers.items() if names)
    remove = " ".join(sorted({name for names in strangers.values() for name in names}))
    for name in NAMES:
        project, file = mark(name)
        if project != PROJECT:
            fix = f"pip uninstall {remove}, then reinstall {PROJECT}" if remove else f"move or rename {file}"
            found = f"`import {name}` finds {file}, which is not ours. {claimed}"
            return Check("packages", "broken", found.strip(), fix)
    if claimed:
        # an uninstall deletes files under our name too, so ours must be put back
        return Check("packages", "warning", claimed, f"pip uninstall {remove}, then reinstall {PROJECT}")
    return Check("packages", "ok", f"{', '.join(NAMES)} are ours")


def torch_works() -> Check:
    code = "import torch; torch.eye(2) @ torch.eye(2); print('answer:', torch.__version__, torch.get_num_threads())"
    answer = ask(code)
    if not answer.worked:
        return Check("torch", "broken", answer.text, "pip install --force-reinstall -c constraints.txt torch")
    version, threads = answer.text.split()
    if threads == "1":
        return Check("torch", "ok", f"{version}, 1 thread for each process")
    found = f"{version}, {threads} threads: small networks wait for them"
    return Check("torch", "warning", found, "export OMP_NUM_THREADS=1")


def torchvision() -> Check:
    if util.find_spec("torchvision") is None:
        return Check("torchvision", "ok", "not installed, as it should be")
    if (answer := ask("import torchvision; print('answer:', torchvision.__version__)")).worked:
        return Check("torchvision", "ok", f"{answer.text}; not needed, and it imports")
    found = f"installed and broken, which breaks transformers: {answer.text}"
    return Check("torchvision", "warning", found, "pip uninstall torchvision")


def extras(requirements: Iterable[str], installed: Mapping[str, str]) -> list[Check]:
    """One row for each extra in `requirements`, as the metadata of a distribution lists them."""
    wanted: dict[str, list[str]] = {}
    for line in requirements:
        found = re.match(r"([\w.-]+)(?:\[[\w,]+\])?.*extra == ['\"]([\w-]+)['\"]", line)
        if found and _plain(found[1]) != PROJECT:
            wanted.setdefault(found[2], []).append(_plain(found[1]))
    rows: list[Check] = []
    for extra, packages in sorted(wanted.items()):
        absent = [name for name in [*packages, *(["hf-libero"] if extra == "libero" else [])] if name not in installed]
        state: State = "missing" if absent else "ok"
        rows.append(Check(f"extra {extra}", state, f"without {', '.join(absent)}" if absent else "", install(extra)))
    return rows


def room(name: str, gib: float, least: float, fix: str, note: str = "") -> Check:
    found = f"{gib:.1f} GiB{note}"
    return Check(name, "ok", found) if gib >= least else Check(name, "warning", f"{found}; {least:g} are wanted", fix)


def memory_gib(physical: int, limit: str) -> float:
    """The machine's memory or the container's limit, as its control group writes it, whichever is less."""
    return min(physical, int(limit) if limit.strip().isdigit() else physical) / GIB


def ray() -> Check:
    answer = ask("import ray; print('answer:', ray.__version__)")
    if answer.worked:
        return Check("Ray", "ok", answer.text)
    return Check("Ray", "warning", answer.text, "pip install --force-reinstall -c constraints.txt ray")


def show(rows: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    color = {"ok": "green", "warning": "yellow", "missing": "dim", "broken": "bold red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(row.name, Text(row.state, style=color[row.state]), Text(row.found))
    console = Console()
    console.print(table)
    for title, states in (("To repair:", ("broken", "warning")), ("To add, if wanted:", ("missing",))):
        if commands := [(row.name, row.fix) for row in rows if row.state in states]:
            console.print(f"\n{title}")
            for name, command in commands:
                console.print(f"  {name:16} {command}", soft_wrap=True, markup=False, highlight=False)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed() -> dict[str, str]:
    return {_plain(d.metadata["Name"]): d.version for d in metadata.distributions() if d.metadata["Name"]}


def _mark(name: str) -> tuple[str | None, str]:
    module = importlib.import_module(name)
    return getattr(module, "__project__", None), module.__file__ or str(list(module.__path__))


def _versions() -> list[Check]:
    file = Path(__file__).parent.parent / "constraints.txt"
    return [pins(file.read_text(), _installed())] if file.is_file() else []


def _extras() -> list[Check]:
    try:
        return extras(metadata.requires(PROJECT) or [], _installed())
    except metadata.PackageNotFoundError:
        return [Check("extras", "warning", f"{PROJECT} is used but not installed", "make setup")]


def _machine() -> list[Check]:
    limit = Path("/sys/fs/cgroup/memory.max")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = memory_gib(physical, limit.read_text() if limit.is_file() else "max")
    cores = f", {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} CPU cores"
    rows = [
        room("memory", memory, 4, "train with fewer `processes` and environments", cores),
        room("free disk", shutil.disk_usage(".").free / GIB, 5, "remove old folders under runs/"),
    ]
    if Path("/dev/shm").is_dir() and util.find_spec("ray"):  # our own processes share memory that has no size limit
        rows.append(room("/dev/shm", shutil.disk_usage("/dev/shm").total / GIB, 1, "docker run --shm-size=8g ..."))
    return rows


CHECKS: dict[str, Callable[[], list[Check]]] = {
    "python": lambda: [python()],
    "versions": _versions,
    "packages": lambda: [ownership(_mark, metadata.packages_distributions())],
    "torch": lambda: [torch_works()],
    "gpu": lambda: [cuda()],
    "rendering": lambda: [rendering()],
    "vulkan": lambda: [vulkan()],
    "torchvision": lambda: [torchvision()],
    "machine": _machine,
    "ray": lambda: [ray()] if util.find_spec("ray") else [],
    "extras": _extras,
    "environments": environments,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
