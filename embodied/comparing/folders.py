"""Run folders as groups of runs: which belong together, what each scored, and what had to be left out."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from embodied.comparing.reading import read_json, read_yaml
from embodied.comparing.values import RATES, Group, Outcome, Run, listed
from embodied.comparing.whole import of_another, unfinished
from embodied.errors import ConfigError
from embodied.evaluation.tables import tables_in

FINAL = "final"  # the evaluation of the last checkpoint that `embodied train` makes, in RUN/evaluation

# Settings in which runs of one group may differ: they change what is kept or shown, not what is learned.
HOUSEKEEPING = frozenset(
    ("seed", "purpose", "run_dir", "wandb", "film", "evaluate", "checkpoint_every", "keep_checkpoints", "micro_batch",
     "device", "processes")
)  # fmt: skip
CONDITIONS = ("simulator", "conditions", "actions", "max_steps")  # of an evaluation: what its scores depend on
UNLIKE = frozenset(("num_envs", "processes", "film", "keep", "assets"))  # parts of a simulator that change no episode
MOST_KEYS = 3  # in the name of a group


def find_runs(path: Path) -> list[Path]:
    """The run folder `path`, or those below it."""
    found: list[Path] = []
    for folder, below, files in os.walk(path):
        if "config.yaml" in files and "algorithm" in read_yaml(Path(folder) / "config.yaml"):
            found.append(Path(folder))
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
    if not found:
        raise ConfigError(
            f"{path} is neither a run folder nor does it hold any (a run folder has a config.yaml); nothing was read. "
            f"Give the folder that `embodied train` printed, or one above it."
        )
    return found


def group_runs(folders: list[Path], name: str | None, *, metric: str, evaluation: str = FINAL) -> list[Group]:
    """A group for each config; `name` None names them by their experiment. Where several share a name, by settings."""
    kinds: dict[tuple[str, str], list[Path]] = {}
    configs: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in folders:
        settings = learned_settings(folder)
        key = (name or _experiment(folder), json.dumps(settings, sort_keys=True, default=str))
        kinds.setdefault(key, []).append(folder)
        configs[key] = settings
    names = _names([key[0] for key in kinds], [configs[key] for key in kinds])
    return [_group(called, members, metric, evaluation) for called, members in zip(names, kinds.values(), strict=True)]


def learned_settings(folder: Path) -> dict[str, Any]:
    """Dotted settings that say what is learned; those without a value are left out, as if never written."""
    return {
        key: value
        for key, value in flat(read_yaml(folder / "config.yaml")).items()
        if value is not None and key.rpartition(".")[2] not in HOUSEKEEPING
    }


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys; `algorithm` alone stands for the class of the algorithm."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        elif key == "_target_":
            found[prefix.rstrip(".") or key] = str(value).rpartition(".")[2]
        else:
            found[f"{prefix}{key}"] = value
    return found


def _names(bases: list[str], configs: list[dict[str, Any]]) -> list[str]:
    """The base, and what tells the group from others with the same one."""
    names: list[str] = []
    for base, own in zip(bases, configs, strict=True):
        alike = [other for name, other in zip(bases, configs, strict=True) if name == base]
        keys = sorted({key for other in alike for key in own.keys() | other.keys() if own.get(key) != other.get(key)})
        shown = [f"{key}={own.get(key)}" for key in keys[:MOST_KEYS]] + ["..."] * (len(keys) > MOST_KEYS)
        names.append(f"{base} ({', '.join(shown)})" if keys else base)
    number = Counter(names)
    return [f"{name} #{names[: i + 1].count(name)}" if number[name] > 1 else name for i, name in enumerate(names)]


def _group(name: str, folders: list[Path], metric: str, evaluation: str) -> Group:
    found = {folder: read_run(folder, metric=metric, evaluation=evaluation) for folder in folders}
    runs = [run for run in found.values() if isinstance(run, Run)]
    left_out = {folder: reason for folder, reason in found.items() if isinstance(reason, str)}
    if not runs:
        folder, reason = next(iter(left_out.items()))
        raise ConfigError(
            f"{name} has {len(folders)} runs and no {evaluation} evaluation of any that counts ({folder}: {reason}); "
            f"nothing was read."
        )
    for run in runs:
        twins = [other.folder for other in runs if other.seed == run.seed]
        if len(twins) > 1:
            raise ConfigError(
                f"seed {run.seed} of {name} was run {len(twins)} times ({listed(twins, 2)}): they are one seed, not "
                f"several, and choosing among them would be choosing the result; nothing was read. Name the run "
                f"folders that count, for example the first of each seed."
            )
    return Group(name, tuple(sorted(runs, key=lambda run: run.seed)), metric, tuple(_notes(name, runs, left_out)))


def _notes(name: str, runs: list[Run], left_out: dict[Path, str]) -> list[str]:
    notes = [
        f"{name}: {folder} was left out: {reason} Conclusions hold only if that has nothing to do with its score."
        for folder, reason in left_out.items()
    ]
    lost = {run.seed: run.lost for run in runs if run.lost}
    if lost:
        notes.append(
            f"{name}: {sum(lost.values())} episodes of seeds {listed(lost)} were lost with their process and count in "
            f"no score."
        )
    codes = sorted({run.code for run in runs if run.code})
    if len(codes) > 1:
        notes.append(f"{name}: its runs were trained with different versions of the code ({listed(codes)}).")
    return notes


def read_run(folder: Path, *, metric: str, evaluation: str = FINAL) -> Run | str:
    """The run by the evaluation of that name; a sentence where there is none that counts."""
    config = read_yaml(folder / "config.yaml")
    if why := unfinished(folder, config):
        return why
    final = folder / "evaluation" / evaluation
    tables = tables_in(final)
    if not (final / "summary.json").is_file() or not tables:  # the summary is written when all episodes are there
        how = f"finish it with `embodied train resume={folder}`, or " if evaluation == FINAL else ""
        under = "" if evaluation == FINAL else f" in {final}"
        return (
            f"it was not evaluated to the end{under}; {how}evaluate its last checkpoint with `embodied evaluate "
            f"{folder} out={final}`."
        )
    summary = read_json(final / "summary.json")
    if why := of_another(final, folder, _evaluated(summary)):
        return why
    names = {table: _task_names(folder, summary, condition) for table, condition in tables.items()}
    outcomes = tuple(outcome for table in tables for outcome in _outcomes(table, names[table]))
    if not outcomes:
        return f"all episodes of its evaluation {evaluation} were lost."
    order = [task for own in names.values() for task in own.values()]
    tasks = sorted({outcome.task for outcome in outcomes}, key=order.index)
    by_task = {task: [outcome.score(metric) for outcome in outcomes if outcome.task == task] for task in tasks}
    hits = RATES[0] if metric not in RATES else metric
    return Run(
        seed=int(config.get("seed", 0)),
        scores={task: sum(found) / len(found) for task, found in by_task.items()},
        outcomes=outcomes,
        folder=folder,
        purpose="tuning" if config.get("purpose") == "tuning" else "test",
        counts={
            task: (int(sum(o.score(hits) for o in outcomes if o.task == task)), len(by_task[task])) for task in tasks
        },
        config=flat(config),
        conditions=_conditions(summary),
        lost=int(summary.get("lost_episodes", 0)),
        code=read_json(folder / "facts.json").get("git") if (folder / "facts.json").is_file() else None,
    )


def _outcomes(path: Path, names: dict[int, str]) -> list[Outcome]:
    """Episodes that were played to their end."""
    found: list[Outcome] = []
    lines: dict[tuple[str, str], int] = {}  # by task and index, which a table holds once
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                first_line = lines.setdefault((row["task"], row["index"]), line)
                if first_line != line:
                    raise ValueError(f"episode {row['index']} is in line {first_line} already")
                if row["lost"] == "True":
                    continue
                first, task = row["first_success_step"], int(row["task"])
                outcome = Outcome(
                    task=names.get(task) or names.setdefault(task, f"task {task}"),
                    initial_state=int(row["initial_state"]),
                    seed=int(row["seed"]),
                    success=_flag(row["success_once"]),
                    success_at_end=_flag(row["success_at_end"]),
                    reward=float(row["reward"]),
                    steps=int(row["steps"]),
                    first_success_step=int(first) if first else None,
                )
                if not math.isfinite(outcome.reward):
                    raise ValueError(f"its reward is {outcome.reward}")
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"{path} line {line} is not an episode of an evaluation ({error}); nothing was read. Evaluate the "
                    f"run again with `embodied evaluate {path.parents[2]} out={path.parent}`, or leave it out."
                ) from None
            found.append(outcome)
    return found


def _flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"`{text}` is neither True nor False")
    return text == "True"


def _task_names(folder: Path, summary: Mapping[str, Any], condition: str) -> dict[int, str]:
    """The text of each task by its index, with the condition it was played under; equal texts are numbered."""
    told = summary.get("conditions", {}).get(condition, {}) if condition else summary
    texts = {int(row["index"]): str(row["task"]) for row in told.get("tasks", [])}
    if not texts:
        states = sorted((folder / "checkpoints").glob("*/facts.json"))
        texts = dict(enumerate(map(str, read_json(states[-1])["spec"]["tasks"]))) if states else {0: ""}
    number = Counter(texts.values())
    simulator = flat(read_yaml(folder / "config.yaml")).get("simulator", "task").removesuffix("Recipe")
    under = f" ({condition})" if condition else ""
    return {
        index: (f"{text or simulator} #{index}" if number[text] > 1 else text or simulator) + under
        for index, text in texts.items()
    }


def _conditions(summary: Mapping[str, Any]) -> dict[str, Any]:
    asked = {key: value for key, value in summary.get("evaluation", {}).items() if key in CONDITIONS}
    return {
        key: value for key, value in flat(asked).items() if value is not None and key.rpartition(".")[2] not in UNLIKE
    }


def _evaluated(summary: Mapping[str, Any]) -> str:
    return Path(str(summary.get("evaluation", {}).get("checkpoint", ""))).name


def _experiment(folder: Path) -> str:
    """As its command named it; else the folder above."""
    command = read_json(folder / "facts.json").get("command", "") if (folder / "facts.json").is_file() else ""
    words = [word.partition("=")[2] for word in str(command).split() if word.startswith("experiment=")]
    return words[-1] if words else folder.resolve().parent.name
