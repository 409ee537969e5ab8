"""Pictures of a comparison that can be read without color: lines and markers differ in shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from embodied.comparing.compare import Comparison
from embodied.comparing.values import RATES
from embodied.metrics.bootstrap import profile_band

MARKERS = "osD^vPX*"
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
GRAYS = ("0.0", "0.45", "0.25", "0.6")


def draw_forest(c: Comparison, path: Path) -> Path:
    """IQM of each group and difference of each pair (of the means where the IQMs tie), with their intervals.

    Open ends run out of the picture.
    """
    pyplot, scale = _pyplot(), 100 if c.metric in RATES else 1
    rows = max(len(c.summaries), len(c.claims), 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 1.4 + 0.45 * rows), constrained_layout=True)
    for place, row in enumerate(c.summaries):
        ends = row.interval or None
        _bar(left, place, scale * row.iqm, *([scale * ends.low, scale * ends.high] if ends else [None, None]))
    _labels(left, [f"{row.name} ({len(row.seeds)} seeds)" for row in c.summaries])
    left.set(title="IQM over seeds and tasks, 95 %", xlabel=f"{c.metric}{' (%)' if scale == 100 else ''}")
    for place, claim in enumerate(c.claims):
        d = claim.difference
        _bar(right, place, scale * d.estimate, scale * d.low, scale * d.high, filled=claim.verdict != "open")
    means = {True: " (means)", False: ""}
    _labels(right, [f"{claim.first} - {claim.second}{means[claim.by == 'mean']}" for claim in c.claims])
    right.axvline(0, color="0.0", linewidth=0.8)
    levels = " or ".join(sorted({f"{100 * claim.interval_level:.3g}" for claim in c.claims}, reverse=True))
    title = f"difference of IQMs{f', {levels} %' if levels else ''} (filled: shown by the test)"
    right.set(title=title, xlabel="points" if scale == 100 else c.metric)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def draw_profiles(c: Comparison, path: Path) -> Path:
    """Share of runs and tasks above each score, with pointwise 95 % bands (Agarwal et al. 2021, section 4.2)."""
    pyplot = _pyplot()
    matrices = {group.name: group.matrix(c.tasks) for group in c.groups}
    rate = c.metric in RATES
    low, high = (
        (0.0, 1.0) if rate else (min(x.min() for x in matrices.values()), max(x.max() for x in matrices.values()))
    )
    thresholds, scale = np.linspace(low, high, 201), 100 if rate else 1
    figure, axes = pyplot.subplots(figsize=(6.5, 4), constrained_layout=True)
    for i, (name, scores) in enumerate(matrices.items()):
        gray, dash = GRAYS[i % len(GRAYS)], DASHES[i % len(DASHES)]
        band = profile_band(scores, thresholds, whole=True) if len(scores) > 1 else None
        if band is None:
            estimate = (scores.reshape(-1)[:, None] > thresholds).mean(axis=0)
        else:
            estimate = band.estimate
            axes.fill_between(scale * thresholds, band.low, band.high, color=gray, alpha=0.15, linewidth=0, step="post")
        axes.step(scale * thresholds, estimate, where="post", color=gray, linestyle=dash, label=name)
    axes.set(
        title="performance profiles (95 % bands)",
        xlabel=f"{c.metric}{' (%)' if rate else ''} t",
        ylabel="share of runs and tasks above t",
        ylim=(0, 1.02),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _bar(panel: Any, place: int, at: float, low: float | None, high: float | None, *, filled: bool = True) -> None:
    if low is not None and high is not None:
        far = 1e6 * max(1.0, abs(at))  # an end that nobody knows
        panel.plot([max(low, -far), min(high, far)], [place, place], color="0.0", linewidth=1.5)
    panel.plot([at], [place], MARKERS[0], color="0.0", markerfacecolor="0.0" if filled else "1.0", markersize=7)


def _labels(panel: Any, names: list[str]) -> None:
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.grid(axis="x", alpha=0.3)
    panel.ticklabel_format(axis="x", useOffset=False)
    lines = [x for line in panel.get_lines() for x in line.get_xdata() if abs(x) < 1e5]
    if lines:
        low, high = min(lines), max(lines)
        room = 0.06 * (high - low or 1.0)
        panel.set_xlim(low - room, high + room)
