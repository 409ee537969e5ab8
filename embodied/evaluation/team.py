"""The processes of an evaluation: each plays with environments and a policy of its own, and asks when one is free.

    parent: begin {n: job} -> process        process: plays until an episode ends -> parent: begin another ...

A process that dies or hangs is started again, and the episodes that ran in it are played again, each alone: if its
process dies once more it was the cause, and after the third time it is recorded as lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace

from embodied.errors import EmbodiedError, EnvProcessError, StageError
from embodied.evaluation.jobs import Job
from embodied.evaluation.player import Played, Player, PlayerRecipe
from embodied.evaluation.queue import Queue
from embodied.interfaces import EnvRecipe, PolicyRecipe, Recipe, ShardedRecipe
from embodied.runtime.stage import LocalStage, ProcessStage
from embodied.spec import join_specs
from embodied.types import Episode, Spec, Weights

log = logging.getLogger(__name__)
ANSWER_S = 1.0  # after which a process answers though no episode has ended: Ctrl-C and hung processes are noticed
PATIENCE_S = 180.0  # more than that, for a reset and a decision
DEATHS_IN_A_ROW = 10  # of all processes, without an episode between them

Take = Callable[[Job, Episode], None]


class Place:
    """A process, or this one, and what its environments are playing."""

    def __init__(self, recipe: Recipe[Player], name: str, *, in_process: bool, patience_s: float) -> None:
        self.recipe, self.name, self.in_process, self.patience_s = recipe, name, in_process, patience_s
        self.first = 0  # of its environments among all
        self.playable: list[tuple[int, ...]] = []
        self.jobs: dict[int, Job] = {}  # that run, by environment
        self.tasks: dict[int, int] = {}  # that were played last, by environment
        self.is_alone = False  # with an episode whose process died before
        self.told: list[Future[None]] = []  # weights under way
        self.future: Future[Played] | None = None
        self.stage = self._launch()

    def ready(self) -> None:
        """Wait until it is built and has its weights, or raise why not."""
        if isinstance(self.stage, ProcessStage):
            self.stage.ready()
            self.stage.timeout_s = ANSWER_S + self.patience_s
        for told in self.told:
            told.result()
        self.told = []

    def load(self, weights: Weights) -> None:
        self.told.append(self.stage.call(Player.load, weights))

    def relaunch(self) -> None:
        self.stage.close()
        self.jobs, self.tasks, self.told, self.is_alone = {}, {}, [], False
        self.stage = self._launch()

    def ask(self, queue: Queue) -> None:
        """Begin an episode wherever none runs, if there is one, and play on."""
        begin: dict[int, Job] = {}
        for n, playable in enumerate(self.playable):
            if n in self.jobs or self.is_alone:
                continue
            job = queue.next(playable, self.tasks.get(n), alone=not self.jobs)
            if job is not None:
                begin[n] = self.jobs[n] = job
                self.tasks[n], self.is_alone = job.task, queue.is_suspect(job)
        if self.jobs:
            self.future = self.stage.call(Player.play, begin, ANSWER_S)

    def _launch(self) -> LocalStage[Player] | ProcessStage[Player]:
        return ProcessStage(self.recipe, self.name) if self.in_process else LocalStage(self.recipe)


class Team:
    """team.load(weights); team.play(queue, take); team.close()"""

    def __init__(
        self, recipes: Sequence[Recipe[Player]], *, in_processes: bool, patience_s: float = PATIENCE_S
    ) -> None:
        self.places: list[Place] = []
        self.weights: Weights | None = None
        self.deaths_in_a_row = self.steps = 0
        try:
            for index, recipe in enumerate(recipes):
                self.places.append(Place(recipe, f"player-{index}", in_process=in_processes, patience_s=patience_s))
            for place in self.places:
                place.ready()
            self.spec = self._joined()
        except BaseException:
            self.close()
            raise

    def load(self, weights: Weights) -> None:
        self.weights = Weights(weights.version, {name: x.cpu() for name, x in weights.state.items()})
        for place in self.places:
            place.load(self.weights)
        for place in self.places:
            place.ready()

    def play(self, queue: Queue, take: Take = lambda *_: None, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Until `queue` is done, or `stop` says so; `take` gets every episode when it ends, one of each job."""
        while not queue.is_done and not stop():
            for place in self.places:
                if place.future is None:
                    place.ask(queue)
            running = {place.future: place for place in self.places if place.future is not None}
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for place in [running[future] for future in done]:
                self._take(place, queue, take)

    def close(self) -> None:
        for place in self.places:
            place.stage.close()

    def _joined(self) -> Spec:
        specs = [place.stage.call(Player.spec).result() for place in self.places]
        first = 0
        for place, spec in zip(self.places, specs, strict=True):
            every = tuple(range(len(spec.tasks)))
            place.first, first = first, first + spec.num_envs
            place.playable = list(spec.playable or (every,) * spec.num_envs)
        return join_specs(specs)

    def _take(self, place: Place, queue: Queue, take: Take) -> None:
        future, place.future = place.future, None
        assert future is not None
        try:
            place.ready()
            played = future.result()
        except StageError as error:
            self._lose(place, error, queue, take)
        except EmbodiedError:
            raise  # a sentence for the user, which a new process would only repeat
        except Exception as error:  # whatever a simulator raises counts as its death
            self._lose(place, StageError(f"{place.name} raised {error!r}."), queue, take)
        else:
            self.steps += played.steps
            for n, episode in played.ended:
                job = place.jobs.pop(n)
                if episode.lost:
                    self._died(job, replace(episode, env=place.first + n), queue, take)
                else:
                    self.deaths_in_a_row = 0
                    _give(job, replace(episode, env=place.first + n), queue, take)
            place.is_alone = place.is_alone and bool(place.jobs)

    def _lose(self, place: Place, error: StageError, queue: Queue, take: Take) -> None:
        """Start the process again; what ran in it is played again."""
        self.deaths_in_a_row += 1
        if not place.in_process or self.deaths_in_a_row >= DEATHS_IN_A_ROW:
            raise EnvProcessError(
                f"{error} No episode ended between {self.deaths_in_a_row} deaths of processes; the evaluation stops, "
                f"and what is whole is kept."
            ) from None
        log.warning("%s It is started again, and its episodes are played again.", error)
        running = dict(place.jobs)
        place.relaunch()
        if self.weights is not None:
            place.load(self.weights)
        for n, job in running.items():
            self._died(job, _nothing(job, place.first + n), queue, take)

    def _died(self, job: Job, episode: Episode, queue: Queue, take: Take) -> None:
        if not queue.died(job):
            log.warning("its process died every time that episode %d of seed %d was played: lost", job.index, job.seed)
            _give(job, episode, queue, take)


def _give(job: Job, episode: Episode, queue: Queue, take: Take) -> None:
    take(job, episode)
    queue.finished(job, episode)


def _nothing(job: Job, env: int) -> Episode:
    """The record of an episode that could not be played."""
    task, initial_state, seed = job.start
    return Episode(job.index, env, task, initial_state, seed, 0, 0.0, False, False, None, False, lost=True)


def players(
    simulator: EnvRecipe,
    policy: PolicyRecipe,
    *,
    trained: Spec | None = None,
    max_steps: int | None = None,
    explore: bool = False,
    device: str = "cpu",
) -> tuple[list[PlayerRecipe], bool]:
    """One for each process that `simulator` wants, and whether it wants any."""
    shards = list(simulator.shards()) if isinstance(simulator, ShardedRecipe) else [simulator]
    found = [
        PlayerRecipe(env=env, policy=policy, trained=trained, max_steps=max_steps, explore=explore, device=device)
        for env in shards
    ]
    return found, len(shards) > 1 or shards[0] is not simulator
