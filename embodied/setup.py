"""`embodied setup NAME [key=value ...]`: fetch or build what a simulator needs and pip does not bring. Only on request.

What there is, is a recipe in `configs/setup/`: its `run()` does it and says what came of it.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Protocol

from omegaconf import OmegaConf

from embodied.compose import override
from embodied.config import from_dict
from embodied.errors import ConfigError
from embodied.experiments import config_dir


class Setup(Protocol):
    def run(self) -> str:
        """Do it, or find it done; a sentence for people."""
        ...


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    print(load(argv[0], argv[1:]).run())
    return 0


def usage() -> str:
    lines = ["embodied setup NAME [key=value ...]    nothing is fetched or built unless you ask for it", ""]
    for name, path in setups().items():
        comments = [line[2:].strip() for line in path.read_text().splitlines() if line.startswith("# ")]
        fields = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(fields, dict)
        keys = ", ".join(str(key) for key in fields if key != "_target_")
        lines += [f"  {name:12} {' '.join(comments)}".rstrip(), f"  {'':12} settings: {keys}"]
    return "\n".join(lines)


def setups() -> dict[str, Path]:
    return {path.stem: path for path in sorted((config_dir() / "setup").glob("*.yaml"))}


def load(name: str, words: list[str]) -> Any:
    """The recipe `configs/setup/NAME.yaml` with `key=value` words applied."""
    known = setups()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ConfigError(f"there is no setup `{name}`; nothing was done.{hint} There are: {', '.join(known)}.")
    config = OmegaConf.to_container(OmegaConf.load(known[name]))
    assert isinstance(config, dict)
    return from_dict(override({str(key): value for key, value in config.items()}, words))
