"""Where LIBERO's meshes are looked for, and how they get there: whole, checked, or not at all."""

import errno
import io
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from embodied.errors import ConfigError, PackageError
from simulators.libero_assets import FOLDERS, VARIABLE, LiberoSetup, assets_folder, default_folder


def filled(folder):
    """A folder that looks like LIBERO's meshes."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "thing.xml").write_text("<mujoco/>")
    return folder


def packed(tmp_path, *, inside="", extra=None):
    """A tar of such a folder, its content under `inside`, with one more member."""
    path = tmp_path / "meshes.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        archive.add(filled(tmp_path / "packed"), arcname=inside or ".")
        if extra is not None:
            archive.addfile(extra, io.BytesIO(b"x" * extra.size))
    return path


def member(name, *, link=None):
    found = tarfile.TarInfo(name)
    if link is None:
        found.size = 1
    else:
        found.type, found.linkname = tarfile.SYMTYPE, link
    return found


@pytest.fixture
def target(tmp_path):
    return tmp_path / "there" / "assets"


def installed(target):
    return sorted(path.name for path in target.iterdir()) == sorted(FOLDERS)


def nothing_left(target):
    return not target.exists() and not (target.parent.exists() and any(target.parent.iterdir()))


def test_the_recipe_goes_before_the_variable_and_that_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(filled(tmp_path / "variable")))
    assert assets_folder(None) == tmp_path / "variable"
    assert assets_folder(str(filled(tmp_path / "recipe"))) == tmp_path / "recipe"
    assert default_folder() == Path(sys.prefix) / "share" / "embodied" / "libero" / "assets"


def test_missing_meshes_are_one_sentence_that_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(PackageError, match=r"there is no folder .*nowhere.*`embodied setup libero`.*" + VARIABLE):
        assets_folder(None)
    (filled(tmp_path / "half") / "scenes" / "thing.xml").unlink()
    with pytest.raises(PackageError, match=r"half has no scenes; nothing was built and nothing was downloaded"):
        assets_folder(str(tmp_path / "half"))


@pytest.mark.parametrize("inside", ["", "assets"])
def test_an_archive_is_installed_whole_even_from_a_folder_inside(tmp_path, target, inside):
    told = LiberoSetup(source=str(packed(tmp_path, inside=inside)), folder=str(target)).run()
    assert installed(target)
    assert str(target) in told
    assert [path.name for path in target.parent.iterdir()] == ["assets"]  # nothing else was left


def test_a_zip_and_a_folder_are_installed_too(tmp_path, target):
    folder = filled(tmp_path / "mine")
    LiberoSetup(source=str(folder), folder=str(target)).run()
    assert installed(target)
    with zipfile.ZipFile(tmp_path / "meshes.zip", "w") as archive:
        for path in sorted(folder.rglob("*.xml")):
            archive.write(path, path.relative_to(folder))
    LiberoSetup(source=str(tmp_path / "meshes.zip"), folder=str(target.with_name("zipped"))).run()
    assert installed(target.with_name("zipped"))


@pytest.mark.parametrize(
    "extra", [member("../outside.xml"), member("/outside.xml"), member("scenes/link", link="/etc/passwd")]
)
def test_an_archive_that_reaches_outside_is_refused_and_nothing_is_installed(tmp_path, target, extra):
    with pytest.raises(ConfigError, match=r"link or would lie outside of the folder; nothing was installed"):
        LiberoSetup(source=str(packed(tmp_path, extra=extra)), folder=str(target)).run()
    assert nothing_left(target)
    assert not (tmp_path / "outside.xml").exists()


def test_a_zip_that_reaches_outside_is_refused(tmp_path, target):
    with zipfile.ZipFile(tmp_path / "meshes.zip", "w") as archive:
        archive.writestr("../outside.xml", "x")
    with pytest.raises(ConfigError, match=r"outside.xml`.*nothing was installed"):
        LiberoSetup(source=str(tmp_path / "meshes.zip"), folder=str(target)).run()
    assert nothing_left(target)


def test_a_truncated_archive_is_one_sentence_and_nothing_is_installed(tmp_path, target):
    whole = packed(tmp_path).read_bytes()
    (tmp_path / "half.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"half.tar.xz.*nothing was installed"):
        LiberoSetup(source=str(tmp_path / "half.tar.xz"), folder=str(target)).run()
    assert nothing_left(target)


def test_what_does_not_hold_the_meshes_is_refused_by_name(tmp_path, target):
    (tmp_path / "other" / "scenes").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"does not hold LIBERO's meshes \(no articulated_objects, scenes"):
        LiberoSetup(source=str(tmp_path / "other"), folder=str(target)).run()
    with pytest.raises(ConfigError, match=r"source=nowhere.zip is neither `hub` nor a folder"):
        LiberoSetup(source="nowhere.zip", folder=str(target)).run()
    assert nothing_left(target)


def test_what_is_there_stays_unless_it_is_asked_for_again(tmp_path, target):
    setup = LiberoSetup(source=str(filled(tmp_path / "mine")), folder=str(target))
    setup.run()
    (target / "scenes" / "mine.xml").write_text("kept")
    assert "nothing was done" in setup.run()
    assert (target / "scenes" / "mine.xml").exists()
    LiberoSetup(source=str(tmp_path / "mine"), folder=str(target), again=True).run()
    assert not (target / "scenes" / "mine.xml").exists()
    assert [path.name for path in target.parent.iterdir()] == ["assets"]


def test_a_folder_of_somebody_else_is_not_touched(tmp_path, target):
    target.mkdir(parents=True)
    (target / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"exists and has no .*; nothing was changed"):
        LiberoSetup(source=str(filled(tmp_path / "mine")), folder=str(target)).run()
    assert (target / "letter.txt").read_text() == "mine"


def large(tmp_path, suffix):
    """A tar of noise, so that a byte in its middle belongs to what is stored."""
    source = filled(tmp_path / "large")
    for name in FOLDERS:
        (source / name / "thing.bin").write_bytes(random.Random(name).randbytes(20_000))
    path = tmp_path / f"meshes.tar.{suffix}".rstrip(".")
    library: Any = tarfile
    with library.open(path, f"w:{suffix}") as archive:
        archive.add(source, arcname=".")
    return path


@pytest.mark.parametrize("place", ["middle", "end"])
@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_one_wrong_byte_of_an_archive_is_noticed_wherever_it_is(tmp_path, target, suffix, place):
    path = large(tmp_path, suffix)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place == "middle" else -6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{path} is damaged or cannot be read \(.*nothing was installed"):
        LiberoSetup(source=str(path), folder=str(target)).run()
    assert nothing_left(target)


@pytest.mark.parametrize("damage", ["header", "cut"])
def test_a_plain_tar_that_ends_too_early_is_noticed(tmp_path, target, damage):
    path = large(tmp_path, "")
    with tarfile.open(path) as archive:
        last = [one.offset for one in archive if one.isfile()][-1]
    content = bytearray(path.read_bytes())
    content[last + 150] ^= 0xFF  # its checksum
    path.write_bytes(content if damage == "header" else content[:last])
    with pytest.raises(ConfigError, match=r"is damaged or cannot be read \((something follows its|its) end"):
        LiberoSetup(source=str(path), folder=str(target)).run()
    assert nothing_left(target)


def test_a_zip_that_is_damaged_or_encrypted_is_one_sentence(tmp_path, target):
    path = tmp_path / "meshes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in FOLDERS:
            archive.writestr(f"{name}/thing.xml", "<mujoco/>")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"<mujoco/>", b"<mujoca/>", 1))
    with pytest.raises(ConfigError, match=r"is damaged or cannot be read .*CRC"):
        LiberoSetup(source=str(path), folder=str(target)).run()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="is damaged or cannot be read"):
        LiberoSetup(source=str(path), folder=str(target)).run()
    flagged = bytearray(whole)
    flagged[flagged.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(flagged)
    with pytest.raises(ConfigError, match="is encrypted; nothing was installed"):
        LiberoSetup(source=str(path), folder=str(target)).run()
    assert nothing_left(target)


def test_a_link_to_nothing_is_named_and_nothing_is_installed(tmp_path, target):
    folder = filled(tmp_path / "mine")
    (folder / "scenes" / "lost").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"scenes/lost cannot be copied .*nothing was installed"):
        LiberoSetup(source=str(folder), folder=str(target)).run()
    assert nothing_left(target)


@pytest.mark.parametrize("inside", ["assets", "deep/er/assets", "."])
def test_a_folder_is_not_copied_into_itself(tmp_path, inside):
    folder = filled(tmp_path / "mine")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"is inside of source=.*; nothing was changed"):
        LiberoSetup(source=str(folder), folder=str(folder / inside), again=True).run()
    assert sorted(folder.rglob("*")) == before


def test_the_old_folder_comes_back_where_the_new_one_cannot_be_put(tmp_path, target, monkeypatch):
    filled(target)
    (target / "scenes" / "mine.xml").write_text("kept")
    rename = Path.rename

    def full(path, to):
        if path.name == "fetched":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(ConfigError, match=r"that failed \(.*No space left.*nothing was changed"):
        LiberoSetup(source=str(filled(tmp_path / "mine")), folder=str(target), again=True).run()
    assert (target / "scenes" / "mine.xml").read_text() == "kept"


def test_the_hubs_client_writes_nothing_at_home(tmp_path, target):
    """The real client, by its settings: each place that it would write to lies beside the target, and is gone after."""
    pytest.importorskip("huggingface_hub")
    code = """
import os, sys
from simulators import libero_assets

def need(name, extra):
    import huggingface_hub
    from huggingface_hub import constants

    def snapshot_download(*_, local_dir, **__):
        for name in ("HF_HOME", "HF_XET_CACHE", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
            print(getattr(constants, name))
        print(os.environ["HF_XET_CACHE"])
        for name in libero_assets.FOLDERS:
            (local_dir / name).mkdir()
            (local_dir / name / "thing.xml").write_text("x")

    huggingface_hub.snapshot_download = snapshot_download
    return huggingface_hub

libero_assets.need = need
libero_assets.LiberoSetup(folder=sys.argv[1]).run()
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        env=clean | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    *written, token, told = done.stdout.splitlines()
    assert len(written) == 3
    assert all(Path(place).is_relative_to(target.parent) and not Path(place).exists() for place in (*written, told))
    assert token == str(tmp_path / "home" / ".cache" / "huggingface" / "token")  # read, where the user has one
    assert not (tmp_path / "home").exists()
    assert [path.name for path in target.parent.iterdir()] == ["assets"]
