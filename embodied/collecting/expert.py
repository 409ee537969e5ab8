"""One process of `embodied collect`: an expert, its scene, and a part of the log that only it writes.

An episode is written when it is over and wanted, so that nothing but whole demonstrations is in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embodied.collecting.disturbance import Disturbance
from embodied.config import Count, NotNegative, recipe, to_dict
from embodied.data.episode_log import FACTS, EpisodeLog, LogWriter
from embodied.data.recording import Facts, Label, Recording
from embodied.errors import ConfigError, DemonstrationError, EmbodiedError
from embodied.interfaces import DemonstrableRecipe, Demonstrator
from embodied.types import Spec

log = logging.getLogger(__name__)
Keep = Literal["successes", "all"]
LIMIT = 4  # times the task's own limit may a demonstration take
UNLIMITED = 1000  # actions, where the task has none


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one demonstration."""

    task: int
    seed: int
    success: bool
    kept: bool
    steps: int
    seconds: float
    reason: str = ""  # why it is no success
    initial_state: int = -1  # the stored one that it began in; -1: the seed alone decided


class EpisodeOver(Exception):  # noqa: N818  (it ends a demonstration, as it should)
    """No further action is wanted."""


@recipe
class ExpertRecipe:
    simulator: DemonstrableRecipe
    folder: str  # of the dataset
    part: str | None = None  # of the log that it writes; null: it only replays what is there
    keep: Keep = "successes"
    twice: bool = True
    max_steps: Count | None = None
    noise: NotNegative = 0.0

    def build(self) -> Expert:
        demonstrator = self.simulator.demonstrator()
        try:
            return Expert(self, demonstrator)
        except BaseException:
            demonstrator.close()
            raise


class Expert:
    """expert.attempt(task, seed), expert.replay(index)"""

    def __init__(self, r: ExpertRecipe, demonstrator: Demonstrator) -> None:
        self.r, self.demonstrator = r, demonstrator
        self.source = str(getattr(demonstrator, "source", "script"))
        self.correctable: tuple[int, ...] = tuple(getattr(demonstrator, "correctable", ()))
        if r.noise and not self.correctable:
            raise ConfigError(
                f"noise={r.noise:g} was asked for, and the {self.source} of this simulator follows a plan that does "
                f"not correct it; nothing was collected. Set noise=0, or choose tabletop, robosuite, libero or reach."
            )
        self.log: LogWriter | None = None  # opened at the first attempt
        self.recorded: EpisodeLog | None = None  # opened when something is replayed

    def spec(self) -> Spec:
        return self.demonstrator.spec

    def attempt(self, task: int, seed: int, *, initial_state: int = -1) -> Attempt:
        """Play one episode, and write it if it is wanted."""
        began = time.monotonic()
        noise = Disturbance(self.r.noise, self.correctable, seed=seed, task=task) if self.r.noise else None
        tape = Tape(self.demonstrator, self._limit(task), noise)
        label = Label(task=task, initial_state=initial_state, seed=seed, source=self.source)
        try:
            recording, reason = self._show(label, tape)
        except EmbodiedError:
            raise
        except Exception as error:  # planners and simulators are other people's code: it costs this attempt alone
            log.warning("an expert broke at task %d from seed %d", task, seed, exc_info=True)
            recording, reason = None, f"{type(error).__name__}: {error}"
        if recording is not None:
            self._log().write(recording)
        kept = recording is not None
        return Attempt(task, seed, not reason, kept, len(tape), time.monotonic() - began, reason, initial_state)

    def replay(self, index: int) -> bool:
        """Whether episode `index` ends again as it did: same start, same actions. One that breaks does not."""
        self.recorded = self.recorded or EpisodeLog(Path(self.r.folder))
        label = self.recorded.label(index)
        recording = self.recorded.recording(index, pictures=False)
        try:
            return self._play(label, recording.action) == bool(recording.success[-1])
        except EmbodiedError:
            raise
        except Exception:  # simulators are other people's code: it costs this episode alone
            log.warning("the simulator broke at episode %s", self.recorded.name(index), exc_info=True)
            return False

    def _limit(self, task: int) -> int:
        """Actions that a demonstration of `task` may take."""
        return self.r.max_steps or LIMIT * (self.demonstrator.spec.limits[task] or UNLIMITED // LIMIT)

    def _show(self, label: Label, tape: Tape) -> tuple[Recording | None, str]:
        """What is worth keeping of one episode, if anything, and why it is no success."""
        self.demonstrator.reset(label.task, label.initial_state, label.seed)
        reason = ""
        try:
            self.demonstrator.demonstrate(tape.act)
        except EpisodeOver:
            pass
        except DemonstrationError as error:
            reason = str(error)
        if not reason and not tape.success:
            reason = tape.why_not()
        recording = tape.recording(label) if len(tape) and (not reason or self.r.keep == "all") else None
        if not reason and self.r.twice and not self._play(label, tape.action):
            reason = "solved, and not again by the same actions from the same seed"
        return recording if not reason or self.r.keep == "all" else None, reason

    def _play(self, label: Label, actions: Iterable[NDArray[np.float32]]) -> bool:
        """Whether the task is solved by `actions`; nothing is rendered."""
        self.demonstrator.reset(label.task, label.initial_state, label.seed)
        success = False
        for action in actions:
            _, terminated, success = self.demonstrator.step(action)
            if terminated:
                break
        return success

    def _log(self) -> LogWriter:
        """Its own part, without what was unfinished when an earlier process died."""
        if self.log is None:
            assert self.r.part is not None
            facts = facts_of(self.r.simulator, self.demonstrator.spec, noise=self.r.noise)
            self.log = LogWriter(Path(self.r.folder), facts, part=self.r.part)
            self.log.discard_unfinished()
        return self.log

    def close(self) -> None:
        if self.log is not None:
            self.log.close()
        self.demonstrator.close()


class Tape:
    """What is seen and done in one episode, until it ends or takes too long."""

    def __init__(self, demonstrator: Demonstrator, limit: int, noise: Disturbance | None = None) -> None:
        self.demonstrator, self.limit, self.noise = demonstrator, limit, noise
        self.obs: list[Mapping[str, NDArray[Any]]] = []
        self.action: list[NDArray[np.float32]] = []  # as executed
        self.intended: list[NDArray[np.float32]] = []
        self.outcome: list[tuple[float, bool, bool]] = []

    def __len__(self) -> int:
        return len(self.action)

    @property
    def success(self) -> bool:
        """After the last action."""
        return bool(self.outcome) and self.outcome[-1][2]

    def act(self, action: NDArray[np.float32]) -> None:
        """Look, execute what noise makes of it, remember."""
        if self._is_over():
            raise EpisodeOver
        self._look()
        intended = np.asarray(action, dtype=np.float32).clip(-1, 1)
        executed = intended if self.noise is None else self.noise(intended)
        self.outcome.append(self.demonstrator.step(executed))
        self.action.append(executed)
        self.intended.append(intended)
        if self._is_over():
            raise EpisodeOver

    def recording(self, label: Label) -> Recording:
        """The whole episode, with what is seen after its last action."""
        self._look()
        reward, terminated, success = zip(*self.outcome, strict=True)
        return Recording(
            obs={name: np.stack([frame[name] for frame in self.obs]) for name in self.obs[0]},
            action=np.stack(self.action),
            reward=np.array(reward, dtype=np.float32),
            terminated=np.array(terminated, dtype=bool),
            success=np.array(success, dtype=bool),
            human=np.zeros(len(self), dtype=bool),
            label=label,
            intended=None if self.noise is None else np.stack(self.intended),
        )

    def why_not(self) -> str:
        if len(self) >= self.limit:
            return f"not solved within {self.limit} actions"
        return "the task ended without success" if self._is_over() else "the expert was done and the task not solved"

    def _is_over(self) -> bool:
        return len(self) >= self.limit or (bool(self.outcome) and self.outcome[-1][1])

    def _look(self) -> None:
        self.obs.append({name: np.array(x) for name, x in self.demonstrator.observe().items()})


def facts_of(simulator: DemonstrableRecipe, spec: Spec, *, noise: float = 0.0) -> Facts:
    return Facts(spec, to_dict(simulator), origin="embodied collect", intended=noise > 0)


def tidy(folder: Path) -> None:
    """Forget unfinished episodes of all parts; nobody may be writing."""
    if not (folder / FACTS).is_file():
        return
    facts = EpisodeLog(folder).facts
    for path in sorted((folder / "log").glob("*.log")):
        with LogWriter(folder, facts, part=path.stem) as part:
            part.discard_unfinished()


def demonstrable(simulator: object) -> DemonstrableRecipe:
    if not isinstance(simulator, DemonstrableRecipe):
        raise ConfigError(
            f"{type(simulator).__name__} has no planner or scripted expert; nothing was collected. Choose a simulator "
            f"that can show its tasks: reach, tabletop, maniskill, robosuite or libero."
        )
    return simulator
