"""T collected decisions as one `Trajectory`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
    """`frames` each (T, N, ...) are what was acted on; `value` prices the endings, all in one forward."""
    row: Row = tree_stack(rows)  # every tensor (T, N, ...)
    steps, num = row.truncated.shape
    extra = {name: torch.cat([e.obs[name] for e in endings]) for name in frames}  # each (F, ...)
    at = torch.cat([torch.full_like(e.envs, e.t) for e in endings]), torch.cat([e.envs for e in endings])  # (F,) each
    device = row.truncated.device
    next_frame = torch.arange(num, (steps + 1) * num, device=device).view(steps, num)  # (T, N)
    next_frame[at] = torch.arange(len(at[0]), device=device) + steps * num
    next_value = torch.zeros(steps, num, device=device)
    next_value[at] = value(extra)
    step, decision = row.step, row.decision
    return Trajectory(
        frames={name: torch.cat([frame.flatten(0, 1), extra[name]]) for name, frame in frames.items()},
        next_frame=next_frame,
        action=decision.action,
        executed=step.action,
        log_prob=decision.log_prob,
        value=decision.value,
        next_value=next_value,
        reward=step.reward,
        valid=step.valid,
        terminated=step.terminated,
        success=step.success,
        truncated=row.truncated,
        human=step.human,
        task=row.labels["task"],
        initial_state=row.labels["initial_state"],
        episode=row.labels["episode"],
        version=torch.full((steps, num), version, device=device),
        extras=decision.extras,
    )


def check_finite(r: Trajectory) -> None:
    """A simulator that explodes must not reach the learner."""
    values = {"the reward": r.reward} | {
        f"the observation `{name}`": x for name, x in r.frames.items() if x.is_floating_point()
    }
    for what, x in values.items():
        if not torch.isfinite(x).all():
            row = int((~torch.isfinite(x).flatten(1).all(dim=1)).nonzero()[0, 0])
            num = r.truncated.shape[1]
            where = f"decision {row}" if x is r.reward else f"frame {row} (environment {row % num})"
            raise NonFiniteError(
                f"{what} from the simulator is NaN or infinite at {where} of this rollout; nothing was learned "
                f"from it and the last checkpoint is kept. Look at the episode's actions, or "
                f"lower the simulator's time step."
            )
