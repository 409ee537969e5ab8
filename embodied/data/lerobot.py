"""Reading LeRobot datasets, version 3.0 (`lerobot_format.py`): ours exactly, those of others as far as they say.

Nothing is executed and no path leads out of the folder. Features that are neither an observation, an action nor an
outcome are left out and named in `Facts.origin`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embodied.data import lerobot_format as form
from embodied.data.decoding import decoding
from embodied.data.layout import fields_of
from embodied.data.lerobot_files import Tables, picture_from_bytes
from embodied.data.recording import Damage, Facts, Label, Recording
from embodied.data.video import read_pictures
from embodied.errors import DatasetError
from embodied.packaging import need
from embodied.spec import spec_from
from embodied.types import Array, Spec


class LeRobotDataset:
    """Episodes of a LeRobot dataset; opening reads the metadata alone."""

    def __init__(self, folder: Path) -> None:
        need("pyarrow", extra="data")
        self.path = Path(folder)
        self.info = _read_info(self.path)
        self.tables = Tables(self.path, str(self.info["data_path"]))
        tasks = self.tables.tasks()
        self.facts, self.features, self.is_ours = _describe(self.path, self.info, tasks)
        self.fields = {field.name: field for field in fields_of(self.facts.spec)}
        self.rows: list[dict[str, Any]] = []  # of episodes
        self.damaged: list[Damage] = []
        for row in self.tables.episodes():
            reason = self._missing(row)
            if reason:
                self.damaged.append(Damage(str(row.get("episode_index")), reason))
            else:
                self.rows.append(row)
        self.lengths = np.array([int(row["length"]) for row in self.rows], dtype=np.int64)  # (E,)
        self.task_index = {text: index for index, text in reversed(list(enumerate(tasks)))}

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return str(self.rows[index]["episode_index"])

    def label(self, index: int) -> Label:
        row = self.rows[index]
        tasks = row.get("tasks") or [""]
        return Label(
            task=self.task_index.get(tasks[0], 0),
            initial_state=int(row.get(form.INITIAL_STATE, -1)),
            seed=int(row.get(form.SEED, -1)),
            source=str(row.get(form.SOURCE, "lerobot")),
        )

    def recording(self, index: int, *, pictures: bool = True) -> Recording:
        with decoding(f"episode {self.name(index)}"):
            return self._recording(index, pictures=pictures)

    def _recording(self, index: int, *, pictures: bool) -> Recording:
        row, length = self.rows[index], int(self.lengths[index])
        chosen = {n: f for n, f in self.features.items() if pictures or not self.fields[n].is_picture}
        stored = [feature for feature in chosen.values() if not self._is_video(feature)]
        stored += [form.INTENDED] if self.facts.intended else []
        columns = self.tables.read(row, [*stored, *_OUTCOMES, "task_index", "timestamp", "frame_index"])
        _check_order(columns)
        complete = self.is_ours and bool(row.get(form.COMPLETE))
        obs = {name: self._observation(name, feature, row, columns, complete) for name, feature in chosen.items()}
        nothing = np.zeros(length, dtype=bool)
        done = _column(columns, form.DONE, nothing).astype(bool)
        action = _column(columns, form.ACTION).reshape(length, -1).astype(np.float32)
        intended = _column(columns, form.INTENDED, action).reshape(length, -1).astype(np.float32)
        return Recording(
            obs=obs,
            action=action,
            reward=_column(columns, form.REWARD, nothing).reshape(length).astype(np.float32),
            terminated=done & ~_column(columns, form.TRUNCATED, nothing).astype(bool),
            success=_column(columns, form.SUCCESS, nothing).astype(bool),
            human=_column(columns, form.HUMAN, nothing).astype(bool),
            label=self._label(index, columns),
            intended=None if np.array_equal(intended, action) else intended,
        )

    def _label(self, index: int, columns: Mapping[str, Any]) -> Label:
        """With the task that the rows name: two tasks may have one text."""
        task = int(_column(columns, "task_index")[0]) if "task_index" in columns else self.label(index).task
        if not 0 <= task < len(self.facts.spec.tasks):
            raise DatasetError(
                f"episode {self.name(index)} is of task {task}, and meta/tasks.parquet has no such task."
            )
        return replace(self.label(index), task=task)

    def _observation(
        self, name: str, feature: str, row: Mapping[str, Any], columns: Mapping[str, Any], complete: bool
    ) -> NDArray[Any]:
        field, length = self.fields[name], int(row["length"])
        if self._is_video(feature):
            start = float(row[f"videos/{feature}/from_timestamp"])
            path = self.video_path(row, feature)
            return read_pictures(path, start, length + complete, self.info["fps"])
        values = _column(columns, feature)
        if values.dtype == object:
            values = np.stack([picture_from_bytes(item, f"{feature}, frame {i}") for i, item in enumerate(values)])
        if values.size != length * int(np.prod(field.shape)):
            raise DatasetError(f"{feature} has rows of another size than {field.shape}.")
        seen = values.reshape(length, *field.shape).astype(field.dtype)
        if not complete:
            return seen
        last = np.array(row[f"{form.FINAL}{feature}"]).reshape(1, *field.shape).astype(field.dtype)
        return np.concatenate([seen, last])

    def _is_video(self, feature: str) -> bool:
        return self.info["features"][feature]["dtype"] == "video"

    def video_path(self, row: Mapping[str, Any], feature: str) -> Path:
        place = {key: int(row[f"videos/{feature}/{key}"]) for key in ("chunk_index", "file_index")}
        return self.tables.inside(str(self.info["video_path"]), video_key=feature, **place)

    def _missing(self, row: Mapping[str, Any]) -> str:
        """Which file of an episode is not there, or what in its row cannot be."""
        try:
            paths = [self.tables.data_path(row)]
            paths += [self.video_path(row, feature) for feature in self.features.values() if self._is_video(feature)]
            if int(row["dataset_to_index"]) - int(row["dataset_from_index"]) != int(row["length"]):
                return "its first and last row do not agree with its length"
        except (KeyError, TypeError, ValueError) as error:
            return f"its row in {form.EPISODES} lacks {error}"
        absent = [path for path in paths if not path.is_file()]
        return f"{absent[0].relative_to(self.path)} is missing" if absent else ""


_OUTCOMES = (form.ACTION, form.REWARD, form.DONE, form.TRUNCATED, form.SUCCESS, form.HUMAN)


def _column(columns: Mapping[str, Any], name: str, default: NDArray[Any] | None = None) -> NDArray[Any]:
    if name in columns:
        return columns[name]
    if default is None:
        raise DatasetError(f"the data file has no column {name}.")
    return default


def _check_order(columns: Mapping[str, Any]) -> None:
    for name in ("timestamp", "frame_index"):
        if name in columns and (np.diff(columns[name]) <= 0).any():
            step = int(np.argmax(np.diff(columns[name]) <= 0))
            raise DatasetError(f"{name} does not increase after step {step}.")


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / form.INFO
    try:
        info = json.loads(path.read_text())
        version = info["codebase_version"]
        if str(version).startswith("v2"):
            raise DatasetError(
                f"{folder} is a LeRobot dataset of version {version}, and this reads {form.VERSION}; nothing was read. "
                f"Convert it where lerobot is installed: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 "
                f"--repo-id=NAME --root={folder} --push-to-hub=false"
            )
        if not str(version).startswith("v3."):
            raise DatasetError(
                f"{folder} is a LeRobot dataset of version {version}, and this reads {form.VERSION}; nothing was read."
            )
        for feature in info["features"].values():
            _ = feature["dtype"], tuple(feature["shape"])
        _ = info["data_path"], float(info["fps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} does not describe a LeRobot dataset ({error!r}); nothing was read.") from None
    return info


def _describe(folder: Path, info: Mapping[str, Any], tasks: list[str]) -> tuple[Facts, dict[str, str], bool]:
    """The facts, the feature of each observation, and whether we wrote it."""
    if (folder / form.OURS).is_file():
        facts = _read_ours(folder / form.OURS, intended=_has_intended(info["features"]))
        features = {field.name: form.feature_of(field) for field in fields_of(facts.spec)}
        if {*features.values(), form.ACTION} <= {*info["features"]} and list(facts.spec.tasks) == tasks:
            return facts, features, True
    return *_foreign(folder, info, tasks), False


def _read_ours(path: Path, *, intended: bool) -> Facts:
    try:
        found = json.loads(path.read_text())
        spec = spec_from(found["spec"])
        fields_of(spec)
        return Facts(spec, found["simulator"], found["origin"], tuple(found["lacks"]), intended)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is damaged ({error!r}); nothing was read. Without that file the dataset is read like any other."
        ) from None


def _foreign(folder: Path, info: Mapping[str, Any], tasks: list[str]) -> tuple[Facts, dict[str, str]]:
    declared: Mapping[str, Any] = info["features"]
    if form.ACTION not in declared:
        raise DatasetError(f"{folder} has no feature `action` ({', '.join(declared)}); nothing was read.")
    intended = _has_intended(declared)
    known = {*_OUTCOMES, *form.INDICES, *([form.INTENDED] if intended else [])}
    obs: dict[str, Array] = {}
    features: dict[str, str] = {}
    left_out: list[str] = []
    for feature, said in declared.items():
        if feature in known:
            continue
        array = _array(said) if feature.startswith(form.OBSERVATION) else None
        if array is None:
            left_out.append(feature)
            continue
        name = _our_name(feature, said["dtype"])
        obs[name], features[name] = array, feature
    if not obs:
        raise DatasetError(f"{folder} has no observation that can be read ({', '.join(declared)}); nothing was read.")
    spec = Spec(
        obs=obs,
        action_dim=int(np.prod(declared[form.ACTION]["shape"])),
        num_envs=1,
        control_hz=float(info["fps"]),
        tasks=tuple(tasks) or ("",),
        robot=str(info.get("robot_type") or ""),
    )
    origin = f"LeRobot {info['codebase_version']}" + (f", without {', '.join(left_out)}" if left_out else "")
    lacks = {"reward": form.REWARD, "success": form.SUCCESS, "terminated": form.DONE}
    lacking = tuple(name for name, feature in lacks.items() if feature not in declared)
    return Facts(spec, None, origin, lacking, intended), features


def _has_intended(declared: Mapping[str, Any]) -> bool:
    """Whether there are intended actions, in the form of the executed ones: in another, they are of another kind."""
    if not {form.INTENDED, form.ACTION} <= {*declared}:
        return False
    intended, action = declared[form.INTENDED], declared[form.ACTION]
    return (intended["dtype"], tuple(intended["shape"])) == (action["dtype"], tuple(action["shape"]))


def _our_name(feature: str, dtype: str) -> str:
    short = feature.removeprefix(form.CAMERA) if feature.startswith(form.CAMERA) else feature[len(form.OBSERVATION) :]
    return f"rgb/{short}" if dtype in ("video", "image") else short


def _array(said: Mapping[str, Any]) -> Array | None:
    """What a feature becomes; None if it cannot be an observation of ours: text, sound, depth in somebody's code."""
    shape = tuple(int(size) for size in said["shape"])
    if said["dtype"] in ("video", "image"):
        facts = {**(said.get("info") or {}), **(said.get("video_info") or {})}
        if facts.get("is_depth_map") or facts.get("video.is_depth_map") or len(shape) != 3:
            return None
        names = said.get("names")
        channels_last = shape[2] in (1, 3) and (shape[0] not in (1, 3) or _says_last(names))
        height, width = shape[:2] if channels_last else shape[1:]
        return Array((facts.get("video.height", height), facts.get("video.width", width), 3), torch.uint8)
    try:
        dtype = np.dtype(said["dtype"])
    except TypeError:
        return None
    if dtype.kind == "f":
        return Array(shape, torch.float32)
    return Array(shape, getattr(torch, dtype.name)) if dtype.kind in "iub" else None


def _says_last(names: Any) -> bool:
    return isinstance(names, list) and bool(names) and str(names[-1]).startswith(("channel", "rgb"))
