"""What a person wants to know of a dataset: counts, histograms as text and as a picture, and a sheet of its frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.data.layout import fields_of
from embodied.data.recording import Damage, Dataset, Recording

BINS = 40
SHADES = " .:-=+*#%@"
TILE, ROWS, COLUMNS = 112, 10, 8  # of the sheet of frames: pixels, episodes, moments of each
TEXT, GAP = 15, 2  # pixels


@dataclass(frozen=True, slots=True)
class Overview:
    """Of the episodes that can be used."""

    lengths: NDArray[np.int64]  # (E,)
    task: NDArray[np.int64]  # (E,)
    solved: NDArray[np.bool_]  # (E,) at any step
    sources: dict[str, int]
    human: float  # share of actions that a person chose
    action: NDArray[np.float32]  # (S, A) as executed
    lesson: NDArray[np.float32]  # (S, A) as intended
    damaged: list[Damage]


def overview(found: Iterable[tuple[int, Recording | Damage]]) -> Overview:
    damaged: list[Damage] = []
    lengths: list[int] = []
    tasks: list[int] = []
    solved: list[bool] = []
    sources: Counter[str] = Counter()
    actions: list[NDArray[np.float32]] = []
    lessons: list[NDArray[np.float32]] = []
    human = 0
    for _, item in found:
        if isinstance(item, Damage):
            damaged.append(item)
            continue
        lengths.append(len(item))
        tasks.append(item.label.task)
        solved.append(bool(item.success.any()))
        sources[item.label.source or "unknown"] += 1
        human += int(item.human.sum())
        actions.append(item.action)
        lessons.append(item.lesson)
    nothing = np.zeros((0, 0), dtype=np.float32)
    return Overview(
        lengths=np.array(lengths, dtype=np.int64),
        task=np.array(tasks, dtype=np.int64),
        solved=np.array(solved, dtype=bool),
        sources=dict(sources),
        human=human / max(1, sum(lengths)),
        action=np.concatenate(actions) if actions else nothing,
        lesson=np.concatenate(lessons) if lessons else nothing,
        damaged=damaged,
    )


def histogram_lines(action: NDArray[np.float32]) -> list[str]:
    """One line for each entry of the action (S, A): darker where more of its values are."""
    low, high = limits_of(action)
    edges = np.linspace(low, high, BINS + 1)
    lines: list[str] = []
    for index, values in enumerate(action.T):
        counts, _ = np.histogram(values, edges)
        shade = np.ceil(counts / max(1, counts.max()) * (len(SHADES) - 1)).astype(int)
        lines.append(f"  {index:>3} [{''.join(SHADES[s] for s in shade)}]  {values.min():+.3g} to {values.max():+.3g}")
    return [f"      {low:<+{BINS // 2}.3g}{high:>+{BINS // 2}.3g}", *lines]


def limits_of(action: NDArray[np.float32]) -> tuple[float, float]:
    """-1 to 1, as actions are meant, or all there is where some lie outside."""
    return min(-1.0, float(action.min())), max(1.0, float(action.max()))


def draw_histograms(action: NDArray[np.float32], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    size = action.shape[1]
    columns = min(4, size)
    figure, axes = plt.subplots(math.ceil(size / columns), columns, squeeze=False, sharex=True,
                                figsize=(3.2 * columns, 2.0 * math.ceil(size / columns)))  # fmt: skip
    for index, axis in enumerate(axes.flat):
        axis.set_visible(index < size)
        if index < size:
            axis.hist(action[:, index], bins=BINS, range=limits_of(action), color="#35618f")
            axis.set_title(f"action {index}", fontsize=9)
            axis.tick_params(labelsize=7)
            axis.locator_params(axis="x", nbins=5)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_sheet(dataset: Dataset, path: Path) -> int:
    """Frames of some episodes, spread over the dataset: a row for each, and each camera; how many rows."""
    cameras = [field.name for field in fields_of(dataset.facts.spec) if field.name.startswith("rgb/")]
    chosen = np.unique(np.linspace(0, len(dataset) - 1, max(1, ROWS // max(1, len(cameras)))).astype(int))
    strips = [strip for index in chosen for strip in _strips(dataset, int(index), cameras)] if cameras else []
    if strips:
        from PIL import Image

        Image.fromarray(np.concatenate(strips)).save(path)
    return len(strips)


def _strips(dataset: Dataset, index: int, cameras: list[str]) -> list[NDArray[np.uint8]]:
    from embodied.errors import DatasetError

    try:
        recording = dataset.recording(index)
    except DatasetError:
        return []
    label, length = recording.label, len(recording)
    task = dataset.facts.spec.tasks[label.task] if label.task < len(dataset.facts.spec.tasks) else "?"
    outcome = "solved" if recording.success.any() else "not solved"
    outcome = "" if "success" in dataset.facts.lacks else f", {outcome}"
    moments = np.linspace(0, length - 1, COLUMNS).astype(int)
    title = f"{dataset.name(index)}: {length} steps{outcome}, seed {label.seed}, {label.source}  {task}"
    return [_strip(recording.obs[camera][moments], f"{title}  ({camera})") for camera in cameras]


def _strip(frames: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """(n, H, W, 3) side by side under a line of text."""
    from PIL import Image, ImageDraw

    height = round(TILE * frames.shape[1] / frames.shape[2])
    canvas = Image.new("RGB", (COLUMNS * (TILE + GAP), height + TEXT + GAP), "white")
    ImageDraw.Draw(canvas).text((2, 2), title.encode("ascii", "replace").decode(), fill="black")
    for column, frame in enumerate(frames):
        canvas.paste(Image.fromarray(frame).resize((TILE, height)), (column * (TILE + GAP), TEXT))
    return np.asarray(canvas)


def as_lists(summaries: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, Any]:
    return {name: {key: x.tolist() for key, x in summary.items()} for name, summary in summaries.items()}
