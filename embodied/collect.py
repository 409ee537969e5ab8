"""`embodied collect`: demonstrations by planners and scripted experts, in several processes, into an episode log.

An attempt is a task and a number, which together give its seed. It is begun only if all that run and are kept could not
be enough, so the episodes of a dataset are the first successes by number, whatever the number of processes and however
often it was interrupted, as far as the simulator repeats itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from embodied.collecting.crew import Crew, Schedule
from embodied.collecting.expert import Attempt, ExpertRecipe, Keep, demonstrable, facts_of, tidy
from embodied.collecting.folder import append, attempts_in, check, check_writable, create
from embodied.collecting.report import Progress, replayed, summary
from embodied.compose import compose_recipe, override
from embodied.config import Count, Natural, NotNegative, from_dict, recipe, to_dict
from embodied.data.episode_log import FACTS, EpisodeLog
from embodied.errors import ConfigError, EmbodiedError, StageError
from embodied.interfaces import DemonstrableRecipe, EnvRecipe
from embodied.interrupt import catching_ctrl_c
from embodied.metrics.intervals import wilson
from embodied.run_folder import locked

logger = logging.getLogger(__name__)
FREE = ("episodes", "processes", "verify", "max_failures", "out")  # may differ when a collection is continued
INTERRUPTED = "stopped by Ctrl-C"
BROKEN = "it ended with an error"
REPEATS = 0.95  # of the episodes, at least: PhysX repeats 99 of 100
STOPPING = {
    "once": "stopping after the running episodes; again to stop at once",
    "twice": "stopped at once; whole episodes are kept",
}

USAGE = """embodied collect simulator=NAME out=FOLDER [key=value ...]   demonstrations into FOLDER; again: go on there
embodied collect --replay FOLDER [episodes=N processes=2]     play recorded episodes again from their seeds;
                                                              exit status 1 if one does not end as it did

For example:
  embodied collect simulator=maniskill simulator.task=PickCube-v1 simulator.control=pd_joint_pos episodes=100 out=demos
Settings:
  episodes=100        to keep, over all tasks evenly
  processes=2         each with a scene of its own
  keep=successes      or all
  twice=true          a success counts if the same actions solve the task again from the same seed
  noise=0             disturbs what the expert executes; what it intended is recorded beside it, and is what is learned
                      (DART). 0.6 on the tabletop, 0.1 on robosuite and LIBERO; not for planners
  max_steps=null      actions per episode; null: four times the task's own limit
  verify=10           kept episodes that are played again from their seeds in the end; those that do not end as they
                      did are named and kept; exit status 1 if surely fewer than 95 % do (95 % Wilson interval)
  max_failures=50     in a row, of one task; then the collection ends
  seed=0, simulator.*   as in `embodied train`
Ctrl-C keeps what is whole."""


@recipe
class Collection:
    simulator: EnvRecipe
    out: str | None = None  # folder of the dataset: a new one, or an unfinished collection with the same settings
    episodes: Count = 100  # to keep, over all tasks evenly
    seed: Natural = 0  # of the initial states; never those of evaluation
    processes: Count = 2  # each with a scene of its own
    keep: Keep = "successes"  # all: also what went wrong
    twice: bool = True  # a success counts if the same actions solve the task again from the same seed
    noise: NotNegative = 0.0  # standard deviation, of an action's range [-1, 1], of what disturbs the expert (DART)
    max_steps: Count | None = None  # actions per episode; null: four times the task's own limit
    verify: Natural = 10  # kept episodes that are played again from their seeds in the end; 0 leaves it out
    max_failures: Count = 50  # in a row, of one task; then the collection ends

    def __post_init__(self) -> None:
        demonstrable(self.simulator)


@recipe
class Replay:
    """Recorded episodes that are played again from their seeds."""

    folder: str
    episodes: Count | None = None  # spread evenly over the dataset; null: all
    processes: Count = 2


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] == "--replay":
        return replay(argv[1:])
    collection: Collection = compose_recipe("collect", argv)
    if collection.out is None:
        raise ConfigError("no folder was named for the demonstrations; nothing was collected. Add out=FOLDER.")
    return run(collection, Path(collection.out), [word for word in argv if word.startswith("simulator")])


def run(c: Collection, folder: Path, words: Sequence[str]) -> int:
    """Collect to the end, anew or where an earlier collection stopped.

    0 when complete, unless surely fewer than the share `REPEATS` of the episodes end again as they did.

    What was collected is summarized whatever happens.
    """
    simulator = demonstrable(c.simulator)
    settings = {key: x for key, x in to_dict(c).items() if key not in FREE}
    if not c.noise:
        del settings["noise"]  # so it is in collections that knew of none
    is_new = check(folder, settings)
    check_writable(folder)
    early, again, failure = "", dict[str, bool](), None
    with ExitStack() as stack:
        earlier = [] if is_new else _earlier(c, folder, stack)
        kept = sum(attempt.kept for attempt in earlier)
        print(f"{folder}: {kept} of {c.episodes} episodes are there; starting the simulator", flush=True)
        crew = Crew(experts(simulator, folder, c))
        stack.callback(crew.close)
        if is_new:
            create(folder, settings, facts_of(simulator, crew.spec, noise=c.noise))
            stack.enter_context(locked(folder))
        tasks = len(crew.spec.tasks)
        schedule = Schedule(c.episodes, tasks, c.seed, earlier, initial_states=crew.spec.initial_states)
        try:
            early = collect(c, folder, crew, schedule)
            for name, same in () if early else verify(crew, folder, c.verify):
                again[name] = same
        except (EmbodiedError, OSError, KeyboardInterrupt) as error:
            failure = error
            reason = INTERRUPTED if isinstance(error, KeyboardInterrupt) else BROKEN
            early = "" if schedule.done >= c.episodes else reason
    try:
        tidy(folder)
    except (EmbodiedError, OSError) as error:
        logger.warning("what is unfinished in %s could not be forgotten: %s", folder, error)
        failure = failure or error
    resumes = early == INTERRUPTED or isinstance(failure, StageError)
    summary(folder, crew.spec, attempts_in(folder), again, early, words, noise=c.noise, resumes=resumes)
    if failure is not None:
        raise failure
    if early:
        return 130 if early == INTERRUPTED else 1
    return int(wilson(sum(again.values()), len(again))[1] < REPEATS)


def _earlier(c: Collection, folder: Path, stack: ExitStack) -> list[Attempt]:
    """What was tried in this folder before, now that nobody else writes there."""
    stack.enter_context(locked(folder))
    tidy(folder)
    earlier = attempts_in(folder)
    kept = sum(attempt.kept for attempt in earlier)
    if kept >= c.episodes:
        raise ConfigError(
            f"{folder} already holds {kept} episodes; nothing was collected. Ask for more with episodes=..., or name "
            f"another folder."
        )
    return earlier


def collect(c: Collection, folder: Path, crew: Crew, schedule: Schedule) -> str:
    """Until enough is kept; why it ended before that, or nothing."""
    early = ""
    with catching_ctrl_c(**STOPPING) as interrupt, Progress(c.episodes, schedule.done) as progress:
        while True:
            if interrupt.asked:
                early = INTERRUPTED
            if not early:
                crew.start(schedule)
            if crew.is_idle:
                return early if schedule.done < c.episodes else ""
            for place in crew.wait(0.2):
                attempt = crew.take(place, schedule)
                if attempt is None:
                    continue
                append(folder, attempt)
                if schedule.failures_in_a_row[attempt.task] >= c.max_failures:
                    early = (
                        f"the expert failed {c.max_failures} times in a row at `{crew.spec.tasks[attempt.task]}`, "
                        f"lastly because {attempt.reason}"
                    )
            progress.show(schedule.done, schedule.successes, schedule.tries)


def experts(
    simulator: DemonstrableRecipe, folder: Path, c: Collection | None, processes: int = 1
) -> list[ExpertRecipe]:
    """One for each process; without a collection they only replay."""
    if c is None:
        return [ExpertRecipe(simulator=simulator, folder=str(folder))] * processes
    limits: dict[str, Any] = {"keep": c.keep, "twice": c.twice, "max_steps": c.max_steps, "noise": c.noise}
    return [ExpertRecipe(simulator=simulator, folder=str(folder), part=str(n), **limits) for n in range(c.processes)]


def verify(crew: Crew, folder: Path, count: int) -> Iterator[tuple[str, bool]]:
    """Play `count` episodes of the dataset again, spread evenly over it: names, and whether they end as before."""
    log = EpisodeLog(folder)
    count = min(count, len(log))
    indices = [n * len(log) // count for n in range(count)]
    return zip([log.name(index) for index in indices], crew.replay(indices), strict=True)


def replay(words: list[str]) -> int:
    """`embodied collect --replay FOLDER`: 1 where an episode does not end as it did."""
    if not words or "=" in words[0]:
        raise ConfigError("no dataset was named; nothing was played. Type: embodied collect --replay FOLDER.")
    r = _replay(words[0], words[1:])
    folder = Path(r.folder)
    if not (folder / FACTS).is_file():
        raise ConfigError(f"{folder} has no {FACTS}; nothing was played. Name a folder that `embodied collect` filled.")
    log = EpisodeLog(folder)
    if log.facts.simulator is None or not len(log):
        raise ConfigError(
            f"{folder} holds {len(log)} episodes and was {'' if log.facts.simulator else 'not '}made by one of our "
            f"simulators; nothing was played. Name a folder that `embodied collect` filled."
        )
    simulator = demonstrable(from_dict(dict(log.facts.simulator)))
    count = min(r.episodes or len(log), len(log))
    crew = Crew(experts(simulator, folder, None, min(r.processes, count)))
    again: dict[str, bool] = {}
    try:
        for name, same in verify(crew, folder, count):
            again[name] = same
    finally:
        crew.close()
        if again:
            print(replayed(again, len(log), named=len(again)))
    return int(not all(again.values()))


def _replay(folder: str, words: list[str]) -> Replay:
    settings = override({"episodes": None, "processes": Replay.processes}, words)
    return from_dict({"_target_": f"{Replay.__module__}.Replay", **settings, "folder": folder})
