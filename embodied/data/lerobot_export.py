"""Writing a LeRobot dataset (v3.0; `lerobot_format.py`). It appears under its name when it is whole, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.data import lerobot_format as form
from embodied.data.layout import Field, fields_of
from embodied.data.recording import Facts, Recording
from embodied.data.statistics import Counted, Summary, count, summarize
from embodied.data.video import VideoWriter, video_facts
from embodied.errors import DatasetError
from embodied.packaging import need
from embodied.spec import spec_facts


class LeRobotWriter:
    """with LeRobotWriter(folder, facts) as writer: writer.write(recording)

    An error inside the block leaves nothing behind.
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        self.pa, self.parquet = need("pyarrow", extra="data"), need("pyarrow.parquet", extra="data")
        need("av", extra="data")
        self.folder, self.facts = Path(folder), facts
        check_absent(self.folder)
        self.root = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.part")
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "meta").mkdir(parents=True)
        self.fields = {form.feature_of(field): field for field in fields_of(facts.spec)}
        if len(self.fields) < len(facts.spec.obs):
            raise DatasetError(
                f"two of the observations {', '.join(facts.spec.obs)} would have one name in a LeRobot dataset, which "
                f"has no slashes; nothing was written. Rename one of them."
            )
        hz = facts.spec.control_hz
        self.fps: float = int(hz) if hz == int(hz) else hz
        self.features = form.features_of(facts, self.fields, self.fps)
        self.episodes: list[dict[str, Any]] = []
        self.frames = 0  # rows so far
        self.values: dict[str, list[NDArray[Any]]] = {}
        self.counted: dict[str, Counted] = {}
        self.table = _Table(self)
        self.videos = {
            name: _Videos(self.root, name, field, self.fps)
            for name, field in self.fields.items()
            if form.is_video(field)
        }

    def write(self, recording: Recording) -> None:
        if recording.intended is not None and not self.facts.intended:
            raise DatasetError(
                f"{self.folder} keeps executed actions alone and was given intended ones; the episode was not written. "
                f"Give the writer facts with intended=True."
            )
        index, length = len(self.episodes), len(recording)
        columns = self._columns(recording, index)
        stats = {name: summarize(x if x.ndim > 1 else x[:, None]) for name, x in columns.items() if x.ndim <= 2}
        chunk, file = self.table.write(columns)
        label = recording.label
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [self.facts.spec.tasks[label.task]],
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            form.SEED: label.seed,
            form.INITIAL_STATE: label.initial_state,
            form.SOURCE: label.source,
            form.COMPLETE: recording.complete,
        }
        for name, videos in self.videos.items():
            rows = recording.obs[self.fields[name].name]
            row |= videos.write(rows, length)
            counted = count(rows[:length])
            stats[name] = _per_channel(counted.summary())
            self.counted[name] = self.counted[name] + counted if name in self.counted else counted
        if recording.complete:
            row |= {f"{form.FINAL}{name}": recording.obs[field.name][-1].ravel().tolist()
                    for name, field in self.fields.items() if not form.is_video(field)}  # fmt: skip
        row |= {f"stats/{name}/{key}": x.tolist() for name, summary in stats.items() for key, x in summary.items()}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        self.episodes.append(row)
        self.frames += length

    def finish(self) -> None:
        """Close the files, write the metadata, and give the folder its name."""
        if not self.episodes:
            raise DatasetError(f"there is no episode to write; {self.folder} was not made.")
        self.table.close()
        for name, videos in self.videos.items():
            videos.close()
            self.features[name]["info"] = video_facts(self.root / form.VIDEO_PATH.format(
                video_key=name, chunk_index=0, file_index=0))  # fmt: skip
        path = self.root / form.EPISODES / "chunk-000" / "file-000.parquet"
        path.parent.mkdir(parents=True)
        self.parquet.write_table(self._episode_table(), path, compression="snappy")
        self.parquet.write_table(self._tasks(), self.root / form.TASKS)
        summaries = {name: summarize(np.concatenate(parts)) for name, parts in self.values.items()}
        summaries |= {name: _per_channel(counted.summary()) for name, counted in self.counted.items()}
        self._json(form.STATS, {name: {k: x.tolist() for k, x in s.items()} for name, s in summaries.items()})
        self._json(form.OURS, self._ours())
        self._json(form.INFO, self._info())
        os.replace(self.root, self.folder)

    def discard(self) -> None:
        self.table.close()
        for videos in self.videos.values():
            videos.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> LeRobotWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            if self.root.exists():
                self.discard()

    def _episode_table(self) -> Any:
        """A row for each episode; what only some of them have is empty in the others."""
        names = dict.fromkeys(name for row in self.episodes for name in row)
        return self.pa.table({name: self.pa.array([row.get(name) for row in self.episodes]) for name in names})

    def _columns(self, recording: Recording, index: int) -> dict[str, NDArray[Any]]:
        """What the data file holds of an episode, each (L, ...)."""
        length = len(recording)
        last = np.arange(length) == length - 1
        columns: dict[str, NDArray[Any]] = {
            name: recording.obs[field.name][:length] for name, field in self.fields.items() if not form.is_video(field)
        } | {
            form.ACTION: recording.action,
            form.REWARD: recording.reward,
            form.DONE: recording.terminated | last,
            form.TRUNCATED: last & ~recording.terminated,
            form.SUCCESS: recording.success,
            form.HUMAN: recording.human,
            "timestamp": (np.arange(length) / self.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": np.arange(self.frames, self.frames + length),
            "task_index": np.full(length, recording.label.task),
        }
        if self.facts.intended:
            columns[form.INTENDED] = recording.lesson
        for name, x in columns.items():
            if x.ndim <= 2:
                self.values.setdefault(name, []).append(x if x.ndim > 1 else x[:, None])
        return columns

    def _tasks(self) -> Any:
        """As pandas writes a table whose index is the instruction, which is how LeRobot reads it."""
        tasks = list(self.facts.spec.tasks)
        table = self.pa.table({"task_index": np.arange(len(tasks)), "task": tasks})
        pandas = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [
                {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
                 "metadata": None},
                {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object",
                 "metadata": None},
            ],
            "creator": {"library": "pyarrow", "version": self.pa.__version__},
            "pandas_version": "2.0.0",
        }  # fmt: skip
        return table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": form.VERSION,
            "robot_type": self.facts.spec.robot or None,
            "total_episodes": len(self.episodes),
            "total_frames": self.frames,
            "total_tasks": len(self.facts.spec.tasks),
            "chunks_size": form.CHUNK_FILES,
            "data_files_size_in_mb": form.DATA_MB,
            "video_files_size_in_mb": form.VIDEO_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": form.DATA_PATH,
            "video_path": form.VIDEO_PATH if self.videos else None,
            "features": self.features,
        }

    def _ours(self) -> dict[str, Any]:
        spec = replace(self.facts.spec, num_envs=1, playable=None, device="cpu")
        return {
            "version": 1,
            "spec": spec_facts(spec),
            "simulator": None if self.facts.simulator is None else dict(self.facts.simulator),
            "origin": self.facts.origin,
            "lacks": list(self.facts.lacks),
        }

    def _json(self, path: str, value: Any) -> None:
        (self.root / path).write_text(json.dumps(value, indent=4, ensure_ascii=False))


class _Table:
    """The parquet files of actions and vectors: a row group for each episode, a new file when one is full."""

    def __init__(self, owner: LeRobotWriter) -> None:
        self.owner, self.file = owner, -1
        self.writer: Any = None
        self.path = Path()

    def write(self, columns: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
        """Chunk and file that the rows are in."""
        table = self.owner.pa.table({name: self._array(x) for name, x in columns.items()})
        if self.writer is None or self.path.stat().st_size > form.DATA_MB * 2**20:
            self.close()
            self.file += 1
            self.path = self.owner.root / form.DATA_PATH.format(**_place(self.file))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = self.owner.parquet.ParquetWriter(self.path, table.schema, compression="snappy")
        self.writer.write_table(table)
        return divmod(self.file, form.CHUNK_FILES)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _array(self, x: NDArray[Any]) -> Any:
        """(L,) and (L, 1) as a plain column, (L, A) as lists, more dimensions as lists of lists."""
        pa = self.owner.pa
        if x.ndim == 2 and x.shape[1] == 1:
            x = x[:, 0]
        array = pa.array(np.ascontiguousarray(x).reshape(-1))
        if x.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(array, x.shape[1])
        for size in reversed(x.shape[1:]):
            array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, size, dtype=np.int32), array)
        return array


class _Videos:
    """The videos of one camera."""

    def __init__(self, root: Path, name: str, field: Field, fps: float) -> None:
        self.root, self.name, self.field, self.fps = root, name, field, fps
        self.file = -1
        self.writer: VideoWriter | None = None

    def write(self, rows: NDArray[np.uint8], length: int) -> dict[str, Any]:
        """The columns of the episode's row that say where its pictures are."""
        if self.writer is None or self._is_full(self.writer, len(rows)):
            self.close()
            self.file += 1
            path = self.root / form.VIDEO_PATH.format(video_key=self.name, **_place(self.file))
            self.writer = VideoWriter(path, self.field.shape[0], self.field.shape[1], self.fps)
        start = self.writer.seconds
        self.writer.write(rows)
        chunk, file = divmod(self.file, form.CHUNK_FILES)
        return {
            f"videos/{self.name}/chunk_index": chunk,
            f"videos/{self.name}/file_index": file,
            f"videos/{self.name}/from_timestamp": start,
            f"videos/{self.name}/to_timestamp": start + length / self.fps,
        }

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _is_full(self, writer: VideoWriter, rows: int) -> bool:
        seconds = writer.seconds + rows / self.fps
        return seconds > form.VIDEO_S or writer.size > form.VIDEO_MB * 2**20


def check_absent(folder: Path) -> None:
    if folder.exists():
        raise DatasetError(f"{folder} is already there; nothing was written. Name another folder with out=...")


def _place(file: int) -> dict[str, int]:
    chunk, index = divmod(file, form.CHUNK_FILES)
    return {"chunk_index": chunk, "file_index": index}


def _per_channel(summary: Summary) -> Summary:
    """(C,) to (C, 1, 1), as LeRobot keeps statistics of pictures; the count stays (1,)."""
    return {name: x if name == "count" else x[:, None, None] for name, x in summary.items()}
