"""LeRobot datasets: ours come back exactly, those of others are understood, and what is broken is named."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.data.dataset import examined, open_dataset
from embodied.data.lerobot import LeRobotDataset
from embodied.data.recording import Damage, Facts, Recording
from embodied.errors import DatasetError
from embodied.types import Array, Spec
from tests.recordings import FACTS, SPEC, assert_same, episode, whole_in

pa = pytest.importorskip("pyarrow", exc_type=ImportError)
pq = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
pytest.importorskip("av")

from embodied.data import lerobot_format  # noqa: E402
from embodied.data.lerobot_export import LeRobotWriter  # noqa: E402

SMOOTH = replace(SPEC, obs={"rgb/agent": Array((32, 48, 3), torch.uint8), "state": Array((3,))})


def smooth(length, seed=0, *, complete=True):
    """An episode whose pictures a video can keep."""
    r = episode(length, seed, complete=complete)
    y, x = np.mgrid[:32, :48]
    pictures = np.stack([np.stack([5 * x, 7 * y, 90 + 0 * x], axis=2).astype(np.uint8)] * (length + complete))
    for t in range(len(pictures)):
        pictures[t, 8:16, 4 * t : 4 * t + 8] = 255  # a square that moves
    return replace(r, obs={"state": r.obs["state"], "rgb/agent": pictures})


def export(folder, facts, *recordings):
    with LeRobotWriter(folder, facts) as writer:
        for recording in recordings:
            writer.write(recording)
    return folder


def without_pictures(recording):
    return replace(recording, obs={k: v for k, v in recording.obs.items() if not k.startswith("rgb/")})


def test_our_export_comes_back_exactly_except_for_what_video_loses(tmp_path):
    recordings = [episode(5), episode(3, seed=1, complete=False), episode(1, seed=2)]
    dataset = open_dataset(export(tmp_path / "d", FACTS, *recordings))
    assert isinstance(dataset, LeRobotDataset)
    assert dataset.facts == FACTS
    assert dataset.lengths.tolist() == [5, 3, 1]
    for index, recording in enumerate(recordings):
        assert_same(without_pictures(dataset.recording(index)), without_pictures(recording))
        assert dataset.recording(index).obs["rgb/agent"].shape == recording.obs["rgb/agent"].shape
        assert dataset.label(index) == recording.label


def test_an_unfinished_first_episode_costs_no_other(tmp_path):
    recordings = [episode(12, complete=False), episode(5, seed=1), episode(4, seed=2)]
    dataset = open_dataset(export(tmp_path / "d", FACTS, *recordings))
    found = whole_in(dataset)
    for item, recording in zip(found, recordings, strict=True):
        assert_same(without_pictures(item), without_pictures(recording))
    assert [item.complete for item in found] == [False, True, True]


@pytest.mark.parametrize("length", range(1, 6))
def test_a_video_whose_first_pictures_wait_in_the_encoder_goes_on(tmp_path, length):
    dataset = open_dataset(export(tmp_path / "d", FACTS, episode(length), episode(5, seed=1)))
    assert [len(found) for found in whole_in(dataset)] == [length, 5]


def test_pictures_come_back_in_their_place(tmp_path):
    recordings = [smooth(6), smooth(4, seed=1)]
    dataset = open_dataset(export(tmp_path / "d", replace(FACTS, spec=SMOOTH), *recordings))
    for index, recording in enumerate(recordings):
        found, wanted = dataset.recording(index).obs["rgb/agent"].astype(float), recording.obs["rgb/agent"]
        difference = np.abs(found[:, None] - wanted[None]).mean(axis=(2, 3, 4))  # (L + 1, L + 1)
        assert difference.argmin(axis=1).tolist() == list(range(len(wanted)))
        assert difference.diagonal().max() < 4.0


def test_vectors_of_other_types_and_dimensions_keep_them(tmp_path):
    spec = replace(
        SPEC, obs={"state": Array((1,)), "grid": Array((2, 2), torch.float64), "task": Array((), torch.int64)}
    )
    r = episode(4)
    obs = {
        "state": r.obs["state"][:, :1],
        "grid": np.arange(20.0).reshape(5, 2, 2),
        "task": np.array([3, 1, 4, 1, 5]),
    }
    dataset = open_dataset(export(tmp_path / "d", replace(FACTS, spec=spec), replace(r, obs=obs)))
    assert_same(dataset.recording(0), replace(r, obs=obs))


def test_full_files_are_followed_by_others(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_format, "VIDEO_S", 0.5)  # 10 frames
    monkeypatch.setattr(lerobot_format, "DATA_MB", 0)
    monkeypatch.setattr(lerobot_format, "CHUNK_FILES", 2)
    recordings = [smooth(6, seed=seed) for seed in range(5)]
    folder = export(tmp_path / "d", replace(FACTS, spec=SMOOTH), *recordings)
    videos = sorted(str(p.relative_to(folder)) for p in folder.glob("videos/*/*/*.mp4"))
    assert videos[-1] == "videos/observation.images.agent/chunk-002/file-000.mp4"
    assert len(list(folder.glob("data/*/*.parquet"))) == 5
    dataset = open_dataset(folder)
    for index in range(5):
        assert_same(without_pictures(dataset.recording(index)), without_pictures(recordings[index]))
        difference = np.abs(
            dataset.recording(index).obs["rgb/agent"].astype(float) - recordings[index].obs["rgb/agent"]
        )
        assert difference.mean() < 4.0


def test_the_files_say_what_lerobot_wants_to_know(tmp_path):
    folder = export(tmp_path / "d", replace(FACTS, spec=SMOOTH), smooth(6), smooth(4, seed=1))
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 20, "panda")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 10, 2)
    assert info["features"]["observation.images.agent"]["shape"] == [32, 48, 3]
    assert info["features"]["observation.images.agent"]["info"]["video.codec"] == "h264"
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    camera = "videos/observation.images.agent"
    assert [row[f"{camera}/from_timestamp"] for row in rows] == pytest.approx([0.0, 0.35])  # 6 frames and the last one
    assert [row[f"{camera}/to_timestamp"] for row in rows] == pytest.approx([0.3, 0.55])
    assert [row["tasks"] for row in rows] == [["pick the cube"], ["pick the cube"]]
    stats = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([smooth(6).action, smooth(4, seed=1).action])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stats["action"]["q99"], np.quantile(actions.astype(float), 0.99, axis=0), rtol=1e-6)
    assert np.array(stats["observation.images.agent"]["std"]).shape == (3, 1, 1)
    data = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    assert data.column("index").to_pylist() == list(range(10))
    assert data.column("next.done").to_pylist()[5]
    assert data.column("timestamp").to_pylist() == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0, 0.05, 0.1, 0.15])


def test_a_failed_export_leaves_nothing_and_an_existing_folder_is_not_touched(tmp_path):
    def fail():
        with LeRobotWriter(tmp_path / "d", FACTS) as writer:
            writer.write(episode(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "d").mkdir()
    with pytest.raises(DatasetError, match="already there"):
        LeRobotWriter(tmp_path / "d", FACTS)
    with pytest.raises(DatasetError, match="no episode to write"):
        export(tmp_path / "empty", FACTS)


def foreign(folder, *, version="v3.0"):
    """What another tool might write: pictures in the rows, nested names, float64, no rewards, several files."""
    from PIL import Image

    features = {
        "observation.state": {"dtype": "float64", "shape": [2], "names": {"motors": ["a", "b"]}},
        "observation.images.top": {"dtype": "image", "shape": [3, 4, 6], "names": ["channels", "height", "width"]},
        "observation.environment_state": {"dtype": "float32", "shape": [1], "names": None},
        "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
        "note": {"dtype": "string", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in lerobot_format.INDICES.items()},
    }
    info = {
        "codebase_version": version, "robot_type": "so100", "fps": 10, "features": features, "total_episodes": 2,
        "data_path": lerobot_format.DATA_PATH, "video_path": None, "total_frames": 5,
    }  # fmt: skip
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    pq.write_table(
        pa.table({"task_index": [1, 0], "__index_level_0__": ["fold", "stack"]}), folder / "meta/tasks.parquet"
    )
    rows, at = [], 0
    for index, length in enumerate((3, 2)):
        pictures = []
        for t in range(length):
            buffer = io.BytesIO()
            Image.fromarray(np.full((4, 6, 3), 10 * index + t, dtype=np.uint8)).save(buffer, "PNG")
            pictures.append({"bytes": buffer.getvalue(), "path": None})
        columns = {
            "observation.state": [[float(t), 0.5] for t in range(length)],
            "observation.images.top": pictures,
            "observation.environment_state": [float(t) for t in range(length)],
            "action": pa.array([[0.1 * t, -0.1] for t in range(length)], type=pa.list_(pa.float32())),
            "note": ["x"] * length,
            "next.done": [t == length - 1 for t in range(length)],
            "timestamp": pa.array([t / 10 for t in range(length)], type=pa.float32()),
            "frame_index": list(range(length)),
            "episode_index": [index] * length,
            "index": list(range(at, at + length)),
            "task_index": [1 - index] * length,
        }
        pq.write_table(pa.table(columns), folder / f"data/chunk-000/file-{index:03d}.parquet")
        rows.append({
            "episode_index": index, "tasks": [["fold"], ["stack"]][index], "length": length,
            "dataset_from_index": at, "dataset_to_index": at + length,
            "data/chunk_index": 0, "data/file_index": index,
        })  # fmt: skip
        at += length
    pq.write_table(pa.Table.from_pylist(rows), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder


def test_a_dataset_of_somebody_else_is_understood(tmp_path):
    dataset = open_dataset(foreign(tmp_path / "d"))
    spec = dataset.facts.spec
    assert dict(spec.obs) == {
        "state": Array((2,)), "rgb/top": Array((4, 6, 3), torch.uint8), "environment_state": Array((1,)),
    }  # fmt: skip
    assert (spec.action_dim, spec.control_hz, spec.tasks, spec.robot) == (2, 10.0, ("stack", "fold"), "so100")
    assert dataset.facts.lacks == ("reward", "success")
    assert "without note" in dataset.facts.origin
    first, second = (found for _, found in examined(dataset) if isinstance(found, Recording))
    assert (first.label.task, second.label.task) == (1, 0)
    assert second.obs["rgb/top"][:, 0, 0, 0].tolist() == [10, 11]
    assert first.obs["state"].tolist() == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert first.action.dtype == np.float32
    assert first.terminated.tolist() == [False, False, True]
    assert not first.success.any()
    assert not first.complete


def test_an_older_version_names_its_converter(tmp_path):
    with pytest.raises(DatasetError, match="convert_dataset_v21_to_v30"):
        open_dataset(foreign(tmp_path / "d", version="v2.1"))
    with pytest.raises(DatasetError, match=r"version v4.0, and this reads v3.0"):
        open_dataset(foreign(tmp_path / "e", version="v4.0"))


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path):
    folder = foreign(tmp_path / "d")
    text = (folder / "meta/info.json").read_text()
    (folder / "meta/info.json").write_text(text.replace("data/chunk-{chunk_index", "../chunk-{chunk_index"))
    with pytest.raises(DatasetError, match="leads out of its folder"):
        open_dataset(folder)
    (folder / "meta/info.json").write_text(text.replace("data/chunk-{chunk_index:03d}", "{chunk}"))
    with pytest.raises(DatasetError, match="no usable path"):
        open_dataset(folder)


@pytest.mark.parametrize("path", ["../{chunk_index}", "data/../../{chunk_index}", "/tmp/{chunk_index}"])
def test_every_way_out_of_the_folder_is_refused(tmp_path, path):
    folder = foreign(tmp_path / "d")
    text = (folder / "meta/info.json").read_text()
    (folder / "meta/info.json").write_text(text.replace(lerobot_format.DATA_PATH, path))
    with pytest.raises(DatasetError, match="leads out of its folder"):
        open_dataset(folder)


def test_a_snapshot_in_the_cache_of_the_hub_is_read_through_its_links(tmp_path):
    blobs, snapshot = foreign(tmp_path / "blobs"), tmp_path / "snapshots" / "abc"
    for file in (path for path in blobs.rglob("*") if path.is_file()):
        link = snapshot / file.relative_to(blobs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    assert [len(found) for found in whole_in(open_dataset(snapshot))] == [3, 2]


def test_a_full_video_is_known_by_what_the_encoder_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_format, "VIDEO_MB", 0.001)
    folder = export(tmp_path / "d", FACTS, *(episode(9, seed=seed) for seed in range(3)))
    assert len(list(folder.glob("videos/*/*/*.mp4"))) == 3


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"codebase_version": "v3.0", "features": {"a": 1}}', "\x00\x01"])
def test_metadata_that_say_nothing_are_one_sentence(tmp_path, content):
    folder = foreign(tmp_path / "d")
    (folder / "meta/info.json").write_text(content)
    with pytest.raises(DatasetError, match="does not describe a LeRobot dataset"):
        open_dataset(folder)


def damages(dataset):
    return {found.episode: found.reason for _, found in examined(dataset) if isinstance(found, Damage)}


def test_missing_and_truncated_files_damage_their_own_episodes(tmp_path):
    folder = foreign(tmp_path / "d")
    (folder / "data/chunk-000/file-001.parquet").unlink()
    assert damages(open_dataset(folder)) == {"1": "data/chunk-000/file-001.parquet is missing"}
    path = folder / "data/chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    dataset = open_dataset(folder)
    assert set(damages(dataset)) == {"0", "1"}
    assert "file-000.parquet does not decode" in damages(dataset)["0"]


def test_a_truncated_video_damages_the_episodes_it_no_longer_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_format, "VIDEO_S", 0.5)
    folder = export(tmp_path / "d", replace(FACTS, spec=SMOOTH), smooth(6), smooth(6, seed=1))
    path = folder / "videos/observation.images.agent/chunk-000/file-001.mp4"
    path.write_bytes(path.read_bytes()[:600])
    dataset = open_dataset(folder)
    assert set(damages(dataset)) == {"1"}
    assert "file-001.mp4 does not decode" in damages(dataset)["1"]
    assert len(dataset.recording(1, pictures=False)) == 6


def test_rows_that_contradict_themselves_are_named(tmp_path):
    folder = foreign(tmp_path / "d")
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)

    def changed(name, values):
        pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), path)
        return damages(open_dataset(folder))

    assert changed("timestamp", [0.0, 0.2, 0.1]) == {"0": "timestamp does not increase after step 1."}
    assert "holds 2 of its 3 rows" in changed("episode_index", [0, 0, 5])["0"]
    assert changed("observation.state", [[0.0, float("nan")]] * 3) == {"0": "state is not finite at step 0"}
    assert "empty entries" in changed("action", [[0.1, 0.2], [0.1, 0.2], None])["0"]
    assert "action" in changed("action", [[0.1, 0.2, 0.3]] * 3)["0"]


def test_two_observations_with_one_feature_name_are_refused(tmp_path):
    spec = Spec(obs={"a.b": Array((1,)), "a/b": Array((1,))}, action_dim=1, num_envs=1, control_hz=20.0)
    with pytest.raises(DatasetError, match="would have one name"):
        LeRobotWriter(tmp_path / "d", Facts(spec))
