"""A search for the best settings by Optuna, on tuning seeds, with a study that continues where it was killed.

Hydra's own Optuna plugin (hydra-optuna-sweeper 1.3.0) needs optuna 2.10, whose storage fails with SQLAlchemy 2; its
trials are single runs, it searches one value beyond the end of range(), and started again it makes all its trials anew.
So Optuna is asked directly, behind the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.interrupt import Interrupt
from embodied.noise import mix
from embodied.packaging import need
from embodied.sweeping.crew import Ended, finished, run_all
from embodied.sweeping.plan import PURPOSE, Job, Plan, some
from embodied.sweeping.progress import Progress
from embodied.sweeping.recipe import Sweep
from embodied.sweeping.results import read_result
from embodied.sweeping.space import Span, Values

STUDY = "study.journal"
TEST_SEEDS = 10  # new ones, that the best setting is reported on


class Search:
    """search.run(interrupt); search.best is what it found, search.left what it has not tried."""

    def __init__(self, sweep: Sweep, plan: Plan, folder: Path) -> None:
        self.optuna = need("optuna", extra="optuna")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        journal = self.optuna.storages.journal.JournalFileBackend(str(folder / STUDY))
        self.study = self.optuna.create_study(
            study_name="sweep",
            storage=self.optuna.storages.JournalStorage(journal),
            direction="maximize",
            load_if_exists=True,
        )
        self.sweep, self.plan, self.folder = sweep, plan, folder
        self.space = {key: self._distribution(values) for key, values in plan.ranges.items()}
        self.failed: list[Ended] = []

    @property
    def left(self) -> int:
        return self.sweep.trials - len([trial for trial in self._trials() if trial.state.is_finished()])

    @property
    def best(self) -> Any:
        """The trial with the highest score; None before the first."""
        return next(iter(self.ranked), None)

    @property
    def ranked(self) -> list[Any]:
        """Trials whose runs all finished, the best first."""
        scored = [trial for trial in self._trials() if trial.value is not None]
        return sorted(scored, key=lambda trial: trial.value, reverse=True)

    def run(self, interrupt: Interrupt) -> None:
        while self.left and not interrupt.asked:
            trials = self._asked()
            jobs = {trial.number: self.jobs(trial) for trial in trials}
            every = [job for own in jobs.values() for job in own]
            todo = [job for job in every if not finished(job, self.folder)]
            for trial in trials:
                setting = " ".join(words_of(trial.params))
                print(f"trial {trial.number + 1} of {self.sweep.trials}: {setting}", flush=True)
            with Progress("runs of this trial", len(every), len(every) - len(todo)) as progress:
                ended = run_all(todo, self.folder, self.sweep.jobs, interrupt, progress)
            if not interrupt.asked:
                for trial in trials:
                    self._tell(trial, jobs[trial.number])
            self.failed += [each for each in ended if each.how == "failed"]

    def jobs(self, trial: Any) -> list[Job]:
        return self.plan.jobs(f"trial{trial.number:03d}", words_of(trial.params))

    def _asked(self) -> list[Any]:
        """Trials that a killed search had begun, then new ones: as many as keep all jobs busy."""
        begun = [trial for trial in self._trials() if not trial.state.is_finished()]
        batch = min(self.left, max(1, self.sweep.jobs // len(self.plan.seeds)))
        while len(begun) < batch:
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = self._sampler(mix(number, 0))  # a new one each time: continued is as never stopped
            begun.append(self.study.ask(self.space))
        return begun[:batch]

    def _tell(self, trial: Any, jobs: Sequence[Job]) -> None:
        results = [read_result(self.folder / job.path, job.seed) for job in jobs if finished(job, self.folder)]
        scores = [result.score(self.sweep.objective) for result in results if result is not None]
        if len(scores) == len(jobs):
            self.study.tell(trial.number, float(np.mean(scores)))
        else:
            self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)

    def _trials(self) -> list[Any]:
        """Those whose parameters are all known: a search may be killed while it asks for one."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if set(trial.params) == set(self.space)]

    def _sampler(self, seed: int) -> Any:
        seed = seed & 0xFFFFFFFF
        if self.sweep.sampler == "random":
            return self.optuna.samplers.RandomSampler(seed=seed)
        return self.optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def _distribution(self, values: Values) -> Any:
        d = self.optuna.distributions
        if not isinstance(values, Span):
            return d.CategoricalDistribution(values)
        kind = d.IntDistribution if values.whole else d.FloatDistribution
        return kind(values.low, values.high, log=values.log)


def words_of(params: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in params.items()]


def check(plan: Plan) -> None:
    """Compose the ends of every interval and every listed value, one at a time, before anything is run."""
    first = {key: some(key, values) for key, values in plan.ranges.items()}
    plan.jobs("", list(first.values()))
    for key, values in plan.ranges.items():
        for value in (values.low, values.high) if isinstance(values, Span) else values:
            plan.jobs("", list((first | {key: f"{key}={value}"}).values()), seeds=plan.seeds[:1])


def reported_words(plan: Plan, params: Mapping[str, Any]) -> list[str]:
    """Of `embodied train` for a setting that was chosen, on seeds that it was not chosen by."""
    return ["-m", *(word for word in plan.fixed if word != PURPOSE), *words_of(params), f"seed=range({TEST_SEEDS})"]
