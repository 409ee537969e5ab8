"""What the words of a sweep range over, in Hydra's grammar: `1,2`, `range(5)`, `choice(x,y)`, `glob(*)`, `interval()`.

Hydra reads them; what it makes of them is a tuple of words, or an interval that only a search can draw from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from embodied.errors import ConfigError
from embodied.experiments import config_dir

MOST = 1000  # values of one setting, and runs of one sweep


@dataclass(frozen=True, slots=True)
class Span:
    """An interval, both ends included; `whole`: of whole numbers."""

    low: float
    high: float
    log: bool
    whole: bool


Values = tuple[str, ...] | Span
Ranges = Mapping[str, Values]  # by key, as the word has it, `+` included


def read(words: Iterable[str]) -> tuple[list[str], dict[str, Values]]:
    """Words that say one thing, and the values of those that say several; of two words with one key the last counts."""
    fixed: dict[str, str] = {}
    ranges: dict[str, Values] = {}
    for word, override in _parsed(words):
        key = override.get_key_element()
        fixed.pop(key, None)
        ranges.pop(key, None)
        if not override.is_sweep_override():
            fixed[key] = word
        elif override.is_discrete_sweep():
            ranges[key] = _listed(word, override)
        else:
            ranges[key] = _span(word, override.value())
    return list(fixed.values()), ranges


def _parsed(words: Iterable[str]) -> list[tuple[str, Override]]:
    GlobalHydra.instance().clear()
    found: list[tuple[str, Override]] = []
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        for word in words:
            if "=" not in word and not word.startswith("~"):
                raise ConfigError(f"`{word}` is not a setting; nothing was started. Settings are written key=value.")
            try:
                found.append((word, parser.parse_overrides([word])[0]))
            except HydraException as error:
                told = str(error).strip().splitlines()[0].rstrip(".")
                raise ConfigError(f"`{word}` could not be read: {told}. Nothing was started.") from None
    return found


def _listed(word: str, override: Override) -> tuple[str, ...]:
    try:
        values = tuple(dict.fromkeys(islice(override.sweep_string_iterator(), MOST + 1)))
    except HydraException as error:
        raise ConfigError(f"`{word}` could not be read: {str(error).splitlines()[0]}. Nothing was started.") from None
    if not values or len(values) > MOST:
        found = f"more than {MOST}" if values else "none"
        raise ConfigError(f"`{word}` should name some values and names {found}; nothing was started.")
    return values


def _span(word: str, value: object) -> Span:
    assert isinstance(value, IntervalSweep)
    low, high, log = value.start, value.end, "log" in value.tags
    if low is None or high is None or not low < high or (log and low <= 0):
        least = " above 0" if log else ""
        raise ConfigError(f"`{word}` should be an interval from less to more{least}; nothing was started.")
    return Span(low, high, log, whole=isinstance(low, int) and isinstance(high, int))
