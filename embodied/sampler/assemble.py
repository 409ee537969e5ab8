"""T collected decisions as one `Trajectory`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from embodied.errors import NonFiniteError
from embodied.types import Decision, Obs, Step, Trajectory, tree_stack


@dataclass(frozen=True, slots=True)
class Row:
    """One decision of N environments."""

    decision: Decision
    step: Step
    truncated: Tensor  # (N,) bool
    labels: Mapping[str, Tensor]  # task, initial_state, seed, episode; each (N,)


@dataclass(frozen=True, slots=True)
class Ending:
    """Frames after decision `t` that no later decision acts on: of episodes, or of the rollout."""

    t: int
    envs: Tensor  # (F,) int64
    obs: Obs  # each (F, ...)

    @staticmethod
    def of(t: int, mask: Tensor, obs: Obs) -> Ending:
        envs = mask.nonzero()[:, 0]
        return Ending(t, envs, {name: x[envs] for name, x in obs.items()})


def assemble(
    frames: Obs, rows: list[Row], endings: list[Ending], value: Callable[[Obs], Tensor], version: int
) -> Trajectory:
    """`frames` each (T, N, ...) are what was acted on; `value` prices, in one forward, whatever has no value yet."""
    row: Row = tree_stack(rows)  # every tensor (T, N, ...)
    steps, num = row.truncated.shape
    extra = {name: torch.cat([e.obs[name] for e in endings]) for name in frames}  # each (F, ...)
    at = torch.cat([torch.full_like(e.envs, e.t) for e in endings]), torch.cat([e.envs for e in endings])  # (F,) each
    device = row.truncated.device
    next_frame = torch.arange(num, (steps + 1) * num, device=device).view(steps, num)  # (T, N)
    next_frame[at] = torch.arange(len(at[0]), device=device) + steps * num
    step, decision = row.step, row.decision
    seen = {name: torch.cat([frame.flatten(0, 1), extra[name]]) for name, frame in frames.items()}  # each (P, ...)
    priced = value(seen if decision.value is None else extra)  # (P, V) or (F, V)
    next_value = torch.zeros(steps, num, device=device)
    next_value[at] = priced[-len(at[0]) :, 0]
    return Trajectory(
        frames=seen,
        next_frame=next_frame,
        action=decision.action,
        executed=step.action,
        log_prob=decision.log_prob,
        value=priced[: steps * num].unflatten(0, (steps, num)) if decision.value is None else decision.value,
        next_value=next_value,
        reward=step.reward,
        valid=step.valid,
        terminated=step.terminated,
        success=step.success,
        truncated=row.truncated,
        human=step.human,
        task=row.labels["task"],
        initial_state=row.labels["initial_state"],
        seed=row.labels["seed"],
        episode=row.labels["episode"],
        version=torch.full((steps, num), version, device=device),
        extras=decision.extras,
    )


def join(parts: list[Trajectory]) -> Trajectory:
    """Trajectories of neighboring environments, equal T, side by side along N."""
    steps = len(parts[0].truncated)
    sizes = [part.truncated.shape[1] for part in parts]
    total, first, extra = sum(sizes), 0, 0
    pointers: list[Tensor] = []
    for part, size in zip(parts, sizes, strict=True):
        own = part.next_frame  # (T, n)
        acted_on = own // size * total + own % size + first
        pointers.append(torch.where(own < steps * size, acted_on, own - steps * size + steps * total + extra))
        first, extra = first + size, extra + len(next(iter(part.frames.values()))) - steps * size
    frames = {
        name: torch.cat(
            [torch.cat([part.obs[name] for part in parts], dim=1).flatten(0, 1)]
            + [part.frames[name][steps * size :] for part, size in zip(parts, sizes, strict=True)]
        )
        for name in parts[0].frames
    }
    rest = {
        f.name: torch.cat([getattr(part, f.name) for part in parts], dim=1)
        for f in fields(Trajectory)
        if f.name not in ("frames", "next_frame", "extras")
    }
    extras = {name: torch.cat([part.extras[name] for part in parts], dim=1) for name in parts[0].extras}
    return Trajectory(frames=frames, next_frame=torch.cat(pointers, dim=1), extras=extras, **rest)


def check_finite(r: Trajectory) -> None:
    """What explodes, in the simulator or in the policy, must not reach the learner."""
    values = {"the reward from the simulator": r.reward} | {
        f"the observation `{name}` from the simulator": x for name, x in r.frames.items() if x.is_floating_point()
    }
    values |= {"the policy's action": r.action, "the policy's value": r.value}
    for what, x in values.items():
        if not torch.isfinite(x).all():
            row = int((~torch.isfinite(x).flatten(1).all(dim=1)).nonzero()[0, 0])
            where = f"frame {row}" if "observation" in what else f"decision {row}"
            raise NonFiniteError(
                f"{what} is NaN or infinite at {where} of this rollout; nothing was learned "
                f"from it and the last checkpoint is kept. Lower the learning rate, or "
                f"the simulator's time step."
            )
