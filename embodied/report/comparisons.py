"""Which group is better, by how much, with what certainty: what `embodied compare` says, with pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.comparing.compare import Claim, Comparison, compare
from embodied.comparing.values import RATES, Group, listed
from embodied.comparing.words import (
    LOOKING,
    best,
    checkpoint_sentence,
    points,
    probability,
    single_sentence,
    turned,
    verdicts,
)
from embodied.errors import ConfigError
from embodied.metrics.bootstrap import profile_band
from embodied.report.blocks import Block, Cell, Listing, Name, Picture, Pictures, Section, Table, seeds_of, table, words
from embodied.report.canvas import HEIGHT, INK, canvas, legend, legend_height, picture, shortened
from embodied.report.style import Look

TITLE = "Comparisons"
MOST_SENTENCES = 3  # in the verdict
MOST_PAIRS = 15  # in the picture; the table has all
THRESHOLDS = 201
TEST = (
    "A claim rests on a two-sided permutation test of the interquartile means (IQM) over training seeds, corrected for "
    "the number of pairs (Holm); where the IQMs tie, of the means, whose difference is then shown. The interval of a "
    "difference holds the shifts that the test does not reject, and leaves out 0 where a difference is shown and "
    "nowhere else. P(A > B): the probability that a run of A beats one of B on the same task; its interval draws whole "
    "runs anew, and there is none where every run of A beats every run of B or a group has fewer than 5 seeds."
)


@dataclass(frozen=True, slots=True)
class Compared:
    verdict: tuple[str, ...]
    section: Section


def compared(groups: Sequence[Group], looks: Mapping[str, Look]) -> Compared:
    """On the tasks that every run has; where nothing can be compared, why."""
    blocks: list[Block] = []
    if len(groups) < 2:
        found = None
        verdict = (
            [f"One group, {groups[0].name}: nothing to compare it with."] if groups else ["No run has a score yet."]
        )
        blocks.append(words(verdict[0]))
    else:
        try:
            found = compare(groups, tasks="shared")
        except ConfigError as error:
            found, verdict = None, [f"Not compared: {error}"]
            blocks.append(words(verdict[0]))
        else:
            verdict = _verdict(found)
            blocks += _told(found)
    drawn = [_profiles(found.groups if found else groups, found.tasks if found else (), looks)] if groups else []
    drawn = [*([_forest(found)] if found and found.claims else []), *(each for each in drawn if each)]
    blocks += [Pictures(tuple(drawn))] if drawn else []
    if found and found.claims:
        blocks += [_claims(found, looks), words(TEST)]
    return Compared(tuple(verdict), Section("comparisons", TITLE, tuple(blocks)))


def _verdict(found: Comparison) -> list[str]:
    told = verdicts(found)
    first = [sentence for sentence in [best(found)] if sentence]
    if len(told) <= MOST_SENTENCES:
        return [*first, *told]
    shown = [_upright(claim) for claim in found.claims if claim.verdict != "open"]
    if len(shown) == len(told):
        wins = {s.name: sum(claim.first == s.name for claim in shown) for s in found.summaries}
        order = sorted(wins, key=lambda name: -wins[name])
        return [*first, f"All {len(told)} pairs are told apart, from best to worst: {', '.join(order)}."]
    better = [f"{claim.first} is better than {claim.second}" for claim in shown]
    rest = len(told) - len(shown)
    return [
        *first,
        *([f"{'; '.join(better)}."] if better else []),
        *([f"{rest} of {len(told)} pairs are not told apart."] if rest else []),
    ]


def _told(found: Comparison) -> list[Block]:
    """What neither the verdict nor the table of pairs says."""
    notes = [*found.notes, *[LOOKING] * any(claim.needed for claim in found.claims)]
    lone = [*(single_sentence(x, found.metric) for x in found.singles), *map(checkpoint_sentence, found.checkpoints)]
    blocks: list[Block] = [Listing(tuple(lone))] if lone else []
    return [*blocks, words("To know of these comparisons:"), Listing(tuple(notes))] if notes else blocks


def _upright(claim: Claim) -> Claim:
    """With the higher score first."""
    return turned(claim, claim.first if claim.difference.estimate >= 0 else claim.second)


def _claims(found: Comparison, looks: Mapping[str, Look]) -> Table:
    rows: list[list[Cell]] = []
    for claim in map(_upright, found.claims):
        rows.append([
            Name(claim.first, looks[claim.first]), Name(claim.second, looks[claim.second]),
            points(claim.difference, found.metric) + " (means)" * (claim.by == "mean"),
            probability(claim, len(found.tasks), short=True), f"{claim.p:.2g}", f"{claim.p_holm:.2g}",
            f"{claim.least_p_holm:.2g}", "yes" if claim.verdict != "open" else "no", _needed(claim),
        ])  # fmt: skip
    columns = ("A", "B", "A - B, IQM", "P(A > B)", "p", f"p for {len(rows)} pairs",
               "least p possible" + f" for {len(rows)} pairs" * (len(rows) > 1),
               f"shown at {100 * found.level:g} %", "seeds to show it, 80 % power")  # fmt: skip
    kept = [i for i in range(len(columns)) if i != 5 or len(rows) > 1]  # one pair needs no correction
    return table(
        "Pairs", [columns[i] for i in kept], [[row[i] for i in kept] for row in rows], words=(0, 1, kept.index(7))
    )


def _needed(claim: Claim) -> str:
    if claim.needed is None:
        return "-"
    most = claim.needed.most
    seeds = f"about {claim.needed.seeds}" if claim.needed.seeds is not None else "more than 64"
    return (
        f"{seeds} ({claim.needed.fewest} to {'more than 64' if most is None else most})"
        if claim.needed.seeds
        else seeds
    )


def _forest(found: Comparison) -> Picture:
    rate = found.metric in RATES
    scale = 100 if rate else 1
    claims = [_upright(claim) for claim in found.claims[:MOST_PAIRS]]
    with canvas(height=1.1 + 0.5 * len(claims)) as (figure, axes):
        last = 1.0 if rate else math.inf  # an end there is one that nobody knows
        ends = [scale * end for c in claims for end in (c.difference.low, c.difference.high, c.difference.estimate, 0.0)
                if abs(end) < last]  # fmt: skip
        room = max(0.08 * (max(ends) - min(ends)), 2.0 if rate else 1e-3)  # also where nothing differs
        low, high = min(ends) - room, max(ends) + room
        for row, claim in enumerate(claims):
            known = [
                x if abs(x) < last else math.copysign(math.inf, x)
                for x in (claim.difference.low, claim.difference.high)
            ]
            _whiskers(axes, row, [scale * x for x in known], (low, high))
            filled = INK if claim.verdict != "open" else "white"
            axes.plot([scale * claim.difference.estimate], [row], "o", ms=8, mfc=filled, mec=INK, mew=1.4)
            name = f"{shortened(claim.first, 27)} - {shortened(claim.second, 27)}" + " (means)" * (claim.by == "mean")
            axes.text(0.0, row - 0.42, name, transform=axes.get_yaxis_transform(), fontsize=9.5, va="center",
                      bbox={"facecolor": "white", "lw": 0, "pad": 1})  # fmt: skip
        axes.axvline(0, color=INK, lw=1)
        axes.set_xlim(low, high)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(claims) - 0.5, -0.75)
        axes.set(xlabel=f"difference of IQMs{', points' if rate else ''}", title="Differences of final scores")
        more = f" The first {MOST_PAIRS} of {len(found.claims)} pairs." if len(found.claims) > MOST_PAIRS else ""
        told = [f"{c.first} minus {c.second} {points(c.difference, found.metric)}{' (means)' * (c.by == 'mean')}"
                for c in claims]  # fmt: skip
        ties = " (of means where those tie)" if any(c.by == "mean" for c in claims) else ""
        return picture(
            figure, "differences", alt=f"Differences of interquartile means: {'; '.join(told)}.",
            caption=f"Differences of interquartile means{ties}, {_levels(found)} over training seeds, "
            f"{_over(found.tasks)}. "
            f"Filled: shown by the test; open: not. An arrow: so few seeds cannot tell that end.{more} "
            f"{seeds_of({group.name: group.seeds for group in found.groups})}",
        )  # fmt: skip


def _levels(found: Comparison) -> str:
    """`98.3 % intervals (Bonferroni for 3 pairs)`; one that only a later step of Holm's shows is at that step's."""
    levels = sorted({f"{100 * claim.interval_level:.3g}" for claim in found.claims}, reverse=True)
    told = f"{' or '.join(levels)} % intervals"
    if len(found.claims) == 1:
        return told
    step = ", the narrower where a later step of Holm's test shows a difference" if len(levels) > 1 else ""
    return f"{told} (Bonferroni for {len(found.claims)} pairs{step})"


def _whiskers(axes: Any, row: int, ends: Sequence[float], bounds: tuple[float, float]) -> None:
    inside = [min(max(end, bounds[0]), bounds[1]) for end in ends]
    axes.plot(inside, [row, row], color=INK, lw=1.6, solid_capstyle="butt")
    for end, shown, marker in zip(ends, inside, "<>", strict=True):
        axes.plot([shown], [row], "|" if math.isfinite(end) else marker, color=INK, ms=9, mew=1.4, clip_on=False)


def _profiles(groups: Sequence[Group], tasks: Sequence[str], looks: Mapping[str, Look]) -> Picture | None:
    """Of all groups on `tasks`, or of each on its own; None where some run has holes there."""
    own = {group.name: tuple(tasks) or group.tasks for group in groups}
    if any(task not in run.scores for group in groups for run in group.runs for task in own[group.name]):
        return None
    metric, matrices = groups[0].metric, {group.name: group.matrix(own[group.name]) for group in groups}
    rate = metric in RATES
    every = np.concatenate([matrix.reshape(-1) for matrix in matrices.values()])
    thresholds = np.linspace(0.0, 1.0, THRESHOLDS) if rate else np.linspace(every.min(), every.max(), THRESHOLDS)
    x = (100 if rate else 1) * thresholds
    with canvas(height=HEIGHT - 0.3 + legend_height(len(groups))) as (figure, axes):
        for name, matrix in matrices.items():
            look, share = looks[name], (matrix.reshape(-1)[:, None] > thresholds).mean(axis=0)
            if len(matrix) > 1:
                band = profile_band(matrix, thresholds, whole=True)
                axes.fill_between(x, 100 * band.low, 100 * band.high, color=look.color, alpha=0.16, lw=0, step="post")
            axes.step(
                x, 100 * share, where="post", color=look.color, linestyle=look.line, marker=look.marker, ms=4.5,
                markevery=0.17, label=shortened(name, 50),
            )  # fmt: skip
        axes.set(
            xlabel=f"score{', %' if rate else ''}", ylabel="runs and tasks above it, %", title="Performance profiles"
        )
        axes.set_ylim(-2, 102)
        legend(figure)
        middle = [f"{name} {100 * (matrix > 0.5).mean():.0f} %" for name, matrix in matrices.items()] if rate else []
        alone = [group.name for group in groups if len(group.runs) < 2]
        return picture(
            figure, "profiles",
            alt=f"Share of runs and tasks above each score. {'Above 50 %: ' + '; '.join(middle) + '.' if rate else ''}",
            caption=f"Share of runs and tasks above each score, {_over(tasks or sorted(set().union(*own.values())))}. "
            f"Band: 95 % bootstrap over training seeds at each point{f', none for {listed(alone)}' if alone else ''}. "
            f"{seeds_of({group.name: group.seeds for group in groups})}",
        )  # fmt: skip


def _over(tasks: Sequence[str]) -> str:
    return f"over {len(tasks)} tasks" if len(tasks) > 1 else "one task"
