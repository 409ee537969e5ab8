"""How a collection ends: what is said and kept when something breaks, and what its exit status means."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from embodied import collect
from embodied.collect import Collection, main, run
from embodied.collecting.expert import Attempt
from embodied.collecting.report import summary
from embodied.data.episode_log import EpisodeLog
from embodied.errors import DatasetError
from simulators.reach import ReachRecipe
from tests.counting import Counting, CountingRecipe
from tests.shown import ShownRecipe


def collection(tmp_path, simulator, **named):
    return Collection(simulator=simulator, out=str(tmp_path / "demos"), processes=1, **named)


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device", "attempts.csv")


def test_a_full_disk_leaves_the_summary_of_what_was_collected(tmp_path, capsys, monkeypatch):
    append, rows, tidied = collect.append, [], []

    def second_is_too_much(folder, attempt):
        rows.append(attempt)
        full() if len(rows) == 2 else append(folder, attempt)

    monkeypatch.setattr(collect, "append", second_is_too_much)
    monkeypatch.setattr(collect, "tidy", tidied.append)
    with pytest.raises(OSError, match="No space left"):
        run(collection(tmp_path, ShownRecipe(), episodes=4), tmp_path / "demos", [])
    said = capsys.readouterr().out
    assert "not complete: it ended with an error.\n" in said
    assert "2 episodes are kept" in said
    assert tidied == [tmp_path / "demos"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left, either"), DatasetError("somebody writes")])
def test_what_cannot_be_tidied_hides_neither_the_first_error_nor_the_summary(tmp_path, capsys, monkeypatch, error):
    def untidy(_):
        raise error

    monkeypatch.setattr(collect, "tidy", untidy)
    with pytest.raises(type(error), match=str(error.args[-1])):  # it is the only one
        run(collection(tmp_path, ShownRecipe(), episodes=2), tmp_path / "demos", [])
    assert "2 episodes are in" in capsys.readouterr().out
    monkeypatch.setattr(collect, "append", full)
    with pytest.raises(OSError, match=r"No space left on device"):
        run(replace(collection(tmp_path, ShownRecipe(), episodes=2), out=None), tmp_path / "others", [])
    assert "not complete: it ended with an error.\n" in capsys.readouterr().out


def test_a_file_that_may_not_grow_ends_a_collection_with_its_summary(tmp_path):
    out = tmp_path / "demos"
    words = f"-m embodied.cli collect simulator=reach out={out} episodes=100000 processes=1"
    found = subprocess.run(["bash", "-c", f"ulimit -f 64; {sys.executable} {words}"], capture_output=True, text=True)
    assert found.returncode == 1
    assert "could not be written (File too large); it stopped; whole episodes are kept. Free disk space" in found.stderr
    assert "not complete: it ended with an error." in found.stdout
    log = EpisodeLog(out)
    assert f"{len(log)} episodes are kept in {out}" in found.stdout
    assert len(log) > 0


def test_to_repeat_the_command_is_said_only_where_it_would_go_on(tmp_path, capsys):
    simulator = ShownRecipe(patience=1, gives_up=True)
    assert run(collection(tmp_path, simulator, episodes=4, max_failures=3), tmp_path / "demos", []) == 1
    assert "lastly because the expert saw no way.\n" in capsys.readouterr().out


def test_a_collection_from_before_each_task_had_its_limit_is_continued(tmp_path):
    simulator = ShownRecipe(scene=CountingRecipe(length=3, max_steps=(20, 50)), tasks=2)
    assert run(collection(tmp_path, simulator, episodes=2, verify=0), tmp_path / "demos", []) == 0
    path = tmp_path / "demos/dataset.json"
    facts = json.loads(path.read_text())
    assert facts["spec"]["max_steps"] == [20, 50]
    path.write_text(json.dumps(facts | {"spec": facts["spec"] | {"max_steps": 50}}))
    assert run(collection(tmp_path, simulator, episodes=4, verify=0), tmp_path / "demos", []) == 0
    assert len(EpisodeLog(tmp_path / "demos")) == 4


def verified(tmp_path, monkeypatch, *, same: int, of: int) -> int:
    monkeypatch.setattr(collect, "verify", lambda *_: [(f"0:{n}", n < same) for n in range(of)])
    return run(collection(tmp_path, ShownRecipe(), episodes=1), tmp_path / "demos", [])


@pytest.mark.parametrize(
    ("same", "of", "status"),
    [(10, 10, 0), (9, 10, 0), (8, 10, 1), (99, 100, 0), (91, 100, 0), (90, 100, 1), (0, 1, 1), (0, 0, 0)],
)
def test_the_status_is_1_only_where_surely_too_few_episodes_repeat(tmp_path, monkeypatch, capsys, same, of, status):
    assert verified(tmp_path, monkeypatch, same=same, of=of) == status
    said = capsys.readouterr().out
    assert (f"; not 0:{same}" in said) == (same < of)


def test_a_replay_that_was_asked_for_stays_strict(tmp_path, monkeypatch, capsys):
    assert main(["simulator=reach", f"out={tmp_path / 'd'}", "episodes=1", "processes=1", "verify=0"]) == 0
    monkeypatch.setattr(collect, "verify", lambda *_: [(f"0:{n}", n > 0) for n in range(100)])
    assert main(["--replay", str(tmp_path / "d"), "processes=1"]) == 1
    assert capsys.readouterr().out.rstrip().endswith("; not 0:0")


@pytest.mark.parametrize(
    ("limits", "noise", "word"),
    [
        ((20, 50), 0.0, " max_steps=50"),
        ((20, 50), 0.4, ""),  # it takes longer because it was disturbed
        ((20, None), 0.0, ""),  # which would limit a task that has no limit
        (None, 0.0, ""),
    ],
)
def test_time_is_suggested_only_where_it_takes_none_away_and_gives_none_for_noise(
    tmp_path, capsys, limits, noise, word
):
    spec = replace(Counting(CountingRecipe()).spec, tasks=("a", "b"), max_steps=limits)
    attempts = [Attempt(0, 1, success=True, kept=True, steps=30, seconds=0.1)]
    summary(tmp_path, spec, attempts, None, "", [], noise=noise)
    assert capsys.readouterr().out.rstrip().endswith(f"policy.chunk=8{word}")


def test_a_collection_under_noise_suggests_no_looser_limit(tmp_path, capsys):
    c = collection(tmp_path, ReachRecipe(max_steps=3), episodes=3, noise=0.5, verify=0)
    assert run(c, tmp_path / "demos", ["simulator=reach"]) == 0
    assert max(EpisodeLog(tmp_path / "demos").lengths) > 3
    assert "max_steps" not in capsys.readouterr().out
