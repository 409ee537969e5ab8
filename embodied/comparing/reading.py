"""Files of a run folder as plain values; one that cannot be read is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from yaml import YAMLError

from embodied.errors import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError) as error:
        raise _damaged(path, error) from None
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _damaged(path: Path, error: Exception) -> ConfigError:
    told = str(error).strip().splitlines()
    return ConfigError(
        f"{path} cannot be read ({told[0] if told else type(error).__name__}); nothing was compared. Restore it, or "
        f"leave out that run."
    )
