"""What the `lerobot` package makes of a dataset; run by `lerobot_roundtrip.py` in an environment that has it.

    python lerobot_other_side.py read FOLDER EXPECTED.npz ANSWER.json
    python lerobot_other_side.py write FOLDER EXPECTED.npz ANSWER.json

`read` goes over a dataset of ours with LeRobotDataset and compares each number; `write` makes one with it, for us.
Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

PACKAGES = ("lerobot", "torch", "datasets", "pyarrow", "av", "numpy")


def read(folder: Path, expected: dict[str, np.ndarray]) -> dict:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/ours", root=folder, video_backend=backend())
    differing, brightness = dict.fromkeys(("state", "action", "depth", "outcomes", "indices", "tasks"), 0), 0.0
    tasks = [str(text) for text in expected["tasks"]]
    for row in range(len(dataset)):
        item = dataset[row]
        differing["state"] += not same(item["observation.state"], expected["state"][row])
        differing["depth"] += not same(item["observation.depth.agent"], expected["depth"][row])
        differing["action"] += not same(item["action"], expected["action"][row])
        outcomes = ("reward", "done", "success", "truncated")
        differing["outcomes"] += any(item[f"next.{name}"].item() != expected[name][row] for name in outcomes)
        indices = ("episode_index", "frame_index", "task_index")
        differing["indices"] += any(item[name].item() != expected[name][row] for name in indices)
        differing["tasks"] += item["task"] != tasks[expected["task_index"][row]]
        for camera in ("agent", "wrist"):
            picture = item[f"observation.images.{camera}"].numpy().transpose(1, 2, 0) * 255
            brightness = max(brightness, float(np.abs(picture - expected[camera][row]).mean()))
    chunks = LeRobotDataset(
        "local/ours", root=folder, video_backend=backend(), delta_timestamps={"action": [0.0, 0.05, 0.1]}
    )
    padded = chunks[len(chunks) - 1]
    return {
        "rows": len(dataset),
        "episodes": dataset.num_episodes,
        "differing": differing,
        "picture": brightness,
        "backend": backend(),
        "chunks": same(padded["action"][0], expected["action"][-1]) and padded["action_is_pad"].tolist() == [0, 1, 1],
        "stats": sorted(dataset.meta.stats["observation.images.agent"]),
        "mean": float(np.abs(np.asarray(dataset.meta.stats["action"]["mean"]) - expected["action"].mean(axis=0)).max()),
    }


def write(folder: Path, expected: dict[str, np.ndarray]) -> dict:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    size = list(expected["agent"].shape[1:])
    features = {
        "observation.state": {"dtype": "float32", "shape": expected["state"].shape[1:], "names": None},
        "action": {"dtype": "float32", "shape": expected["action"].shape[1:], "names": None},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        "observation.images.agent": {"dtype": "video", "shape": size, "names": ["height", "width", "channels"]},
        "observation.images.wrist": {"dtype": "image", "shape": size, "names": ["height", "width", "channels"]},
    }
    dataset = LeRobotDataset.create("local/theirs", fps=20, root=folder, features=features, robot_type="panda")
    tasks = [str(text) for text in expected["tasks"]]
    rows = len(expected["state"])
    for row in range(rows):
        dataset.add_frame({
            "observation.state": expected["state"][row],
            "action": expected["action"][row],
            "next.reward": expected["reward"][row : row + 1],
            "next.success": expected["success"][row : row + 1],
            "observation.images.agent": expected["agent"][row],
            "observation.images.wrist": expected["wrist"][row],
            "task": tasks[expected["task_index"][row]],
        })  # fmt: skip
        if row + 1 == rows or expected["episode_index"][row + 1] != expected["episode_index"][row]:
            dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    return {"episodes": dataset.num_episodes}


def backend() -> str:
    """torchcodec, which lerobot prefers, needs FFmpeg's libraries from the system."""
    try:
        import torchcodec.decoders
    except (ImportError, OSError, RuntimeError):
        return "pyav"
    return "torchcodec" if torchcodec.decoders else ""


def same(found, wanted: np.ndarray) -> bool:
    return found.numpy().dtype == wanted.dtype and np.array_equal(found.numpy(), wanted)


if __name__ == "__main__":
    what, folder, numbers, answer = sys.argv[1], *map(Path, sys.argv[2:])
    found = {"read": read, "write": write}[what](folder, dict(np.load(numbers)))
    found["versions"] = {name: version(name) for name in PACKAGES}
    answer.write_text(json.dumps(found))
