"""N single simulators in one process, presented as one `Env`.

Most simulators step one scene at a time. Each writes the methods of `SingleEnv`; chunks, masks, clipping and
"nothing moves after termination" are written here, once. `subprocess_env.py` runs several of these side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.types import Array, Obs, Spec, Start, Step


class SingleEnv(Protocol):
    """One scene. `spec.num_envs` is 1."""

    spec: Spec

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        """Begin an episode of `task`, an index into `spec.tasks`; -1 leaves the initial state to `seed`."""
        ...

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        """Apply one action (A,) in [-1, 1]; reward, terminated, success. Renders nothing."""
        ...

    def observe(self) -> Mapping[str, NDArray[np.generic] | Tensor]:
        """The current observation, without the leading N."""
        ...

    def picture(self) -> Tensor:
        """(H, W, 3) uint8, for people."""
        ...

    def get_state(self) -> NDArray[np.float64]: ...

    def set_state(self, state: NDArray[np.float64]) -> None: ...

    def close(self) -> None: ...


class Vector:
    """With several tasks, the index of the running one is the observation `task`."""

    def __init__(self, make: Callable[[], SingleEnv], num_envs: int) -> None:
        self.envs = [make() for _ in range(num_envs)]
        self.spec = replace(with_task(self.envs[0].spec), num_envs=num_envs)
        self.tasks = len(self.spec.tasks)
        self.ended = np.ones(num_envs, dtype=bool)  # nothing moves before the first reset
        self.stale = np.ones(num_envs, dtype=bool)  # the picture is older than the physics
        self.obs = {
            name: torch.zeros((num_envs, *array.shape), dtype=array.dtype) for name, array in self.spec.obs.items()
        }

    def reset(self, mask: Tensor, start: Start) -> None:
        for n in mask.nonzero()[:, 0].tolist():
            seed = int(start.seed[n])
            task = int(start.task[n]) if start.task[n] >= 0 else seed % self.tasks
            self.envs[n].reset(task, int(start.initial_state[n]), seed)
            self.ended[n], self.stale[n] = False, True
            if self.tasks > 1:
                self.obs["task"][n] = task

    def step(self, action: Tensor) -> Step:
        executed = action.detach().clamp(-1, 1).numpy()  # (N, K, A)
        shape = executed.shape[:2]
        reward = np.zeros(shape, dtype=np.float32)
        valid, terminated, success = (np.zeros(shape, dtype=bool) for _ in range(3))
        for n, env in enumerate(self.envs):
            for k in range(shape[1]):
                if self.ended[n]:
                    break
                reward[n, k], terminated[n, k], success[n, k] = env.step(executed[n, k])
                valid[n, k], self.stale[n], self.ended[n] = True, True, terminated[n, k]
        outcome = (torch.from_numpy(x) for x in (reward, valid, terminated, success, executed))
        return Step(*outcome, human=torch.zeros(shape, dtype=torch.bool))

    def rest(self, mask: Tensor) -> None:
        self.ended |= mask.numpy()

    def observe(self) -> Obs:
        """Renders only what moved since the last time."""
        for n in self.stale.nonzero()[0]:
            for name, value in self.envs[n].observe().items():
                self.obs[name][n] = torch.as_tensor(value)
        self.stale[:] = False
        return self.obs

    def picture(self) -> Tensor:
        """(N, H, W, 3) uint8, for people."""
        return torch.stack([env.picture() for env in self.envs])

    def get_state(self) -> Tensor:
        rows = [np.concatenate([env.get_state(), [float(self.ended[n])]]) for n, env in enumerate(self.envs)]
        return torch.from_numpy(np.stack(rows))  # (N, S)

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        for n in mask.nonzero()[:, 0].tolist():
            row = state[n].numpy()
            self.envs[n].set_state(row[:-1])
            self.ended[n], self.stale[n] = bool(row[-1]), True

    def close(self) -> None:
        for env in self.envs:
            env.close()


def with_task(spec: Spec) -> Spec:
    """`spec` with the observation `task`, if there is more than one."""
    if len(spec.tasks) < 2:
        return spec
    return replace(spec, obs={**spec.obs, "task": Array((), torch.int64)})
