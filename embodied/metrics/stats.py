"""Intervals for success rates."""

from __future__ import annotations

import math


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a success rate, 95 % by default; (0, 1) without trials (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    scale = 1 + z * z / trials
    center = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def percent(successes: int, trials: int) -> str:
    """`97.0 % [91.5, 99.0] of 100`: a rate never goes without its interval."""
    low, high = wilson(successes, trials)
    rate = successes / trials if trials else float("nan")
    return f"{100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {trials}"
