"""Environments in child processes, presented as one `Env`: M workers, each with a slice of the N environments.

A step is one byte to each worker and one back; actions, outcomes and observations lie in memory that all of them
share, and nothing is pickled on the way. Each worker observes right after its chunk (and after a reset), while the
others still step, so `observe` only waits.

    parent: write actions, b"s" -> all workers        worker: step its slice, observe, b"." -> parent

A worker that dies or stays silent is rebuilt, and the episodes of its environments are lost: their observations stay
as they were, and until they are reset their chunks come back without a valid action. The workers may run in the
interpreter of another environment (`isolated.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embodied.errors import EmbodiedError, EnvProcessError
from embodied.interfaces import EnvRecipe
from embodied.runtime.child import Child
from embodied.runtime.memory import Memory
from embodied.runtime.wire import Wire
from embodied.spec import join_specs
from embodied.types import Array, Obs, Spec, Start, Step

log = logging.getLogger(__name__)
SPIN_S = 3e-4  # that an end waits awake for the other before it goes to sleep
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Layout = dict[str, Array]
Blocks = dict[str, dict[str, Tensor]]  # a worker's rows of what is shared


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the parent waits for a worker before it counts as dead, and how many deaths end the run."""

    build_s: float = 300.0
    reset_s: float = 120.0
    step_s: float = 60.0
    max_deaths: int = 20  # in the life of the environment
    max_deaths_in_a_row: int = 3  # of one worker, without a finished step between them


class SubprocessEnv:
    """`shards` are recipes of environments that live in one process each, in the order of the N environments.

    `python` is the interpreter that they run in; None is this one.
    """

    def __init__(
        self, shards: Sequence[EnvRecipe], patience: Patience | None = None, *, python: Path | None = None
    ) -> None:
        self.patience, self.deaths = patience or Patience(), 0
        spin_s = SPIN_S if len(shards) <= CORES else 0.0
        self.workers = [_Worker(index, shard, python, spin_s) for index, shard in enumerate(shards)]
        self.shared: dict[str, tuple[Memory, Layout]] = {}  # blocks of memory that every worker sees, by name
        try:
            self.spec = join_specs(self._built())
            self.lost = torch.zeros(self.spec.num_envs, dtype=torch.bool)  # (N,) the running episode is
            starts: Layout = dict.fromkeys(("task", "initial_state", "seed"), Array((), torch.int64))
            starts |= dict.fromkeys(("mask", "lost", "resting"), Array((), torch.bool))
            self.starts = self._share("starts", starts)
            self.lost, self.resting = self.starts["lost"].copy_(self.lost), self.starts["resting"]
            self.obs = self._share("obs", dict(self.spec.obs))
            self.chunk: dict[str, Tensor] = {}
        except BaseException:
            self.close()
            raise

    def reset(self, mask: Tensor, start: Start) -> None:
        self.starts["mask"].copy_(mask)
        for name in ("task", "initial_state", "seed"):
            self.starts[name].copy_(getattr(start, name))
        waiting = [worker for worker in self.workers if mask[worker.rows].any()]
        while waiting:  # those that died are rebuilt, and begin once more
            waiting = self._ask(waiting, lambda _: b"r", "resetting", self.patience.reset_s)
        self.lost &= ~mask
        self.resting &= ~mask

    def step(self, action: Tensor) -> Step:
        if not self.chunk or self.chunk["action"].shape != action.shape:
            self._share_chunk(*action.shape[1:])
        self.chunk["action"].copy_(action)
        doing = f"stepping a chunk of {action.shape[1]}"
        dead = self._ask(self.workers, lambda _: b"s", doing, self.patience.step_s)
        for worker in self.workers:
            if worker not in dead:
                worker.deaths_in_a_row = 0
        outcome = {name: shared.clone() for name, shared in self.chunk.items()}
        if self.lost.any():
            outcome = {name: x.masked_fill_(_like(self.lost, x), 0) for name, x in outcome.items()}
            outcome["action"][self.lost] = action[self.lost].clamp(-1, 1)
        return Step(**outcome)

    def rest(self, mask: Tensor) -> None:
        """Workers hear of it with the next step."""
        self.resting |= mask

    def observe(self) -> Obs:
        return self.obs

    def picture(self) -> Tensor:
        """(N, H, W, 3) uint8, for people."""
        return torch.cat(self._gather("picture", self.patience.reset_s))

    def get_state(self) -> Tensor:
        """(N, S): workers of different simulators fill up to the longest with zeros."""
        states = self._gather("get_state", self.patience.step_s)
        size = max(state.shape[1] for state in states)
        return torch.cat([torch.nn.functional.pad(state, (0, size - state.shape[1])) for state in states])

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        for worker in self.workers:
            worker.tell(("set_state", mask[worker.rows].clone(), state[worker.rows].clone()))
        self._answers("set_state", self.patience.step_s)
        self.lost &= ~mask
        self.resting &= ~mask

    def close(self) -> None:
        for worker in self.workers:
            worker.hang_up()
        for worker in self.workers:
            worker.close()

    def _built(self) -> list[Spec]:
        for worker in self.workers:
            worker.launch()
        deadline = time.monotonic() + self.patience.build_s
        specs = [worker.built(deadline - time.monotonic()) for worker in self.workers]
        low = 0
        for worker, spec in zip(self.workers, specs, strict=True):
            if spec is None:
                raise worker.failure("building", "nothing was simulated")
            worker.rows = slice(low, low := low + spec.num_envs)
        return [spec for spec in specs if spec is not None]

    def _ask(
        self, workers: list[_Worker], command: Callable[[_Worker], Any], doing: str, timeout_s: float
    ) -> list[_Worker]:
        """Send each its `command`, then wait for all. Returns those that died; they are rebuilt when this returns."""
        told = [worker for worker in workers if worker.tell(command(worker))]
        deadline = time.monotonic() + timeout_s
        answers: dict[_Worker, Any] = {}
        for left, worker in zip(range(len(told), 0, -1), told, strict=True):
            spin_s = SPIN_S if left < CORES else 0.0  # not while it would take a core from those that work
            answers[worker] = worker.hear(deadline - time.monotonic(), spin_s=spin_s)
        for answer in answers.values():
            if isinstance(answer, EmbodiedError):
                raise answer
        if dead := [worker for worker in workers if answers.get(worker) is None]:
            self._rebuild(dead, doing)
        return dead

    def _gather(self, method: str, timeout_s: float) -> list[Tensor]:
        for worker in self.workers:
            worker.tell((method,))
        return self._answers(method, timeout_s)

    def _answers(self, method: str, timeout_s: float) -> list[Any]:
        """Of every worker; nothing is repeated here."""
        deadline = time.monotonic() + timeout_s
        found = [worker.hear(deadline - time.monotonic()) for worker in self.workers]
        for worker, answer in zip(self.workers, found, strict=True):
            if isinstance(answer, EmbodiedError):
                raise answer
            if answer is None:
                raise worker.failure(f"`{method}`")
        return found

    def _rebuild(self, workers: list[_Worker], doing: str) -> None:
        for worker in workers:
            self.deaths, worker.deaths_in_a_row = self.deaths + 1, worker.deaths_in_a_row + 1
            told = worker.failure(doing)
            if self.deaths > self.patience.max_deaths or worker.deaths_in_a_row > self.patience.max_deaths_in_a_row:
                raise EnvProcessError(
                    f"{told} It died {worker.deaths_in_a_row} times without a finished step ({self.deaths} deaths in "
                    f"all); the run stops and its last checkpoint is kept."
                )
            log.warning("%s It is rebuilt (death %d).", told, self.deaths)
            self.lost[worker.rows] = True
            worker.launch()
        deadline = time.monotonic() + self.patience.build_s
        again = [worker for worker in workers if not self._is_up(worker, deadline)]
        if again:
            self._rebuild(again, "building")

    def _is_up(self, worker: _Worker, deadline: float) -> bool:
        """Whether it was built again and sees all the memory."""
        if worker.built(deadline - time.monotonic()) is None:
            return False
        return all(
            worker.tell(worker.attach(block, *what)) and worker.hear(self.patience.step_s) == b"."
            for block, what in self.shared.items()
        )

    def _share_chunk(self, num_actions: int, action_dim: int) -> None:
        flags = dict.fromkeys(("valid", "terminated", "success", "human"), Array((num_actions,), torch.bool))
        action = Array((num_actions, action_dim))
        self.chunk = self._share("chunk", {"reward": Array((num_actions,)), "action": action} | flags)

    def _share(self, block: str, layout: Layout) -> dict[str, Tensor]:
        """One block of shared memory cut into tensors (N, ...), and the same views in every worker."""
        layout = {name: replace(a, shape=(self.spec.num_envs, *a.shape)) for name, a in layout.items()}
        memory = Memory.of(layout)
        self.shared[block] = memory, layout
        self._ask(self.workers, lambda w: w.attach(block, memory, layout), "taking shared memory", self.patience.step_s)
        return memory.tensors(layout)


class _Worker(Child):
    """The parent's end of one process and its slice of the environments."""

    def __init__(self, index: int, recipe: EnvRecipe, python: Path | None, spin_s: float) -> None:
        super().__init__(f"env-{index}", _serve, recipe, spin_s, python=python)
        self.index, self.kind, self.rows, self.deaths_in_a_row = index, type(recipe).__name__, slice(0, 0), 0
        self.asked = time.monotonic()

    def tell(self, what: Any) -> bool:
        self.asked = time.monotonic()
        return super().tell(what)

    def built(self, timeout_s: float) -> Spec | None:
        """Wait until it is up; None when it died or stayed silent."""
        found = self.hear(timeout_s)
        if isinstance(found, EmbodiedError):
            raise found
        return found

    def attach(self, block: str, memory: Memory, layout: Layout) -> tuple[Any, ...]:
        """The command that makes it see its rows of `memory`."""
        return "attach", block, memory, layout, self.rows

    def failure(self, doing: str, lost: str = "its episodes are lost") -> EnvProcessError:
        """What became of it while it was `doing` something."""
        waited = time.monotonic() - self.asked
        first, last = self.rows.start, self.rows.stop - 1
        rows = f"environments {first} to {last}, " if last > first else f"environment {first}, " if last >= 0 else ""
        return EnvProcessError(
            f"environment process {self.index} ({rows}{self.kind}) {self.fate()} after {waited:.1f} s of {doing}; "
            f"{lost}. Its last words: {self.last_words()}"
        )


def _serve(wire: Wire, recipe: EnvRecipe, spin_s: float) -> None:
    """The child: build, then answer commands until the parent hangs up."""
    if hasattr(os, "SCHED_BATCH"):  # else the first that is told to step may take the core from under the parent
        with contextlib.suppress(OSError):  # who may not choose, works as it is
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        env: Any = recipe.build()
    except EmbodiedError as error:
        wire.tell(error)
        return
    wire.tell(env.spec)
    shared: Blocks = {}
    try:
        while True:
            told = wire.hear(spin_s=spin_s)
            try:
                answer = _obey(env, shared, told) if isinstance(told, bytes) else _do(env, shared, *told)
            except EmbodiedError as error:  # a sentence for the user, which a new process would only repeat
                answer = error
            wire.tell(answer)
    except (EOFError, ConnectionError):
        env.close()
    except Exception:  # the boundary of a process: its last words go to the log, the parent rebuilds it
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _obey(env: Any, shared: Blocks, command: bytes) -> bytes:
    """A step or a reset; then look, at what was reset or at everything that has an episode."""
    if command == b"s":
        chunk, resting = shared["chunk"], shared["starts"]["resting"]
        if resting.any():
            env.rest(resting)
        step: Step = env.step(chunk["action"])
        for name, x in chunk.items():
            x.copy_(getattr(step, name))
        _look(env, shared, ~shared["starts"]["lost"])
        return b"."
    starts = shared["starts"]
    env.reset(starts["mask"], Start(starts["task"], starts["initial_state"], starts["seed"]))
    _look(env, shared, starts["mask"])
    return b"."


def _do(env: Any, shared: Blocks, method: str, *args: Any) -> Any:
    if method == "attach":
        block, memory, layout, rows = args
        shared[block] = {name: x[rows] for name, x in memory.tensors(layout).items()}
        return b"."
    if method == "set_state":
        mask, state = args
        env.set_state(mask, state)
        _look(env, shared, mask)
        return b"."
    return getattr(env, method)()


def _look(env: Any, shared: Blocks, rows: Tensor) -> None:
    """Show what `rows` (n,) see. The others are as they were, or were lost with the process before this one."""
    everyone = rows.all()
    for name, x in env.observe().items():
        if everyone:
            shared["obs"][name].copy_(x)
        else:
            shared["obs"][name][rows] = x[rows]


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """`mask` (N,) with as many dimensions as `x`."""
    return mask.view(-1, *[1] * (x.dim() - 1))


def split(num_envs: int, processes: int) -> list[int]:
    """Sizes of the slices, as even as they can be: 10 over 4 is 3, 3, 2, 2."""
    processes = min(processes, num_envs)
    return [num_envs // processes + (index < num_envs % processes) for index in range(processes)]
