"""`embodied setup`: what there is, how it is asked for, and environments that are whole or not at all."""

import fcntl
import json
import logging
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace

import pytest

from embodied import drivers, setup
from embodied.config import to_dict
from embodied.environments import EnvironmentSetup, folder_of, mark_of, python_of
from embodied.errors import ConfigError, PackageError


@pytest.mark.parametrize("name", setup.setups())
def test_every_setup_composes_and_has_a_line_for_people(name):
    assert callable(setup.load(name, []).run)
    (line,) = [line for line in setup.usage().splitlines() if line.split()[:1] == [name]]
    assert len(line.split()) > 3


def test_without_a_name_there_is_a_list(capsys):
    assert setup.main([]) == 0
    assert "robosuite15" in capsys.readouterr().out


def test_an_unknown_name_and_an_unknown_setting_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no setup `robosuit15`; nothing was done\. Did you mean `robosuite15`"):
        setup.main(["robosuit15"])
    with pytest.raises(ConfigError, match=r"no setting `agian`; nothing was started\. Did you mean `again`"):
        setup.main(["robosuite15", "agian=true"])


def test_words_change_settings():
    assert setup.load("robosuite15", ["requirements=[a==1,b==2]"]).requirements == ("a==1", "b==2")


def wheel(folder, name, code="", version="1.0"):
    """A package of one module, as pip installs it."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Builds `arm` from packages made here, found through pip's own settings."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("torch", "numpy", "pydantic", "arm"):
        wheel(wheels, name)
    wheel(wheels, "arm", "raise RuntimeError('the arm is off')", version="2.0")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    required = ("torch==1.0", "numpy==1.0", "pydantic==1.0", "arm==1.0")
    return lambda *more: EnvironmentSetup(name="arm", imports="arm", requirements=(*required[: 4 - len(more)], *more))


def test_an_environment_is_built_once_and_again_when_its_requirements_change(recipe):
    said = []
    assert recipe().problem() == "not built"
    assert "arm is ready" in recipe().run(said.append)
    assert said[1:] == ["torch==1.0, alone and first", "numpy==1.0, pydantic==1.0, arm==1.0"]
    assert python_of("arm").exists()
    assert recipe().problem() is None
    kept = mark_of("arm").stat().st_mtime_ns
    assert recipe().run(said.append).endswith("nothing was done.")
    assert mark_of("arm").stat().st_mtime_ns == kept
    changed = recipe("arm>=1,<2")
    assert changed.problem() == "built from other requirements"
    assert "arm is ready" in changed.run(said.append)


def test_what_cannot_be_installed_is_one_sentence_and_what_was_begun_does_not_count(recipe):
    with pytest.raises(PackageError, match=r"pip ended with status 1 \(.*No matching distribution.*arm==9.*whole log"):
        recipe("arm==9").run(print)
    assert folder_of("arm").with_suffix(".log").read_text().startswith("+ ")
    assert recipe("arm==9").problem() == "building it was not finished"
    with pytest.raises(PackageError, match="`arm` was asked for and was not finished"):
        python_of("arm")


def test_a_simulator_that_does_not_import_is_not_whole(recipe):
    with pytest.raises(PackageError, match="`import arm` fails in it: RuntimeError: the arm is off"):
        recipe("arm==2").run(print)
    with pytest.raises(PackageError, match="was not finished"):
        python_of("arm")


def standing(recipe):
    """A whole environment, as cheap as it gets."""
    python = folder_of(recipe.name) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    mark_of(recipe.name).write_text(json.dumps({"key": recipe.key}))


def fail(error):
    def failing(*_, **__):
        raise error

    return failing


@pytest.mark.parametrize("changed", [False, True])
def test_a_whole_environment_outlives_a_build_that_fails(recipe, monkeypatch, changed):
    standing(recipe())
    monkeypatch.setattr(EnvironmentSetup, "_install", fail(PackageError("pip is offline.")))
    monkeypatch.setattr(venv, "create", lambda folder, **_: folder.mkdir())
    wanted = recipe("arm>=1,<2") if changed else replace(recipe(), again=True)
    with pytest.raises(PackageError, match=r"^pip is offline\. The environment that was there before is back\.$"):
        wanted.run(print)
    assert recipe().problem() is None
    assert python_of("arm").exists()
    assert not any((folder_of("") / ".old").iterdir())


def test_a_build_that_was_killed_has_not_cost_the_environment_before_it(recipe):
    standing(recipe())
    (folder_of("") / ".old").mkdir()
    folder_of("arm").rename(folder_of("") / ".old" / "arm")
    folder_of("arm").mkdir()
    assert recipe().run(print).endswith("nothing was done.")
    assert python_of("arm").exists()


def test_what_cannot_be_removed_whole_has_lost_its_mark_and_is_told_of(recipe, monkeypatch):
    standing(recipe())
    old = folder_of("") / ".old" / "arm"
    monkeypatch.setattr(EnvironmentSetup, "_build", lambda recipe, *_: standing(recipe))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fail(OSError(16, "Device or resource busy", "arm/bin")))
        with pytest.raises(
            ConfigError, match=r"arm should be removed, and arm/bin cannot be \(Device or resource busy\)"
        ):
            replace(recipe(), again=True).run(print)
    assert old.exists()
    assert not (old / "embodied.json").exists()
    assert recipe().run(print).endswith("nothing was done.")
    assert not old.exists()


@pytest.mark.parametrize("failure", [subprocess.CalledProcessError(1, ["python", "-m", "ensurepip"]), OSError(28, "x")])
def test_a_python_without_ensurepip_is_one_sentence(recipe, monkeypatch, failure):
    monkeypatch.setattr(venv.EnvBuilder, "_setup_pip", fail(failure))
    with pytest.raises(PackageError, match=r"arm could not be begun .*python3-venv"):
        recipe().run(print)


@pytest.mark.parametrize("line", ["torch>=1,<2", "torch<3", "torch", " torch [opt] ~= 1.0", "Torch @ file:///x"])
def test_torch_is_recognised_however_it_is_required(line, recipe, monkeypatch):
    ran = []
    monkeypatch.setattr(EnvironmentSetup, "_pip", lambda _, words, __: ran.append(tuple(words)))
    monkeypatch.setenv("TORCH_INDEX_URL", "https://torch")
    both = replace(recipe(), requirements=("torch-geometric==1", line))
    both._install(folder_of("arm"), print)
    assert ran == [("--index-url", "https://torch", line), ("torch-geometric==1", line)]


def test_an_environment_of_other_requirements_is_used_and_told_of(recipe, monkeypatch, caplog):
    standing(recipe())
    monkeypatch.setattr(setup, "setups", lambda: {"arm": None})
    monkeypatch.setattr(setup, "load", lambda *_: recipe("arm>=1,<2"))
    with caplog.at_level(logging.WARNING):
        assert python_of("arm").exists()
    assert "arm was built from other requirements" in caplog.text
    assert "embodied setup arm" in caplog.text
    caplog.clear()
    monkeypatch.setattr(setup, "load", lambda *_: recipe())
    python_of("arm")
    assert not caplog.text


def test_two_processes_do_not_build_one_environment(recipe, tmp_path):
    folder_of("").mkdir()
    with (tmp_path / "environments" / ".arm.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="arm is being built by another process; nothing was changed"):
            recipe().run(print)
    assert not folder_of("arm").exists()


@pytest.mark.parametrize(("field", "value"), [("name", "../arm"), ("requirements", ())])
def test_settings_that_cannot_be_meant_are_refused(field, value):
    fields = to_dict(setup.load("robosuite15", [])) | {field: value}
    fields.pop("_target_")
    with pytest.raises(ValueError, match=field):
        EnvironmentSetup(**fields)


def test_the_doctor_says_which_environments_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (row,) = [row for row in drivers.environments() if row.name == "environment robosuite15"]
    assert (row.state, row.fix) == ("missing", "embodied setup robosuite15")
    folder_of("robosuite15").mkdir(parents=True)
    (row,) = [row for row in drivers.environments() if row.name == "environment robosuite15"]
    assert (row.state, row.found) == ("warning", "building it was not finished")
