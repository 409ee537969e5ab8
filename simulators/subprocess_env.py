"""Environments in child processes, presented as one `Env`: M workers, each with a slice of the N environments.

A step is one byte to each worker and one back; actions, outcomes and observations lie in memory that all of them
share, and nothing is pickled on the way. Each worker observes right after its chunk (and after a reset), while the
others still step, so `observe` only waits.

    parent: write actions, b"s" -> all workers        worker: step its slice, observe, b"." -> parent

A worker that dies or stays silent is rebuilt; the chunks of its environments come back without a valid action, which
says that their episodes are lost.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from embodied.errors import EmbodiedError, EnvProcessError
from embodied.interfaces import EnvRecipe
from embodied.runtime.child import Child
from embodied.types import Array, Obs, Spec, Start, Step

log = logging.getLogger(__name__)
Layout = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the parent waits for a worker before it counts as dead, and how many deaths end the run."""

    build_s: float = 300.0
    reset_s: float = 120.0
    step_s: float = 60.0
    max_deaths: int = 20  # in the life of the environment
    max_deaths_in_a_row: int = 3  # of one worker, without a finished step between them


class SubprocessEnv:
    """`shards` are recipes of environments that live in one process each, in the order of the N environments."""

    def __init__(self, shards: Sequence[EnvRecipe], patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.workers = [_Worker(index, shard) for index, shard in enumerate(shards)]
        self.deaths = 0
        self.shared: dict[str, dict[str, Tensor]] = {}  # blocks of memory that every worker sees
        try:
            for worker in self.workers:
                worker.launch()
            specs = [worker.built(self.patience.build_s) for worker in self.workers]
            self.spec: Spec = replace(specs[0], num_envs=sum(spec.num_envs for spec in specs))
            low = 0
            for worker, spec in zip(self.workers, specs, strict=True):
                worker.rows = slice(low, low := low + spec.num_envs)
            self.obs = self._share("obs", self.spec.obs)
            starts = {name: Array((), torch.int64) for name in ("task", "initial_state", "seed")}
            self.starts = self._share("starts", starts)
            self.mask = self._share("mask", {"mask": Array((), torch.bool)})["mask"]
            self.chunk: dict[str, Tensor] = {}
        except BaseException:
            self.close()
            raise

    def reset(self, mask: Tensor, start: Start) -> None:
        self.mask.copy_(mask)
        for name, shared in self.starts.items():
            shared.copy_(getattr(start, name))
        concerned = [worker for worker in self.workers if mask[worker.rows].any()]
        self._ask(concerned, b"r", self.patience.reset_s, repeat=True)

    def step(self, action: Tensor) -> Step:
        if not self.chunk or self.chunk["action"].shape != action.shape:
            self._share_chunk(*action.shape[1:])
        self.chunk["action"].copy_(action)
        dead = self._ask(self.workers, b"s", self.patience.step_s)
        for worker in self.workers:
            if worker not in dead:
                worker.deaths_in_a_row = 0
        for worker in dead:
            for shared in self.chunk.values():
                shared[worker.rows] = 0
            self.chunk["action"][worker.rows] = action[worker.rows]
        return Step(**{name: shared.clone() for name, shared in self.chunk.items()})

    def observe(self) -> Obs:
        return self.obs

    def get_state(self) -> Tensor:
        for worker in self.workers:
            worker.tell(b"g")
        return torch.cat([worker.state(self.patience.step_s) for worker in self.workers])  # (N, S)

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        self.mask.copy_(mask)
        for worker in self.workers:
            worker.tell(b"p")
            worker.tell(state[worker.rows].clone())
        for worker in self.workers:
            if not worker.answer(self.patience.step_s):
                raise worker.lost("while its state was set")

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    def _ask(self, workers: list[_Worker], command: bytes, timeout_s: float, *, repeat: bool = False) -> list[_Worker]:
        """Send `command` to all, then wait for all. Returns those that died; they are rebuilt when this returns."""
        dead = [worker for worker in workers if not worker.tell(command)]
        dead += [worker for worker in workers if worker not in dead and not worker.answer(timeout_s)]
        for worker in dead:
            self._rebuild(worker)
            if repeat:
                self._ask([worker], command, timeout_s, repeat=True)
        return dead

    def _rebuild(self, worker: _Worker) -> None:
        self.deaths += 1
        worker.deaths_in_a_row += 1
        told = worker.last_words()
        if self.deaths > self.patience.max_deaths or worker.deaths_in_a_row > self.patience.max_deaths_in_a_row:
            raise EnvProcessError(
                f"environment process {worker.index} died {worker.deaths_in_a_row} times without a finished step "
                f"({self.deaths} deaths in all); the run stops and its last checkpoint is kept. Its last words: {told}"
            )
        log.warning("environment process %d died and is rebuilt (death %d): %s", worker.index, self.deaths, told)
        worker.launch()
        worker.built(self.patience.build_s)
        for block in self.shared.values():
            if not worker.attach(block):
                raise worker.lost("while it was rebuilt")

    def _share_chunk(self, num_actions: int, action_dim: int) -> None:
        flags = dict.fromkeys(("valid", "terminated", "success", "human"), Array((num_actions,), torch.bool))
        action = Array((num_actions, action_dim))
        self.chunk = self._share("chunk", {"reward": Array((num_actions,)), "action": action} | flags)

    def _share(self, block: str, layout: Layout) -> dict[str, Tensor]:
        """One block of shared memory cut into tensors (N, ...), and the same views in every worker."""
        shared = self.shared[block] = {
            name: torch.zeros((self.spec.num_envs, *a.shape), dtype=a.dtype).share_memory_()
            for name, a in layout.items()
        }
        for worker in self.workers:
            if not worker.attach(shared):
                self._rebuild(worker)
        return shared


class _Worker(Child):
    """The parent's end of one process and its slice of the environments."""

    def __init__(self, index: int, recipe: EnvRecipe) -> None:
        super().__init__(f"env-{index}", _serve, recipe)
        self.index, self.rows, self.deaths_in_a_row = index, slice(0, 0), 0

    def built(self, timeout_s: float) -> Spec:
        """Wait until it is up."""
        found = self.hear(timeout_s)
        if isinstance(found, Spec):
            return found
        if isinstance(found, EmbodiedError):
            raise found
        raise EnvProcessError(
            f"environment process {self.index} died or stayed silent for {timeout_s:.0f} s while it was built; nothing "
            f"was simulated. Its last words: {self.last_words()}"
        )

    def attach(self, shared: dict[str, Tensor]) -> bool:
        return self.tell(b"a") and self.tell((shared, self.rows)) and self.answer(60.0)

    def answer(self, timeout_s: float) -> bool:
        """Whether the worker finished what it was told; false when it died or stayed silent."""
        return self.hear(timeout_s, raw=True) == b"."

    def state(self, timeout_s: float) -> Tensor:
        """(n, S) of its environments."""
        found = self.hear(timeout_s)
        if found is None or not self.answer(timeout_s):
            raise self.lost("while its state was read")
        return found

    def lost(self, when: str) -> EnvProcessError:
        return EnvProcessError(
            f"environment process {self.index} died or stayed silent {when}; nothing was simulated since. "
            f"Its last words: {self.last_words()}"
        )


def _serve(connection: Connection, recipe: EnvRecipe) -> None:
    """The child: build, then answer commands until the parent hangs up."""
    try:
        env: Any = recipe.build()
    except EmbodiedError as error:
        connection.send(error)
        return
    connection.send(env.spec)
    shared: dict[str, Tensor] = {}
    try:
        while True:
            _obey(connection, env, shared, connection.recv_bytes())
            connection.send_bytes(b".")
    except (EOFError, ConnectionError):
        env.close()
    except Exception:  # the boundary of a process: its last words go to the log, the parent rebuilds it
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _obey(connection: Connection, env: Any, shared: dict[str, Tensor], command: bytes) -> None:
    if command == b"a":
        tensors, rows = connection.recv()
        shared |= {name: x[rows] for name, x in tensors.items()}
        return
    if command == b"s":
        step: Step = env.step(shared["action"])
        for name in ("reward", "valid", "terminated", "success", "human", "action"):
            shared[name].copy_(getattr(step, name))
    elif command == b"r":
        env.reset(shared["mask"], Start(shared["task"], shared["initial_state"], shared["seed"]))
    elif command == b"p":
        env.set_state(shared["mask"], connection.recv())
    elif command == b"g":
        connection.send(env.get_state())
        return
    for name, x in env.observe().items():
        shared[name].copy_(x)


def split(num_envs: int, processes: int) -> list[int]:
    """Sizes of the slices, as even as they can be: 10 over 4 is 3, 3, 2, 2."""
    processes = min(processes, num_envs)
    return [num_envs // processes + (index < num_envs % processes) for index in range(processes)]
