"""The sentence for a name that a simulator does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from embodied.errors import ConfigError


def unknown(asked: str, name: str, known: Iterable[str], *, cutoff: float = 0.6) -> ConfigError:
    """`asked` says what was looked for and where: "ManiSkill has no task"."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    hint = f"Nearest: {', '.join(near)}." if near else f"There are {len(known)}, such as {', '.join(known[:2])}."
    return ConfigError(f"{asked} `{name}`; nothing was built. {hint}")
