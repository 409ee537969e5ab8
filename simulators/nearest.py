"""The sentence for a name that a simulator does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from embodied.errors import ConfigError

FEW = 8  # names that are listed even beside a near one


def unknown(asked: str, name: str, known: Iterable[str], *, cutoff: float = 0.6) -> ConfigError:
    """`asked` says what was looked for and where: "ManiSkill has no task"."""
    return ConfigError(f"{asked} `{name}`; nothing was built. {nearest(name, known, cutoff=cutoff)}.")


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """What `name` may have meant; all names where they are few, some where none is near. Without a full stop."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    listed = f"There are {len(known)}: {', '.join(known[:FEW])}{' and more' if len(known) > FEW else ''}"
    if not near:
        return listed
    return f"Nearest: {', '.join(near)}" + (f". {listed}" if len(known) <= FEW else "")
