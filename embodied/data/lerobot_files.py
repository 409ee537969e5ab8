"""The parquet files of a LeRobot dataset: which rows are whose, and columns as arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.data import lerobot_format as form
from embodied.data.decoding import decoding
from embodied.errors import DatasetError
from embodied.packaging import need

PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")  # what may be decoded from bytes


class Tables:
    """Keeps the data file that was read last open: episodes are asked for in order."""

    def __init__(self, root: Path, template: str) -> None:
        self.root, self.template = root, template
        self.pa, self.parquet = need("pyarrow", extra="data"), need("pyarrow.parquet", extra="data")
        self.open_path: Path | None = None
        self.file: Any = None
        self.owner: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # episode of each row of the open file
        self.first = np.zeros(1, dtype=np.int64)  # row at which each row group of the open file begins

    def inside(self, template: str, **keys: Any) -> Path:
        """The path that a template of info.json names; it must lie in the dataset.

        Its text is judged, not where links lead: in the cache of the Hugging Face hub every file is one.
        """
        try:
            text = template.format(**keys)
        except (KeyError, IndexError, ValueError, AttributeError):
            raise DatasetError(
                f"{self.root / form.INFO} has no usable path ({template!r}); nothing was read."
            ) from None
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts:
            raise DatasetError(
                f"{self.root / form.INFO} leads out of its folder ({template!r}); nothing was read from there."
            )
        return self.root / path

    def data_path(self, row: Mapping[str, Any]) -> Path:
        place = {key: int(row[f"data/{key}"]) for key in ("chunk_index", "file_index")}
        return self.inside(self.template, **place)

    def tasks(self) -> list[str]:
        """Instructions in the order of their index."""
        path = self.root / form.TASKS
        if not path.is_file():
            return []
        with decoding(path, self.pa.ArrowException):
            columns = self.parquet.read_table(path).to_pydict()
        text = next((x for x in columns.values() if x and isinstance(x[0], str)), None)
        index = columns.get("task_index")
        if text is None or index is None or sorted(index) != list(range(len(index))):
            raise DatasetError(f"{path} does not list tasks; nothing was read.")
        return [text[index.index(i)] for i in range(len(index))]

    def episodes(self) -> list[dict[str, Any]]:
        """Their rows, without the statistics."""
        paths = sorted((self.root / form.EPISODES).glob("*/*.parquet"))
        if not paths:
            raise DatasetError(f"{self.root / form.EPISODES} has no parquet file; nothing was read.")
        rows: list[dict[str, Any]] = []
        for path in paths:
            with decoding(path, self.pa.ArrowException):
                file = self.parquet.ParquetFile(path)
                names = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
                rows += sorted(file.read(names).to_pylist(), key=lambda row: int(row["episode_index"]))
        return rows

    def read(self, row: Mapping[str, Any], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those of `names` that are there, of one episode: each (L,) or (L, D), inner dimensions flattened."""
        path, episode, length = self.data_path(row), int(row["episode_index"]), int(row["length"])
        self._use(path)
        rows = np.flatnonzero(self.owner == episode)
        if len(rows) != length or (np.diff(rows) != 1).any():
            raise DatasetError(f"{path.relative_to(self.root)} holds {len(rows)} of its {length} rows.")
        groups = range(
            np.searchsorted(self.first, rows[0], "right") - 1, np.searchsorted(self.first, rows[-1], "right")
        )
        wanted = [name for name in names if name in self.file.schema_arrow.names]
        with decoding(path.relative_to(self.root), self.pa.ArrowException):
            table = self.file.read_row_groups(list(groups), columns=wanted)
        table = table.slice(int(rows[0] - self.first[groups[0]]), length)
        return {name: self._values(table.column(name), name) for name in wanted}

    def _use(self, path: Path) -> None:
        if path == self.open_path:
            return
        self.open_path = None
        with decoding(path.relative_to(self.root), self.pa.ArrowException):
            self.file = self.parquet.ParquetFile(path)
            sizes = [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]
            self.first = np.cumsum([0, *sizes])[:-1]
            self.owner = self.file.read(["episode_index"]).column("episode_index").to_numpy()
        self.open_path = path

    def _values(self, column: Any, name: str) -> NDArray[Any]:
        array = column.combine_chunks()
        if self.pa.types.is_struct(array.type):
            return _objects(array.to_pylist())
        length = len(array)
        while isinstance(array, self.pa.ExtensionArray):
            array = array.storage
        while self.pa.types.is_list(array.type) or self.pa.types.is_fixed_size_list(array.type):
            array = array.flatten()
        if array.null_count or length == 0 or len(array) % length:
            raise DatasetError(f"the column {name} has empty entries, or rows of different sizes.")
        values = array.to_numpy(zero_copy_only=False)
        return values.reshape(length, -1) if len(values) != length else values


def picture_from_bytes(item: Any, what: str) -> NDArray[np.uint8]:
    """(H, W, 3) of a picture that the data file itself holds."""
    from PIL import Image

    if not isinstance(item, dict) or not isinstance(item.get("bytes"), bytes):
        raise DatasetError(f"{what} names a file instead of holding the picture.")
    with decoding(what, Image.DecompressionBombError), Image.open(io.BytesIO(item["bytes"]), formats=PICTURES) as image:
        return np.asarray(image.convert("RGB"))


def _objects(items: list[Any]) -> NDArray[Any]:
    values = np.empty(len(items), dtype=object)
    values[:] = items
    return values
