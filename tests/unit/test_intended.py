"""Demonstrations under noise: what is executed, what was intended, and that the second is kept and learned."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.cli import run
from embodied.collect import Collection
from embodied.collect import main as collect
from embodied.collecting.disturbance import MEMORY, Disturbance
from embodied.collecting.expert import ExpertRecipe
from embodied.data.convert import convert
from embodied.data.dataset import open_dataset
from embodied.data.demonstrations import open_demonstrations
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.frames import cached
from embodied.errors import ConfigError, DatasetError
from policies.mlp import MLPRecipe
from simulators.reach import ReachRecipe
from simulators.tabletop import TabletopRecipe
from tests.recordings import FACTS, assert_same, episode, whole_in
from tests.shown import ShownRecipe

INTENDED = replace(FACTS, intended=True)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_CACHE", str(tmp_path / "cache"))


def disturbed(length, seed=0):
    """An episode of which every second action was wanted otherwise."""
    r = episode(length, seed)
    intended = r.action.copy()
    intended[::2] = -intended[::2]
    return replace(r, intended=intended)


def write(folder, *recordings, facts=INTENDED):
    with LogWriter(folder, facts) as log:
        for recording in recordings:
            log.write(recording)
    return folder


def wanted(r):
    """Straight to the goal of the point mass, as fast as it can."""
    recipe = ReachRecipe()
    guide = recipe.demonstrator()
    guide.reset(0, -1, r.label.seed)
    return np.clip((guide.env.goal.numpy() - r.obs["state"][: len(r), :2]) * 10, -1, 1)


def test_noise_is_as_large_and_as_smooth_as_said_and_leaves_the_gripper_alone():
    disturbance = Disturbance(0.2, (0, 1), seed=3, task=0)
    executed = np.stack([disturbance(np.array([0.0, 0.1, -1.0], dtype=np.float32)) for _ in range(20_000)])
    noise = executed - np.array([0.0, 0.1, -1.0], dtype=np.float32)
    assert not noise[:, 2].any()
    np.testing.assert_allclose(noise[:, :2].std(axis=0), 0.2, rtol=0.05)
    for x in noise[:, :2].T:
        assert np.corrcoef(x[1:], x[:-1])[0, 1] == pytest.approx(MEMORY, abs=0.03)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.05


def test_noise_depends_on_the_attempt_alone_and_what_is_executed_stays_an_action():
    def played(**named):
        disturbance = Disturbance(2.0, (0,), **({"seed": 3, "task": 0} | named))
        return [float(disturbance(np.array([0.9, 0.5], dtype=np.float32))[0]) for _ in range(20)]

    assert played() == played()
    assert played() != played(seed=4)
    assert played() != played(task=1)
    assert max(played()) == 1.0
    assert min(played()) >= -1.0


def test_what_is_executed_under_noise_replays_and_what_was_intended_is_the_experts_own(tmp_path, capsys):
    words = ["simulator=reach", "episodes=6", "noise=0.5", "seed=1"]
    for name, processes in (("one", 1), ("two", 2)):
        assert collect([*words, f"out={tmp_path / name}", f"processes={processes}"]) == 0
    one, two = (whole_in(EpisodeLog(tmp_path / name)) for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert_same(a, b)
        assert np.abs(a.action - a.lesson).max() > 0.1
        np.testing.assert_allclose(a.lesson, wanted(a), atol=1e-5)
    capsys.readouterr()
    assert collect(["--replay", str(tmp_path / "one")]) == 0
    assert "replayed 6 of 6 episodes from their seeds: 100.0 %" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"another noise \(0.5, asked for 0.2\)"):
        collect([*words[:2], "noise=0.2", "seed=1", f"out={tmp_path / 'one'}"])
    with pytest.raises(ConfigError, match=r"another noise \(0.5, asked for 0.0\)"):
        collect([*words[:2], "seed=1", f"out={tmp_path / 'one'}"])


def test_without_noise_nothing_is_written_that_was_not_before(tmp_path):
    assert collect(["simulator=reach", "episodes=2", "processes=1", f"out={tmp_path / 'd'}"]) == 0
    facts = json.loads((tmp_path / "d/dataset.json").read_text())
    assert facts["version"] == 1
    assert "intended" not in facts
    assert "noise" not in json.loads((tmp_path / "d/collection.json").read_text())
    for r in whole_in(EpisodeLog(tmp_path / "d")):
        assert r.intended is None
        np.testing.assert_allclose(r.action, wanted(r), atol=1e-5)
    with pytest.raises(ConfigError, match=r"another noise \(0.0, asked for 0.4\)"):
        collect(["simulator=reach", "episodes=3", "noise=0.4", f"out={tmp_path / 'd'}"])


def test_noise_is_refused_where_nobody_would_correct_it(tmp_path):
    recipe = ExpertRecipe(simulator=ShownRecipe(), folder=str(tmp_path / "d"), part="0", noise=0.3)
    with pytest.raises(ConfigError, match=r"^noise=0\.3 was asked for, .* follows a plan .*; nothing was collected\."):
        recipe.build()
    with pytest.raises(ValueError, match="noise"):
        Collection(simulator=ReachRecipe(), noise=-0.1)


@pytest.mark.parametrize(("control", "entries"), [("position", (0, 1, 2)), ("pose", (0, 1, 2, 3, 4, 5))])
def test_the_tabletop_corrects_everything_but_its_gripper(control, entries):
    assert TabletopRecipe(tasks=("reach",), control=control).demonstrator().correctable == entries


def test_what_was_intended_comes_back_from_the_log_and_costs_nothing_where_it_was_executed(tmp_path):
    plain = episode(3, seed=1)
    same = replace(plain, intended=plain.action.copy())
    log = EpisodeLog(write(tmp_path / "d", disturbed(5), same))
    assert log.facts == INTENDED
    found = whole_in(log)
    assert_same(found[0], disturbed(5))
    assert found[0].intended is not None
    assert found[1].intended is None
    write(tmp_path / "plain", disturbed(5), plain)
    sizes = [(tmp_path / name / "log/0.log").stat().st_size for name in ("d", "plain")]
    assert sizes[0] == sizes[1]
    assert json.loads((tmp_path / "d/dataset.json").read_text())["version"] == 2


def test_a_dataset_of_executed_actions_alone_takes_no_intended_one(tmp_path):
    with pytest.raises(DatasetError, match="keeps executed actions alone"):
        write(tmp_path / "d", disturbed(2), facts=FACTS)
    with pytest.raises(DatasetError, match=r"another intended \(None, here True\)"):
        write(tmp_path / "d", disturbed(2))


def test_what_is_learned_is_what_was_intended_and_a_policy_is_measured_by_it(tmp_path):
    recordings = [disturbed(5), episode(3, seed=1)]
    lesson = np.concatenate([r.lesson for r in recordings])
    dataset = open_dataset(write(tmp_path / "d", *recordings))
    frames = cached(dataset, progress=False)
    np.testing.assert_array_equal(frames.lesson, lesson)
    np.testing.assert_array_equal(frames.action, np.concatenate([r.action for r in recordings]))
    spec = replace(FACTS.spec, obs={"state": FACTS.spec.obs["state"]})
    found = open_demonstrations(tmp_path / "d", spec, chunk=1, validation=0.0, only_successes=False)
    np.testing.assert_array_equal(found.chunks(torch.arange(8)).action[:, 0].numpy(), lesson)
    policy = MLPRecipe(hidden=(4,)).build(spec)
    found.describe(policy)
    np.testing.assert_allclose(policy.actions.mean.numpy(), lesson.mean(axis=0), atol=1e-6)


def test_show_check_and_stats_know_what_was_intended(tmp_path, capsys):
    spoilt = disturbed(4, seed=2)
    assert spoilt.intended is not None
    spoilt.intended[2, 1] = np.nan
    path = str(write(tmp_path / "d", disturbed(5), spoilt))
    assert run(["data", "check", path]) == 1
    assert "episode 0:1 is left out: intended is not finite at step 2" in capsys.readouterr().out
    assert run(["data", "show", path]) == 0
    r = disturbed(5)
    away = np.sqrt(np.square(r.action - r.lesson).mean())
    assert f"executed actions are {away:.2g} away from it" in capsys.readouterr().out
    assert run(["data", "stats", path, f"out={tmp_path / 'stats.json'}"]) == 0
    stats = json.loads((tmp_path / "stats.json").read_text())
    np.testing.assert_allclose(stats["intended"]["mean"], r.lesson.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(stats["action"]["mean"], r.action.astype(np.float64).mean(axis=0))


@pytest.mark.parametrize("to", ["log", "lerobot"])
def test_datasets_with_and_without_what_was_intended_are_one(tmp_path, to):
    if to == "lerobot":
        pytest.importorskip("pyarrow", exc_type=ImportError)
        pytest.importorskip("av")
    write(tmp_path / "with", disturbed(5), disturbed(3, seed=1))
    write(tmp_path / "without", episode(4, seed=2), facts=FACTS)
    names = ("without", "with")
    written, left_out = convert([open_dataset(tmp_path / name) for name in names], to, tmp_path / "all")
    assert (written, left_out) == (3, [])
    found = open_dataset(tmp_path / "all")
    assert found.facts.intended
    by_seed = {r.label.seed: r for r in whole_in(found)}
    assert by_seed[2].intended is None
    for seed, length in ((0, 5), (1, 3)):
        for name in ("action", "intended"):
            np.testing.assert_array_equal(getattr(by_seed[seed], name), getattr(disturbed(length, seed), name))


@pytest.mark.parametrize("names", [("with", "without"), ("without", "with")])
@pytest.mark.parametrize("spoilt", [False, True])
def test_of_two_copies_the_one_that_says_what_was_intended_is_kept(tmp_path, names, spoilt):
    r = disturbed(5)
    write(tmp_path / "with", r, disturbed(3, seed=1))
    write(tmp_path / "without", replace(r, intended=None), episode(4, seed=2), facts=FACTS)
    datasets = [open_dataset(tmp_path / name) for name in names]
    if spoilt:  # what it saw in the copy that says more, so that the other is the only one
        depth = {**r.obs, "depth/agent": np.full_like(r.obs["depth/agent"], np.nan)}
        (tmp_path / "with/log/0.log").unlink()
        write(tmp_path / "with", replace(r, obs=depth), disturbed(3, seed=1))
        datasets = [open_dataset(tmp_path / name) for name in names]
    written, left_out = convert(datasets, "log", tmp_path / "all")
    assert (written, len(left_out)) == (3, 1)
    assert left_out[0].episode == f"0:0 of {tmp_path / ('with' if spoilt else 'without')}"
    assert spoilt or left_out[0].reason == f"it is episode 0:0 of {tmp_path / 'with'} again"
    by_seed = {found.label.seed: found for found in whole_in(open_dataset(tmp_path / "all"))}
    np.testing.assert_array_equal(by_seed[0].lesson, r.action if spoilt else r.lesson)
    np.testing.assert_array_equal(by_seed[1].lesson, disturbed(3, seed=1).lesson)


@pytest.mark.parametrize("change", [{"shape": [3]}, {"dtype": "int64"}])
def test_intended_actions_of_another_form_than_the_executed_ones_are_left_out_and_named(tmp_path, change):
    pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("av")
    convert([open_dataset(write(tmp_path / "d", disturbed(5)))], "lerobot", tmp_path / "out")
    path = tmp_path / "out/meta/info.json"
    info = json.loads(path.read_text())
    feature = "complementary_info.intended_action"
    info["features"][feature] |= change
    path.write_text(json.dumps(info))
    (tmp_path / "out/meta/embodied.json").unlink()
    found = open_dataset(tmp_path / "out")
    assert not found.facts.intended
    assert f"without {feature}" in found.facts.origin
    (r,) = whole_in(found)
    assert r.intended is None
    np.testing.assert_array_equal(r.action, disturbed(5).action)


def test_lerobot_data_declare_what_was_intended_and_are_read_without_our_own_facts_too(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    pytest.importorskip("av")
    convert([open_dataset(write(tmp_path / "d", disturbed(5)))], "lerobot", tmp_path / "out")
    info, stats = (json.loads((tmp_path / f"out/meta/{name}.json").read_text()) for name in ("info", "stats"))
    feature = "complementary_info.intended_action"
    assert info["features"][feature] == info["features"]["action"]
    assert set(stats[feature]) == set(stats["action"])
    np.testing.assert_allclose(stats[feature]["mean"], disturbed(5).lesson.astype(np.float64).mean(axis=0))
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet").column(feature).to_pylist()
    np.testing.assert_array_equal(np.array(rows, dtype=np.float32), disturbed(5).lesson)
    assert open_dataset(tmp_path / "out").facts == INTENDED
    (tmp_path / "out/meta/embodied.json").unlink()
    foreign = open_dataset(tmp_path / "out")
    assert foreign.facts.intended
    np.testing.assert_array_equal(foreign.recording(0).lesson, disturbed(5).lesson)
