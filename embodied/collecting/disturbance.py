"""Noise on what an expert executes, so that demonstrations show how to come back (DART, Laskey et al. 2017).

An expert is always on its way; a policy that imitates it is not quite, and was never shown what to do there. An expert
that is pushed aside while it demonstrates shows it. What it intended is recorded beside what was executed, and is what
a policy learns. Laskey et al. fit the noise to the errors of a policy; here its size is given. It is smooth, because
white noise averages out before it leads anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodied.noise import mix

DISTURB_ROLE = 6  # of the seeds under one seed of an attempt; see `mix`
MEMORY = 0.7  # of the last action's noise that is left in the next


class Disturbance:
    """executed = disturbance(intended): some `entries` of an action (A,) changed at random, of one episode."""

    def __init__(self, std: float, entries: Sequence[int], *, seed: int, task: int) -> None:
        self.std, self.entries = std, list(entries)
        self.generator = np.random.default_rng(mix(seed, DISTURB_ROLE, task))
        self.noise = self._drawn()

    def __call__(self, intended: NDArray[np.float32]) -> NDArray[np.float32]:
        executed = intended.copy()
        executed[self.entries] = (intended[self.entries] + self.noise).clip(-1, 1)
        self.noise = MEMORY * self.noise + np.sqrt(1 - MEMORY**2) * self._drawn()
        return executed

    def _drawn(self) -> NDArray[np.float64]:
        return self.std * self.generator.standard_normal(len(self.entries))
