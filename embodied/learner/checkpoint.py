"""Checkpoints: a folder written under a temporary name and renamed, so that a checkpoint is whole or absent.

    weights.safetensors    the policy alone, for evaluation and for other programs
    learner.safetensors    optimizer, storage, random state        sampler.safetensors    running episodes, noise
    tasks.safetensors      what a curriculum has seen, if there is one
    facts.json             counters, spec, lengths of the logs     manifest.json          SHA-256 of each file above

Nothing in it is pickled; the manifest is checked on every load.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from embodied.errors import CheckpointError
from embodied.spec import spec_from
from embodied.types import Spec

FORMAT = 3
MANIFEST = "manifest.json"
Groups = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    folder: Path
    tensors: Groups  # weights, learner, sampler
    facts: Mapping[str, Any]

    @property
    def spec(self) -> Spec:
        return spec_from(self.facts["spec"])


def save(folder: Path, tensors: Groups, facts: Mapping[str, Any]) -> Path:
    """Write a checkpoint at `folder`, or raise and leave nothing behind."""
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, group in tensors.items():
            save_file({key: x.contiguous() for key, x in group.items()}, part / f"{name}.safetensors")
        (part / "facts.json").write_text(json.dumps(dict(facts) | {"format": FORMAT}, indent=1))
        manifest = {path.name: _digest(path) for path in sorted(part.iterdir())}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in (*part.iterdir(), part):
            _flush(path)
        old = folder.with_name(f".{folder.name}.old")
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        _flush(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CheckpointError(
            f"the checkpoint {folder.name} could not be written ({error}); nothing half-written is left and earlier "
            f"checkpoints in {folder.parent} are kept. Free disk space, then continue with resume={run_of(folder)}."
        ) from None
    return folder


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint whose files are all there and unchanged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if not isinstance(manifest, dict):
            raise ValueError(f"{MANIFEST} is not a list of files")
        damaged = [name for name, digest in manifest.items() if _digest(folder / name) != digest]
        if damaged:
            raise CheckpointError(_damaged(folder, f"{damaged[0]} differs from the manifest"))
        facts = json.loads((folder / "facts.json").read_text())
        groups = {path.stem: load_file(path) for path in folder.glob("*.safetensors")}
        version = facts["format"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(_damaged(folder, str(error))) from None
    if version != FORMAT:
        raise CheckpointError(
            f"{folder} has checkpoint format {version} and this version reads {FORMAT}; nothing was loaded."
        )
    return Checkpoint(folder, groups, facts)


def all_in(run: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first."""
    return sorted(path.parent for path in (run / "checkpoints").glob(f"[0-9]*/{MANIFEST}"))


def latest(path: Path) -> Path:
    """`path` itself when it is a checkpoint, else the newest checkpoint of the run folder `path`."""
    if (path / MANIFEST).is_file() or (path.parent.name == "checkpoints" and not (path / "config.yaml").is_file()):
        return path
    found = all_in(path)
    if not found:
        raise CheckpointError(
            f"{path} is neither a checkpoint nor a run folder with checkpoints; nothing was loaded. "
            f"A run folder holds config.yaml and checkpoints/."
        )
    return found[-1]


def set_aside_newer(checkpoint: Path) -> list[Path]:
    """Hide the checkpoints after `checkpoint`, which a run that continues from there will write anew."""
    newer = [path for path in all_in(run_of(checkpoint)) if path.name > checkpoint.name]
    aside = [path.with_name(f".{path.name}.aside") for path in newer]
    for path, hidden in zip(newer, aside, strict=True):
        shutil.rmtree(hidden, ignore_errors=True)  # of an earlier rollback
        path.rename(hidden)
    return aside


def prune(run: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for old in all_in(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def _damaged(folder: Path, why: str) -> str:
    others = [path for path in all_in(run_of(folder)) if path != folder]
    hint = (
        f"An earlier one is {others[-1]}: name it in place of the run folder." if others else "There is no other one."
    )
    return f"the checkpoint {folder} is incomplete or damaged ({why}); nothing was loaded. {hint}"


def run_of(folder: Path) -> Path:
    """The run folder that the checkpoint `folder` lies in."""
    return folder.parent.parent


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Onto the disk, not only into its cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
