"""Learning curves of groups: success against progress and against wall time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embodied.metrics.axis import Axis
from embodied.report.blocks import Picture, Pictures, Section, seeds_of, words
from embodied.report.canvas import canvas, counted, label_ends, picture, time_unit
from embodied.report.curves import BAND_SEEDS, Curve, Middle, covers, curve_of, line_of
from embodied.report.history import History
from embodied.report.style import Look

MEANING = {"mean": "mean over seeds", "iqm": "interquartile mean over seeds"}
EACH_UP_TO = 5  # runs of a group whose own lines are drawn too


def learning(histories: Mapping[str, Sequence[History]], looks: Mapping[str, Look], middle: Middle) -> Section:
    """`histories` by group; a group without any is a table of scores, which has no curve."""
    known = {name: list(rows) for name, rows in histories.items() if rows}
    if not known:
        return Section("curves", "Learning curves", (words("No run folder was given, so there are no curves."),))
    axes = list(dict.fromkeys(row.axis for rows in known.values() for row in rows))
    pictures: list[Picture] = []
    for axis in axes:
        own = {name: [row for row in rows if row.axis is axis] for name, rows in known.items()}
        pictures.append(_by_progress({name: rows for name, rows in own.items() if rows}, looks, middle, axis))
    pictures.append(_by_time(known, looks, middle))
    missing = [name for name, rows in histories.items() if not rows]
    return Section(
        "curves",
        "Learning curves",
        (
            words(
                "Success of the last training episodes (up to 100; with several tasks the mean over tasks, up to 20 "
                "episodes of each); where nothing is collected, of the fresh episodes of that moment. Final scores, "
                "below, are from fresh episodes.",
                *_standing(known),
                f"No curves: {', '.join(missing)}." if missing else "",
            ),
            Pictures(tuple(pictures)),
        ),
    )


def _standing(known: Mapping[str, Sequence[History]]) -> list[str]:
    """What is said of runs that did not finish, one sentence for all of them."""
    open_ = [
        f"{name}, seed {row.seed}: {row.standing}"
        for name, rows in known.items()
        for row in rows
        if row.state != "finished"
    ]
    return (
        [f"Not finished: {'; '.join(open_)}. The curve of a group ends where its shortest run does."] if open_ else []
    )


def _by_progress(
    groups: Mapping[str, Sequence[History]], looks: Mapping[str, Look], middle: Middle, axis: Axis
) -> Picture:
    curves = {
        name: curve_of([line_of(row, "progress") for row in rows], middle=middle) for name, rows in groups.items()
    }
    with canvas() as (figure, axes):
        _draw(axes, curves, looks)
        axes.set(xlabel=axis.name, ylabel="success, %", title=f"Success by {axis.name}")
        counted(axes)
        return picture(
            figure, f"curves-{axis.key.replace('_', '-')}",
            alt=_alt(curves, axis.name), caption=f"By {axis.name}. {_caption(curves, groups, middle)}",
        )  # fmt: skip


def _by_time(groups: Mapping[str, Sequence[History]], looks: Mapping[str, Look], middle: Middle) -> Picture:
    curves = {
        name: curve_of([line_of(row, "wall_s") for row in rows], middle=middle, hold=True)
        for name, rows in groups.items()
    }
    size, unit = time_unit(max((line.x[-1] for c in curves.values() for line in c.lines if len(line.x)), default=0.0))
    with canvas() as (figure, axes):
        _draw(axes, curves, looks, size)
        axes.set(xlabel=f"wall time of training, {unit}", ylabel="success, %", title="Success by wall time")
        said = _caption(curves, groups, middle)
        return picture(
            figure, "curves-wall-time", alt=_alt(curves, "wall time"),
            caption=f"By wall time: collecting and learning, without starting up and without the final evaluation; a "
            f"run that finished keeps its last value. {said}",
        )  # fmt: skip


def _draw(axes: Any, curves: Mapping[str, Curve], looks: Mapping[str, Look], size: float = 1.0) -> None:
    ends: list[tuple[float, float, str, Look]] = []
    for name, curve in curves.items():
        look = looks[name]
        style: dict[str, Any] = {"color": look.color, "linestyle": look.line}
        if not len(curve.x) or len(curve.lines) <= EACH_UP_TO:
            for line in curve.lines:
                axes.plot(line.x / size, 100 * line.y, color=look.color, lw=0.6, alpha=0.55)
        if not len(curve.x):
            continue
        if curve.has_band:
            axes.fill_between(curve.x / size, 100 * curve.low, 100 * curve.high, color=look.color, alpha=0.16, lw=0)
            for edge in (curve.low, curve.high):
                axes.plot(curve.x / size, 100 * edge, **style, lw=0.5, alpha=0.8)
        marks = len(curve.x) // 6
        axes.plot(curve.x / size, 100 * curve.y, **style, marker=look.marker, markevery=(marks // 2, marks), ms=4.5)
        ends.append((curve.x[-1] / size, 100 * curve.y[-1], name, look))
    axes.set_ylim(-2, 102)
    axes.margins(x=0.01)
    label_ends(axes, ends, between=(0, 100))


def _caption(curves: Mapping[str, Curve], groups: Mapping[str, Sequence[History]], middle: Middle) -> str:
    seeds = seeds_of({name: [row.seed for row in rows] for name, rows in groups.items()})
    text = f"Thick: {MEANING[middle]}, each run interpolated on a common grid."
    if any(curve.has_band for curve in curves.values()):
        text += f" Band: 95 % bootstrap interval over seeds at each point{_narrow(curves)}."
    if bare := [name for name, curve in curves.items() if len(curve.x) and not curve.has_band]:
        text += f" No band with fewer than {BAND_SEEDS} seeds: {', '.join(bare)}."
    if any(len(curve.lines) <= EACH_UP_TO for curve in curves.values()):
        text += f" Thin: single runs, in groups of up to {EACH_UP_TO}."
    return f"{text} {seeds}"


def _narrow(curves: Mapping[str, Curve]) -> str:
    """The bootstrap of few seeds promises too much, and says by how much."""
    runs = sorted({len(curve.lines) for curve in curves.values() if curve.has_band})
    told = [f"{covers(n)} % of the time with {n} seeds" for n in runs if covers(n) < 93]
    return f"; so few seeds make it too narrow: it holds the mean of all seeds about {', '.join(told)}" if told else ""


def _alt(curves: Mapping[str, Curve], along: str) -> str:
    ends = [f"{name} ends at {100 * c.y[-1]:.0f} %" for name, c in curves.items() if len(c.x)]
    return f"Success against {along}: " + ("; ".join(ends) or "no common stretch of any group") + "."
