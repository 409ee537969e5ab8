"""A CSV table of scores that someone else made.

    group,seed,task,score
    ppo,1,push,0.85

Columns by any of their names (`NAMES`), in any order, separated by comma, semicolon or tab. `task` may be left out
where there is one; `score` where successes and episodes are there; `metric` where all scores are of one kind.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embodied.comparing.values import RATES, Group, Purpose, Run, listed
from embodied.errors import ConfigError
from embodied.purpose import TUNING_SEEDS

NAMES = {  # column -> what it may be called
    "group": ("group", "algorithm", "algo", "method", "agent"),
    "seed": ("seed", "run", "run_id"),
    "task": ("task", "env", "environment", "env_id"),
    "score": ("score", "value", "success_rate"),
    "metric": ("metric",),
    "successes": ("successes", "num_successes"),
    "episodes": ("episodes", "trials", "num_episodes"),
    "purpose": ("purpose",),
}
ONLY_TASK = "task"
EXCESS = "\0"  # what a cell beyond the columns is under, and no column
ROUNDING = 0.006  # a score written with two digits may differ this much from successes / episodes


@dataclass(frozen=True, slots=True)
class Entry:
    line: int
    group: str
    seed: int
    task: str
    score: float
    counts: tuple[int, int] | None
    purpose: Purpose
    presumed: bool  # the purpose: nobody wrote it, and the seed is one of tuning


def read_table(path: Path, *, metric: str) -> list[Group]:
    """A group for each name in the table; refuses, by line, what is not a score."""
    rows, columns, unknown = _rows(path, metric)
    entries: list[Entry] = []
    problems: dict[int, tuple[str, str]] = {}  # by line: group, what is wrong
    for line, row in rows:
        try:
            entries.append(_entry(line, row, columns, metric, path))
        except ValueError as error:
            problems[line] = (row.get(columns.get("group", ""), "") or path.stem, str(error))
    _refuse(path, problems, entries)
    _refuse_twins(path, entries, unknown)
    notes = tuple([f"{path.name}: not used, as their meaning is not known: {listed(unknown)}."] * bool(unknown))
    notes += tuple(_presumed(path, entries))
    names = dict.fromkeys(entry.group for entry in entries)
    return [Group(name, _runs(name, entries, path), metric, notes) for name in names]


def _rows(path: Path, metric: str) -> tuple[list[tuple[int, dict[str, str]]], dict[str, str], list[str]]:
    """Rows by line, the name in this table of each column, and the columns that nobody knows."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as a table ({error}); nothing was compared. Save it as CSV."
        ) from None
    first = text.partition("\n")[0]
    reader = csv.DictReader(
        text.splitlines(), delimiter=max(",;\t", key=first.count), skipinitialspace=True, strict=True, restkey=EXCESS
    )
    header = [str(name).strip() for name in _named(reader, path)]
    reader.fieldnames = header
    columns: dict[str, str] = {}
    for name in header:
        column = next((key for key, names in NAMES.items() if name.lower() in names), None)
        column = "score" if column is None and name.lower() == metric else column
        if column in columns:
            raise ConfigError(
                f"{path} has two columns for the {column}, {columns[column]} and {name}; nothing was compared. "
                f"Keep one."
            )
        if column is not None:
            columns[column] = name
    lacking = [f"{key} ({' or '.join(NAMES[key])})" for key in ("seed", "score") if key not in columns]
    if {"successes", "episodes"} <= columns.keys() and metric in RATES:
        lacking = [text for text in lacking if not text.startswith("score")]
    if lacking or len(set(header)) < len(header):
        found = listed(header, 12) or "nothing"
        raise ConfigError(
            f"{path} should have the columns group, seed and score, but its first line holds {found}; nothing was "
            f"compared, as no score can be told apart. Missing: {listed(lacking) or 'one name for each column'}."
        )
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for row in reader:
            if excess := row.pop(EXCESS, None):
                raise ConfigError(
                    f"{path} line {reader.line_num} has {len(header) + len(excess)} cells, but its first line names "
                    f"{len(header)}; nothing was compared. Put quotes around a cell that holds the separator, and "
                    f"write numbers with a point."
                )
            if any(row.values()):
                rows.append((reader.line_num, {str(key): (value or "").strip() for key, value in row.items()}))
    except csv.Error as error:
        raise _not_csv(path, reader, error) from None
    if not rows:
        raise ConfigError(f"{path} holds no scores below its first line; nothing was compared.")
    known = columns.values()
    return _of_metric(path, rows, columns, metric), columns, [name for name in header if name and name not in known]


def _named(reader: csv.DictReader[str], path: Path) -> Sequence[str]:
    try:
        return reader.fieldnames or ()
    except csv.Error as error:
        raise _not_csv(path, reader, error) from None


def _not_csv(path: Path, reader: csv.DictReader[str], error: csv.Error) -> ConfigError:
    return ConfigError(
        f"{path} cannot be read as CSV from line {reader.line_num + 1} on ({error}); nothing was compared. Correct it: "
        f"is every quote closed?"
    )


def _of_metric(
    path: Path, rows: list[tuple[int, dict[str, str]]], columns: Mapping[str, str], metric: str
) -> list[tuple[int, dict[str, str]]]:
    if "metric" not in columns:
        return rows
    chosen = [(line, row) for line, row in rows if row[columns["metric"]] == metric]
    if not chosen:
        there = listed(sorted({row[columns["metric"]] for _, row in rows}))
        raise ConfigError(
            f"{path} has no scores of metric {metric}, but of {there}; nothing was compared. Choose with metric=..."
        )
    return chosen


def _entry(line: int, row: dict[str, str], columns: Mapping[str, str], metric: str, path: Path) -> Entry:
    def cell(column: str) -> str:
        return row.get(columns[column], "") if column in columns else ""

    counts = _counts(cell("successes"), cell("episodes"))
    if cell("score") or counts is None or metric not in RATES:
        score = _number(cell("score"), columns.get("score", "score"))
    else:
        score = counts[0] / counts[1]
    if metric in RATES and not 0 <= score <= 1:
        raise ValueError(
            f"the {metric} is {score:g}, not between 0 and 1: divide percents by 100, or say metric=return"
        )
    if metric in RATES and counts is not None and abs(counts[0] / counts[1] - score) > ROUNDING:
        raise ValueError(
            f"the score is {score:g}, but {counts[0]} of {counts[1]} episodes are {counts[0] / counts[1]:g}"
        )
    if cell("purpose") not in ("", "test", "tuning"):
        raise ValueError(f"the purpose is `{cell('purpose')}`, which should be test or tuning")
    seed = _whole(cell("seed"), columns["seed"])
    presumed = not cell("purpose") and seed >= TUNING_SEEDS
    return Entry(
        line=line,
        group=(cell("group") or _raise("the group has no name")) if "group" in columns else path.stem,
        seed=seed,
        task=cell("task") or ONLY_TASK,
        score=score,
        counts=counts,
        purpose="tuning" if presumed or cell("purpose") == "tuning" else "test",
        presumed=presumed,
    )


def _number(text: str, name: str) -> float:
    if not text:
        raise ValueError(f"the {name} is empty")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"the {name} is `{text}`, which is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"the {name} is {text}")
    return value


def _whole(text: str, name: str) -> int:
    value = _number(text, name)
    if value != int(value) or value < 0:
        raise ValueError(f"the {name} is `{text}`, which is not a whole number from 0")
    return int(value)


def _counts(successes: str, episodes: str) -> tuple[int, int] | None:
    """None where one of the two is not told; the number of episodes alone says nothing of how they ended."""
    if not (successes and episodes):
        return None
    hits, count = _whole(successes, "number of successes"), _whole(episodes, "number of episodes")
    if not 0 < count >= hits:
        raise ValueError(f"{hits} successes of {count} episodes cannot be")
    return hits, count


def _raise(text: str) -> str:
    raise ValueError(text)


def _refuse(path: Path, problems: dict[int, tuple[str, str]], entries: list[Entry]) -> None:
    """Name the first line, count the others, and say what is left without them."""
    if not problems:
        return
    (line, (_, problem)), *others = problems.items()
    more = f" (and {len(others)} more such lines: {listed(n for n, _ in others)})" if others else ""
    left = {group: {entry.seed for entry in entries if entry.group == group} for group in _groups(problems, entries)}
    rest = listed(f"{len(seeds)} of {group}" for group, seeds in left.items())
    raise ConfigError(
        f"{path} line {line}: {problem}{more}; nothing was compared. Correct it, and give a run that failed the score "
        f"it deserves, such as a success of 0: leaving it out flatters whoever fails. Seeds in other lines: {rest}."
    )


def _groups(problems: dict[int, tuple[str, str]], entries: list[Entry]) -> list[str]:
    return list(dict.fromkeys([entry.group for entry in entries] + [group for group, _ in problems.values()]))


def _presumed(path: Path, entries: list[Entry]) -> list[str]:
    seeds = sorted({entry.seed for entry in entries if entry.presumed})
    return [
        f"{path.name}: seeds {listed(seeds)} are taken to be for tuning, as all from {TUNING_SEEDS} on; a column "
        f"`purpose` with test says otherwise."
    ] * bool(seeds)


def _refuse_twins(path: Path, entries: list[Entry], unknown: list[str]) -> None:
    seen: dict[tuple[str, int, str], Entry] = {}
    for entry in entries:
        first = seen.setdefault((entry.group, entry.seed, entry.task), entry)
        if first is entry:
            continue
        hint = f" If {listed(unknown)} tells them apart, write that into the group or the task." if unknown else ""
        raise ConfigError(
            f"{path} lines {first.line} and {entry.line} both score seed {entry.seed} of {entry.group} on "
            f"{entry.task}; nothing was compared, as one seed counts once. Keep one line of each.{hint}"
        )


def _runs(name: str, entries: list[Entry], path: Path) -> tuple[Run, ...]:
    by_seed: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.group == name:
            by_seed[entry.seed].append(entry)
    for seed, own in by_seed.items():
        if len({entry.purpose for entry in own}) > 1:
            raise ConfigError(
                f"{path} says both test and tuning of seed {seed} of {name} (lines {listed(e.line for e in own)}); "
                f"nothing was compared. Say one of them for all its tasks."
            )
    return tuple(
        Run(
            seed=seed,
            scores={entry.task: entry.score for entry in own},
            counts={entry.task: entry.counts for entry in own if entry.counts is not None},
            purpose=own[0].purpose,
        )
        for seed, own in sorted(by_seed.items())
    )
