"""Recipes: the typed, frozen, picklable half of every component.

A recipe is written in YAML or in Python, travels to the process that owns the hardware, and is built there. The YAML
under `configs/` is printed from the recipes (`embodied configs`), so the class is the only place a default is written.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import sys
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic.dataclasses
from pydantic import ConfigDict, Field, ValidationError

from embodied.errors import ConfigError, PackageError
from embodied.packaging import NAMES

C = TypeVar("C")

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def recipe(cls: type[C]) -> type[C]:
    """Make `cls` a frozen dataclass that checks the types and ranges of its fields and refuses unknown ones."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=config)
    made.is_recipe = True
    return made


def yaml_of(cls: type) -> str:
    """The config file of a recipe: every field, its default, its comment. `configs/` holds exactly these texts."""
    comments = dict(re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(cls), re.MULTILINE))
    lines = [f"_target_: {cls.__module__}.{cls.__qualname__}"]
    for field in dataclasses.fields(cls):
        lines.append(f"{field.name}: {_default(field)}" + (f"  # {c}" if (c := comments.get(field.name)) else ""))
    return "\n".join(lines) + "\n"


def to_dict(value: Any) -> Any:
    """A recipe as plain values, `_target_` included: what a run folder keeps and `from_dict` reads back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"_target_": f"{cls.__module__}.{cls.__qualname__}"} | fields
    if isinstance(value, tuple | list):
        return [to_dict(item) for item in value]
    if isinstance(value, dict):
        return {key: to_dict(item) for key, item in value.items()}
    return value


def from_dict(node: Any, path: str = "") -> Any:
    """Build the recipe that `node` describes, innermost first; the error names the field by its dotted `path`.

    Only classes made by `@recipe` can be named, and only our packages are imported to find them: a config of someone
    else runs no code. Modules of your own are named in the environment variable EMBODIED_MODULES (`mine,other.part`).
    """
    if isinstance(node, list):
        return [from_dict(item, f"{path}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    fields = {key: from_dict(value, f"{path}.{key}".lstrip(".")) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return fields
    cls = recipe_class(node["_target_"], path)
    try:
        return cls(**fields)
    except ValidationError as error:
        raise ConfigError(_sentence(error, path)) from None


def recipe_class(target: Any, path: str) -> type:
    """The recipe that `_target_` names, at dotted `path` of a config."""
    where = f"{path}._target_".lstrip(".")
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{where} asks for {target!r}, which is not module.Class; nothing was built.")
    module, _, name = target.rpartition(".")
    if not _may_import(module):
        raise ConfigError(
            f"{where} asks for {target}, and {module} is not one of our modules; nothing was imported or built. If you "
            f"trust it, set EMBODIED_MODULES={module.partition('.')[0]}."
        )
    try:
        cls = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigError(
                f"{where} asks for {target}, and there is no module {error.name}; nothing was built."
            ) from None
        raise PackageError(f"{target} needs the package {error.name}, which is not installed.") from None
    except (AttributeError, ValueError):
        raise ConfigError(f"{where} asks for {target}, and {module} has no {name}; nothing was built.") from None
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and getattr(cls, "is_recipe", False)):
        raise ConfigError(f"{where} asks for {target}, which is not a recipe; nothing was built.")
    return cls


def _may_import(module: str) -> bool:
    """Ours, already imported by whoever runs this, or trusted by name."""
    trusted = {*NAMES, *filter(None, os.environ.get("EMBODIED_MODULES", "").split(","))}
    return module in sys.modules or module.partition(".")[0] in trusted or module in trusted


def _sentence(error: ValidationError, path: str) -> str:
    """One line per wrong field: its dotted name, what was found, what is wanted."""
    lines = []
    for item in error.errors():
        field = ".".join([path, *map(str, item["loc"])] if path else map(str, item["loc"]))
        found = "" if item["type"] == "value_error" else f" (found {_short(item['input'])})"
        lines.append(f"{field or 'the run'}: {item['msg'].removeprefix('Value error, ')}{found}")
    return "; ".join(lines) + ". Nothing was built."


def _short(value: Any) -> str:
    text = repr(value) if not dataclasses.is_dataclass(value) else type(value).__name__
    return text if len(text) < 80 else text[:77] + "..."


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return json.dumps(to_dict(field.default))
    if field.default_factory is not dataclasses.MISSING:
        return json.dumps(to_dict(field.default_factory()))
    return "???"
