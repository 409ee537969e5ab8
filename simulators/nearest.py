"""The sentence for a name that a simulator does not have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from embodied.errors import ConfigError

FEW = 8  # names that are listed even beside a near one
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of a name: two and arm of TwoArm and of two_arm
SHORTEST = 3  # letters of a word that counts: v1 is in every name


def unknown(asked: str, name: str, known: Iterable[str], *, cutoff: float = 0.6) -> ConfigError:
    """`asked` says what was looked for and where: "ManiSkill has no task"."""
    return ConfigError(f"{asked} `{name}`; nothing was built. {nearest(name, known, cutoff=cutoff)}.")


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """What `name` may have meant; all names where they are few, some where none is near. Without a full stop."""
    known = list(known)
    near = _near(name, known, cutoff)
    listed = f"There are {len(known)}: {', '.join(known[:FEW])}{' and more' if len(known) > FEW else ''}"
    if not near:
        return listed
    return f"Nearest: {', '.join(near)}" + (f". {listed}" if len(known) <= FEW else "")


def _near(name: str, known: list[str], cutoff: float) -> list[str]:
    """First those that contain `name`, however it is written, then those with most of its words or letters."""
    wanted = _plain(name)
    words = {word.casefold() for word in WORD.findall(name) if len(word) >= SHORTEST}
    whole: list[tuple[float, str]] = []
    rest: list[tuple[int, float, str]] = []
    for other in known:
        plain = _plain(other)
        likeness = difflib.SequenceMatcher(None, plain, wanted).ratio()
        shared = sum(len(word) for word in words if word in plain)
        if len(wanted) >= SHORTEST and wanted in plain:
            whole.append((-likeness, other))
        elif shared or likeness >= cutoff:
            rest.append((-shared, -likeness, other))
    found = [other for _, other in sorted(whole)][:FEW]
    return found + [other for *_, other in sorted(rest)][: max(0, 3 - len(found))]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
