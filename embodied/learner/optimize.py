"""One optimizer step, the same on one process or many, in one micro-batch or several."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from embodied.distributed import all_sum
from embodied.errors import NonFiniteError
from embodied.interfaces import B, Loss
from embodied.types import Metrics


@dataclasses.dataclass
class Optimizer:
    """Steps named groups of modules; owns micro-batching, rank reduction and clipping, so algorithms own none of it."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    micro_batch: int
    max_grad_norm: float
    version: int = 0  # of the weights that the next step starts from; the learner moves it

    @property
    def steps(self) -> int:
        """Made so far, over all groups: what the optimizers count themselves, so it continues with their state."""
        counts = ([entry["step"] for entry in each.state.values()] for each in self.optimizers.values())
        return sum(int(torch.stack(steps).max()) for steps in counts if steps)

    def __call__(self, group: str, loss: Loss[B], batch: B) -> Metrics:
        """One step of `group` on `loss` over `batch`; metrics are sums over the whole minibatch, like the loss."""
        weight = batch.sample_weight / all_sum(batch.sample_weight.sum()).clamp(min=1e-12)  # sums to 1 over all ranks
        batch = dataclasses.replace(batch, sample_weight=weight)
        self.optimizers[group].zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        for part in self._parts(batch):
            value, metrics = loss(part)
            value.backward()
            for name, metric in (metrics | {"loss": value}).items():
                totals[name] = totals.get(name, 0.0) + metric.detach()
        parameters = [p for p in self.modules[group].parameters() if p.grad is not None]
        for parameter in parameters:
            all_sum(parameter.grad)  # type: ignore[arg-type]
        grad_norm = nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        names = [*totals, "grad_norm"]
        numbers: list[float] = [*all_sum(torch.stack(list(totals.values()))).tolist(), grad_norm.item()]
        self._check_finite(group, dict(zip(names, numbers, strict=True)))
        self.optimizers[group].step()
        return dict(zip(names, numbers, strict=True))

    def _parts(self, batch: B) -> list[B]:
        if len(batch) <= self.micro_batch:
            return [batch]
        return [batch[start : start + self.micro_batch] for start in range(0, len(batch), self.micro_batch)]

    def _check_finite(self, group: str, numbers: Metrics) -> None:
        bad = [name for name in ("loss", "grad_norm") if not abs(numbers[name]) < float("inf")]
        if bad:
            raise NonFiniteError(
                f"the {' and the '.join(bad)} of `{group}` is not finite ({numbers[bad[0]]}) at version "
                f"{self.version}; the step was not made and the last checkpoint is kept. Lower the "
                f"learning rate, or look at the rewards of the rollout."
            )
