"""Importing robosuite where its package may not be written to, without robosuite."""

import importlib.util
import os
import sys
import tempfile
from types import ModuleType, SimpleNamespace

import pytest

from embodied.errors import ConfigError
from simulators import robosuite_state


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A robosuite whose folder cannot be written to, and a folder for temporary files."""
    package = SimpleNamespace(origin=str(tmp_path / "robosuite" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: package)
    monkeypatch.setattr(robosuite_state, "need", lambda *_, **__: ModuleType("robosuite"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.delitem(sys.modules, "robosuite", raising=False)
    monkeypatch.setitem(sys.modules, robosuite_state.MACROS, ModuleType("macros"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # and back again after the test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def test_all_processes_of_a_user_share_one_folder_for_compiled_code(scratch, monkeypatch):
    for _ in range(3):  # as many workers
        monkeypatch.setenv("NUMBA_CACHE_DIR", "")
        robosuite_state.import_robosuite("robosuite")
    (folder,) = scratch.iterdir()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_users_own_folder_wins(scratch, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/mine")
    robosuite_state.import_robosuite("robosuite")
    assert os.environ["NUMBA_CACHE_DIR"] == "/mine"
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("made", ["open", "link"])
def test_a_folder_that_others_may_write_is_refused(scratch, made):
    folder = robosuite_state.numba_folder()
    if made == "open":
        folder.chmod(0o777)
    else:
        folder.rename(scratch / "elsewhere")
        folder.symlink_to(scratch / "elsewhere")
    with pytest.raises(ConfigError, match=r"not a folder that only you may write; nothing was built.*NUMBA_CACHE_DIR"):
        robosuite_state.import_robosuite("robosuite")
