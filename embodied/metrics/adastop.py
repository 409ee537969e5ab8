"""AdaStop: compare agents with as few training seeds as the answer needs, without cheating by looking early.

Mathieu et al. 2023, "AdaStop: adaptive statistical testing for sound comparisons of Deep RL agents" (2306.10882): a
group sequential permutation test with step-down over the comparisons. After each block of `seeds_per_interim` seeds
the sums of differences are set against those of permuted labels; `level` is spent evenly over the interims.

Where this differs from the package `adastop` 0.1.3:
* permutations are judged by the *absolute* sum, as in the paper; the package takes the maximum over signed sums, which
  doubles the level (measured in docs/statistics.md);
* after the permutations of the first blocks are exhausted, each is continued in as many random ways as `permutations`
  allows, rather than in one; shares are counted of all that began, which the package does not do when the very first
  block is drawn at random;
* sums that differ by rounding alone are ties.

Two agents: the level holds for any number of permutations, since the identity is one of them and exchangeable with the
rest (Hemerik & Goeman 2018). Several agents: family-wise, approximately (measured there too).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache, reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError

Decision = Literal["larger", "smaller", "equal", "undecided"]
Pair = tuple[str, str]
Block = Mapping[str, Sequence[float] | NDArray[Any]]
Numbers = NDArray[np.float64]

ROUNDING = 1e-9  # of the largest score's distance from the mean: sums closer than this are equal
TABLED = 5000  # permutations of a block that are kept as a table


@dataclass(frozen=True)
class AdaStop:
    """test = test.add({"ppo": [.7, .8, .6, .9, .7], "sac": [...]}) until nothing is in `test.wanted`."""

    agents: tuple[str, ...]
    comparisons: tuple[Pair, ...] = ()  # empty: each pair
    seeds_per_interim: int = 5  # of each agent
    interims: int = 5  # at most
    level: float = 0.05  # probability of any wrong claim
    permutations: int = 10_000  # at most
    seed: int = 0  # of the permutations
    blocks: tuple[Block, ...] = ()  # scores so far, one block for each interim

    def __post_init__(self) -> None:
        named = {name for pair in self.comparisons for name in pair}
        if len(set(self.agents)) < max(2, len(self.agents)) or not named <= set(self.agents):
            raise ConfigError(
                f"a comparison needs two or more agents with different names, but found {list(self.agents)} and "
                f"comparisons of {sorted(named)}; nothing was compared. Name each agent once and compare only those."
            )
        paths = min(self.permutations, math.comb(2 * self.seeds_per_interim, self.seeds_per_interim) ** self.interims)
        if 2 / paths > self.level:
            raise ConfigError(
                f"{self.interims} interims of {self.seeds_per_interim} seeds and {self.permutations} permutations can "
                f"never reach the level {self.level}: the least p-value is {2 / paths:.3g}; nothing was compared. Take "
                f"more seeds, interims or permutations."
            )

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.comparisons or tuple(itertools.combinations(self.agents, 2))

    @property
    def wanted(self) -> tuple[str, ...]:
        """Agents that need `seeds_per_interim` more seeds; empty when everything is decided."""
        undecided = {name for pair, found in self.decisions().items() if found == "undecided" for name in pair}
        return tuple(name for name in self.agents if name in undecided)

    def decisions(self) -> dict[Pair, Decision]:
        """The first of each pair against the second; what is open after the last interim is "equal"."""
        rest: Decision = "equal" if len(self.blocks) == self.interims else "undecided"
        return {pair: self._state.decided.get(pair, rest) for pair in self.pairs}

    def scores(self) -> dict[str, tuple[float, ...]]:
        return {name: tuple(x for block in self.blocks for x in block.get(name, ())) for name in self.agents}

    def add(self, block: Block) -> AdaStop:
        """With the next scores, which are those of `wanted` and no others."""
        self._check(block)
        scores = {name: tuple(float(x) for x in block[name]) for name in self.agents if name in block}
        new = replace(self, blocks=(*self.blocks, scores))
        new.__dict__["_state"] = _advance(self._state, new, scores)
        return new

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> AdaStop:
        """Everything follows from settings and scores: the same decisions, and the same permutations to come."""
        told = json.loads(text)
        blocks = told.pop("blocks")
        lists = {"agents": tuple(told.pop("agents")), "comparisons": tuple((a, b) for a, b in told.pop("comparisons"))}
        return reduce(AdaStop.add, blocks, AdaStop(**lists, **told))

    @cached_property
    def _state(self) -> _State:
        state = _State(np.zeros((1, len(self.pairs))), 1, self.pairs)
        return reduce(lambda state, block: _advance(state, self, block), self.blocks, state)

    def _check(self, block: Block) -> None:
        if set(block) != set(self.wanted) or any(len(x) != self.seeds_per_interim for x in block.values()):
            found = {name: len(x) for name, x in block.items()}
            raise ConfigError(
                f"block {len(self.blocks) + 1} must hold {self.seeds_per_interim} scores of each of "
                f"{list(self.wanted)}, but holds {found}; nothing was compared. Add the seeds of those agents, neither "
                f"more nor fewer."
            )
        if not all(math.isfinite(x) for scores in block.values() for x in scores):
            raise ConfigError(
                f"block {len(self.blocks) + 1} holds scores that are not finite; nothing was compared. Train those "
                f"seeds again, or give the score that a failed run deserves, such as 0."
            )


@dataclass(frozen=True)
class _State:
    """After some blocks. The first path permutes nothing, so its sums are what was observed."""

    sums: Numbers  # (paths, open pairs) differences of block means, added up; paths that crossed a boundary are gone
    began: int  # paths there would be if none had crossed
    open: tuple[Pair, ...]
    decided: Mapping[Pair, Decision] = field(default_factory=dict[Pair, Decision])
    spent: float = 0.0  # of the level
    blocks: int = 0
    tolerance: float = 0.0


def _advance(state: _State, test: AdaStop, block: Block) -> _State:
    """Continue the paths through a block, then claim what crosses its boundary, the largest difference first."""
    values = np.array([[*block[a], *block[b]] for a, b in state.open]).T  # (2 seeds, open)
    values = values - values.mean(axis=0)  # changes no difference, but what rounding does to it
    tolerance = max(state.tolerance, ROUNDING * float(np.abs(values).max()))
    parents, signs, factor = _continued(len(state.sums), state.began, state.blocks, test)
    sums, began = state.sums[parents] + signs @ values, state.began * factor  # (paths, open)
    allowed = test.level * (state.blocks + 1) / test.interims - state.spent
    decided, columns = dict(state.decided), list(range(len(state.open)))
    while True:
        largest = np.abs(sums[:, columns]).max(axis=1)  # (paths,)
        bound, share = _boundary(largest, began, allowed, tolerance)
        worst = int(np.abs(sums[0, columns]).argmax())
        if abs(sums[0, columns[worst]]) <= bound + tolerance:
            break
        claimed = columns.pop(worst)
        decided[state.open[claimed]] = "larger" if sums[0, claimed] > 0 else "smaller"
        if not columns:
            break
    kept = sums[largest <= bound + tolerance][:, columns]
    still = tuple(state.open[column] for column in columns)
    return _State(kept, began, still, decided, state.spent + share, state.blocks + 1, tolerance)


def _boundary(largest: Numbers, began: int, allowed: float, tolerance: float) -> tuple[float, float]:
    """The least sum that at most the share `allowed` of all paths exceeds, and the share that does."""
    values = np.sort(largest)
    above = (len(values) - np.searchsorted(values, values + tolerance, side="right")) / began
    first = int((above <= allowed + 1e-12).argmax())  # none is above the last
    return float(values[first]), float(above[first])


def _continued(paths: int, began: int, block: int, test: AdaStop) -> tuple[NDArray[Any], Numbers, int]:
    """Path that each new path continues, the signs of its block (new, 2 seeds), and new paths for each old one.

    All permutations of the block where that many fit, else as many random ones as fit; the first is the identity.
    """
    seeds, factor = test.seeds_per_interim, max(1, test.permutations // began)
    number = math.comb(2 * seeds, seeds)
    if factor >= number:
        return np.repeat(np.arange(paths), number), np.tile(_table(seeds), (paths, 1)), number
    signs = _random(seeds, paths * factor, np.random.default_rng((test.seed, block)))
    signs[0] = _identity(seeds)
    return np.repeat(np.arange(paths), factor), signs, factor


def _identity(seeds: int) -> Numbers:
    return np.repeat([1.0, -1.0], seeds) / seeds


def _random(seeds: int, count: int, generator: np.random.Generator) -> Numbers:
    number = math.comb(2 * seeds, seeds)
    if number <= TABLED:
        return _table(seeds)[generator.integers(number, size=count)]
    return generator.permuted(np.tile(_identity(seeds), (count, 1)), axis=1)


@lru_cache(maxsize=8)
def _table(seeds: int) -> Numbers:
    """(permutations, 2 seeds) signs over `seeds`: a mean minus a mean. The first is the identity."""
    chosen = np.array(list(itertools.combinations(range(2 * seeds), seeds)))
    signs = np.full((len(chosen), 2 * seeds), -1.0 / seeds)
    np.put_along_axis(signs, chosen, 1.0 / seeds, axis=1)
    return signs
