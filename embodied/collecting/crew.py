"""The processes of one collection and what each of them does next."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.collecting.expert import Attempt, Expert, ExpertRecipe
from embodied.errors import StageError
from embodied.runtime.stage import ProcessStage
from embodied.sampler.starts import STATE, Starts

log = logging.getLogger(__name__)
PATIENCE_S = 300.0  # for a scene to be built, and for one demonstration
MAX_DEATHS_IN_A_ROW = 5  # of processes, without a demonstration between them


@dataclass(frozen=True, slots=True)
class Job:
    task: int
    seed: int
    initial_state: int = -1  # -1: the seed alone decides


@dataclass(frozen=True, slots=True)
class InTurn:
    """Group g plays task g: all of its stored initial states in an order drawn from the key, then in a new one."""

    num_tasks: int
    initial_states: tuple[int, ...] | None

    def choose(self, key: tuple[int, int], group: int, count: int) -> tuple[int, int, int]:
        number, stored = count * self.num_tasks + group, self.initial_states[group] if self.initial_states else 0
        if not stored:
            return number, group, -1
        around, at = divmod(count, stored)
        order = np.random.default_rng([*key, STATE, group, around]).permutation(stored)
        return number, group, int(order[at])


class Schedule:
    """Which attempt comes next: tasks in turn, each until its share of the episodes is kept."""

    def __init__(
        self,
        episodes: int,
        num_tasks: int,
        seed: int,
        earlier: Iterable[Attempt] = (),
        *,
        initial_states: tuple[int, ...] | None = None,
    ) -> None:
        self.starts = Starts(seed=seed, role="demonstrate", plan=InTurn(num_tasks, initial_states))
        self.share = [episodes // num_tasks + (task < episodes % num_tasks) for task in range(num_tasks)]
        self.kept, self.running, self.numbers = ([0] * num_tasks for _ in range(3))
        self.failures_in_a_row = [0] * num_tasks
        self.known: set[tuple[int, int]] = set()
        self.tries = self.successes = 0
        self.again: list[Job] = []  # whose process died
        for attempt in earlier:
            self._count(attempt)

    @property
    def done(self) -> int:
        return sum(self.kept)

    def next(self) -> Job | None:
        """None where enough are running."""
        if self.again:
            job = self.again.pop()
            self.running[job.task] += 1
            return job
        coming = [kept + running for kept, running in zip(self.kept, self.running, strict=True)]
        wanted = [task for task, share in enumerate(self.share) if coming[task] < share]
        if not wanted:
            return None
        task = min(wanted, key=lambda task: coming[task] / self.share[task])
        self.running[task] += 1
        return self._fresh(task)

    def finished(self, attempt: Attempt) -> None:
        self.running[attempt.task] -= 1
        self._count(attempt)
        self.failures_in_a_row[attempt.task] = 0 if attempt.success else self.failures_in_a_row[attempt.task] + 1

    def lost(self, job: Job) -> None:
        """Its process died: once more."""
        self.running[job.task] -= 1
        self.again.append(job)

    def _count(self, attempt: Attempt) -> None:
        self.known.add((attempt.task, attempt.seed))
        self.tries, self.successes = self.tries + 1, self.successes + attempt.success
        self.kept[attempt.task] += attempt.kept

    def _fresh(self, task: int) -> Job:
        while True:
            ((_, initial_state, seed),) = self.starts([task], [self.numbers[task]], len(self.share))
            self.numbers[task] += 1
            if (task, seed) not in self.known:
                return Job(task, seed, initial_state)


class Place:
    """A process that is started again when it dies."""

    def __init__(self, recipe: ExpertRecipe, name: str) -> None:
        self.recipe, self.name = recipe, name
        self.future: Future[Any] | None = None
        self.job: Job | None = None
        self.stage = self._launch()

    def relaunch(self) -> None:
        self.stage.close()
        self.stage = self._launch()

    def _launch(self) -> ProcessStage[Expert]:
        return ProcessStage(self.recipe, self.name, timeout_s=PATIENCE_S)


class Crew:
    """The processes of one collection."""

    def __init__(self, recipes: Sequence[ExpertRecipe]) -> None:
        self.places = [Place(recipe, f"expert-{index}") for index, recipe in enumerate(recipes)]
        self.deaths_in_a_row = 0
        self.died_at: set[Job] = set()
        try:
            for place in self.places:
                place.stage.ready()
            self.spec = self.places[0].stage.call(Expert.spec).result()
        except BaseException:
            self.close()
            raise

    def start(self, schedule: Schedule) -> None:
        """Give everybody who is idle something to do, as long as there is something."""
        for place in self.places:
            if place.job is None and (job := schedule.next()) is not None:
                place.job = job
                place.future = place.stage.call(Expert.attempt, job.task, job.seed, initial_state=job.initial_state)

    def wait(self, timeout_s: float) -> list[Place]:
        """Those that have come to an end."""
        running = [place.future for place in self.places if place.future is not None]
        done, _ = wait(running, timeout_s, FIRST_COMPLETED)
        return [place for place in self.places if place.future in done]

    @property
    def is_idle(self) -> bool:
        return all(place.job is None for place in self.places)

    def take(self, place: Place, schedule: Schedule) -> Attempt | None:
        """The attempt that `place` has finished; None where its process died, and the attempt will be repeated."""
        assert place.future is not None
        assert place.job is not None
        future, job, place.future, place.job = place.future, place.job, None, None
        try:
            attempt = future.result()
            self.deaths_in_a_row = 0
        except StageError as error:
            self.deaths_in_a_row += 1
            if self.deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
                raise
            log.warning("%s It is started again.", error)
            place.relaunch()
            if job not in self.died_at:
                self.died_at.add(job)
                schedule.lost(job)
                return None
            attempt = Attempt(job.task, job.seed, False, False, 0, 0.0, str(error), job.initial_state)
        schedule.finished(attempt)
        return attempt

    def replay(self, indices: Sequence[int]) -> Iterator[bool]:
        """Whether each of the recorded episodes ends as it did, in order. When it ends early, no other is begun."""
        calls = [self.places[n % len(self.places)].stage.call(Expert.replay, index) for n, index in enumerate(indices)]
        try:
            for call in calls:
                yield call.result()
        finally:
            for call in calls:
                call.cancel()

    def close(self) -> None:
        for place in self.places:
            place.stage.close()
