"""The learner: weights, optimizers and storage. It does not know where trajectories come from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import InstanceOf
from torch import Tensor

from embodied.config import Count, NotNegative, Positive, recipe
from embodied.errors import CheckpointError
from embodied.interfaces import Algorithm, Policy, PolicyRecipe
from embodied.learner.optimize import Optimizer
from embodied.noise import mix
from embodied.types import Metrics, Spec, Trajectory, Weights, tree_map

WEIGHTS_ROLE, ORDER_ROLE = 2, 3  # of the seeds under one seed of the run; see `mix`


@recipe
class LearnerRecipe:
    algorithm: Algorithm
    policy: PolicyRecipe
    spec: InstanceOf[Spec]
    learning_rate: Positive = 3e-4
    final_learning_rate: NotNegative | None = None  # reached linearly at `updates`; None keeps it constant
    updates: Count = 1  # calls of `update` in the whole run
    micro_batch: Count = 65536  # samples per forward; changes memory, never the result
    max_grad_norm: Positive = 0.5
    device: str = "cpu"
    seed: int = 0

    def build(self) -> Learner:
        return Learner(self)


class Learner:
    """Ingests trajectories, updates weights, publishes them; saves and loads all of its state.

    learner.ingest(trajectory); learner.update(); sampler.load(learner.weights())
    """

    def __init__(self, r: LearnerRecipe) -> None:
        self.r, self.algorithm, self.version = r, r.algorithm, 0
        self.policy = seeded_policy(r.policy, r.spec, r.seed).to(r.device)
        self.storage = r.algorithm.storage(r.spec, r.policy.chunk)
        adam = torch.optim.Adam(self.policy.parameters(), lr=r.learning_rate, eps=1e-5, fused=True)
        self.optimize = Optimizer({"policy": self.policy}, {"policy": adam}, r.micro_batch, r.max_grad_norm)
        self.generator = torch.Generator().manual_seed(mix(r.seed, ORDER_ROLE))

    def ingest(self, trajectory: Trajectory) -> None:
        self.storage.add(tree_map(lambda x: x.to(self.r.device), trajectory))

    def update(self) -> Metrics:
        learning_rate = self._anneal()
        self.optimize.version = self.version
        metrics = self.algorithm.update(self.policy, self.storage, self.optimize, self.generator)
        self.version += 1
        return metrics | {"learning_rate": learning_rate, "optimizer_steps": float(self.optimize.steps)}

    def weights(self) -> Weights:
        return Weights(self.version, {k: v.detach().clone() for k, v in self.policy.state_dict().items()})

    def state(self) -> dict[str, Tensor]:
        """All that continues this learner bit for bit, as named tensors."""
        tensors = {f"policy/{name}": x for name, x in self.policy.state_dict().items()}
        for group, optimizer in self.optimize.optimizers.items():
            for index, entries in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{group}/{index}/{name}": x for name, x in entries.items()}
        tensors |= {f"storage/{name}": x for name, x in self.storage.state().items()}
        tensors |= {"generator": self.generator.get_state(), "version": torch.tensor(self.version)}
        return {name: x.detach().cpu().clone().contiguous() for name, x in tensors.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        load_policy(self.policy, _under(state, "policy/"))
        for group, optimizer in self.optimize.optimizers.items():
            entries: dict[int, dict[str, Tensor]] = {}
            for name, x in _under(state, f"optimizer/{group}/").items():
                index, _, key = name.partition("/")
                entries.setdefault(int(index), {})[key] = x
            optimizer.load_state_dict(optimizer.state_dict() | {"state": entries})
        self.storage.load(_under(state, "storage/"))
        self.generator.set_state(state["generator"])
        self.version = int(state["version"])

    def _anneal(self) -> float:
        r = self.r
        final = r.learning_rate if r.final_learning_rate is None else r.final_learning_rate
        rate = r.learning_rate + (final - r.learning_rate) * min(1.0, self.version / r.updates)
        for optimizer in self.optimize.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        return rate


def seeded_policy(recipe: PolicyRecipe, spec: Spec, seed: int) -> Policy:
    """Build a policy whose first weights depend on `seed` alone."""
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, WEIGHTS_ROLE))
        return recipe.build(spec)


def load_policy(policy: Policy, state: Mapping[str, Tensor]) -> None:
    """Load weights, or name the first tensor that does not fit."""
    mine = policy.state_dict()
    for name in sorted(mine.keys() | state.keys()):
        have, want = (tuple(x[name].shape) if name in x else "absent" for x in (state, mine))
        if have != want:
            raise CheckpointError(
                f"the checkpoint is of another architecture: `{name}` is {have} there and {want} in this "
                f"{type(policy).__name__}; no weights were loaded. Use the policy and simulator settings of the run "
                f"that wrote it (they are in its config.yaml)."
            )
    policy.load_state_dict(dict(state))


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
