"""What an evaluation found, in numbers for programs and in tables for people.

First-success times and cycle times are simulated ones: actions over `Spec.control_hz`. A cycle is a whole episode that
succeeded, from its start to its end.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from embodied.config import to_dict
from embodied.evaluation.protocol import EvaluationRecipe
from embodied.evaluation.run import Part, Result
from embodied.evaluation.tables import RATES, alike
from embodied.metrics.bootstrap import clustered_rate
from embodied.metrics.intervals import wilson
from embodied.spec import task_names
from embodied.types import Episode


def summary_of(e: EvaluationRecipe, result: Result) -> dict[str, Any]:
    """summary.json: of all episodes, then of each task, or of each condition and its tasks."""
    first = result.parts[0]
    told = _told(result.whole, first.spec.control_hz) | {
        "lost_episodes": sum(len(part.lost) for part in result.parts),
        "lost": [name for part in result.parts for name in lost_names(part)],
        "planned_episodes": sum(part.planned for part in result.parts),
        "stopped_early": [why for part in result.parts if (why := why_stopped(part, e.width))],
        "control_hz": first.spec.control_hz,
        "seconds": result.seconds,
        "evaluation": to_dict(e),
    }
    _merge(told, _tasks(first) if not first.name else _over(result.parts))
    if first.name:
        told["conditions"] = {part.name: _condition(part, e) for part in result.parts}
    return told


def why_stopped(part: Part, width: float | None) -> str | None:
    """A sentence where not everything was played, because the interval was narrow enough."""
    if not part.stopped_early:
        return None
    whole = part.whole
    low, high = wilson(sum(x.success_once for x in whole), len(whole))
    under = f" under {part.name}" if part.name else ""
    return (
        f"stopped early{under}: after {len(part.played)} of {part.planned} episodes, in whole rounds over seeds and "
        f"tasks, the 95 % interval of success is {high - low:.3f} wide, and width={width} was asked for"
    )


def lost_names(part: Part) -> list[str]:
    """Which episodes could not be played, because their process died every time."""
    names = task_names(part.spec.tasks)
    under = f"{part.name}: " if part.name else ""
    return [
        f"{under}episode {job.index} of seed {job.seed}, task {names[job.task]}"
        + (f", initial state {job.initial_state}" if job.initial_state >= 0 else "")
        for job, _ in part.lost
    ]


def print_result(result: Result, width: float | None = None) -> None:
    first, several = result.parts[0], len(result.parts) > 1
    _print(
        "evaluation (rates with 95 % intervals; first: simulated time of the first success)",
        "condition" if several else "seed",
        {part.name: (part.whole, part) for part in result.parts} if several else _seeds(first),
    )
    counted = _counted(result.whole if several else first.whole, first.spec.control_hz)[RATES[0]]
    if counted["starts"] < counted["episodes"]:
        print(
            f"intervals are over whole starts where they repeat: {counted['episodes']} episodes began from "
            f"{counted['starts']} different starts"
        )
    for part in result.parts:
        names, by_task = task_names(part.spec.tasks), part.by_task()
        if len(names) > 1:
            under = f" under {part.name}" if part.name else ""
            _print(f"each task{under}", "task", {names[task]: (rows, part) for task, rows in by_task.items()})
            if len(by_task) < len(names):
                print(f"{len(names) - len(by_task)} of {len(names)} tasks were not played{under}")
        for sentence in filter(None, [why_stopped(part, width)]):
            print(sentence)
        for name in lost_names(part):
            print(f"lost, its process died every time it was played: {name}")


def rate_of(result: Result) -> str:
    """How fast it went; nothing where all was there already."""
    steps, seconds = sum(part.steps for part in result.parts), sum(part.seconds for part in result.parts)
    return f"{steps:,} steps in {seconds:.1f} s, {steps / max(seconds, 1e-9):,.0f} steps/s" if steps else ""


def _condition(part: Part, e: EvaluationRecipe) -> dict[str, Any]:
    told = _told(part.whole, part.spec.control_hz)
    _merge(told, _tasks(part))
    return told | {
        "lost_episodes": len(part.lost),
        "planned_episodes": part.planned,
        "stopped_early": why_stopped(part, e.width),
    }


def _told(rows: Sequence[Episode], control_hz: float) -> dict[str, Any]:
    """Of whole episodes; where starts or tasks come several times, also with intervals over whole ones of them."""
    told = _counted(rows, control_hz)
    for what in RATES:
        if told[what]["starts"] < len(rows):
            told[what]["interval_95_over_starts"] = told[what]["interval_95"]
        if found := _clustered([(getattr(x, what), x.task) for x in rows]):
            told[what]["interval_95_over_tasks"] = found
    return told


def _counted(rows: Sequence[Episode], control_hz: float) -> dict[str, Any]:
    count, solved = len(rows), [x for x in rows if x.success_once]
    firsts = [x.first_success_step for x in solved if x.first_success_step is not None]
    told: dict[str, Any] = {}
    for what in RATES:
        outcomes = [(bool(getattr(x, what)), alike(x.task, x.initial_state, x.seed)) for x in rows]
        told[what] = {
            "successes": sum(success for success, _ in outcomes),
            "episodes": count,
            "starts": len({start for _, start in outcomes}),
            "interval_95": _interval(outcomes),
        }
    return told | {
        "return": sum(x.reward for x in rows) / max(1, count),
        "steps": sum(x.steps for x in rows) / max(1, count),
        "first_success": _mean_time(firsts, control_hz),
        "cycle": _mean_time([x.steps for x in solved], control_hz),
    }


def _interval(outcomes: Sequence[tuple[bool, Any]]) -> list[float] | None:
    """Wilson's where each start came once; otherwise over whole starts, and never narrower.

    None of a single start that came several times: its repeats say nothing of others.
    """
    low, high = wilson(sum(success for success, _ in outcomes), len(outcomes))
    starts = len({start for _, start in outcomes})
    if starts == len(outcomes):
        return [low, high]
    found = _clustered(outcomes)
    return [min(low, found[0]), max(high, found[1])] if found else None


def _clustered(rows: Sequence[tuple[bool, Any]]) -> list[float] | None:
    """The interval by whole clusters, where there are several and some hold more than one episode."""
    labels = {label: place for place, label in enumerate(dict.fromkeys(label for _, label in rows))}
    if not 1 < len(labels) < len(rows):
        return None
    found = clustered_rate([success for success, _ in rows], [labels[label] for _, label in rows])
    return [found.low, found.high]


def _mean_time(steps: Sequence[int], control_hz: float) -> dict[str, float] | None:
    if not steps:
        return None
    mean = sum(steps) / len(steps)
    return {"steps": mean, "seconds": mean / control_hz}


def _tasks(part: Part) -> dict[str, Any]:
    """Of each task, where there are several."""
    if len(part.spec.tasks) < 2:
        return {}
    each = {task: _told(rows, part.spec.control_hz) for task, rows in part.by_task().items()}
    told: dict[str, Any] = {what: {"mean_over_tasks": _mean_rate(each, what)} for what in RATES}
    told["tasks"] = [{"index": task, "task": part.spec.tasks[task]} | row for task, row in each.items()]
    return told | {"tasks_not_played": [task for task in range(len(part.spec.tasks)) if task not in each]}


def _over(parts: Sequence[Part]) -> dict[str, Any]:
    """Mean over the conditions."""
    each = {index: _told(part.whole, part.spec.control_hz) for index, part in enumerate(parts)}
    return {what: {"mean_over_conditions": _mean_rate(each, what)} for what in RATES}


def _mean_rate(each: Mapping[int, Mapping[str, Any]], what: str) -> float:
    rates = [told[what]["successes"] / told[what]["episodes"] for told in each.values() if told[what]["episodes"]]
    return sum(rates) / max(1, len(rates))


def _merge(told: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Entries of `more`; of a rate, beside what is told of it already."""
    for key, value in more.items():
        told[key] = {**told[key], **value} if key in RATES else value


def _seeds(part: Part) -> dict[str, tuple[list[Episode], Part]]:
    rows = {str(seed): ([x for x in found if not x.lost], part) for seed, found in part.by_seed().items()}
    return rows | ({"all": (part.whole, part)} if len(rows) > 1 else {})


def _print(title: str, first: str, rows: Mapping[str, tuple[list[Episode], Part]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in (first, "success once", "at end", "return", "steps", "first", "cycle"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, (episodes, part) in rows.items():
        table.add_row(name, *_cells(episodes, part.spec.control_hz))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _cells(rows: list[Episode], control_hz: float) -> list[str]:
    told = _counted(rows, control_hz)
    times = [told[what] for what in ("first_success", "cycle")]
    return [
        *(_rate_cell(told[what]) for what in RATES),
        f"{told['return']:.2f}",
        f"{told['steps']:.1f}",
        *(f"{time['seconds']:.1f} s" if time else "-" for time in times),
    ]


def _rate_cell(told: Mapping[str, Any]) -> str:
    """`97.0 % [91.5, 99.0] of 100`; `75.0 % [52.6, 90.0] of 400, 20 starts` where starts repeat."""
    count, starts, interval = told["episodes"], told["starts"], told["interval_95"]
    rate = told["successes"] / count if count else float("nan")
    within = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * rate:.1f} %{within} of {count}" + (
        f", {starts} start{'s' * (starts > 1)}" if starts < count else ""
    )
