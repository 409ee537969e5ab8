"""Which episode is played next, which are done, and when there are enough.

Episodes are handed out one by one to whoever is free, so nobody is idle while another has a list to work off. A free
environment keeps its task while there is work on it: LIBERO needs seconds to change tasks.

Enough is decided by the episodes in order, never by those that happened to finish first: short episodes finish first,
and most of them are successes. Whole rounds over all tasks are looked at one after the other, so the answer is the
same for any number of processes; what was played beyond it does not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from embodied.evaluation.jobs import Job, Jobs
from embodied.metrics.intervals import wilson
from embodied.types import Episode

AHEAD = 5  # rounds that may be begun before the first is whole, where stopping early is asked for
DEATHS = 3  # of processes that played an episode, until it is given up

Rule = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class NarrowEnough:
    """Whether the 95 % Wilson interval of `successes` of `trials` is at most `width` wide.

    Tasks are played equally often, so this rate is also the mean over tasks; its interval is at least as wide as one
    that knows how tasks differ.
    """

    width: float

    def __call__(self, successes: int, trials: int) -> bool:
        low, high = wilson(successes, trials)
        return high - low <= self.width


class Queue:
    """job = queue.next(...); then queue.finished(job, episode), or queue.died(job)

    `done` are episodes that were played before, by order.
    """

    def __init__(
        self, jobs: Jobs, *, num_envs: int = 1, done: Mapping[int, Episode] | None = None, enough: Rule | None = None
    ) -> None:
        self.jobs, self.enough = jobs, enough
        self.ahead = max(AHEAD, -(-2 * num_envs // jobs.round))  # rounds
        self.done = dict(done or {})
        self.stopped_at: int | None = None  # jobs that count, where there were enough before the end
        self.prefix = self.rounds = self.successes = self.trials = 0
        self.pending: dict[int, deque[Job]] = defaultdict(deque)  # by task
        self.running: Counter[int] = Counter()  # by task
        self.deaths: Counter[int] = Counter()  # by order
        self.suspects: deque[Job] = deque()  # processes died that played them: they are played again, alone
        for job in jobs.all:
            if job.order not in self.done:
                self.pending[job.task].append(job)
        self._look()

    @property
    def is_done(self) -> bool:
        return self.stopped_at is not None or len(self.done) == len(self.jobs.all)

    def counted(self) -> list[tuple[Job, Episode]]:
        """What was played and counts, in order."""
        return [(job, self.done[job.order]) for job in self.jobs.all[: self.stopped_at] if job.order in self.done]

    def next(self, playable: Iterable[int], task: int | None, *, alone: bool) -> Job | None:
        """For an environment that played `task` last; `alone` says that nothing else runs in its process.

        A suspect is only given to a process where nothing else runs; until it is done, ask for nothing there.
        """
        if self.is_done:
            return None
        able = set(playable)
        if alone and (suspect := next((job for job in self.suspects if job.task in able), None)):
            self.suspects.remove(suspect)
            self.running[suspect.task] += 1
            return suspect
        horizon = len(self.jobs.all) if self.enough is None else (self.rounds + self.ahead) * self.jobs.round
        open_: dict[int, int] = {}  # jobs that may begin, by task
        for one in able & self.pending.keys():
            if self.pending[one] and self.pending[one][0].order < horizon:
                open_[one] = len(self.pending[one])
        if not open_:
            return None
        if task not in open_:
            task = max(open_, key=lambda t: (open_[t] / (1 + self.running[t]), -self.pending[t][0].order))
        self.running[task] += 1
        return self.pending[task].popleft()

    def is_suspect(self, job: Job) -> bool:
        return self.deaths[job.order] > 0

    def finished(self, job: Job, episode: Episode) -> None:
        self.running[job.task] -= 1
        self.done[job.order] = episode
        self._look()

    def died(self, job: Job) -> bool:
        """Its process did: it is played again. False where it is given up, and `finished` must say that it is lost."""
        self.deaths[job.order] += 1
        if self.deaths[job.order] >= DEATHS:
            return False
        self.running[job.task] -= 1
        self.suspects.append(job)
        return True

    def _look(self) -> None:
        """Move on along the episodes that are done in order, and stop at the first round after which it is enough."""
        while self.stopped_at is None and self.prefix in self.done:
            episode = self.done[self.prefix]
            self.prefix += 1
            self.trials, self.successes = self.trials + (not episode.lost), self.successes + episode.success_once
            if self.prefix % self.jobs.round == 0:
                self.rounds += 1
                is_last = self.prefix == len(self.jobs.all)
                if self.enough is not None and not is_last and self.enough(self.successes, self.trials):
                    self.stopped_at = self.prefix
