"""Several samplers in processes of their own, each with a slice of the environments and its own copy of the policy.

Acting beside the simulator needs no message and no barrier in a step, only one for each rollout: on a CPU this collects
a third faster than one policy for all. What comes back does not depend on the number of processes: starts and noise
belong to environments (`starts.py`, `noise.py`).

A process that dies is rebuilt, the episodes that ran in it are recorded as lost, and its slice is collected again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from embodied.config import recipe
from embodied.errors import EmbodiedError, EnvProcessError, StageError
from embodied.interfaces import Plan
from embodied.runtime.stage import ProcessStage
from embodied.sampler.assemble import check_finite, join
from embodied.sampler.recorder import Label, Recorder, label_of
from embodied.sampler.sampler import Sampler, SamplerRecipe
from embodied.sampler.starts import Draw
from embodied.spec import join_specs
from embodied.types import Episode, Metrics, Spec, Trajectory, Weights

log = logging.getLogger(__name__)
MAX_DEATHS, MAX_DEATHS_IN_A_ROW = 20, 3  # of all processes, and of one without a finished rollout
PATIENCE_S, STEP_PATIENCE_S = 600.0, 5.0  # for a rollout, and more for each decision of one environment
Harvest = tuple[Trajectory, Metrics]
R = TypeVar("R")
T = TypeVar("T")


@recipe
class FarmRecipe:
    samplers: tuple[SamplerRecipe, ...]  # one for each process, in the order of the N environments

    def build(self) -> Farm:
        return Farm(self)


class Farm:
    """The same calls as a `Sampler`."""

    def __init__(self, r: FarmRecipe) -> None:
        self.recipes = list(r.samplers)
        self.stages: list[ProcessStage[Sampler]] = []
        self.deaths, self.in_a_row = 0, [0] * len(self.recipes)
        self.weights: Weights | None = None
        self.telling: list[list[Future[None]]] = [[] for _ in self.recipes]  # weights and plans under way to each
        self.seconds: Metrics = {}
        try:
            for index in range(len(self.recipes)):
                self.stages.append(self._launch(index))
            for stage in self.stages:
                stage.ready()
            specs = [stage.call(Sampler.spec).result() for stage in self.stages]
            self.sizes, self._spec = [spec.num_envs for spec in specs], join_specs(specs)
            self.assign(Draw.over(self._spec, r.samplers[0].starts.group_size))
        except BaseException:
            self.close()
            raise
        self.labels = [Label(env=n, index=n) for n in range(self._spec.num_envs)]  # of the running episodes
        self.recorder, self.finished = Recorder(self._spec.num_envs), list[Episode]()

    def spec(self) -> Spec:
        return self._spec

    def load(self, weights: Weights) -> None:
        self.weights = Weights(weights.version, {name: x.cpu() for name, x in weights.state.items()})
        self._tell(Sampler.load, self.weights)

    def assign(self, plan: Plan) -> None:
        """Choose tasks by `plan` from the next episode on."""
        self.plan = plan
        self._tell(Sampler.assign, plan)

    def begun(self) -> Tensor:
        """(N,) episodes that each environment has begun, less one."""
        return torch.cat([self._surely(index, Sampler.begun) for index in range(len(self.stages))])

    def collect(self, decisions: int) -> Trajectory:
        """T = `decisions` chunks from each of the N environments."""
        for stage, size in zip(self.stages, self.sizes, strict=True):
            stage.timeout_s = PATIENCE_S + STEP_PATIENCE_S * decisions * size
        started = [stage.call(Sampler.harvest, decisions) for stage in self.stages]
        found = [self._part(index, future, decisions) for index, future in enumerate(started)]
        self.in_a_row = [0] * len(self.stages)
        rows = [seconds for _, seconds in found]
        self.seconds = {name: self.seconds.get(name, 0.0) + sum(r[name] for r in rows) / len(rows) for name in rows[0]}
        trajectory = join([part for part, _ in found])
        check_finite(trajectory)
        self.finished += self.recorder.take(trajectory)
        self.labels = [label_of(trajectory, -1, n) for n in range(self._spec.num_envs)]
        return trajectory

    def episodes(self) -> list[Episode]:
        """Records of the episodes that ended since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def timing(self) -> Metrics:
        """Seconds spent in each part since the last call, mean over the processes."""
        seconds, self.seconds = self.seconds, {}
        return seconds

    def state(self) -> dict[str, Tensor]:
        """Of every sampler."""
        named: dict[str, Tensor] = {}
        for index in range(len(self.stages)):
            named |= {f"{index}/{name}": x for name, x in self._surely(index, Sampler.state).items()}
        return named | {"running": self.recorder.state(), "deaths": torch.tensor(self.deaths)}

    def resume(self, state: Mapping[str, Tensor]) -> bool:
        """Continue every sampler; whether every observation came out the same."""
        self.recorder.load(state["running"])
        self.deaths = int(state["deaths"])
        started: list[Future[bool]] = []
        self.labels = []
        for index, stage in enumerate(self.stages):
            prefix = f"{index}/"
            own = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
            started.append(stage.call(Sampler.resume, own))
            self.labels += self._labels_in(own, len(self.labels))
        return all([future.result() for future in started])

    def close(self) -> None:
        for stage in self.stages:
            stage.close()

    def _launch(self, index: int) -> ProcessStage[Sampler]:
        return ProcessStage(self.recipes[index], name=f"sampler-{index}")

    def _part(self, index: int, future: Future[Harvest], decisions: int) -> Harvest:
        try:
            for told in self.telling[index]:
                told.result()
            self.telling[index] = []
            return future.result()
        except StageError as error:
            self._rebuild(index, error)
        except EmbodiedError:
            raise  # a sentence for the user, which a new process would only repeat
        except Exception as error:  # whatever a simulator raises counts as its death
            self._rebuild(index, StageError(f"the sampler in process {index} raised {error!r}."))
        return self._part(index, self.stages[index].call(Sampler.harvest, decisions), decisions)

    def _tell(self, method: Callable[[Sampler, T], None], value: T) -> None:
        for stage, telling in zip(self.stages, self.telling, strict=True):
            telling.append(stage.call(method, value))

    def _surely(self, index: int, method: Callable[[Sampler], R]) -> R:
        """What the sampler in process `index` answers; one that died since its last rollout is rebuilt first."""
        try:
            return self.stages[index].call(method).result()
        except StageError as error:
            self._rebuild(index, error)
            return self._surely(index, method)

    def _rebuild(self, index: int, error: StageError) -> None:
        """A new process whose episodes begin after those that were lost, and with noise of its own."""
        self.deaths, self.in_a_row[index] = self.deaths + 1, self.in_a_row[index] + 1
        if self.deaths > MAX_DEATHS or self.in_a_row[index] > MAX_DEATHS_IN_A_ROW:
            raise EnvProcessError(
                f"{error} It died {self.in_a_row[index]} times without a finished rollout ({self.deaths} deaths in "
                f"all); the run stops and its last checkpoint is kept."
            ) from None
        log.warning("%s It is rebuilt (death %d).", error, self.deaths)
        first = sum(self.sizes[:index])
        own = self.labels[first : first + self.sizes[index]]
        self.finished += self.recorder.lose(own)
        counts = tuple(label["index"] // self._spec.num_envs + self.in_a_row[index] for label in own)
        self.recipes[index] = replace(self.recipes[index], counts=counts, deaths=self.deaths)
        self.stages[index].close()
        self.stages[index] = self._launch(index)
        self.telling[index] = []
        try:
            self.stages[index].ready()
            self.stages[index].call(Sampler.assign, self.plan).result()
            if self.weights is not None:
                self.stages[index].call(Sampler.load, self.weights).result()
        except StageError as again:
            self._rebuild(index, again)

    def _labels_in(self, state: Mapping[str, Tensor], first: int) -> list[Label]:
        """Labels of the episodes that a saved sampler was running, its first environment being `first`."""
        total = self._spec.num_envs
        rows = zip(state["counts"].tolist(), state["drawn"].tolist(), strict=True)
        return [
            Label(env=first + n, index=count * total + first + n, task=task, initial_state=initial_state, seed=seed)
            for n, (count, (task, initial_state, seed)) in enumerate(rows)
        ]
