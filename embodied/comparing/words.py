"""A comparison in plain sentences and as a table."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections import Counter
from typing import Any

from embodied.comparing.checkpoints import Checkpoints
from embodied.comparing.compare import FEWEST, Claim, Comparison, Single, Summary
from embodied.comparing.permutation import rejected
from embodied.comparing.values import RATES, ranges
from embodied.metrics.intervals import Interval

LOOKING = (
    "Seeds that are added after looking make wrong claims likelier: decide their number now, or let `embodied compare "
    "--sequential` ask for them."
)


def verdicts(c: Comparison) -> list[str]:
    """A sentence for each pair, the sharpest kind that its seeds allow."""
    return [
        *(claim_sentence(claim, c.metric, c.level, tasks=len(c.tasks)) for claim in c.claims),
        *(single_sentence(single, c.metric) for single in c.singles),
        *(checkpoint_sentence(pair) for pair in c.checkpoints),
    ]


def best(c: Comparison) -> str | None:
    """Who is better than every other group, where there are more than two."""
    if len(c.summaries) < 3:
        return None
    wins = Counter(turned(claim, claim.first if claim.verdict == "better" else claim.second).first
                   for claim in c.claims if claim.verdict != "open")  # fmt: skip
    for name, number_of in wins.items():
        if number_of == len(c.summaries) - 1:
            return f"{name} is better than all others."
    return "No group is shown to be better than all others."


def turned(claim: Claim, first: str) -> Claim:
    """The claim with `first` on its left."""
    if claim.first == first:
        return claim
    d, i = claim.difference, claim.improvement
    verdict = {"better": "worse", "worse": "better"}.get(claim.verdict, "open")
    return dataclasses.replace(
        claim,
        first=claim.second,
        second=claim.first,
        difference=Interval(-d.estimate, -d.high, -d.low),
        improvement=Interval(1 - i.estimate, 1 - i.high, 1 - i.low),
        verdict=verdict,
    )


def claim_sentence(claim: Claim, metric: str, level: float, *, tasks: int = 1) -> str:
    c = turned(claim, claim.first if claim.difference.estimate >= 0 else claim.second)
    p = f"permutation p = {c.p:.2g}"
    if c.pairs > 1:
        p += f", {c.p_holm:.2g} after Holm's correction for {c.pairs} pairs"
    corrected = f" ({100 * c.interval_level:.3g} % interval)" if c.pairs > 1 else ""
    numbers = (
        f"{points(c.difference, metric)} in {'IQM' if c.by == 'iqm' else 'mean'}{corrected}, "
        f"P({c.first} > {c.second}) = {probability(c, tasks)}, {p}"
    )
    ties = " by their means (the interquartile means tie)" if c.by == "mean" else ""
    if c.verdict == "better":
        return f"{c.first} is better than {c.second}{ties}: {numbers}."
    hopeless = ""
    if not rejected(c.least_p_holm, level):
        hopeless = f" So few seeds can never show a difference: their least p is {c.least_p:.2g}"
        hopeless += f", {c.least_p_holm:.2g} after the correction." if c.pairs > 1 else "."
    if c.needed is None:
        return f"{c.first} and {c.second} cannot be told apart: {numbers}.{hopeless}"
    return f"{c.first} and {c.second} cannot be told apart yet: {numbers}.{hopeless} With the spread seen, {c.needed}."


def probability(claim: Claim, tasks: int, *, short: bool = False) -> str:
    """P(first > second) with its interval, or why it has none."""
    i, on = claim.improvement, " on every task" if tasks > 1 else ""
    if not math.isnan(i.low):
        return f"{i.estimate:.2f} [{i.low:.2f}, {i.high:.2f}]"
    if i.estimate > 1 - 1e-9:
        why = "every run" if short else f"every run of {claim.first} above every run of {claim.second}{on}"
    else:
        why = "too few seeds for an interval" if claim.fewest < FEWEST else "no spread over seeds, so no interval"
    return f"{i.estimate:.2f} ({why})"


def single_sentence(s: Single, metric: str) -> str:
    where = "above all" if s.score > s.highest else "below all" if s.score < s.lowest else "among"
    return (
        f"{s.first} has one seed, so nothing can be claimed of it against {s.second}: its {number(s.score, metric)} "
        f"lies {where} the {s.runs} runs of {s.second} ({number(s.lowest, metric)} to {number(s.highest, metric)}). "
        f"Train more seeds of {s.first}."
    )


def checkpoint_sentence(c: Checkpoints) -> str:
    opening = f"{c.first} and {c.second} have one seed each, so nothing can be claimed of the algorithms"
    if c.difference is None:
        return f"{opening}, nor of these two checkpoints: {c.reason}. Train more seeds."
    better, worse = (c.first, c.second) if c.difference.estimate >= 0 else (c.second, c.first)
    d = c.difference if better == c.first else Interval(-c.difference.estimate, -c.difference.high, -c.difference.low)
    verdict = f"that of {better} is better than that of {worse}" if c.differ else "they cannot be told apart"
    if c.p is not None:
        only = (c.only_first, c.only_second) if better == c.first else (c.only_second, c.only_first)
        how = (
            f"on the same {c.starts} starts {only[0]} were solved by {better} alone and {only[1]} by {worse} alone, "
            f"McNemar's mid-p = {c.p:.2g}"
        )
        if c.method == "starts":
            how = (
                f"of the same {c.starts} starts, each played several times and counted once, {only[0]} were solved "
                f"more often by {better} and {only[1]} by {worse}, sign-flip mid-p = {c.p:.2g}"
            )
    else:
        kind = "interval over whole starts" if c.method == "clusters" else "Newcombe's interval"
        how = f"{kind}, unpaired as {c.reason}"
    return (
        f"{opening}. Of these two checkpoints: {verdict}, {points(d, 'success_once')} in success ({how}). Another seed "
        f"may turn it around."
    )


def points(x: Interval, metric: str) -> str:
    """`+12.0 points [4.1, 19.0]`; an end that so few runs cannot tell is the last that is possible."""
    scale = 100 if metric in RATES else 1
    low, high = (_end(scale * end, metric) for end in (x.low, x.high))
    return f"{_end(scale * x.estimate, metric, sign='+')}{' points' if metric in RATES else ''} [{low}, {high}]"


def _end(value: float, metric: str, *, sign: str = "-") -> str:
    if math.isinf(value):
        return "any" if value > 0 else "-any"
    value += 0.0  # no -0.0
    return f"{value:{sign}.1f}" if metric in RATES else f"{value:{sign}.3g}"


def number(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if metric in RATES else f"{value:.3g}"


def print_comparison(c: Comparison) -> None:
    """Table, verdicts, and what to know of them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    over = f"{len(c.tasks)} tasks" if len(c.tasks) != 1 else c.tasks[0]
    table = Table(title=f"{c.metric} of the last checkpoint on {over}, over training seeds")
    gap = ["optimality gap"] * (c.metric in RATES)
    for column in ("group", "seeds", "episodes", "mean", "IQM [95 %]", "median", *gap):
        table.add_column(column, justify="left" if column == "group" else "right", no_wrap=column != "group")
    for row in c.summaries:
        table.add_row(*map(escape, _cells(row, c.metric)))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for sentence in [*filter(None, [best(c)]), *verdicts(c)]:
        print(sentence)
    for note in [*c.notes, *[LOOKING] * any(claim.needed for claim in c.claims)]:
        print(f"- {note}")


def _cells(s: Summary, metric: str) -> list[str]:
    scale = 100 if metric in RATES else 1
    episodes = "-" if s.episodes is None else " to ".join(map(str, sorted(set(s.episodes))))
    interval = "" if s.interval is None else f" [{scale * s.interval.low:.3g}, {scale * s.interval.high:.3g}]"
    cells = [s.name, f"{len(s.seeds)} ({ranges(s.seeds)})", episodes, number(s.mean, metric)]
    cells += [f"{scale * s.iqm:.3g}{interval}", number(s.median, metric)]
    return cells + ([] if s.optimality_gap is None else [number(s.optimality_gap, metric)])


def as_json(c: Comparison) -> str:
    """Everything, with the verdicts; an end of an interval that cannot be told is null."""
    told = dataclasses.asdict(dataclasses.replace(c, groups=())) | {"verdicts": verdicts(c)}
    told["groups"] = {
        group.name: [{"seed": run.seed, "scores": dict(run.scores), "folder": run.folder and str(run.folder)}
                     for run in group.runs]
        for group in c.groups
    }  # fmt: skip
    return json.dumps(_finite(told), indent=1)


def _finite(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
