"""HDF5 demonstrations of LIBERO and robomimic: conventions are turned into ours, and what is broken is named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embodied.data.dataset import examined, open_dataset
from embodied.data.hdf5 import Hdf5Dataset
from embodied.data.recording import Damage
from embodied.errors import DatasetError

h5py = pytest.importorskip("h5py", exc_type=ImportError)

LENGTH = 6
MOVING = np.cumsum(np.full((LENGTH + 1, 7), 0.01), axis=0)  # joints before each action, and after the last


def libero(path, *, seen_after=True, demos=2, action_dim=7, instruction="push the plate"):
    """As LIBERO's create_dataset.py writes it; `seen_after=False` as those write it who replay the actions."""
    picture = np.zeros((LENGTH, 4, 4, 3), dtype=np.uint8)
    picture[:, 0, 0] = np.arange(LENGTH, dtype=np.uint8)[:, None]  # OpenGL: bottom left
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}})
        data.attrs["problem_info"] = json.dumps({"language_instruction": instruction})
        data.attrs["macros_image_convention"] = "opengl"
        for index in range(demos):
            demo = data.create_group(f"demo_{index}")
            demo.attrs["num_samples"] = LENGTH
            demo["actions"] = np.tile(np.arange(LENGTH)[:, None] / 10, (1, action_dim))
            demo["rewards"] = np.array([0] * (LENGTH - 1) + [1], dtype=np.uint8)
            demo["dones"] = np.array([0] * (LENGTH - 1) + [1], dtype=np.uint8)
            demo["states"] = np.hstack([np.zeros((LENGTH, 1)), MOVING[:-1], np.zeros((LENGTH, 3))])
            joints = MOVING[1:] if seen_after else MOVING[:-1]
            demo["obs/joint_states"] = joints
            demo["obs/ee_states"] = np.full((LENGTH, 6), 0.5)
            demo["obs/ee_pos"], demo["obs/ee_ori"] = np.full((LENGTH, 3), 0.5), np.full((LENGTH, 3), 0.5)
            demo["obs/gripper_states"] = np.full((LENGTH, 2), 0.04)
            demo["obs/agentview_rgb"], demo["obs/eye_in_hand_rgb"] = picture, picture
    return path


def robomimic(path, *, pictures=False, shaped=False, kind=1):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        settings = {"robots": ["Panda"], "control_freq": 20, "reward_shaping": shaped}
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": kind, "env_kwargs": settings})
        for index in (0, 1, 10, 2):
            demo = data.create_group(f"demo_{index}")
            demo["actions"] = np.full((LENGTH, 7), 0.25)
            demo["rewards"] = np.array([0.0] * (LENGTH - 2) + [1.0, 1.0])
            demo["dones"] = np.array([0] * (LENGTH - 1) + [1])
            for group, first in (("obs", 0), ("next_obs", 1)):
                rows = np.arange(first, first + LENGTH, dtype=np.float64)[:, None]
                demo[f"{group}/robot0_eef_pos"] = np.tile(rows, (1, 3))
                demo[f"{group}/robot0_gripper_qpos"] = np.full((LENGTH, 2), 0.04)
                demo[f"{group}/robot0_eef_vel_lin"] = np.zeros((LENGTH, 3))
                demo[f"{group}/object"] = np.full((LENGTH, 10), index, dtype=np.float64)
                if pictures:
                    demo[f"{group}/agentview_image"] = np.full((LENGTH, 4, 4, 3), index, dtype=np.uint8)
    return path


def test_libero_is_turned_into_our_conventions(tmp_path):
    dataset = open_dataset(libero(tmp_path / "push_the_plate_demo.hdf5"))
    assert isinstance(dataset, Hdf5Dataset)
    spec = dataset.facts.spec
    assert {name: array.shape for name, array in spec.obs.items()} == {
        "rgb/agent": (4, 4, 3), "rgb/wrist": (4, 4, 3), "state": (8,), "joints": (7,),
    }  # fmt: skip
    assert (spec.robot, spec.control_hz, spec.tasks, spec.action_dim) == ("panda", 20.0, ("push the plate",), 7)
    first = dataset.recording(0)
    assert first.action[:, -1].tolist() == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5])  # theirs: +1 closes
    assert first.action[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert first.obs["rgb/agent"][2, 3, 3].tolist() == [2, 2, 2]  # turned by 180 degrees
    assert first.obs["state"][0].tolist() == pytest.approx([0.5] * 6 + [0.04] * 2)
    assert first.success.tolist() == [False] * 4 + [True]
    assert first.terminated.tolist() == [False] * 4 + [True]
    assert "gripper turned so that +1 opens" in dataset.facts.origin


def test_what_libero_saw_after_an_action_goes_with_the_next_one(tmp_path):
    after = open_dataset(libero(tmp_path / "a.hdf5")).recording(0)
    assert (len(after), after.complete) == (LENGTH - 1, True)
    np.testing.assert_allclose(after.obs["joints"], MOVING[1:], rtol=1e-6)
    before = open_dataset(libero(tmp_path / "b.hdf5", seen_after=False))
    assert before.lengths.tolist() == [LENGTH, LENGTH]
    assert not before.recording(0).complete
    np.testing.assert_allclose(before.recording(0).obs["joints"], MOVING[:-1], rtol=1e-6)
    assert "followed" not in before.facts.origin


def test_a_folder_of_files_is_one_dataset_of_several_tasks(tmp_path):
    libero(tmp_path / "a.hdf5", instruction="push the plate")
    libero(tmp_path / "b.hdf5", instruction="open the drawer", demos=1)
    dataset = open_dataset(tmp_path)
    assert dataset.facts.spec.tasks == ("push the plate", "open the drawer")
    assert [dataset.label(index).task for index in range(3)] == [0, 0, 1]
    assert dataset.name(2) == "b.hdf5:demo_0"
    libero(tmp_path / "c.hdf5", action_dim=8)
    with pytest.raises(DatasetError, match=r"c.hdf5 and a.hdf5 are not one dataset: action_dim is 8 and 7"):
        open_dataset(tmp_path)


def test_an_instruction_that_no_attribute_tells_is_in_the_file_name(tmp_path):
    path = libero(tmp_path / "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5")
    with h5py.File(path, "r+") as file:
        del file["data"].attrs["problem_info"]
    assert open_dataset(path).facts.spec.tasks == ("turn on the stove",)


def test_robomimic_keeps_its_upright_pictures_and_tells_what_was_seen_last(tmp_path):
    dataset = open_dataset(robomimic(tmp_path / "image.hdf5", pictures=True))
    assert [dataset.name(index) for index in range(4)] == [f"image.hdf5:demo_{n}" for n in (0, 1, 2, 10)]
    last = dataset.recording(3)
    assert last.complete
    assert last.obs["state"][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert last.obs["state"].shape == (7, 5)  # eef_pos, gripper_qpos
    assert last.obs["rgb/agentview"].max() == 10
    assert last.obs["object"].shape == (7, 10)
    assert last.action[0].tolist() == [0.25] * 6 + [-0.25]
    assert last.success.tolist() == [False] * 4 + [True, True]
    assert last.terminated.tolist() == [False] * 5 + [True]
    assert "rgb/agentview" not in dataset.recording(3, pictures=False).obs


def test_without_pictures_the_state_begins_with_the_objects(tmp_path):
    dataset = open_dataset(robomimic(tmp_path / "low_dim.hdf5"))
    assert dataset.facts.spec.obs["state"].shape == (15,)
    assert dataset.recording(1).obs["state"][0, :10].tolist() == [1.0] * 10


def test_only_robosuite_actions_are_turned_and_a_shaped_reward_says_nothing_of_success(tmp_path):
    dataset = open_dataset(robomimic(tmp_path / "gym.hdf5", kind=2, shaped=True))
    assert dataset.recording(0).action[0].tolist() == [0.25] * 7
    assert dataset.facts.lacks == ("success",)
    assert not dataset.recording(0).success.any()


def test_an_episode_that_contradicts_itself_is_left_out_by_name(tmp_path):
    path = libero(tmp_path / "a.hdf5", demos=4)
    with h5py.File(path, "r+") as file:
        data = file["data"]
        del data["demo_0/obs/ee_states"]
        data["demo_0/obs/ee_states"] = np.zeros((LENGTH - 1, 6))
        data["demo_1"].attrs["num_samples"] = 99
        del data["demo_2/obs"]
    dataset = open_dataset(path)
    assert len(dataset) == 1
    assert {damage.episode: damage.reason for damage in dataset.damaged} == {
        "a.hdf5:demo_0": "obs/ee_states has 5 rows and there are 6 actions",
        "a.hdf5:demo_1": "num_samples says 99 and there are 6 actions",
        "a.hdf5:demo_2": "it lacks actions or obs",
    }
    assert dataset.name(0) == "a.hdf5:demo_3"


def test_truncated_and_foreign_files_are_one_sentence(tmp_path):
    path = libero(tmp_path / "a.hdf5")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DatasetError, match=r"a\.hdf5 does not decode .*truncated file"):
        open_dataset(path)
    libero(tmp_path / "b.hdf5")
    dataset = open_dataset(tmp_path)  # the other file is still good
    assert len(dataset) == 2
    assert [damage.episode for damage in dataset.damaged] == ["a.hdf5"]
    with h5py.File(tmp_path / "c.hdf5", "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(DatasetError, match="neither of LIBERO nor of robomimic"):
        open_dataset(tmp_path / "c.hdf5")


def test_numbers_that_are_none_are_found(tmp_path):
    path = libero(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        file["data/demo_1/actions"][3, 2] = np.nan
    found = [item for _, item in examined(open_dataset(path)) if isinstance(item, Damage)]
    assert found == [Damage("a.hdf5:demo_1", "action is not finite at step 2")]


@pytest.mark.parametrize("name", ["nothing", "empty", "text.txt"])
def test_what_is_no_dataset_is_one_sentence(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(DatasetError, match=r"there is nothing at|is no dataset"):
        open_dataset(tmp_path / name)
