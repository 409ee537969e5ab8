"""The settings of a sweep, beside those of its runs; Hydra's own words for them are understood, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal

from omegaconf import OmegaConf

from embodied.config import Count, from_dict, recipe
from embodied.errors import ConfigError

Objective = Literal["success_once", "success_at_end", "return"]
HYDRA = {  # Hydra's word, ours
    "hydra/sweeper": "sweeper",
    "hydra.sweeper.n_trials": "trials",
    "hydra.sweeper.n_jobs": "jobs",
    "hydra.launcher.n_jobs": "jobs",
    "hydra.sweep.dir": "sweep_dir",
}


@recipe
class Sweep:
    jobs: Count = 1  # runs at a time
    sweeper: Literal["basic", "optuna"] = "basic"  # basic: every combination; optuna: a search for the best
    trials: Count = 20  # combinations that a search tries
    sampler: Literal["tpe", "random"] = "tpe"  # how a search chooses them
    objective: Objective = "success_once"  # what a search maximizes: mean over seeds of the final evaluation
    sweep_dir: str | None = None  # null: runs/EXPERIMENT/sweep-TIME; a sweep that is there is continued


NAMES = tuple(field.name for field in fields(Sweep))


def part(words: Iterable[str]) -> tuple[Sweep, list[str]]:
    """The sweep's settings among `words`, and the words for its runs."""
    given: dict[str, Any] = {}
    rest: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        name = HYDRA.get(key, key)
        if name in NAMES:
            given[name] = OmegaConf.from_dotlist([f"x={value}"]).x
        elif key.startswith(("hydra.", "hydra/")):
            raise ConfigError(
                f"`{key}` is a setting of Hydra's that a sweep does not have; nothing was started. There are: "
                f"{', '.join(HYDRA)}, and our own {', '.join(NAMES)}."
            )
        else:
            rest.append(word)
    return from_dict({"_target_": f"{Sweep.__module__}.Sweep"} | given), rest
