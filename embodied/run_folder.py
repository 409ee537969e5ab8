"""The folder of one run: what was asked, by which code, on what machine, and everything that came of it.

config.yaml  facts.json  metrics.jsonl  episodes.csv  tensorboard/  checkpoints/  evaluation/  curve.png  video.mp4
packages.txt  code.diff (where the checkout differs from its commit)  end.json (absent while it runs and when killed)

A run that is continued adds its facts to the list `continued` of facts.json, and code-2.diff or packages-2.txt where
they are not those it began with.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from omegaconf import OmegaConf

from embodied.config import from_dict, to_dict
from embodied.errors import CheckpointError, ConfigError
from embodied.facts import all_packages, code_diff, now, root, session
from embodied.files import write_whole
from embodied.metrics.axis import AXES
from embodied.metrics.cost import COUNTERS

How = Literal["finished", "stopped", "failed"]
State = Literal["running", "killed", How]
_HOW: Mapping[str, How] = {how: how for how in get_args(How)}
TAIL_BYTES = 65_536  # more than a row of metrics.jsonl


def check_free(folder: Path) -> None:
    """Refuse to begin a run where one is."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} already holds a run; nothing was started and nothing was overwritten. Continue it with "
            f"`embodied train resume={folder}`, or choose another with run_dir=..."
        )


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """One process at a time writes to a run: a second one would cut back the logs under the first."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder} is being written by a run that is still alive; nothing was changed. Stop that one first."
            ) from None
        yield


def create(folder: Path, run: Any) -> Path:
    """Make the folder of a new run and write what it is."""
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(to_dict(run)))
    _write(folder / "facts.json", session() | _attached(folder, number=1) | {"continued": []})
    return folder


def add_session(folder: Path, done: int) -> list[str]:
    """Note who continues the run from `done` on; what is not as it was in its first session."""
    (folder / "end.json").unlink(missing_ok=True)
    facts = json.loads((folder / "facts.json").read_text())
    earlier = facts.setdefault("continued", [])
    now_on = {"from": done} | session() | _attached(folder, number=len(earlier) + 2)
    _write(folder / "facts.json", facts | {"continued": [*earlier, now_on]})
    return [
        name
        for name in ("code", "packages", "machine")
        if _compared(facts, name) not in (None, _compared(now_on, name))
    ]


@dataclass(slots=True)
class End:
    how: How = "finished"
    why: str | None = None  # it failed


@contextmanager
def ending(folder: Path) -> Generator[End]:
    """Write end.json when the block is left, with what the run has made and cost; the block may say how it ends."""
    end = End("failed")
    try:
        yield (told := End())
        end = told
    except KeyboardInterrupt:
        end = End("stopped")
        raise
    except BaseException as error:
        end = End("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        _write(folder / "end.json", {"how": end.how, "why": end.why, "ended": now(), "totals": totals(folder)})


def state_of(folder: Path) -> State:
    """What became of the run: `killed` left no word, and can be continued like one that was stopped."""
    if held(folder):
        return "running"
    end = folder / "end.json"
    if not end.is_file():
        return "killed"
    try:
        return _HOW[json.loads(end.read_text())["how"]]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{end} is damaged and does not say how its run ended; nothing was concluded from that run. Delete the "
            f"file, and the run counts as killed and can be continued."
        ) from None


def held(folder: Path) -> bool:
    """Whether a process on this machine is writing to the run."""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def totals(folder: Path) -> dict[str, float]:
    """Steps and costs as the last row of metrics.jsonl counts them; empty before the first."""
    row = last_row(folder)
    counters = (*(axis.key for axis in AXES), "optimizer_steps", *COUNTERS)
    return {name: row[name] for name in counters if name in row}


def last_row(folder: Path) -> dict[str, Any]:
    """Of metrics.jsonl, without reading all of it; empty where there is none yet."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        whole = file.read().split(b"\n")[:-1]  # what follows the last end of a line is being written
    return json.loads(whole[-1]) if whole else {}


def _attached(folder: Path, *, number: int) -> dict[str, str]:
    """Write the diff and all packages beside the facts, unless they are as they were; their names."""
    found: dict[str, str] = {}
    for name, text in (("code.diff", code_diff(root())), ("packages.txt", all_packages())):
        stem, _, kind = name.partition(".")
        earlier = [name, *(f"{stem}-{i}.{kind}" for i in range(2, number))]
        same = [old for old in earlier if (folder / old).is_file() and (folder / old).read_text() == text]
        if text and not same:
            (folder / (same := [name if number == 1 else f"{stem}-{number}.{kind}"])[0]).write_text(text)
        found |= {stem + "_file": same[0]} if text else {}
    return found


def _compared(facts: Mapping[str, Any], name: str) -> Any:
    """None where an older run did not say; a commit may leave the sources as they were."""
    return facts.get(name, {}).get("sources") if name == "code" else facts.get(name)


def _write(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1))


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of the run that `folder` (or the checkpoint folder inside one) belongs to."""
    for candidate in (folder, folder.parent.parent):
        if (candidate / "config.yaml").is_file():
            return OmegaConf.to_container(OmegaConf.load(candidate / "config.yaml"))  # type: ignore[return-value]
    raise CheckpointError(
        f"{folder} is not a run folder: it has no config.yaml. Nothing was loaded. Give the folder that "
        f"`embodied train` printed, or one of its checkpoints."
    )


def read_run(folder: Path) -> Any:
    return from_dict(read_config(folder))


def default_folder(name: str, seed: int) -> Path:
    """runs/NAME/seed1-20260131-235959, under the working directory."""
    return Path("runs") / name / f"seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
