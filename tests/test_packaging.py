"""Our four names are common ones: what is under them is checked, and the wheel ships exactly them."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from embodied.errors import PackageError
from embodied.experiments import config_dir
from embodied.packaging import NAMES, PROJECT, check_packages, need

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[PurePosixPath]:
    """The files in the wheel, as the build backend writes it: no network, no environment of its own."""
    builder = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = builder.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


def test_our_own_packages_are_accepted():
    check_packages()


@pytest.mark.parametrize("name", NAMES)
def test_every_package_carries_our_mark(name: str):
    assert f'__project__ = "{PROJECT}"' in (ROOT / name / "__init__.py").read_text()


def test_a_stranger_under_our_name_is_named_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stranger = tmp_path / "hardware" / "__init__.py"
    stranger.parent.mkdir()
    stranger.write_text('"""Somebody else\'s hardware."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hardware", raising=False)
    with pytest.raises(PackageError, match="not ours") as refused:
        check_packages()
    monkeypatch.delitem(sys.modules, "hardware")
    assert str(stranger) in str(refused.value)


def test_a_missing_package_is_refused_with_the_extra_that_brings_it():
    with pytest.raises(PackageError, match=r"pip install -c constraints.txt -e .*\[cluster\]"):
        need("a_package_that_nobody_has", extra="cluster")


def test_the_wheel_holds_our_four_packages_and_nothing_else_to_import(wheel: list[PurePosixPath]):
    top = {file.parts[0] for file in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == set(NAMES)


def test_the_wheel_holds_every_module_and_every_config_of_the_checkout(wheel: list[PurePosixPath]):
    modules = {PurePosixPath(f.relative_to(ROOT).as_posix()) for name in NAMES for f in (ROOT / name).rglob("*.py")}
    configs = {PurePosixPath("embodied") / f.relative_to(ROOT).as_posix() for f in (ROOT / "configs").rglob("*.yaml")}
    assert modules <= set(wheel)
    assert configs <= set(wheel)


def test_the_configs_are_found_and_hold_yaml():
    assert list(config_dir().rglob("*.yaml"))
