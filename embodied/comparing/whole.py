"""Whether a run counts: it came to its planned end, and what was evaluated is what it ended with.

A run that was stopped by whoever watched its curve is a run of another length, chosen by its result. It counts only
when it has come to its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.comparing.reading import read_json
from embodied.errors import ConfigError
from embodied.metrics.axis import ENV_STEPS, GRADIENT_STEPS
from embodied.run_folder import last_row, state_of

WEIGHTS = "weights.safetensors"


def unfinished(folder: Path, config: Mapping[str, Any]) -> str | None:
    """A sentence where the run did not come to its end; None where it did.

    Without end.json, as before that was written, or with another end after the last iteration, a run is whole if its
    newest checkpoint is of its last iteration or its steps are all there.
    """
    state = state_of(folder)
    if state == "finished" or (state != "running" and _all_there(folder, config)):
        return None
    return (
        f"it is {state}{_how_far(folder, config)}, and only whole runs count, as whoever stops a run chooses its "
        f"result; finish it with `embodied train resume={folder}`."
        if state != "running"
        else f"it is running{_how_far(folder, config)}, and no run has a score before it ends."
    )


def of_another(evaluation: Path, folder: Path, evaluated: str) -> str | None:
    """A sentence where `evaluation` is not of the weights that the run ended with; `evaluated` names its checkpoint."""
    newest = newest_checkpoint(folder)
    again = f"remove {evaluation}, then `embodied evaluate {folder} out={evaluation}`."
    if newest is None:
        return None
    if evaluated and evaluated != newest.name:
        return (
            f"its evaluation {evaluation.name} is of checkpoint {evaluated}, but it went on to {newest.name}; {again}"
        )
    identity = evaluation / "evaluation.json"
    acted = read_json(identity).get("weights") if identity.is_file() else None
    own = read_json(newest / "manifest.json").get(WEIGHTS)
    if acted and own and acted != own:
        return (
            f"its evaluation {evaluation.name} is of other weights than its checkpoint {newest.name}, perhaps of "
            f"another run; {again}"
        )
    return None


def newest_checkpoint(folder: Path) -> Path | None:
    return max((path.parent for path in (folder / "checkpoints").glob("[0-9]*/manifest.json")), default=None)


def _all_there(folder: Path, config: Mapping[str, Any]) -> bool:
    newest, last = newest_checkpoint(folder), _iterations(config)
    if newest is not None and last is not None and newest.name.isdecimal() and int(newest.name) >= last:
        return True
    done, total = _progress(folder, config)
    return done is not None and total is not None and done >= total


def _iterations(config: Mapping[str, Any]) -> int | None:
    """As `Training.iterations` counts them; None where the config is not one of a training."""
    algorithm, simulator, policy = (_part(config, name) for name in ("algorithm", "simulator", "policy"))
    if "updates_per_iteration" in algorithm:
        steps, each = algorithm.get("updates"), algorithm["updates_per_iteration"]
    else:
        factors = (config.get("rollout"), simulator.get("num_envs"), policy.get("chunk", 1))
        known = all(isinstance(factor, int) for factor in factors)
        steps, each = config.get("total_steps"), math.prod(f for f in factors if isinstance(f, int)) if known else 0
    return -(-steps // each) if isinstance(steps, int) and isinstance(each, int) and each > 0 else None


def _how_far(folder: Path, config: Mapping[str, Any]) -> str:
    done, total = _progress(folder, config)
    if done is None:
        return " before its first iteration ended"
    return f" at {done:,.0f} steps" if not total else f" at {100 * done / total:.0f} % ({done:,.0f} of {total:,.0f})"


def _progress(folder: Path, config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """As its last row says."""
    try:
        row = last_row(folder)
    except ValueError as error:
        raise ConfigError(
            f"{folder / 'metrics.jsonl'} cannot be read ({error}), so nobody knows whether the run came to its end; "
            f"nothing was compared. Restore it, or leave out that run."
        ) from None
    return reached(row, config)


def reached(row: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Done and planned, of a row of metrics.jsonl along the axis of its run; None where nobody says."""
    if GRADIENT_STEPS.key in row:
        return row[GRADIENT_STEPS.key], _part(config, "algorithm").get("updates")
    return row.get(ENV_STEPS.key), config.get("total_steps")


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}
