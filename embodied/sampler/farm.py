"""Several samplers in processes of their own, each with a slice of the environments and its own copy of the policy.

Acting beside the simulator needs no message and no barrier in a step, only one for each rollout: on a CPU this collects
a third faster than one policy for all. What comes back does not depend on the number of processes: starts and noise
belong to environments (`starts.py`, `noise.py`).

A process that dies is rebuilt, the episodes that ran in it are recorded as lost, and its slice is collected again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace

from torch import Tensor

from embodied.config import recipe
from embodied.errors import EmbodiedError, EnvProcessError, StageError
from embodied.runtime.stage import ProcessStage
from embodied.sampler.assemble import check_finite, join
from embodied.sampler.recorder import Recorder
from embodied.sampler.sampler import Sampler, SamplerRecipe
from embodied.types import Episode, Metrics, Spec, Trajectory, Weights

log = logging.getLogger(__name__)
MAX_DEATHS, MAX_DEATHS_IN_A_ROW = 20, 3


@recipe
class FarmRecipe:
    samplers: tuple[SamplerRecipe, ...]  # one for each process, in the order of the N environments

    def build(self) -> Farm:
        return Farm(self)


class Farm:
    """The same calls as a `Sampler`."""

    def __init__(self, r: FarmRecipe) -> None:
        self.recipes = list(r.samplers)
        self.stages = [self._launch(index) for index in range(len(self.recipes))]
        self.weights: Weights | None = None
        self.last: Trajectory | None = None
        self.deaths, self.in_a_row = 0, 0
        try:
            for stage in self.stages:
                stage.ready()
            specs = [stage.call(Sampler.spec).result() for stage in self.stages]
        except BaseException:
            self.close()
            raise
        self.sizes = [spec.num_envs for spec in specs]
        self._spec = replace(specs[0], num_envs=sum(self.sizes))
        self.recorder, self.finished = Recorder(self._spec.num_envs), list[Episode]()

    def spec(self) -> Spec:
        return self._spec

    def load(self, weights: Weights) -> None:
        self.weights = weights
        for stage in self.stages:
            stage.call(Sampler.load, weights)

    def collect(self, decisions: int) -> Trajectory:
        """T = `decisions` chunks from each of the N environments."""
        started = [stage.call(Sampler.collect, decisions) for stage in self.stages]
        parts = [self._part(index, future, decisions) for index, future in enumerate(started)]
        self.in_a_row = 0
        self.last = join(parts)
        check_finite(self.last)
        self.finished += self.recorder.take(self.last)
        return self.last

    def episodes(self) -> list[Episode]:
        """Records of the episodes that ended since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def timing(self) -> Metrics:
        """Seconds spent in each part since the last call, mean over the processes."""
        rows = [stage.call(Sampler.timing).result() for stage in self.stages]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def state(self) -> dict[str, Tensor]:
        states = [stage.call(Sampler.state).result() for stage in self.stages]
        named = {f"{index}/{name}": x for index, state in enumerate(states) for name, x in state.items()}
        return named | {"running": self.recorder.state()}

    def resume(self, state: Mapping[str, Tensor]) -> bool:
        """Continue every sampler; whether every observation came out the same."""
        self.recorder.load(state["running"])
        started: list[Future[bool]] = []
        for index, stage in enumerate(self.stages):
            prefix = f"{index}/"
            own = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
            started.append(stage.call(Sampler.resume, own))
        return all([future.result() for future in started])

    def close(self) -> None:
        for stage in self.stages:
            stage.close()

    def _launch(self, index: int) -> ProcessStage[Sampler]:
        return ProcessStage(self.recipes[index], name=f"sampler-{index}")

    def _part(self, index: int, future: Future[Trajectory], decisions: int) -> Trajectory:
        try:
            return future.result()
        except StageError as error:
            self._rebuild(index, error)
        except EmbodiedError:
            raise  # a sentence for the user, which a new process would only repeat
        except Exception as error:  # whatever a simulator raises counts as its death
            self._rebuild(index, StageError(f"the simulator in process {index} raised {error!r}."))
        return self._part(index, self.stages[index].call(Sampler.collect, decisions), decisions)

    def _rebuild(self, index: int, error: StageError) -> None:
        """A new process whose episodes begin after those that were lost, and with noise of its own."""
        self.deaths, self.in_a_row = self.deaths + 1, self.in_a_row + 1
        if self.deaths > MAX_DEATHS or self.in_a_row > MAX_DEATHS_IN_A_ROW:
            raise EnvProcessError(
                f"{error} It died {self.in_a_row} times without a finished rollout ({self.deaths} deaths in all); the "
                f"run stops and its last checkpoint is kept."
            ) from None
        log.warning("%s It is rebuilt (death %d).", error, self.deaths)
        first, size, total = sum(self.sizes[:index]), self.sizes[index], self._spec.num_envs
        counts = (0,) * size
        if self.last is not None:
            counts = tuple((self.last.episode[-1, first : first + size] // total).tolist())
            self.finished += self.recorder.lose(self.last, first, size)
        self.recipes[index] = replace(
            self.recipes[index], counts=tuple(c + self.in_a_row for c in counts), deaths=self.deaths
        )
        self.stages[index].close()
        self.stages[index] = self._launch(index)
        self.stages[index].ready()
        if self.weights is not None:
            self.stages[index].call(Sampler.load, self.weights).result()
