"""LIBERO's meshes and textures: where they are looked for, and how they get there. Never unasked.

The package comes without them and would download them into the home folder when the first scene is built. Here they
are taken from the folder that the recipe or EMBODIED_LIBERO_ASSETS names, else from where `embodied setup libero` puts
them: beside the installed environment.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from embodied.config import recipe
from embodied.errors import ConfigError, PackageError
from embodied.packaging import need

VARIABLE = "EMBODIED_LIBERO_ASSETS"
HUB = "lerobot/libero-assets"  # a dataset of the Hugging Face hub
DAMAGE = (EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
FOLDERS = ("articulated_objects", "scenes", "stable_hope_objects", "stable_scanned_objects", "turbosquid_objects")
ADVICE = f"Type `embodied setup libero` to fetch them, or name your folder in simulator.assets or {VARIABLE}."


def default_folder() -> Path:
    return Path(sys.prefix) / "share" / "embodied" / "libero" / "assets"


def assets_folder(named: str | None) -> Path:
    """The folder to use; PackageError where there is none."""
    named = named or os.environ.get(VARIABLE) or None
    folder = Path(named).expanduser() if named else default_folder()
    missing = _missing(folder)
    if not missing:
        return folder.resolve()
    found = f"{folder} has no {', '.join(missing)}" if folder.is_dir() else f"there is no folder {folder}"
    raise PackageError(f"LIBERO needs its meshes, and {found}; nothing was built and nothing was downloaded. {ADVICE}")


def _missing(folder: Path) -> list[str]:
    return [name for name in FOLDERS if not any((folder / name).glob("*"))]


@recipe
class LiberoSetup:
    """Installs the meshes, whole or not at all."""

    source: str = "hub"  # hub: lerobot/libero-assets on Hugging Face; or a folder, a .tar.* or a .zip of yours
    folder: str | None = None  # where they go; null: beside the environment, where simulators/libero.py looks
    again: bool = False  # replace what is there

    def run(self) -> str:
        """Do it; a sentence for people."""
        target = Path(self.folder).expanduser() if self.folder else default_folder()
        if target.exists() and not self.again:
            if missing := _missing(target):
                raise ConfigError(
                    f"LIBERO's meshes should go to {target}, which exists and has no {', '.join(missing)}; nothing was "
                    f"changed. Remove it, or add again=true."
                )
            return f"LIBERO's meshes are in {target} already; nothing was done."
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".libero-", dir=target.parent) as scratch:
                self._bring(Path(scratch), target)
        except PermissionError as error:
            raise ConfigError(
                f"LIBERO's meshes should go to {target}, and {error.filename} may not be written; nothing was changed. "
                f"Add folder=FOLDER, and name it in {VARIABLE}."
            ) from None
        return f"LIBERO's meshes are in {target} ({_megabytes(target)} MB, from {self.source})."

    def _bring(self, scratch: Path, target: Path) -> None:
        """Fill a folder inside `scratch`, look at it, and only then rename it."""
        fetched = scratch / "fetched"
        fetched.mkdir()
        self._fetch(fetched)
        root = next((path for path in (fetched, *sorted(fetched.iterdir())) if not _missing(path)), None)
        if root is None:
            raise ConfigError(
                f"source={self.source} does not hold LIBERO's meshes (no {', '.join(_missing(fetched))}); nothing was "
                f"installed."
            )
        if target.exists():
            target.rename(scratch / "old")
        root.rename(target)

    def _fetch(self, folder: Path) -> None:
        if self.source == "hub":
            return _download(folder)
        source = Path(self.source).expanduser()
        try:
            if source.is_dir():
                shutil.copytree(source, folder, dirs_exist_ok=True)
            elif zipfile.is_zipfile(source):
                _unzip(source, folder)
            elif source.is_file() and tarfile.is_tarfile(source):
                _untar(source, folder)
            else:
                raise ConfigError(
                    f"source={self.source} is neither `hub` nor a folder, a tar or a zip file on this machine; nothing "
                    f"was installed."
                )
        except DAMAGE as error:
            raise ConfigError(
                f"{source} is damaged ({error}); nothing was installed. Copy or download it again."
            ) from None
        return None


def _untar(source: Path, folder: Path) -> None:
    with tarfile.open(source) as archive:
        for member in archive:
            if not _is_safe(member.name) or not (member.isfile() or member.isdir()):
                raise _unsafe(source, member.name)
            archive.extract(member, folder, filter="data")


def _unzip(source: Path, folder: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if not _is_safe(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
                raise _unsafe(source, member.filename)
            archive.extract(member, folder)


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name


def _unsafe(source: Path, member: str) -> ConfigError:
    return ConfigError(
        f"{source} holds `{member}`, which is a link or would lie outside of the folder; nothing was installed. "
        f"Pack plain files and folders."
    )


def _download(folder: Path) -> None:
    hub: Any = need("huggingface_hub", extra="libero")
    try:
        hub.snapshot_download(HUB, repo_type="dataset", local_dir=folder)
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        told = " ".join(str(error).split())[:200]
        raise PackageError(
            f"LIBERO's meshes could not be fetched from the hub ({HUB}: {type(error).__name__}: {told}); nothing was "
            f"installed. Try again, or download them elsewhere and add source=FOLDER or source=ARCHIVE."
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's bookkeeping


def _megabytes(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20)
