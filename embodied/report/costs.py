"""Where the time went, and what each run used up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embodied.metrics.axis import ENV_STEPS, GRADIENT_STEPS
from embodied.metrics.display import PARTS
from embodied.report.blocks import Cell, Name, Picture, Pictures, Section, Table, seeds_of, table, words
from embodied.report.canvas import INK, canvas, duration, picture, shortened, time_unit, wrapped
from embodied.report.history import History
from embodied.report.style import Look

ACTIVITIES: dict[str, tuple[str, str, str]] = {  # part -> what it is, fill and hatch
    "act": ("policy acts", "#4a4a4a", ""),
    "step": ("simulator steps", "#b9d3ea", "///"),
    "observe": ("simulator observes", "#ffffff", "..."),
    "reset": ("simulator resets", "#8fb08f", "xxx"),
    "rest": ("rest of collecting", "#e4e4e4", ""),
    "update": ("learning", "#eab676", "\\\\\\"),
    "evaluate": ("evaluations on the way", "#ffffff", "---"),
    "evaluation": ("final evaluation", "#c4a7d6", "ooo"),
}
BARS = 16  # runs that have a bar of their own; more are averaged in their groups
NOT_RECORDED = "not recorded"
NOTE = (
    "Wall time is that of training, without starting up and without the final evaluation. Parts of collecting are "
    "means over the processes that collect. CPU time is of all cores together; device time is that of the GPUs, on a "
    "CPU that of its cores. Runs that shared a machine slowed each other down."
)


def costs(histories: Mapping[str, Sequence[History]], looks: Mapping[str, Look]) -> Section:
    known = {name: rows for name, rows in histories.items() if rows}
    if not known:
        return Section("time", "Where the time went", (words("No run folder was given, so no time is known."),))
    return Section("time", "Where the time went", (
        Pictures((_bars(known),)), _shares(known, looks), _used(known, looks),
        words(NOTE),
    ))  # fmt: skip


def parts(history: History) -> dict[str, float]:
    """Seconds of each activity; `rest` is what collecting took beyond its parts: messages, copies, waiting."""
    seconds = dict(history.seconds)
    if "collect" in seconds:
        seconds["rest"] = max(0.0, seconds.pop("collect") - sum(seconds.get(part, 0.0) for part in PARTS))
    return {name: seconds.get(name, 0.0) for name in ACTIVITIES}


def _mean(rows: Sequence[History]) -> dict[str, float]:
    found = [parts(row) for row in rows]
    return {name: sum(each[name] for each in found) / len(found) for name in ACTIVITIES}


def _bars(known: Mapping[str, Sequence[History]]) -> Picture:
    by_run = sum(map(len, known.values())) <= BARS
    bars: list[tuple[str, Mapping[str, float] | None]] = []  # label and seconds; a heading has none
    for name, rows in known.items():
        bars += [(name, None), *((f"seed {row.seed}", parts(row)) for row in rows)] if by_run else [(name, _mean(rows))]
    values = {y: value for y, (_, value) in enumerate(bars) if value is not None}
    shown = [part for part in ACTIVITIES if any(value[part] > 0 for value in values.values())]
    size, unit = time_unit(max((sum(value.values()) for value in values.values()), default=0.0))
    with canvas(height=1.3 + 0.12 * len(shown) + 0.27 * len(bars)) as (figure, axes):
        left = np.zeros(len(values))
        for part in shown:
            label, fill, hatch = ACTIVITIES[part]
            width = np.array([value[part] for value in values.values()]) / size
            axes.barh([*values], width, left=left, color=fill, hatch=hatch, label=label, edgecolor=INK, lw=0.5)
            left += width
        for y, (name, value) in enumerate(bars):
            if value is None:
                axes.text(0, y + 0.15, shortened(name, 50), va="center", fontweight="bold")
        axes.set_yticks([*values], [bars[y][0] if by_run else wrapped(bars[y][0]) for y in values])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=f"wall time, {unit}")
        figure.legend(loc="outside upper left", ncols=2, handlelength=2.4, handleheight=1.1)
        what = "of each run" if by_run else "mean over the runs of each group"
        mean = {name: _mean(rows) for name, rows in known.items()}
        alt = "; ".join(f"{name}: {_largest(value)}" for name, value in mean.items())
        return picture(figure, "time", alt=f"Wall time by activity. Largest parts: {alt}.",
                       caption=f"Wall time by activity, {what}; totals, so no interval. {_counts(known)}")  # fmt: skip


def _counts(known: Mapping[str, Sequence[History]]) -> str:
    return seeds_of({name: [row.seed for row in rows] for name, rows in known.items()})


def _largest(value: Mapping[str, float]) -> str:
    total = sum(value.values()) or 1.0
    top = sorted(value, key=lambda name: -value[name])[:3]
    return ", ".join(f"{ACTIVITIES[name][0]} {100 * value[name] / total:.0f} %" for name in top)


def _shares(known: Mapping[str, Sequence[History]], looks: Mapping[str, Look]) -> Table:
    mean = {name: _mean(rows) for name, rows in known.items()}
    shown = [part for part in ACTIVITIES if any(value[part] > 0 for value in mean.values())]
    rows: list[list[Cell]] = []
    for name, value in mean.items():
        total = sum(value.values()) or 1.0
        rows.append(
            [Name(name, looks[name]), duration(total), *(f"{100 * value[part] / total:.0f} %" for part in shown)]
        )
    return table(
        "Share of the time of a run, mean over runs", ("group", "of", *(ACTIVITIES[p][0] for p in shown)), rows
    )


def _used(known: Mapping[str, Sequence[History]], looks: Mapping[str, Look]) -> Table:
    rows: list[list[Cell]] = []
    for name, own in known.items():
        for row in own:
            rows.append([
                Name(name, looks[name]), str(row.seed), row.standing, _counter(row, "env_steps"),
                _counter(row, "optimizer_steps" if row.axis is ENV_STEPS else GRADIENT_STEPS.key),
                duration(row.wall_s), _time(row, "cpu_s"), _time(row, "device_s"),
            ])  # fmt: skip
    columns = ("group", "seed", "state", "environment steps", "optimizer steps", "wall time", "CPU time", "device time")
    return table("What each run used", columns, rows, words=(0, 2))


def _counter(row: History, name: str) -> str:
    value = row.counter(name)
    return NOT_RECORDED if value is None else f"{value:,.0f}"


def _time(row: History, name: str) -> str:
    value = row.counter(name)
    return NOT_RECORDED if value is None else duration(value)
