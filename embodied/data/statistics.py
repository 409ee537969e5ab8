"""What the numbers of a dataset are like: per entry of a vector, and per channel of a camera.

Vectors are kept and measured exactly. Of pictures some frames of each episode are counted by brightness, which gives
their statistics without keeping them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.data.recording import Recording

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
FRAMES = 20  # of an episode, from each camera
Summary = dict[str, NDArray[np.float64]]  # min, max, mean, std, count (1,), q01 ...


@dataclass(frozen=True, slots=True)
class Counted:
    """How often each brightness was seen in each channel."""

    histogram: NDArray[np.int64]  # (C, 256)
    frames: int

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.histogram + other.histogram, self.frames + other.frames)

    def summary(self) -> Summary:
        """Each (C,), brightness from 0 to 1."""
        values, total = np.arange(256) / 255.0, self.histogram.sum(axis=1)  # (256,), (C,)
        mean = self.histogram @ values / total
        square = self.histogram @ np.square(values) / total
        up_to = self.histogram.cumsum(axis=1) / total[:, None]  # (C, 256)
        seen = self.histogram > 0
        return {
            "min": values[seen.argmax(axis=1)],
            "max": values[255 - seen[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(square - np.square(mean), 0.0)),
            "count": np.array([self.frames], dtype=np.float64),
        } | {name: values[(up_to >= q).argmax(axis=1)] for name, q in QUANTILES.items()}


def count(pictures: NDArray[np.uint8]) -> Counted:
    """Of (L, H, W, C), `FRAMES` of them."""
    rows = np.unique(np.linspace(0, len(pictures) - 1, FRAMES).astype(int))
    chosen = pictures[rows]
    channels = [np.bincount(chosen[..., c].reshape(-1), minlength=256) for c in range(chosen.shape[-1])]
    return Counted(np.stack(channels), len(rows))


def summarize(values: NDArray[Any]) -> Summary:
    """Of (L, ...), over the first dimension."""
    x = values.astype(np.float64)
    quantiles = np.quantile(x, list(QUANTILES.values()), axis=0)
    return {
        "min": x.min(axis=0),
        "max": x.max(axis=0),
        "mean": x.mean(axis=0),
        "std": x.std(axis=0),
        "count": np.array([len(x)], dtype=np.float64),
    } | dict(zip(QUANTILES, quantiles, strict=True))


class Statistics:
    """Takes episodes, gives summaries by the name of the observation; `action` and `reward` are among them.

    `intended`, too, where the dataset keeps it; where nothing else was wanted, it is the action.
    """

    def __init__(self, *, intended: bool = False) -> None:
        self.intended = intended
        self.vectors: dict[str, list[NDArray[Any]]] = {}
        self.pictures: dict[str, Counted] = {}

    def add(self, recording: Recording) -> None:
        length = len(recording)
        for name, x in values_of(recording, intended=self.intended).items():
            if is_color(x):
                more = count(x[:length])
                self.pictures[name] = self.pictures[name] + more if name in self.pictures else more
            elif x.ndim <= 2:
                self.vectors.setdefault(name, []).append(x[:length])

    def summaries(self) -> dict[str, Summary]:
        vectors = {name: summarize(np.concatenate(parts)) for name, parts in self.vectors.items()}
        return vectors | {name: counted.summary() for name, counted in self.pictures.items()}


def values_of(recording: Recording, *, intended: bool) -> Mapping[str, NDArray[Any]]:
    values: dict[str, NDArray[Any]] = {**recording.obs, "action": recording.action, "reward": recording.reward}
    return values | {"intended": recording.lesson} if intended else values


def is_color(values: NDArray[Any]) -> bool:
    """Whether (L, ...) are pictures of brightness."""
    return values.ndim == 4 and values.dtype == np.uint8
