"""How a policy is evaluated, as a value: `embodied evaluate RUN protocol=libero_spatial`.

A protocol says what is changed about the run's simulator, under which named conditions it is played, on which tasks,
how often and from which starts. What a command line says of the same settings wins over it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field
from yaml import YAMLError

from embodied.compose import keys_of, override
from embodied.config import Count, Natural, from_dict, recipe
from embodied.errors import ConfigError
from embodied.experiments import config_dir
from embodied.interfaces import EnvRecipe, PolicyRecipe

Width = Annotated[float, Field(gt=0, lt=1)]
DEFAULT = "custom"


@recipe
class Protocol:
    simulator: str  # class that it is meant for; empty takes any
    settings: tuple[str, ...]  # of the simulator, under every condition
    conditions: dict[str, tuple[str, ...]]  # by name, further settings of each; empty: one without a name
    tasks: tuple[str | int, ...]  # by index, instruction or short name; empty: all
    episodes: Natural | None  # for each seed, over all tasks
    episodes_per_task: Natural | None  # instead: for each seed and task; stored initial states come in order
    seeds: tuple[Natural, ...]  # of the initial states; never those of training
    repeats: Count  # of every start
    actions: Literal["likeliest", "sampled"]
    max_steps: Count | None  # actions per episode; null takes each task's own limit
    width: Width | None  # stop when the 95 % interval of success is as narrow as this; null plays everything

    def __post_init__(self) -> None:
        for name in self.conditions:
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(
                    f"the condition `{name}` gives its tables their names: use letters, digits, `_`, `-` and `.` only"
                )


@recipe
class EvaluationRecipe:
    simulator: EnvRecipe
    policy: PolicyRecipe
    checkpoint: str  # run folder or checkpoint
    protocol: str = DEFAULT
    conditions: dict[str, EnvRecipe] = field(default_factory=dict)  # by name, the simulator of each; empty: `simulator`
    tasks: tuple[str | int, ...] = ()  # by index, instruction or short name; empty: all
    episodes: Natural | None = 100  # for each seed, over all tasks
    episodes_per_task: Natural | None = None  # instead: for each seed and task
    seeds: tuple[Natural, ...] = (0,)  # of the initial states; never those of training
    repeats: Count = 1  # of every start
    actions: Literal["likeliest", "sampled"] = "likeliest"
    max_steps: Count | None = None  # actions per episode; null takes each task's own limit
    width: Width | None = None  # stop when the 95 % interval of success is as narrow as this
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of the policy
    film: Natural = 9  # episodes in the video; 0 leaves it out
    film_outcomes: Natural = 4  # successes, and failures, in a video of their own; 0 leaves them out
    out: str | None = None  # null: RUN/evaluation/TIME

    def __post_init__(self) -> None:
        if bool(self.episodes) == bool(self.episodes_per_task):
            raise ValueError("set one of episodes and episodes_per_task, and the other to null")
        if self.width is not None and self.repeats > 1:
            raise ValueError(
                "width counts every episode as evidence of its own, and repeats of one start are not: set repeats=1"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} must name at least one, and none twice")

    @property
    def simulators(self) -> Mapping[str, EnvRecipe]:
        """Of each condition, by its name."""
        return self.conditions or {"": self.simulator}


def protocols() -> dict[str, str]:
    """Name and first comment line of every protocol that comes along."""
    found: dict[str, str] = {}
    for path in sorted((config_dir() / "protocol").glob("*.yaml")):
        found[path.stem] = path.read_text().splitlines()[0].removeprefix("# ")
    return found


def read_protocol(name: str) -> Protocol:
    """By name, or the path of a YAML file."""
    path = Path(name) if Path(name).suffix else config_dir() / "protocol" / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, protocols(), n=1)
        hint = f" Did you mean `protocol={near[0]}`?" if near else ""
        raise ConfigError(
            f"there is no protocol `{name}`; nothing was evaluated.{hint} There are: {', '.join(protocols())}."
        )
    try:
        found = from_dict(OmegaConf.to_container(OmegaConf.load(path), resolve=True))
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())}); nothing was evaluated.") from None
    if not isinstance(found, Protocol):
        raise ConfigError(
            f"{path} does not describe a protocol; nothing was evaluated. Begin it with `_target_: "
            f"{Protocol.__module__}.Protocol`, as those in {config_dir() / 'protocol'}."
        )
    return found


def settled(base: Mapping[str, Any], words: list[str]) -> dict[str, Any]:
    """The config of an `EvaluationRecipe` from that of a run, its protocol and the words of a command line."""
    named = [word.partition("=")[2] for word in words if word.startswith("protocol=")]
    words = [word for word in words if not word.startswith("protocol=")]
    name = named[-1] if named else DEFAULT
    protocol = read_protocol(name)
    own = {f.name: f.default for f in fields(EvaluationRecipe) if f.name in ("device", "film", "film_outcomes", "out")}
    for key in ("tasks", "episodes", "episodes_per_task", "seeds", "repeats", "actions", "max_steps", "width"):
        value = getattr(protocol, key)
        own[key] = list(value) if isinstance(value, tuple) else value
    own["max_steps"] = own["max_steps"] or base["max_steps"]
    for one, other in (("episodes", "episodes_per_task"), ("episodes_per_task", "episodes")):
        if any(word.startswith(f"{one}=") for word in words):
            own[other] = None
    config = {**base, **own}
    config["simulator"] = _set(base["simulator"], protocol.settings, name, protocol)
    config = override(config, words, allowed=keys_of(config))
    conditions = {
        label: _set(config["simulator"], settings, name, protocol) for label, settings in protocol.conditions.items()
    }
    return {**config, "protocol": name, "conditions": conditions}


def _set(simulator: Mapping[str, Any], settings: tuple[str, ...], name: str, protocol: Protocol) -> dict[str, Any]:
    """`simulator` with `settings`, which are told as on a command line; one in an interpreter of its own inside."""
    target = str(simulator["_target_"])
    if target.endswith(".IsolatedRecipe"):
        return {**simulator, "simulator": _set(simulator["simulator"], settings, name, protocol)}
    if protocol.simulator and target != protocol.simulator:
        raise ConfigError(
            f"protocol {name} is one of {protocol.simulator}, and this policy was trained in {target}; nothing was "
            f"evaluated. Choose another: {', '.join(protocols())}."
        )
    missing = {word.partition("=")[0] for word in settings} - set(keys_of({"simulator": simulator}))
    if missing:
        raise ConfigError(
            f"protocol {name} sets {min(missing)}, and {target} has no such setting; nothing was evaluated. Choose "
            f"another: {', '.join(protocols())}."
        )
    return override({"simulator": dict(simulator)}, settings)["simulator"]
