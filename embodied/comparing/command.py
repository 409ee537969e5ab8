"""`embodied compare`: which group of runs is better, by how much, how surely, and how many more seeds would tell."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from embodied.comparing.admission import Tasks
from embodied.comparing.compare import compare
from embodied.comparing.folders import FINAL
from embodied.comparing.plots import draw_forest, draw_profiles
from embodied.comparing.scores import METRICS, read_groups
from embodied.comparing.values import fraction
from embodied.comparing.words import as_json, print_comparison
from embodied.errors import ConfigError

USAGE = """embodied compare A B [C ...] [key=value ...]      compare what is there
embodied compare --sequential out=FOLDER agents.a="..." agents.b="..."      train seeds until it is decided

A, B: run folders, folders of run folders, or a CSV table of scores (group, seed, task, score); NAME=PATH names them.
Runs that differ in nothing but their seed are one group. A run counts by the evaluation of its last checkpoint.
  metric=success_once  or success_at_end, return
  tasks=all            shared: only tasks that every run has
  at=final             the last checkpoint; there is no other choice
  evaluation=final     or another folder in RUN/evaluation, such as of a protocol; also RUN/evaluation/NAME as A or B
  level=0.05           probability of any wrong claim
  json=FILE            everything as JSON
  plots=FOLDER         forest.png and profiles.png

embodied compare runs/ppo runs/sac
embodied compare ours=runs/ppo theirs=scores.csv tasks=shared plots=/tmp/pictures

embodied compare --sequential out=FOLDER agents.NAME="..." agents.NAME="..." [key=value ...]
  agents.NAME="..."    settings of `embodied train` without seed and run_dir; agents.NAME=csv: somebody else trains it
  seeds=5              of each agent before the first decision, and before each later one of the undecided
  interims=5           decisions at most
  level=0.05           probability of any wrong claim, whenever it ends
  metric=success_once  or success_at_end, return; mean over tasks
  first_seed=0         the seeds count up from here
  scores=FILE          CSV of scores that somebody else made, of the seeds that are asked for
  jobs=1               runs at a time
  dry=true             only say which runs come next
The same command, or out=FOLDER alone, continues one that was stopped. Decisions: AdaStop (Mathieu et al. 2023).

embodied compare --sequential out=runs/gamma agents.high="experiment=reach_ppo" \\
    agents.low="experiment=reach_ppo algorithm.gamma=0.5\""""

SEQUENTIAL = "--sequential"
KEYS = ("metric", "tasks", "at", "evaluation", "level", "json", "plots")


@dataclass(frozen=True, slots=True)
class Settings:
    paths: tuple[str, ...]
    metric: str = "success_once"
    tasks: Tasks = "all"
    evaluation: str = FINAL
    level: float = 0.05
    json: Path | None = None
    plots: Path | None = None


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if SEQUENTIAL in argv:
        from embodied.comparing import sequential_command  # which trains, and so imports torch

        return sequential_command.main([word for word in argv if word != SEQUENTIAL])
    s = parse(argv)
    groups = read_groups(s.paths, metric=s.metric, evaluation=s.evaluation)
    found = compare(groups, tasks=s.tasks, level=s.level)
    print_comparison(found)
    if s.json is not None:
        s.json.parent.mkdir(parents=True, exist_ok=True)
        s.json.write_text(as_json(found))
        print(f"written to {s.json}")
    if s.plots is not None:
        s.plots.mkdir(parents=True, exist_ok=True)
        print(f"written to {draw_forest(found, s.plots / 'forest.png')}")
        print(f"written to {draw_profiles(found, s.plots / 'profiles.png')}")
    return 0


def parse(argv: list[str]) -> Settings:
    """Words with one of our keys are settings, all others paths or NAME=PATH."""
    told = {key: value for key, equals, value in (word.partition("=") for word in argv) if equals and key in KEYS}
    paths = [word for word in argv if word.partition("=")[0] not in KEYS or "=" not in word]
    for word in paths:
        _check_path(word)
    if told.get("at", "final") != "final":
        raise ConfigError(
            f"at={told['at']} was asked for; nothing was compared. Runs are compared at their last checkpoint: "
            f"the best of several looks better than it is, by more the more often it was evaluated."
        )
    for key, choices in (("metric", METRICS), ("tasks", get_args(Tasks))):
        if told.get(key, choices[0]) not in choices:
            raise ConfigError(f"{key}={told[key]}: there is {', '.join(choices)}; nothing was compared.")
    tasks: Any = told.get("tasks", "all")
    return Settings(
        paths=tuple(paths),
        metric=told.get("metric", "success_once"),
        tasks=tasks,
        evaluation=folder_name(told.get("evaluation", FINAL)),
        level=fraction("level", told.get("level", "0.05")),
        json=Path(told["json"]) if "json" in told else None,
        plots=Path(told["plots"]) if "plots" in told else None,
    )


def folder_name(text: str) -> str:
    if not text or Path(text).name != text:
        raise ConfigError(
            f"evaluation={text} should name a folder in RUN/evaluation, not a path; nothing was compared. For example "
            f"evaluation=final."
        )
    return text


def _check_path(word: str) -> None:
    """A misspelled setting would be taken for a path."""
    key, equals, rest = word.partition("=")
    if not equals or Path(word).exists() or Path(rest).exists():
        return
    near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.6)
    hint = f"Did you mean the setting `{near[0]}`?" if near else f"Settings are {', '.join(KEYS)}."
    raise ConfigError(f"there is no file or folder {rest} for `{key}`; nothing was compared. {hint}")
