"""Our LeRobot datasets read by the `lerobot` package, and its datasets read by us.

    python benchmarks/lerobot_roundtrip.py [episodes=100] [python=...] [lerobot=0.4.4]

`lerobot` does not go with our versions, so an environment of its own is made in the cache folder (about 6 GB; once), or
`python=` names an interpreter that has it. Not part of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import CONSOLE, Target, finish, table
from embodied.data.cache import cache_folder
from embodied.data.dataset import open_dataset
from embodied.data.lerobot_export import LeRobotWriter
from embodied.data.recording import Facts, Label, Recording
from embodied.types import Array, Spec

SIDE, STEPS, HZ = 64, 40, 20.0
TASKS = ("push the cube", "lift the cube")
SPEC = Spec(
    obs={
        "state": Array((9,)),
        "rgb/agent": Array((SIDE, SIDE, 3), torch.uint8),
        "rgb/wrist": Array((SIDE, SIDE, 3), torch.uint8),
        "depth/agent": Array((8, 8, 1)),
    },
    action_dim=7,
    num_envs=1,
    control_hz=HZ,
    tasks=TASKS,
    robot="panda",
)


def episode(index: int) -> Recording:
    """Random numbers, and squares that wander over a shaded table."""
    generator = np.random.default_rng(index)
    length = int(generator.integers(STEPS // 2, STEPS))
    obs = {
        "state": generator.normal(size=(length + 1, 9)).astype(np.float32),
        "rgb/agent": _film(generator, length + 1),
        "rgb/wrist": _film(generator, length + 1),
        "depth/agent": generator.uniform(0.2, 2.0, (length + 1, 8, 8, 1)).astype(np.float32),
    }
    last = np.arange(length) == length - 1
    solved = last & bool(generator.random() < 0.8)
    return Recording(
        obs=obs,
        action=generator.uniform(-1, 1, (length, 7)).astype(np.float32),
        reward=generator.normal(size=length).astype(np.float32),
        terminated=solved,
        success=solved,
        human=np.zeros(length, dtype=bool),
        label=Label(index % 2, -1, index, "script"),
    )


def _film(generator: np.random.Generator, length: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:SIDE, :SIDE]
    frames = np.stack([np.stack([x * 2 + 60, y * 2 + 40, 0 * x + 110], axis=2)] * length).astype(np.uint8)
    at = generator.integers(0, SIDE - 16, 2)
    for t in range(length):
        at = np.clip(at + generator.integers(-3, 4, 2), 0, SIDE - 16)
        frames[t, at[0] : at[0] + 16, at[1] : at[1] + 16] = (200, 60, 50)
    return frames


def expected(recordings: list[Recording]) -> dict[str, NDArray[Any]]:
    """What a reader must find, row by row."""
    last = np.concatenate([np.arange(len(r)) == len(r) - 1 for r in recordings])
    joined = {name: np.concatenate([r.obs[key][: len(r)] for r in recordings])
              for name, key in (("state", "state"), ("agent", "rgb/agent"), ("wrist", "rgb/wrist"),
                                ("depth", "depth/agent"))}  # fmt: skip
    terminated = np.concatenate([r.terminated for r in recordings])
    return joined | {
        "action": np.concatenate([r.action for r in recordings]),
        "reward": np.concatenate([r.reward for r in recordings]),
        "success": np.concatenate([r.success for r in recordings]),
        "done": terminated | last,
        "truncated": last & ~terminated,
        "episode_index": np.concatenate([np.full(len(r), i) for i, r in enumerate(recordings)]),
        "frame_index": np.concatenate([np.arange(len(r)) for r in recordings]),
        "task_index": np.concatenate([np.full(len(r), r.label.task) for r in recordings]),
        "tasks": np.array(TASKS),
    }


def environment(release: str) -> Path:
    """An interpreter that has `lerobot`."""
    folder = cache_folder() / f"lerobot-{release}"
    python = folder / "bin" / "python"
    if not (folder / "made").is_file():
        CONSOLE.print(f"making {folder} with lerobot {release} (about 6 GB, once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", f"lerobot=={release}"], check=True)
        (folder / "made").touch()
    return python


def other_side(python: Path, what: str, folder: Path, numbers: Path) -> dict[str, Any]:
    answer = folder.with_suffix(".json")
    script = Path(__file__).with_name("lerobot_other_side.py")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder.parent / "hf"), "OMP_NUM_THREADS": "1"}
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | offline
    subprocess.run([str(python), str(script), what, str(folder), str(numbers), str(answer)], check=True, env=variables)
    return json.loads(answer.read_text())


def compare_theirs(folder: Path, recordings: list[Recording]) -> tuple[int, float]:
    """Rows of their dataset that differ from what was given to it, and the largest mean difference of a picture."""
    dataset = open_dataset(folder)
    differing, brightness = abs(len(dataset) - len(recordings)), 0.0
    for index, wanted in enumerate(recordings):
        found = dataset.recording(index)
        rows = found.obs["state"] != wanted.obs["state"][:-1]
        differing += int(rows.any(axis=1).sum()) + int((found.action != wanted.action).any(axis=1).sum())
        differing += int((found.reward != wanted.reward).sum()) + int((found.success != wanted.success).sum())
        differing += dataset.facts.spec.tasks[found.label.task] != TASKS[wanted.label.task]
        for camera in ("rgb/agent", "rgb/wrist"):
            off = np.abs(found.obs[camera].astype(float) - wanted.obs[camera][:-1]).mean(axis=(1, 2, 3))
            brightness = max(brightness, float(off.max()))
    return differing, brightness


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    release = words.get("lerobot", "0.4.4")
    python = Path(words["python"]) if "python" in words else environment(release)
    recordings = [episode(index) for index in range(int(words.get("episodes", "100")))]
    some = recordings[:10]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with LeRobotWriter(root / "ours", Facts(SPEC, origin="a benchmark")) as writer:
            for recording in recordings:
                writer.write(recording)
        np.savez(root / "all.npz", **expected(recordings))
        np.savez(root / "some.npz", **expected(some))
        read = other_side(python, "read", root / "ours", root / "all.npz")
        wrote = other_side(python, "write", root / "theirs", root / "some.npz")
        differing, brightness = compare_theirs(root / "theirs", some)
    table("versions on the other side", ("package", "version"), list(read["versions"].items()))
    rows = [(name, count) for name, count in read["differing"].items()]
    table(f"rows of {read['rows']} in which LeRobotDataset found something else", ("what", "rows"), rows)
    finish("lerobot_roundtrip", [
        Target("episodes that lerobot reads", read["episodes"], "episodes", len(recordings)),
        Target("rows that differ, all kinds", sum(read["differing"].values()), "rows", 0, "most"),
        Target("picture, mean difference", read["picture"], "of 255", 4, "most", f"decoded by {read['backend']}"),
        Target("chunks by delta_timestamps", float(read["chunks"]), "bool", 1),
        Target("mean action in stats.json", read["mean"], "difference", 1e-5, "most"),
        Target("episodes that lerobot wrote", wrote["episodes"], "episodes", len(some)),
        Target("its rows that we read otherwise", differing, "rows", 0, "most"),
        Target("its pictures, mean difference", brightness, "of 255", 8, "most"),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
