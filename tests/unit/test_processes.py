"""Child processes: what becomes of them when their parent is killed, in which interpreter they run, what they find."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
from pathlib import Path

import pytest
import torch

import embodied
from embodied.environments import mark_of, python_of
from embodied.errors import ConfigError, PackageError, StageError
from embodied.runtime.child import Child
from embodied.types import Start
from simulators.isolated import IsolatedRecipe
from simulators.reach import ReachRecipe
from tests.counting import CountingRecipe

ROOT = Path(__file__).parents[2]

ORPHANS = """
from embodied.environment import prepare
prepare()
import torch
from embodied.types import Start
from simulators.subprocess_env import SubprocessEnv
from tests.counting import CountingRecipe

if __name__ == "__main__":
    env = SubprocessEnv([CountingRecipe(num_envs=1), CountingRecipe(num_envs=1, breaks="sleep")])
    env.reset(torch.ones(2, dtype=torch.bool), Start.seeded([1, 2]))
    print(*(worker.process.pid for worker in env.workers), flush=True)
    env.step(torch.zeros(2, 3, 1))  # the second sleeps for a minute
"""

GRANDCHILDREN = """
from embodied.environment import prepare
prepare()
import os
from embodied.config import recipe
from embodied.runtime.stage import ProcessStage
from simulators.reach import ReachRecipe
from simulators.subprocess_env import SubprocessEnv

class Family:
    def __init__(self):
        self.env = SubprocessEnv([ReachRecipe(num_envs=1)])

    def pids(self):
        return os.getpid(), self.env.workers[0].process.pid

@recipe
class FamilyRecipe:
    def build(self):
        return Family()

if __name__ == "__main__":
    stage = ProcessStage(FamilyRecipe())
    print(*stage.call(Family.pids).result(), flush=True)
    import time
    time.sleep(60)
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.fixture
def script(tmp_path):
    """Runs a program; its files for other processes would lie in `scratch`."""
    started = []
    (tmp_path / "scratch").mkdir()

    def start(text):
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(text))
        variables = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "scratch")}
        started.append(subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True, env=variables))
        return started[-1], [int(word) for word in started[-1].stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("program", [ORPHANS, GRANDCHILDREN], ids=["workers", "grandchildren"])
def test_nobody_and_nothing_is_left_when_the_parent_is_killed(script, tmp_path, program):
    shared = set(os.listdir("/dev/shm"))
    parent, pids = script(program)
    assert len(pids) == 2
    time.sleep(0.2)  # one is inside a long step by now
    os.kill(pids[0], signal.SIGSTOP)  # and the other does not run at all
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    assert list((tmp_path / "scratch").iterdir()) == []
    names = [name for name in set(os.listdir("/dev/shm")) - shared if any(str(pid) in name for pid in pids)]
    assert names == []


def test_a_script_of_someones_own_recipes_runs_as_it_is(script):
    _, pids = script(GRANDCHILDREN)
    assert all(is_alive(pid) for pid in pids)


def test_a_script_without_a_guard_is_told_to_have_one(script, capfd):
    parent, pids = script(GRANDCHILDREN.replace('if __name__ == "__main__":', "if True:"))
    assert (pids, parent.wait()) == ([], 1)
    assert "Put what the script does under `if __name__" in capfd.readouterr().err


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An environment `other` that has torch, numpy and pydantic, and not our packages."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    folder = tmp_path / "environments" / "other"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "theirs.pth").write_text(str(Path(torch.__file__).parents[1]))
    mark_of("other").write_text("{}")
    return folder


def say_where(wire):
    wire.tell((sys.prefix, embodied.__file__, sys.path))


def test_a_child_in_another_interpreter_finds_our_packages_and_nothing_beside_them(elsewhere, monkeypatch):
    monkeypatch.setenv("EMBODIED_MODULES", "tests")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    child = Child("elsewhere", say_where, python=python_of("other"))
    child.launch()
    heard = child.hear(60.0)
    child.close()
    prefix, ours, path = heard
    assert prefix == str(elsewhere)
    assert Path(ours) == ROOT / "embodied" / "__init__.py"
    assert str(ROOT) not in path


def test_a_simulator_runs_in_its_own_environment_like_in_ours(elsewhere):
    assert python_of("other") == elsewhere / "bin" / "python"
    here = ReachRecipe(num_envs=3).build()
    there = IsolatedRecipe(simulator=ReachRecipe(num_envs=3), environment="other").build()
    assert there.spec == here.spec
    for env in (here, there):
        env.reset(torch.ones(3, dtype=torch.bool), Start.seeded([1, 2, 3]))
    for k in range(5):
        action = torch.full((3, 2, 2), 0.1 * k)
        torch.testing.assert_close(there.step(action).reward, here.step(action).reward)
        torch.testing.assert_close(there.observe()["state"], here.observe()["state"])
    torch.testing.assert_close(there.picture(), here.picture())
    there.close()


def test_an_isolated_simulator_is_sharded_and_filmed_like_the_one_it_holds(elsewhere):
    isolated = IsolatedRecipe(simulator=ReachRecipe(num_envs=3), environment=elsewhere.name)
    assert isolated.num_envs == 3
    assert isolated.shards() == [isolated]
    assert isolated.filmed(2).num_envs == 2
    with pytest.raises(ConfigError, match="CountingRecipe has nobody who can solve its tasks"):
        IsolatedRecipe(simulator=CountingRecipe(), environment="other").demonstrator()
    with pytest.raises(ConfigError, match="CountingRecipe has no camera for people"):
        IsolatedRecipe(simulator=CountingRecipe(), environment="other").filmed(1)


class Enough(Exception):  # noqa: N818
    pass


def test_an_expert_in_another_environment_plays_what_it_would_play_here(elsewhere):
    def played(scene, most=1000):
        actions = []

        def act(action):
            if len(actions) == most:
                raise Enough
            actions.append(action.tolist())
            scene.step(action)

        scene.reset(0, -1, 5)
        try:
            scene.demonstrate(act)
        except Enough:
            actions.append("enough")
        return actions, scene.observe()["state"].tolist()

    here = ReachRecipe().demonstrator()
    there = IsolatedRecipe(simulator=ReachRecipe(), environment=elsewhere.name).demonstrator()
    assert (there.spec, getattr(there, "correctable", ())) == (here.spec, here.correctable)
    whole = played(here)
    assert len(whole[0]) > 2
    assert played(there, most=2)[0] == [*whole[0][:2], "enough"]
    assert played(there) == whole
    there.close()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("name", "told"), [("other", "was not finished"), ("othr", "is not on this machine")])
def test_an_environment_that_is_not_there_is_named_with_the_command_that_builds_it(name, told):
    if name == "other":
        mark_of("other").unlink()
    with pytest.raises(PackageError, match=rf"{told}.*nothing was started. Type: embodied setup {name}\."):
        IsolatedRecipe(simulator=ReachRecipe(), environment=name).build()


def test_a_child_whose_interpreter_is_not_there_is_a_sentence_and_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        child = Child("lost", print, python=Path("/nowhere/python"))
        with pytest.raises(StageError, match="the process lost could not be started"):
            child.launch()
        child.close()
    assert len(os.listdir("/proc/self/fd")) == before
