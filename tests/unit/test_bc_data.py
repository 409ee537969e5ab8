"""What imitation accepts as demonstrations, and the one sentence it says about anything else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from embodied.algorithms.bc import BC
from embodied.data.demonstrations import SPLIT_ROLE, open_demonstrations, split
from embodied.data.episode_log import LogWriter
from embodied.data.recording import Facts
from embodied.errors import CheckpointError, ConfigError, DatasetError
from embodied.noise import mix
from embodied.types import Array
from policies.mlp import MLPRecipe
from tests.demonstrated import SPEC, episode, written


def opened(folder, spec=SPEC, **kwargs):
    return open_demonstrations(folder, spec, **({"chunk": 2, "validation": 0.0} | kwargs))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "data", [episode(4, 0, task=0), episode(3, 1, task=1), episode(2, 2, task=0)])


def observing(**changed):
    return replace(SPEC, obs={**SPEC.obs, **{name.replace("_", "/"): array for name, array in changed.items()}})


def test_episodes_come_as_they_were_recorded_without_what_was_seen_last(folder):
    found = opened(folder)
    whole = [episode(4, 0), episode(2, 2), episode(3, 1)]  # by task
    assert found.lengths.tolist() == [4, 2, 3]
    np.testing.assert_array_equal(found.action.numpy(), np.concatenate([r.action for r in whole]))
    for name in ("state", "rgb/top"):
        np.testing.assert_array_equal(
            found.chunks(torch.arange(9)).obs[name].numpy(), np.concatenate([r.obs[name][:-1] for r in whole])
        )


def test_what_the_simulator_does_not_offer_is_not_kept(folder):
    spec = replace(SPEC, obs={"state": SPEC.obs["state"]})
    assert set(opened(folder, spec).frames) == {"state"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (replace(SPEC, robot="ur5"), "shows the robot panda and the simulator has ur5"),
        (replace(SPEC, action_dim=7), "has actions of 2 entries and the simulator takes 7"),
        (observing(rgb_wrist=Array((8, 8, 3), torch.uint8)), "has no observation `rgb/wrist`"),
        (observing(rgb_top=Array((64, 64, 3), torch.uint8)), "is uint8 8x8x3 in .* and uint8 64x64x3 in the simulator"),
        (observing(state=Array((5,))), "is float32 3 in .* and float32 5 in the simulator"),
        (replace(SPEC, tasks=("stack", "drawer")), "shows `push`, `pick` and the simulator's tasks are `stack`"),
    ],
)
def test_data_that_do_not_fit_the_simulator_are_refused_in_one_sentence(folder, spec, told):
    with pytest.raises(DatasetError, match=told) as error:
        opened(folder, spec)
    assert "nothing was learned" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_robot_that_nobody_named_is_not_held_against_the_data(folder):
    assert len(opened(folder, replace(SPEC, robot="")).lengths) == 3


def test_another_rate_of_control_is_said(folder, caplog):
    opened(folder, replace(SPEC, control_hz=10.0))
    assert "20 actions/s and the simulator takes 10" in caplog.text


def test_an_empty_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no episode that can be learned from"):
        opened(written(tmp_path / "data", []))


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        opened(tmp_path / "nowhere")


def test_a_run_without_demonstrations_is_told_how_to_get_some():
    with pytest.raises(ConfigError, match=r"names none.*embodied collect.*algorithm\.dataset=FOLDER"):
        BC().storage(SPEC, 1)


def test_an_episode_with_nan_is_left_out_by_name_whenever_the_data_are_opened(tmp_path, caplog):
    bad = episode(3, 1)
    bad.obs["state"][1, 2] = np.nan
    data = written(tmp_path / "data", [episode(4, 0), bad, episode(2, 2)])
    for _ in range(2):
        caplog.clear()
        assert opened(data).lengths.tolist() == [4, 2]
        assert "1 damaged episodes are left out: 0:1" in caplog.text


def test_data_of_which_every_episode_is_damaged_are_refused(tmp_path):
    bad = episode(3, 1)
    bad.action[0, 0] = np.nan
    with pytest.raises(DatasetError, match="no episode that can be used"):
        opened(written(tmp_path / "data", [bad]))


def test_a_damaged_episode_is_left_out_by_name(folder, caplog):
    log = folder / "log" / "0.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 3] ^= 0xFF
    log.write_bytes(data)
    found = opened(folder)
    assert len(found.lengths) == 2
    told = [record.getMessage() for record in caplog.records if record.name == "embodied.data.demonstrations"]
    assert len(told) == 1
    assert "1 damaged episodes are left out: 0:" in told[0]


def test_the_first_episodes_of_each_task_can_be_asked_for(folder):
    assert opened(folder, episodes=2).lengths.tolist() == [4, 3]
    only = opened(folder, replace(SPEC, tasks=("pick",)))
    assert only.lengths.tolist() == [3]
    np.testing.assert_array_equal(only.chunks(torch.arange(3)).obs["rgb/top"].numpy(), episode(3, 1).obs["rgb/top"][:3])
    np.testing.assert_array_equal(only.action.numpy(), episode(3, 1).action)
    assert opened(folder, episodes=99).lengths.tolist() == [4, 2, 3]


def test_tasks_are_matched_by_their_instruction_and_not_by_their_number(folder):
    several = Array((), torch.int64)
    spec = replace(observing(task=several), tasks=("pick", "stack", "push"))
    found = opened(folder, spec)
    task = found.chunks(torch.arange(9)).obs["task"]
    assert task.tolist() == [2, 2, 2, 2, 2, 2, 0, 0, 0]
    assert task.dtype == torch.int64


def test_episodes_of_tasks_that_cannot_be_played_are_left_out_and_counted(folder, caplog):
    found = opened(folder, replace(SPEC, tasks=("push",)))
    assert found.lengths.tolist() == [4, 2]
    assert "1 episodes show tasks that the simulator does not have" in caplog.text


def test_data_without_instructions_are_of_the_only_task_there_is(tmp_path):
    silent = replace(SPEC, tasks=("",))
    data = written(tmp_path / "data", [episode(4, 0)], silent)
    assert opened(data, replace(SPEC, tasks=("push",))).lengths.tolist() == [4]
    with pytest.raises(DatasetError, match="no episode is of a task"):
        opened(data)


def test_a_run_does_not_continue_on_other_data(folder, tmp_path):
    state = opened(folder).state()
    opened(folder).load(state)
    longer = written(tmp_path / "longer", [episode(4, 0), episode(3, 1, task=1), episode(2, 2), episode(2, 3)])
    with pytest.raises(CheckpointError, match="learned from 3 episodes with 9 actions and the dataset now holds 4"):
        opened(longer).load(state)


def test_the_data_are_not_modified(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    opened(folder, validation=0.3)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_does_not_continue_on_other_data_of_the_same_lengths(folder, tmp_path):
    state = opened(folder).state()
    other = written(tmp_path / "other", [episode(4, 10), episode(3, 11, task=1), episode(2, 12)])
    with pytest.raises(CheckpointError, match="nothing was continued"):
        opened(other).load(state)
    relabeled = [replace(r, label=replace(r.label, seed=r.label.seed + 50)) for r in (episode(4), episode(2, 2))]
    state = opened(written(tmp_path / "a", [episode(4), episode(2, 2)])).state()
    with pytest.raises(CheckpointError, match="nothing was continued"):
        opened(written(tmp_path / "b", relabeled)).load(state)


def kept_out(folder, **kwargs):
    """Actions of the episodes held out, as one would find them again."""
    found = opened(folder, validation=0.25, **kwargs)
    return {row.tobytes() for row in found.action[found.validation].numpy()}


def test_the_order_of_writing_changes_neither_the_split_nor_the_choice(tmp_path):
    every = [episode(3, seed, task=seed % 2) for seed in range(12)]
    one = written(tmp_path / "one", every)
    other = written(tmp_path / "other", every[::-1])
    assert len(kept_out(one)) == 9  # actions of 3 of the 12 episodes
    assert kept_out(one) == kept_out(other)
    assert kept_out(one) != kept_out(one, seed=1)
    for count in (1, 5, 8):
        first, again = (opened(folder, episodes=count) for folder in (one, other))
        assert len(first.lengths) == count
        assert first.action.tolist() == again.action.tolist()


@pytest.mark.parametrize("seeded", [True, False])
def test_an_episode_that_is_there_twice_is_never_on_both_sides(tmp_path, seeded):
    every = [episode(3, seed) for seed in range(12)]
    if not seeded:
        every = [replace(r, label=replace(r.label, seed=-1)) for r in every]
    found = opened(written(tmp_path / "data", [*every, *every[::-1]]), validation=0.25)
    out, learned = ({row.tobytes() for row in found.action[rows].numpy()} for rows in (found.validation, found.learned))
    assert (len(out), len(learned)) == (9, 27)
    assert not out & learned


def test_some_episodes_are_as_many_of_each_task(tmp_path):
    every = [episode(2, seed, task=0) for seed in range(6)] + [episode(3, 9, task=1), episode(3, 8, task=1)]
    data = written(tmp_path / "data", every)
    assert opened(data, episodes=4).lengths.tolist() == [2, 2, 3, 3]
    assert opened(data, episodes=7).lengths.tolist() == [2] * 5 + [3, 3]


def failed(length, seed):
    recording = episode(length, seed)
    recording.success[:] = False
    return recording


def test_failures_are_left_out_and_counted_unless_they_are_wanted(tmp_path, caplog):
    data = written(tmp_path / "data", [episode(4, 0), failed(3, 1), episode(2, 2), failed(5, 3)])
    assert opened(data).lengths.tolist() == [4, 2]
    assert "2 episodes without success are left out" in caplog.text
    assert opened(data, only_successes=False).lengths.tolist() == [4, 3, 2, 5]


def test_data_without_any_success_are_refused_unless_they_do_not_say(tmp_path):
    data = written(tmp_path / "data", [failed(3, 1)])
    with pytest.raises(DatasetError, match="holds 1 episodes and none of them succeeds; nothing was learned"):
        opened(data)
    with LogWriter(tmp_path / "silent", Facts(SPEC, lacks=("success",))) as log:
        log.write(failed(3, 1))
    assert opened(tmp_path / "silent").lengths.tolist() == [3]


def test_actions_beyond_the_range_are_counted_in_a_warning(tmp_path, caplog):
    opened(written(tmp_path / "within", [episode(4)]))
    assert "reach beyond" not in caplog.text
    far = episode(4, 1)
    far.action[1] = 50.0
    opened(written(tmp_path / "beyond", [episode(4), far]))
    assert "1 of 8 actions reach beyond [-1, 1]" in caplog.text


def test_measuring_reads_no_pictures(folder):
    found = opened(folder)
    seen = []
    policy: Any = MLPRecipe(hidden=(4,)).build(replace(SPEC, obs={"state": SPEC.obs["state"]}))
    policy.track = seen.append
    found.describe(policy)
    assert [set(obs) for obs in seen] == [{"state"}]
    assert len(seen[0]["state"]) == 9


def test_a_stored_initial_state_is_never_on_both_sides_whatever_the_seed(tmp_path):
    every = [episode(3, seed, task=seed % 2) for seed in range(24)]
    every = [replace(r, label=replace(r.label, initial_state=r.label.seed // 2 % 6)) for r in every]  # each twice
    found = opened(written(tmp_path / "data", every), validation=0.25)
    state = {r.action.tobytes(): (r.label.task, r.label.initial_state) for r in every}
    begun = [state[chunk.tobytes()] for chunk in found.action.unflatten(0, (24, 3)).numpy()]  # of each episode
    out, learned = ({begun[row // 3] for row in rows.tolist()} for rows in (found.validation, found.learned))
    assert (len(out), len(learned)) == (3, 9)  # of 12 states
    assert not out & learned


def test_a_single_initial_state_cannot_be_divided(tmp_path):
    every = [replace(r, label=replace(r.label, initial_state=0)) for r in (episode(3, seed) for seed in range(4))]
    with pytest.raises(DatasetError, match=r"4 usable episodes \(1 beginning\), and holding out 25% of them"):
        opened(written(tmp_path / "data", every), validation=0.25)


@pytest.mark.parametrize(
    ("sizes", "fraction", "held"),
    [
        ((90, 10), 0.1, {10}),
        ((1, 99), 0.1, {1}),
        ((60, 40), 0.1, {40}),  # none is small enough
        ((3, 3, 3, 3), 0.25, {3}),
        ((50, 20, 15, 10, 5), 0.2, {20, 15, 10}),  # 20, 15 + 5, 10 + 5, and what else comes first
        ((1, 1), 0.9, {1}),  # something is left to learn from
    ],
)
def test_no_more_is_held_out_than_was_asked_for_whatever_the_seed(sizes, fraction, held):
    beginnings = [begin for begin, size in enumerate(sizes) for _ in range(size)]
    found = set()
    for seed in range(20):
        out = split(beginnings, fraction, seed, "d")
        found.add(int(out.sum()))
        sides = [{begin for begin, is_out in zip(beginnings, out.tolist(), strict=True) if is_out == side}
                 for side in (False, True)]  # fmt: skip
        assert not sides[0] & sides[1]
    assert found <= {*held, round(fraction * sum(sizes))}
    assert found


def test_where_every_episode_begins_otherwise_the_first_drawn_are_held_out():
    for count, fraction, number in ((100, 0.1, 10), (12, 0.25, 3), (7, 0.1, 1), (3, 0.1, 1)):
        drawn = [mix(5, SPLIT_ROLE, one) for one in range(count)]
        limit = sorted(drawn)[number - 1]
        assert split(range(count), fraction, 5, "d").tolist() == [one <= limit for one in drawn]


def test_the_share_that_is_held_out_is_said_where_it_is_not_the_one_asked_for(caplog):
    split([0] * 60 + [1] * 40, 0.1, 0, "demos")
    assert "demos: 40 of 100 episodes (40.0 %) are held out for validation where 10 % were asked for" in caplog.text
    caplog.clear()
    split(range(105), 0.1, 0, "demos")
    assert not caplog.text
