"""From the words of a command line to a recipe: Hydra composes, recipes check, and a mistake is one sentence.

Keys are checked before Hydra sees them, because only we can say which of our settings is nearest to a misspelled one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embodied.config import from_dict
from embodied.errors import ConfigError
from embodied.experiments import config_dir


def compose_config(name: str, overrides: Iterable[str], *, beside: Iterable[str] = ()) -> dict[str, Any]:
    """The plain, resolved config `name` with Hydra `overrides` (`simulator=reach algorithm.clip_low=0.1`).

    `beside` are words that stand for other things on the same command line: a misspelled one is told by them.
    """
    overrides = list(overrides)
    groups = [word for word in overrides if _key(word) in _groups()]
    for word in groups:
        _check_option(word)
    known = [*keys_of(_compose(name, groups)), *beside]
    for word in overrides:
        if word not in groups and not word.startswith(("+", "~")):
            check_key(_key(word), known, word)
    config = OmegaConf.to_container(_compose(name, overrides), resolve=True)
    assert isinstance(config, dict)
    config.pop("experiment", None)
    return {str(key): value for key, value in config.items()}


def compose_recipe(name: str, overrides: Iterable[str]) -> Any:
    """The recipe that config `name` with `overrides` describes, checked, not built."""
    return from_dict(compose_config(name, overrides))


def override(config: Mapping[str, Any], words: Iterable[str], allowed: Iterable[str] | None = None) -> dict[str, Any]:
    """`config` with dotted `key=value` words applied; unknown keys are errors, with the nearest right one."""
    known = keys_of(config) if allowed is None else list(allowed)
    node = OmegaConf.create(dict(config))
    for word in words:
        check_key(_key(word), known, word)
        OmegaConf.update(node, _key(word), OmegaConf.from_dotlist([f"x={word.partition('=')[2]}"]).x, merge=False)
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]


def keys_of(config: Any, prefix: str = "") -> list[str]:
    """Every dotted key of a nested config."""
    keys: list[str] = []
    for key, value in config.items():
        if key == "_target_":
            continue
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping | DictConfig):
            keys += keys_of(value, f"{prefix}{key}.")
    return keys


def check_key(key: str, known: list[str], word: str) -> None:
    if "=" not in word:
        raise ConfigError(f"`{word}` is not a setting; nothing was started. Settings are written key=value.")
    if key in known or key.endswith("._target_"):
        return
    parent = key.rpartition(".")[0]
    hint = (
        f" To add an entry, write +{word}."
        if parent in known and not any(k.startswith(parent + ".") for k in known)
        else ""
    )
    raise ConfigError(f"there is no setting `{key}`; nothing was started.{hint or _nearest(key, known)}")


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not near:  # a right last part in a wrong place: `clip_low` for `algorithm.clip_low`
        last = {key: key.rpartition(".")[2] for key in known}
        close = difflib.get_close_matches(word.rpartition(".")[2], set(last.values()), n=1, cutoff=0.6)
        near = [key for key, part in last.items() if close and part == close[0]][:1]
    return f" Did you mean `{near[0]}`?" if near else " `embodied configs` lists what there is."


def _compose(name: str, overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose(name, overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        first = str(error).strip().splitlines()[0]
        if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", first):
            raise ConfigError(
                f"`{found[1]}` names several values for one run; nothing was started. To try each of them, write "
                f"`embodied train -m ...`; one value that is a list is written key=[1,2]."
            ) from None
        raise ConfigError(f"the config could not be composed: {first.rstrip('.')}. Nothing was started.") from None


def _groups() -> set[str]:
    return {path.name for path in config_dir().iterdir() if path.is_dir()}


def _check_option(word: str) -> None:
    group, _, option = word.partition("=")
    options = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
    if option not in options and not Path(option).suffix:
        near = difflib.get_close_matches(option, options, n=1)
        hint = f" Did you mean `{group}={near[0]}`?" if near else ""
        raise ConfigError(
            f"there is no {group} `{option}`; nothing was started.{hint} There are: {', '.join(options)}."
        )


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
