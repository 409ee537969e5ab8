"""Datasets: is the way to LeRobot's format and back exact, and how fast do random batches come?

    python benchmarks/datasets.py [episodes=100] [pairs=7]

Scripted demonstrations of the tabletop with two cameras at 128 px. They are exported to a LeRobot dataset and imported
again. Then batches of 64 random steps are drawn, by turns: from the cache of decoded frames, and by decoding the video
of each item with PyAV (seek to the keyframe, decode), once with every file kept open, once opening it for each item.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.config import to_dict
from embodied.data.convert import convert
from embodied.data.dataset import open_dataset
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.frames import Frames, cached
from embodied.data.lerobot import LeRobotDataset
from embodied.data.recording import Facts, Label
from embodied.data.video import FAITHFUL, read_pictures
from simulators.tabletop import TabletopRecipe

BATCH = 64
BATCHES = 10  # in one measurement
CAMERAS = ("front", "wrist")
FLAGS = ("terminated", "success", "human")


class EpisodeEndedError(Exception): ...


def collect(folder: Path, episodes: int) -> tuple[float, float]:
    """Scripted episodes; ms that writing a step takes, bytes of a step."""
    recipe = TabletopRecipe(tasks=("pick",), obs="rgb", cameras=CAMERAS, num_envs=1, processes=0)
    scene = recipe.demonstrator()
    seconds, steps = 0.0, 0
    with LogWriter(folder, Facts(scene.spec, to_dict(recipe), "tabletop")) as log:

        def act(action: NDArray[np.float32]) -> None:
            nonlocal seconds, steps
            seen = scene.observe()
            reward, terminated, success = scene.step(action)
            began = time.perf_counter()
            log.step(seen, action, reward, terminated=terminated, success=success)
            seconds, steps = seconds + time.perf_counter() - began, steps + 1
            if terminated:
                raise EpisodeEndedError

        for seed in range(episodes):
            scene.reset(0, -1, seed)
            log.begin(Label(0, -1, seed, "script"))
            with contextlib.suppress(EpisodeEndedError):
                scene.demonstrate(act)
            log.end(scene.observe())
    scene.close()
    return 1000 * seconds / steps, (folder / "log" / "0.log").stat().st_size / steps


def differing(a: EpisodeLog, b: EpisodeLog) -> dict[str, int]:
    """Numbers that are not the same bits in both."""
    assert len(a) == len(b), (len(a), len(b))
    found: dict[str, int] = dict.fromkeys(("state", "action", "reward", "flags", "labels"), 0)
    for index in range(len(a)):
        one, other = a.recording(index, pictures=False), b.recording(index, pictures=False)
        found["state"] += int((one.obs["state"].view(np.uint32) != other.obs["state"].view(np.uint32)).sum())
        found["action"] += int((one.action.view(np.uint32) != other.action.view(np.uint32)).sum())
        found["reward"] += int((one.reward.view(np.uint32) != other.reward.view(np.uint32)).sum())
        found["flags"] += sum(int((getattr(one, n) != getattr(other, n)).sum()) for n in FLAGS)
        found["labels"] += one.label != other.label
    return found


def noise(a: EpisodeLog, b: EpisodeLog) -> float:
    """dB between the pictures of both, the worse of two cameras."""
    worst = np.inf
    for camera in CAMERAS:
        errors = [
            np.square(a.recording(i).obs[f"rgb/{camera}"].astype(float) - b.recording(i).obs[f"rgb/{camera}"]).mean()
            for i in range(0, len(a), 10)
        ]
        worst = min(worst, 10 * np.log10(255.0**2 / np.mean(errors)))
    return float(worst)


class PerItem:
    """What a loader does that decodes video for each item."""

    def __init__(self, dataset: LeRobotDataset, *, keep_open: bool) -> None:
        self.dataset, self.keep_open = dataset, keep_open
        self.fps = float(dataset.info["fps"])
        self.open: dict[Path, Any] = {}
        self.episode = np.repeat(np.arange(len(dataset)), dataset.lengths)
        self.step = np.concatenate([np.arange(length) for length in dataset.lengths])

    def batch(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        return [self._item(int(self.episode[row]), int(self.step[row]), camera) for row in rows for camera in CAMERAS]

    def _item(self, episode: int, step: int, camera: str) -> NDArray[np.uint8]:
        row, feature = self.dataset.rows[episode], self.dataset.features[f"rgb/{camera}"]
        start = float(row[f"videos/{feature}/from_timestamp"]) + step / self.fps
        path = self.dataset.video_path(row, feature)
        if not self.keep_open:
            return read_pictures(path, start, 1, self.fps)[0]
        if path not in self.open:
            container = av.open(str(path))
            container.streams.video[0].thread_count = 1
            self.open[path] = container
        container = self.open[path]
        stream = container.streams.video[0]
        container.seek(max(0, int((start - 0.5 / self.fps) / stream.time_base)), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.time > start - 0.5 / self.fps:
                return frame.to_ndarray(format="rgb24", interpolation=FAITHFUL)
        raise RuntimeError(f"no picture at {start} s of {path}")


def per_second(draw: Callable[[NDArray[np.int64]], Any], steps: int, batches: int) -> Callable[[], float]:
    generator = np.random.default_rng(0)

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(batches):
            draw(generator.integers(0, steps, BATCH))
        return batches / (time.perf_counter() - began)

    return measure


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def check_same(frames: Frames, items: PerItem) -> None:
    """Both loaders give the same pictures."""
    rows = np.arange(0, len(frames), max(1, len(frames) // 16))
    mine = frames.gather(frames.frame[rows])
    theirs = items.batch(rows)
    for index in range(len(rows)):
        for number, camera in enumerate(CAMERAS):
            assert np.array_equal(mine[f"rgb/{camera}"][index], theirs[2 * index + number])


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    episodes, pairs = int(words.get("episodes", "100")), int(words.get("pairs", "7"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["EMBODIED_CACHE"] = str(root / "cache")
        write_ms, step_bytes = collect(root / "log", episodes)
        ours = EpisodeLog(root / "log")
        export_s, _ = seconds(lambda: convert([ours], "lerobot", root / "lerobot"))
        theirs = LeRobotDataset(root / "lerobot")
        import_s, _ = seconds(lambda: convert([theirs], "log", root / "back"))
        back = EpisodeLog(root / "back")
        changed, db = differing(ours, back), noise(ours, back)
        decode_s, frames = seconds(lambda: cached(open_dataset(root / "lerobot"), progress=False))
        opened, reopened = PerItem(theirs, keep_open=True), PerItem(theirs, keep_open=False)
        check_same(frames, opened)
        speeds = alternate(
            pairs,
            per_second(lambda rows: frames.gather(frames.frame[rows]), len(frames), 10 * BATCHES),
            per_second(opened.batch, len(frames), BATCHES),
            per_second(reopened.batch, len(frames), 3),
        )
    names = ("cache of decoded frames", "PyAV per item, files kept open", "PyAV per item, file opened for each")
    table(f"batches of {BATCH} random steps, 2 cameras 128 px, {episodes} episodes", ("loader", "batches/s"),
          [(name, str(Spread.of(values))) for name, values in zip(names, speeds, strict=True)])  # fmt: skip
    table("the way there and back", ("what", "value"), [
        ("steps", len(frames)),
        ("log, writing a step (ms)", write_ms),
        ("log, size of a step (bytes; raw 98,304)", step_bytes),
        ("export to LeRobot (s)", export_s),
        ("import to a log (s)", import_s),
        ("decoding into the cache, once (s)", decode_s),
        ("pictures, there and back (dB)", db),
    ])  # fmt: skip
    ratio = ratios(speeds[0], speeds[1])
    finish("datasets", [
        Target("numbers changed there and back", sum(changed.values()), "numbers", 0, "most", f"{episodes} episodes"),
        Target("cache / decoding each item, files open", ratio.median, "times", 5, note=str(ratio)),
        Target("cache / decoding each item, as opened", ratios(speeds[0], speeds[2]).median, "times", 5),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
