"""Environments of their own for simulators whose packages cannot live beside the others in one interpreter.

`embodied setup NAME` builds one under the main environment, `simulators/isolated.py` runs worker processes in it. It
holds the simulator and what our modules import (torch, numpy, pydantic), and not our packages: a worker finds the very
files that its parent runs.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from embodied.config import recipe
from embodied.environment import variables
from embodied.errors import ConfigError, PackageError

Say = Callable[[str], None]
logger = logging.getLogger(__name__)


def folder_of(name: str) -> Path:
    return Path(sys.prefix) / "environments" / name


def mark_of(name: str) -> Path:
    """Written last: an environment without it was never finished."""
    return folder_of(name) / "embodied.json"


def python_of(name: str) -> Path:
    """The interpreter of a built environment; PackageError where there is none. An outdated one is told of."""
    python = folder_of(name) / "bin" / "python"
    if mark_of(name).is_file() and python.exists():
        if _is_outdated(name):
            logger.warning(
                "the environment %s was built from other requirements than configs/setup/%s.yaml has now; it is used "
                "as it is. To build it anew, type: embodied setup %s",
                *(name, name, name),
            )
        return python
    known = sorted(path.parent.name for path in folder_of("").glob("*/embodied.json"))
    near = difflib.get_close_matches(name, known, n=1)
    found = "was not finished" if folder_of(name).exists() else "is not on this machine"
    hint = f" Or did you mean `{near[0]}`?" if near else ""
    raise PackageError(
        f"the environment `{name}` was asked for and {found} ({folder_of(name)}); nothing was started. Type: embodied "
        f"setup {name}.{hint}"
    )


def _is_outdated(name: str) -> bool:
    """Whether its requirements have changed since; never so for one that has no file in configs/setup."""
    from embodied import setup

    wanted = setup.load(name, []) if name in setup.setups() else None
    return isinstance(wanted, EnvironmentSetup) and _built_from(folder_of(name)) != wanted.key


def _built_from(folder: Path) -> str | None:
    """The key of what a finished environment was built from; None where none was finished."""
    try:
        return json.loads((folder / "embodied.json").read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@recipe
class EnvironmentSetup:
    """Builds an interpreter with packages of its own, whole or not at all."""

    name: str  # of its folder, under environments/ of the main one
    imports: str  # the module that it is for
    requirements: tuple[str, ...]  # as pip reads them; torch, if named, is installed alone and first
    again: bool = False  # build it even if it is whole

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name={self.name!r} becomes a folder: use letters, digits and _")
        if not self.requirements:
            raise ValueError("requirements is empty, so there is nothing to build an environment for")

    @property
    def key(self) -> str:
        told = json.dumps([sys.version_info[:2], sorted(self.requirements)])
        return hashlib.sha256(told.encode()).hexdigest()

    def problem(self) -> str | None:
        """What is wrong with it; None when it is whole. Its packages are imported."""
        if not folder_of(self.name).exists():
            return "not built"
        built = _built_from(folder_of(self.name))
        if built is None:
            return "building it was not finished"
        if built != self.key:
            return "built from other requirements"
        return _complaint(folder_of(self.name) / "bin" / "python", self.imports)

    def run(self, say: Say = lambda line: print(f"  {line}", flush=True)) -> str:
        """Build it, unless it is whole; a sentence for people."""
        folder, began = folder_of(self.name), time.monotonic()
        with _only_here(folder):
            _bring_back(folder)  # what a build that was killed has left
            if not self.again and self.problem() is None:
                return f"the environment {self.name} is whole ({folder}); nothing was done."
            file = folder.with_suffix(".log")
            file.write_text("")
            say(f"{folder}: a few minutes; {file} shows how far it is")
            _put_aside(folder)
            try:
                self._build(file, say)
            except BaseException as error:
                if _bring_back(folder) and isinstance(error, PackageError):
                    raise PackageError(f"{error} The environment that was there before is back.") from None
                raise
            _remove(_aside(folder))
        return f"the environment {self.name} is ready after {time.monotonic() - began:.0f} s ({folder})."

    def _build(self, file: Path, say: Say) -> None:
        folder = folder_of(self.name)
        try:
            venv.create(folder, symlinks=True, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PackageError(
                f"the environment {self.name} could not be begun in {folder}: Python's venv failed ({error}); it "
                f"cannot be used. On Debian and Ubuntu, venv and ensurepip are in the package python3-venv."
            ) from None
        self._install(file, say)
        if complaint := _complaint(folder / "bin" / "python", self.imports):
            raise PackageError(
                f"the environment {self.name} was installed and `import {self.imports}` fails in it: {complaint}. "
                f"It cannot be used; the log is in {file}."
            )
        mark_of(self.name).write_text(json.dumps({"key": self.key, "requirements": list(self.requirements)}))

    def _install(self, log: Path, say: Say) -> None:
        torch = [line for line in self.requirements if _package(line) == "torch"]
        index = os.environ.get("TORCH_INDEX_URL")
        if torch:
            say(f"{torch[0]}, alone and first")
            self._pip([*(["--index-url", index] if index else []), *torch], log)
        say(", ".join(line for line in self.requirements if line not in torch))
        self._pip(self.requirements, log)

    def _pip(self, words: Sequence[str], log: Path) -> None:
        python = folder_of(self.name) / "bin" / "python"
        command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *words]
        with log.open("a") as file:
            print("+", *command, file=file, flush=True)
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=variables(python), check=False
            )
        if done.returncode:
            last = " | ".join(line.strip() for line in log.read_text().strip().splitlines()[-3:])
            raise PackageError(
                f"the environment {self.name} could not be built: pip ended with status {done.returncode} ({last}); it "
                f"cannot be used. The whole log is in {log}; then type `embodied setup {self.name}` again."
            )


def _package(requirement: str) -> str:
    """The name that a line for pip begins with: torch of `torch>=2` and of `torch[opt] == 2.1`."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return found[1].lower() if found else ""


def _aside(folder: Path) -> Path:
    """Where a finished environment waits while another is built in its place; nobody looks for one there."""
    return folder.parent / ".old" / folder.name


def _put_aside(folder: Path) -> None:
    """Make room: keep a finished environment, remove what was never finished."""
    if _built_from(folder) is None:
        return _remove(folder)
    _aside(folder).parent.mkdir(exist_ok=True)
    folder.rename(_aside(folder))
    return None


def _bring_back(folder: Path) -> bool:
    """Put a finished environment back unless a new one is finished; whether there was one."""
    if not _aside(folder).exists():
        return False
    if _built_from(folder) is not None:  # the new one was finished, and removing the old one was not
        _remove(_aside(folder))
        return False
    _remove(folder)
    _aside(folder).rename(folder)
    return True


def _remove(folder: Path) -> None:
    """The mark first: what is half removed does not count as whole."""
    try:
        (folder / "embodied.json").unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise ConfigError(
            f"{folder} should be removed, and {error.filename} cannot be ({error.strerror}); it stays. Remove "
            f"the folder yourself, then type the same again."
        ) from None


@contextmanager
def _only_here(folder: Path) -> Generator[None]:
    """One process at a time builds an environment."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f".{folder.name}.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"the environment {folder.name} belongs in {folder.parent}, which cannot be written ({error.strerror}); "
            f"nothing was built. Install embodied-rl in an environment of yours."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"the environment {folder.name} is being built by another process; nothing was changed. Wait for it."
            ) from None
        yield


def _complaint(python: Path, module: str) -> str | None:
    """Of an interpreter that cannot import `module`."""
    try:
        done = subprocess.run(
            [str(python), "-P", "-c", f"import torch, numpy, pydantic, {module}"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=variables(python),
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"the interpreter ended with status {done.returncode}"])[-1]
