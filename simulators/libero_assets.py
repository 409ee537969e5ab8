"""LIBERO's meshes and textures: where they are looked for, and how they get there. Never unasked.

The package comes without them and would download them into the home folder when the first scene is built. Here they
are taken from the folder that the recipe or EMBODIED_LIBERO_ASSETS names, else from where `embodied setup libero` puts
them: beside the installed environment.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from embodied.config import recipe
from embodied.errors import ConfigError, PackageError
from embodied.packaging import need

VARIABLE = "EMBODIED_LIBERO_ASSETS"
HUB = "lerobot/libero-assets"  # a dataset of the Hugging Face hub
DAMAGE = (EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, ValueError)
OPENERS: dict[bytes, Callable[..., Any]] = {  # of tar archives, by their first bytes
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
ZIP = b"PK\x03\x04"  # the first bytes of a zip
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
        if self.source != "hub" and target.resolve().is_relative_to(Path(self.source).expanduser().resolve()):
            raise ConfigError(
                f"LIBERO's meshes should go to {target}, which is inside of source={self.source}; nothing was changed. "
                f"Name a folder elsewhere."
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".libero-", dir=target.parent) as scratch:
                self._bring(Path(scratch), target)
        except PermissionError as error:
            raise ConfigError(
                f"LIBERO's meshes should go to {target}, and {error.filename} may not be written; nothing was changed. "
                f"Add folder=FOLDER, and name it in {VARIABLE}."
            ) from None
        except OSError as error:
            raise ConfigError(
                f"LIBERO's meshes should go to {target}, and that failed ({error}); nothing was changed. Make room, or "
                f"add folder=FOLDER and name it in {VARIABLE}."
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
        old = scratch / "old"
        if target.exists():
            target.rename(old)
        try:
            root.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise

    def _fetch(self, folder: Path) -> None:
        if self.source == "hub":
            return _download(folder)
        source = Path(self.source).expanduser()
        try:
            if source.is_dir():
                _copy(source, folder)
            elif source.is_file() and (zipfile.is_zipfile(source) or _first_bytes(source).startswith(ZIP)):
                _unzip(source, folder)
            elif source.is_file() and (tarfile.is_tarfile(source) or _opener(source) is not open):
                _untar(source, folder)
            else:
                raise ConfigError(
                    f"source={self.source} is neither `hub` nor a folder, a tar or a zip file on this machine; nothing "
                    f"was installed."
                )
        except (*DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None and error.filename != str(source):
                raise  # of the disk that is written to; decompressors raise one without a number
            raise ConfigError(
                f"{source} is damaged or cannot be read ({error}); nothing was installed. Copy or download it again."
            ) from None
        return None


def _copy(source: Path, folder: Path) -> None:
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    except shutil.Error as error:
        name, _, why = error.args[0][0]
        raise ConfigError(
            f"{name} cannot be copied ({why}); nothing was installed. Repair or remove it, or name another source."
        ) from None


def _first_bytes(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(8)


def _opener(source: Path) -> Callable[..., Any]:
    first = _first_bytes(source)
    return next((opener for magic, opener in OPENERS.items() if first.startswith(magic)), open)


def _untar(source: Path, folder: Path) -> None:
    """Read to the end of the file: tarfile stops where the archive says that it ends, before any checksum."""
    stream: BinaryIO
    with _opener(source)(source, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if not _is_safe(member.name) or not (member.isfile() or member.isdir()):
                    raise _unsafe(source, member.name)
                archive.extract(member, folder, filter="data")
        rest = 0
        while block := stream.read(2**20):
            rest += len(block)
            if block.count(0) != len(block):  # a damaged header, for tarfile the end of the archive
                raise tarfile.ReadError("something follows its end")
        if not rest:  # an archive ends with two empty blocks, and tarfile reads the first
            raise tarfile.ReadError("its end is missing")


def _unzip(source: Path, folder: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if not _is_safe(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
                raise _unsafe(source, member.filename)
            if member.flag_bits & 1:
                raise ConfigError(f"{source} is encrypted; nothing was installed. Unpack it, and add source=FOLDER.")
            try:
                archive.extract(member, folder)
            except NotImplementedError as error:
                raise ConfigError(
                    f"{source} is packed in a way that Python does not read ({error}); nothing was installed. Unpack "
                    f"it, and add source=FOLDER."
                ) from None


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name


def _unsafe(source: Path, member: str) -> ConfigError:
    return ConfigError(
        f"{source} holds `{member}`, which is a link or would lie outside of the folder; nothing was installed. "
        f"Pack plain files and folders."
    )


def _download(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hub-", dir=folder.parent) as scratch, _hub_writes_to(Path(scratch)):
        hub: Any = need("huggingface_hub", extra="libero")
        try:
            hub.snapshot_download(HUB, repo_type="dataset", local_dir=folder)
        except (OSError, ValueError, hub.errors.HTTPError) as error:
            told = " ".join(str(error).split())[:200]
            raise PackageError(
                f"LIBERO's meshes could not be fetched from the hub ({HUB}: {type(error).__name__}: {told}); nothing "
                f"was installed. Try again, or download them elsewhere and add source=FOLDER or source=ARCHIVE."
            ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's bookkeeping


@contextlib.contextmanager
def _hub_writes_to(folder: Path) -> Iterator[None]:
    """The client keeps caches and logs at home, unless the user has named a place; it is still to be imported."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
    token = Path(os.environ.get("HF_HOME") or home) / "token"  # is only read
    names = {"HF_HOME": folder, "HF_XET_CACHE": folder / "xet", "HF_TOKEN_PATH": token}
    added = {name: str(value) for name, value in names.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _megabytes(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20)
