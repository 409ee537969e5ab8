"""What a run remembers of itself: its code, its cost, and how it ended."""

import json
import subprocess
import sys
import time

import pytest

from embodied import facts
from embodied.errors import ConfigError
from embodied.metrics.cost import Cost, cpu_seconds
from embodied.run_folder import ending, last_row, locked, state_of

BURN = (
    "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.4: pass\nprint()\ntime.sleep(60)"
)


def git(folder, *words):
    subprocess.run(["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)


@pytest.fixture
def checkout(tmp_path):
    """A repository with two files of ours and one that is not ours."""
    (tmp_path / "embodied").mkdir()
    for name in ("embodied/a.py", "embodied/b.py", "notes.txt"):
        (tmp_path / name).write_text("one\n")
    (tmp_path / ".gitignore").write_text("*.log\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_code_as_committed_has_no_diff_whatever_else_lies_there(checkout):
    (checkout / "notes.txt").write_text("two\n")
    (checkout / "embodied" / "c.log").write_text("ignored\n")
    assert facts.code_diff(checkout) == ""


def test_the_diff_makes_of_the_commit_what_was_run_with_new_files_and_without_deleted_ones(checkout, tmp_path_factory):
    (checkout / "embodied" / "a.py").write_text("two\n")
    (checkout / "embodied" / "b.py").unlink()
    (checkout / "embodied" / "new.py").write_text("three\n")
    patch = tmp_path_factory.mktemp("patch") / "code.diff"
    patch.write_text(facts.code_diff(checkout))
    wanted = facts.sources_hash(checkout)
    git(checkout, "stash", "-q", "-u")
    assert facts.sources_hash(checkout) != wanted
    git(checkout, "apply", patch)
    assert facts.sources_hash(checkout) == wanted


def test_a_diff_stays_within_its_bytes_and_names_what_it_leaves_out(checkout):
    (checkout / "embodied" / "a.py").write_text("x" * 2000)
    (checkout / "embodied" / "b.py").write_text("two\n")
    (checkout / "embodied" / "new.py").write_text("y" * 2000)
    text = facts.code_diff(checkout, limit=1000)
    assert "+two" in text
    assert text.endswith("# left out, for there is room for 1000 bytes: embodied/a.py, embodied/new.py\n")


def test_without_a_checkout_there_is_no_diff_and_the_sources_still_tell_two_codes_apart(tmp_path):
    (tmp_path / "embodied").mkdir()
    (tmp_path / "embodied" / "a.py").write_text("one\n")
    before = facts.sources_hash(tmp_path)
    (tmp_path / "embodied" / "a.py").write_text("two\n")
    assert facts.code_diff(tmp_path) == ""
    assert facts.sources_hash(tmp_path) != before


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    words = ["train", "run_dir=a b/$HOME", "policy.hidden=[64,64]", "x='y'"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/embodied", *words])
    shown = facts.session()["command"]
    heard = subprocess.run(["bash", "-c", f"embodied() {{ printf '%s\\n' \"$@\"; }}; {shown}"], capture_output=True)
    assert heard.stdout.decode().splitlines() == words


def test_the_facts_name_what_numbers_depend_on():
    found = facts.session()
    assert {"torch", "numpy", "mujoco"} <= found["packages"].keys()
    assert found["machine"]["cores"] >= found["machine"]["cores_allowed"] >= 1
    assert f"numpy=={found['packages']['numpy']}" in facts.all_packages().splitlines()


def test_cpu_time_of_a_child_counts_while_it_lives_and_after_it_ended_and_once():
    before = cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    alive = cpu_seconds() - before
    child.kill()
    child.wait()
    child.stdout.close()
    ended = cpu_seconds() - before
    assert 0.38 < alive < 1.5
    assert ended - alive < 0.3


def test_cost_counts_only_between_start_and_stop_and_goes_on_from_a_checkpoint():
    cost = Cost("cpu")
    cost.load({"wall_s": 10.0, "cpu_s": 5.0, "device_s": 5.0})
    time.sleep(0.2)
    cost.start()
    time.sleep(0.1)
    cost.stop()
    spent = cost.metrics()
    assert 10.1 <= spent["wall_s"] < 10.2
    assert 5.0 <= spent["cpu_s"] < 5.1
    assert spent["device_s"] == spent["cpu_s"]


def test_device_seconds_are_the_clock_where_a_gpu_is_held_and_processors_otherwise():
    cost = Cost("cuda:0")
    cost.start()
    time.sleep(0.1)
    cost.stop()
    assert cost.metrics()["device_s"] == cost.metrics()["wall_s"]


@pytest.fixture
def folder(tmp_path):
    rows = [{"env_steps": n, "optimizer_steps": 4.0 * n, "wall_s": 1.5 * n, "loss": 0.1} for n in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"env_steps": 3')
    return tmp_path


def end_of(folder):
    return json.loads((folder / "end.json").read_text())


def test_the_end_of_a_run_says_what_it_made_and_cost(folder):
    with locked(folder):
        assert state_of(folder) == "running"
        with ending(folder):
            pass
    assert state_of(folder) == "finished"
    assert end_of(folder)["totals"] == {"env_steps": 2, "optimizer_steps": 8.0, "wall_s": 3.0}


def test_finished_stopped_failed_and_killed_runs_can_be_told_apart(folder):
    assert state_of(folder) == "killed"
    with ending(folder) as end:
        end.how = "stopped"
    assert state_of(folder) == "stopped"
    with pytest.raises(KeyboardInterrupt), ending(folder):
        raise KeyboardInterrupt
    assert state_of(folder) == "stopped"
    with pytest.raises(ConfigError), ending(folder):
        raise ConfigError("there is no such cube")
    assert state_of(folder) == "failed"
    assert end_of(folder)["why"] == "ConfigError: there is no such cube"


@pytest.mark.parametrize("text", ["{}", "[]", "", '{"how": "won"}', '{"how": []}', "null"])
def test_a_damaged_end_is_one_sentence_that_names_the_run(text, folder):
    (folder / "end.json").write_text(text)
    with pytest.raises(ConfigError, match=r"end.json is damaged.* Delete the file") as caught:
        state_of(folder)
    assert str(folder) in str(caught.value)


def test_the_last_row_is_the_last_whole_one_however_long_the_file(folder):
    assert last_row(folder)["env_steps"] == 2
    (folder / "metrics.jsonl").write_text(('{"loss": 1}\n' * 20_000) + '{"loss": 2}\n{"lo')
    assert last_row(folder) == {"loss": 2}
    assert last_row(folder / "elsewhere") == {}
