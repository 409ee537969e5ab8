"""Final scores: of each group, each seed and each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.comparing.values import RATES, Group, listed
from embodied.metrics.bootstrap import aggregate_intervals
from embodied.metrics.intervals import Interval
from embodied.report.blocks import Block, Cell, Name, Picture, Pictures, Section, Table, seeds_of, table, words
from embodied.report.canvas import FAINT, canvas, legend, legend_height, picture, shortened, wrapped
from embodied.report.estimates import Estimate, estimate
from embodied.report.history import History
from embodied.report.style import Look

WHAT = {
    "success_once": "success at any step", "success_at_end": "success at the end of the episode", "return": "return",
}  # fmt: skip
MOST_TASKS = 40  # in a picture; the table has all
REPLICATES = 20_000


def results(groups: Sequence[Group], looks: Mapping[str, Look], histories: Mapping[str, Sequence[History]]) -> Section:
    if not groups:
        return Section("scores", "Final scores", (words("No run has a score that counts."),))
    overall = {group.name: estimate(group, group.tasks) for group in groups if _is_whole(group)}
    whole = [group for group in groups if group.name in overall]
    notes = [note for group in groups for note in _notes(group.name, histories.get(group.name, ()))]
    blocks: list[Block] = [words(_said(groups), _holes(groups), _unlike(groups), *notes)]
    each = _tasks(groups)
    drawn = [*([_dots(whole, overall, looks)] if whole else []), *([_task_dots(groups, each, looks)] if each else [])]
    blocks += [Pictures(tuple(drawn))] if drawn else []
    blocks += [_summary(whole, overall, looks)] if whole else []
    blocks += [
        _by_seed(groups, looks),
        _task_table(groups, each) if each else words(f"One task: {groups[0].tasks[0]}."),
    ]
    if episodes := [group for group in groups if all(run.outcomes for run in group.runs)]:
        blocks.append(_episodes(episodes, looks, histories))
    return Section("scores", "Final scores", tuple(blocks))


def number(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if metric in RATES else f"{value:.3g}"


def with_interval(value: float, interval: Interval | None, metric: str) -> str:
    if interval is None or interval.low == interval.high:  # runs that are all alike do not show how runs differ
        return number(value, metric)
    scale, digits = (100, ".1f") if metric in RATES else (1, ".3g")
    return f"{number(value, metric)} [{scale * interval.low:{digits}}, {scale * interval.high:{digits}}]"


def _said(groups: Sequence[Group]) -> str:
    metric = groups[0].metric
    return f"Score: {WHAT[metric]}, of the last checkpoint, on episodes that were not trained on. Intervals are 95 %."


def _holes(groups: Sequence[Group]) -> str:
    lacking = [group.name for group in groups if not _is_whole(group)]
    return (
        f"No mean over tasks of {listed(lacking)}: not every seed was evaluated on every task. Single tasks stand in "
        f"the table of tasks."
        if lacking
        else ""
    )


def _unlike(groups: Sequence[Group]) -> str:
    counts = {frozenset(group.tasks) for group in groups}
    return "Groups have different tasks: their means over tasks are not comparable." if len(counts) > 1 else ""


def _is_whole(group: Group) -> bool:
    return all(task in run.scores for run in group.runs for task in group.tasks)


def _dots(groups: Sequence[Group], overall: Mapping[str, Estimate], looks: Mapping[str, Look]) -> Picture:
    metric = groups[0].metric
    scale = 100 if metric in RATES else 1
    with canvas(height=1.1 + 0.5 * len(groups)) as (figure, axes):
        for row, group in enumerate(groups):
            look, found = looks[group.name], overall[group.name]
            each = [scale * run.mean for run in group.runs]
            axes.plot(each, [row + 0.2] * len(each), look.marker, ms=4.5, mfc="none", mec=look.color, mew=0.9)
            _bar(axes, row, found, look, scale)
        axes.set_yticks(range(len(groups)), [wrapped(group.name) for group in groups])
        axes.set_ylim(len(groups) - 0.45, -0.55)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=f"{WHAT[metric]}{', %' if metric in RATES else ''}", title="Final score")
        if metric in RATES:
            axes.set_xlim(-2, 102)
        told = [f"{g.name} {with_interval(overall[g.name].value, overall[g.name].interval, metric)}" for g in groups]
        counts = seeds_of({group.name: group.seeds for group in groups})
        return picture(
            figure, "scores", alt=f"Final scores: {'; '.join(told)}.",
            caption=f"Filled: mean over seeds and tasks. Open: single seeds. Bar: 95 % interval, {_meanings(overall)}. "
            f"{counts}",
        )  # fmt: skip


def _bar(axes: Any, y: float, found: Estimate, look: Look, scale: float) -> None:
    if found.interval is not None:
        axes.plot([scale * found.interval.low, scale * found.interval.high], [y, y], color=look.color, lw=1.6)
    axes.plot([scale * found.value], [y], look.marker, color=look.color, ms=7)


def _meanings(overall: Mapping[str, Estimate]) -> str:
    by: dict[str, list[str]] = {}
    for name, found in overall.items():
        by.setdefault(found.meaning, []).append(name)
    return next(iter(by)) if len(by) == 1 else "; ".join(f"{text} ({listed(names)})" for text, names in by.items())


def _summary(groups: Sequence[Group], overall: Mapping[str, Estimate], looks: Mapping[str, Look]) -> Table:
    metric, several = groups[0].metric, any(len(group.tasks) > 1 for group in groups)
    extra = (
        (("median", "median over tasks"), ("optimality_gap", "optimality gap")) if several and metric in RATES else ()
    )
    rows: list[list[Cell]] = []
    for group in groups:
        found = overall[group.name]
        cells = [with_interval(found.value, found.interval, metric)]
        names = ("iqm", *(key for key, _ in extra))
        intervals = (
            aggregate_intervals(group.matrix(group.tasks), replicates=REPLICATES, whole=True)
            if len(group.runs) > 1
            else {}
        )
        cells += [with_interval(intervals[k].estimate, intervals[k], metric) if intervals else "-" for k in names]
        episodes = sum(run.episodes or 0 for run in group.runs)
        counts = [str(len(group.runs)), str(len(group.tasks)), f"{episodes:,}" if episodes else "not told"]
        rows.append([Name(group.name, looks[group.name]), *cells, *counts])
    columns = ("group", "mean", "interquartile mean", *(title for _, title in extra), "seeds", "tasks", "episodes")
    caption = f"Final scores; intervals of the mean {_meanings(overall)}, of the others over training seeds"
    return table(caption, columns, rows)


def _by_seed(groups: Sequence[Group], looks: Mapping[str, Look]) -> Table:
    metric = groups[0].metric
    rows: list[list[Cell]] = [
        [
            Name(group.name, looks[group.name]),
            ", ".join(f"{run.seed}:\N{NO-BREAK SPACE}{number(run.mean, metric)}" for run in group.runs),
        ]
        for group in groups
    ]
    return table("Each seed, mean over its tasks", ("group", "seed: score"), rows, words=(0, 1))


Found = Mapping[str, Mapping[str, Estimate]]


def _tasks(groups: Sequence[Group]) -> Found:
    """Of each task, the estimate of each group whose seeds all have it; nothing where there is one task only."""
    tasks = list(dict.fromkeys(task for group in groups for task in group.tasks))
    if len(tasks) < 2:
        return {}
    return {
        task: {g.name: estimate(g, (task,)) for g in groups if all(task in run.scores for run in g.runs)}
        for task in tasks
    }


def _task_table(groups: Sequence[Group], found: Found) -> Table:
    metric = groups[0].metric
    rows: list[list[Cell]] = []
    for task, each in found.items():
        told = [each.get(group.name) for group in groups]
        rows.append([task, *(with_interval(e.value, e.interval, metric) if e else "not all seeds" for e in told)])
    return table("Each task, mean over seeds", ("task", *(group.name for group in groups)), rows)


def _task_dots(groups: Sequence[Group], found: Found, looks: Mapping[str, Look]) -> Picture:
    metric, tasks = groups[0].metric, list(found)[:MOST_TASKS]
    scale, pitch = (100 if metric in RATES else 1), 0.7 / max(2, len(groups))
    height = 0.8 + legend_height(len(groups)) + len(tasks) * (0.24 + 0.11 * len(groups))
    with canvas(height=height) as (figure, axes):
        for index, group in enumerate(groups):
            look = looks[group.name]
            for row, task in enumerate(tasks):
                if group.name in found[task]:
                    _small(axes, row + (index - (len(groups) - 1) / 2) * pitch, found[task][group.name], look, scale)
            axes.plot([], [], look.marker, color=look.color, ms=5, label=shortened(group.name, 50))
        for row in range(len(tasks) - 1):
            axes.axhline(row + 0.5, color=FAINT, lw=0.6)
        axes.set_yticks(range(len(tasks)), [wrapped(task, 26) for task in tasks])
        axes.set_ylim(len(tasks) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=f"{WHAT[metric]}{', %' if metric in RATES else ''}")
        if metric in RATES:
            axes.set_xlim(-2, 102)
        legend(figure)
        counts = seeds_of({group.name: group.seeds for group in groups})
        some = f" The first {MOST_TASKS} of {len(found)}; the table has all." if len(found) > MOST_TASKS else ""
        meanings = _meanings({name: e for each in found.values() for name, e in each.items()})
        return picture(
            figure, "tasks", alt=f"Final score of each of {len(tasks)} tasks by group; numbers are in the table below.",
            caption=f"Each task: mean over seeds and 95 % interval, {meanings}.{some} {counts}",
        )  # fmt: skip


def _small(axes: Any, y: float, found: Estimate, look: Look, scale: float) -> None:
    if found.interval is not None:
        axes.plot([scale * found.interval.low, scale * found.interval.high], [y, y], color=look.color, lw=1.2)
    axes.plot([scale * found.value], [y], look.marker, color=look.color, ms=4.5)


def _episodes(groups: Sequence[Group], looks: Mapping[str, Look], histories: Mapping[str, Sequence[History]]) -> Table:
    """Times are simulated ones, where the evaluation says how often the robot is controlled; else actions."""
    rates = {
        row.evaluation.get("control_hz") for group in groups for row in histories.get(group.name, ()) if row.evaluation
    }
    known = len(rates) == 1 and None not in rates
    unit, hz = ("s", float(rates.pop() or 1.0)) if known else ("actions", 1.0)
    rows: list[list[Cell]] = []
    for group in groups:
        played = [outcome for run in group.runs for outcome in run.outcomes]
        first = [o.first_success_step / hz for o in played if o.first_success_step is not None]
        cycles = [o.steps / hz for o in played if o.success]
        rows.append([
            Name(group.name, looks[group.name]), f"{len(played):,}",
            f"{100 * np.mean([o.success for o in played]):.1f} %",
            f"{100 * np.mean([o.success_at_end for o in played]):.1f} %",
            f"{np.mean(first):.3g}" if first else "-", f"{np.mean(cycles):.3g}" if cycles else "-",
            f"{np.mean([o.steps for o in played]):.1f}", f"{np.mean([o.reward for o in played]):.3g}",
        ])  # fmt: skip
    columns = (
        "group",
        "episodes",
        "success once",
        "at the end",
        f"first success, {unit}",
        f"cycle, {unit}",
        "actions",
        "return",
    )
    caption = "All evaluated episodes, pooled; means, no intervals. Cycle: a whole episode that succeeded"
    return table(caption, columns, rows)


def _notes(name: str, rows: Sequence[History]) -> list[str]:
    """What the evaluations themselves say of episodes that are not there."""
    notes: list[str] = []
    for row in rows:
        if lost := row.evaluation.get("lost_episodes"):
            notes.append(f"{name}, seed {row.seed}: {lost} episodes were lost with their process and count nowhere.")
        early = row.evaluation.get("stopped_early") or []
        notes += [f"{name}, seed {row.seed}: {why}." for why in ([early] if isinstance(early, str) else early)]
    return notes
