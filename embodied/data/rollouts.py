"""On-policy storage: what was collected since the last update, used once."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from embodied.errors import StageError
from embodied.types import Trajectory


class Rollouts:
    def __init__(self) -> None:
        self._pending: list[Trajectory] = []

    def add(self, trajectory: Trajectory) -> None:
        self._pending.append(trajectory)

    def take(self) -> Trajectory:
        if len(self._pending) != 1:
            raise StageError(
                f"an on-policy update wants one rollout and has {len(self._pending)}; nothing was learned. "
                f"Call Learner.ingest exactly once before Learner.update."
            )
        return self._pending.pop()

    def state(self) -> Mapping[str, Tensor]:
        """Empty: between iterations nothing waits here."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:  # noqa: ARG002  (see `state`)
        self._pending.clear()
