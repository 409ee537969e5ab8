"""Where the numbers of a run go: metrics.jsonl and TensorBoard always, W&B when asked.

Files are appended and flushed line by line; a checkpoint remembers their lengths, and a resumed run cuts them back, so
a run that was killed leaves the same files as one that was not.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from embodied.errors import CheckpointError
from embodied.metrics.axis import ENV_STEPS, Axis
from embodied.packaging import need
from embodied.types import Episode, Metrics

TABLES = ("metrics.jsonl", "episodes.csv")
COLUMNS = tuple(field.name for field in fields(Episode))


class Logger:
    """log(done, metrics, episodes) after each iteration, `done` counted along `axis`."""

    def __init__(
        self, folder: Path, *, axis: Axis = ENV_STEPS, wandb: str | None = None, resumed_at: int | None = None
    ) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.folder, self.axis = folder, axis
        self.metrics = (folder / TABLES[0]).open("a")
        self.episodes = (folder / TABLES[1]).open("a", newline="")
        if self.episodes.tell() == 0:
            self.episodes.write(csv_line([axis.key, *COLUMNS]))
        self.tensorboard = SummaryWriter(
            str(folder / "tensorboard"), purge_step=None if resumed_at is None else resumed_at + 1
        )
        self.wandb: Any = None
        if wandb is not None:
            self.wandb = need("wandb", extra="wandb").init(
                project=wandb, dir=str(folder), name=folder.name, id=_wandb_id(folder), resume="allow"
            )

    def log(self, done: int, metrics: Metrics, episodes: list[Episode]) -> None:
        self.metrics.write(json.dumps({self.axis.key: done} | metrics) + "\n")
        self.metrics.flush()
        self.episodes.writelines(csv_line([done, *asdict(episode).values()]) for episode in episodes)
        self.episodes.flush()
        for name, value in metrics.items():
            self.tensorboard.add_scalar(name, value, done)
        if self.wandb is not None:
            self.wandb.log(metrics, step=done)

    def lengths(self) -> dict[str, int]:
        """Bytes of each table, which are on the disk when this returns: what a checkpoint remembers."""
        for file in (self.metrics, self.episodes):
            os.fsync(file.fileno())
        return {name: (self.folder / name).stat().st_size for name in TABLES}

    def close(self) -> None:
        self.metrics.close()
        self.episodes.close()
        self.tensorboard.close()
        if self.wandb is not None:
            self.wandb.finish()


def cut_back(folder: Path, lengths: Mapping[str, int]) -> None:
    """Forget what was logged after the checkpoint that remembers `lengths`."""
    short = [name for name, length in lengths.items() if _size(folder / name) < length]
    if short:
        raise CheckpointError(
            f"{folder / short[0]} is shorter than when the checkpoint was written, so the two do not belong together; "
            f"nothing was continued. Restore the file, or name an earlier checkpoint in place of the run folder."
        )
    for name, length in lengths.items():
        with (folder / name).open("r+b") as file:
            file.truncate(length)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def csv_line(cells: Iterable[object]) -> str:
    """A row of a table, with its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _wandb_id(folder: Path) -> str:
    """The same for a run and its continuation."""
    return f"{folder.name}-{zlib.crc32(str(folder.resolve()).encode()):08x}"
