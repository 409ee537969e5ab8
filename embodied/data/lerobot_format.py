"""The LeRobot dataset format, version 3.0: names, paths and features; `lerobot.py` reads, `lerobot_export.py` writes.

    meta/info.json                       features, rate, templates of the paths below
    meta/tasks.parquet                   task_index of each instruction
    meta/stats.json                      statistics of each feature
    meta/episodes/chunk-000/*.parquet    one row per episode: where its rows and pictures are
    data/chunk-000/*.parquet             one row per action, several episodes to a file
    videos/KEY/chunk-000/*.mp4           pictures of one camera, several episodes to a file
    meta/embodied.json                   ours: the spec, the simulator, our names (other readers pass over it)

An action is what was executed; what the demonstrator wanted instead is a feature of its own, INTENDED, which equals the
action where nothing else was wanted.

An episode of L actions has L rows, so what was seen last is not among them. Ours is kept apart: vectors in columns
`embodied/final/FEATURE` of the episode's row, pictures as one more frame after the episode's part of the video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.data.layout import Field
from embodied.data.recording import Facts

VERSION = "v3.0"
INFO, TASKS, STATS, EPISODES = "meta/info.json", "meta/tasks.parquet", "meta/stats.json", "meta/episodes"
OURS = "meta/embodied.json"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CHUNK_FILES = 1000  # files in a chunk folder
DATA_MB, VIDEO_MB = 100, 200  # a file is full then
VIDEO_S = 900.0  # also then: readers compare timestamps in float32 to 0.1 ms, which they can do up to 1024 s

CAMERA, STATE, OBSERVATION = "observation.images.", "observation.state", "observation."
ACTION, REWARD, DONE, TRUNCATED, SUCCESS = "action", "next.reward", "next.done", "next.truncated", "next.success"
HUMAN, INTENDED = "complementary_info.is_intervention", "complementary_info.intended_action"  # as LeRobot's HIL-SERL
INDICES = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
           "task_index": "int64"}  # fmt: skip
SEED, INITIAL_STATE, SOURCE = "embodied/seed", "embodied/initial_state", "embodied/source"
COMPLETE, FINAL = "embodied/complete", "embodied/final/"


def feature_of(field: Field) -> str:
    """The name of the feature that keeps an observation; slashes are not allowed in it."""
    kind, _, camera = field.name.partition("/")
    if kind == "rgb":
        return CAMERA + camera.replace("/", ".")
    return STATE if field.name == "state" else OBSERVATION + field.name.replace("/", ".")


def features_of(facts: Facts, fields: Mapping[str, Field], fps: float) -> dict[str, dict[str, Any]]:
    """`features` of info.json, except for what only the finished videos tell; `fields` by feature."""
    features, size = {name: _observation(field) for name, field in fields.items()}, facts.spec.action_dim
    for name in (ACTION, INTENDED) if facts.intended else (ACTION,):
        features[name] = {"dtype": "float32", "shape": [size], "names": _numbered(ACTION, size)}
    features[REWARD] = _scalar("float32")
    features |= {name: _scalar("bool") for name in (DONE, TRUNCATED, SUCCESS, HUMAN)}
    features |= {name: _scalar(dtype) for name, dtype in INDICES.items()}
    return {name: feature | {"fps": fps} for name, feature in features.items()}


def is_video(field: Field) -> bool:
    return field.name.startswith("rgb/")


def _observation(field: Field) -> dict[str, Any]:
    names = ["height", "width", "channels"] if field.is_picture else None
    if is_video(field):
        return {"dtype": "video", "shape": list(field.shape), "names": names}
    shape = list(field.shape) or [1]
    names = names or (_numbered(field.name, shape[0]) if len(shape) == 1 else None)
    return {"dtype": np.dtype(field.dtype).name, "shape": shape, "names": names}


def _scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}


def _numbered(name: str, size: int) -> list[str]:
    return [f"{name}_{index}" for index in range(size)]
