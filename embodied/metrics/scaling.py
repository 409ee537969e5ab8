"""How a score grows with what is spent on it: training, attempts, decisions per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodied.errors import ConfigError

Numbers = NDArray[np.float64]

LEAST_POINTS = 6  # two more than the curve has parameters
WIDEST = 1e3  # the midpoint is sought this far outside of what was measured


@dataclass(frozen=True, slots=True)
class Growth:
    """score(C) = start + (asymptote - start) / (1 + (midpoint / C) ** exponent), fitted to a learning curve.

    ScaleRL (Khatri et al. 2025, 2510.13786). Most tricks move only the midpoint; the asymptote tells which method wins
    in the end. Errors are one standard deviation, of the midpoint as a factor: 1.2 is 20 % either way.
    """

    start: float
    asymptote: float
    midpoint: float  # compute at which half of the way is done
    exponent: float
    asymptote_error: float
    midpoint_factor: float
    residual: float  # root mean square over the points fitted
    measured: float  # the most compute among them

    @property
    def is_determined(self) -> bool:
        """Whether the points reach far enough to tell the asymptote.

        Twice the midpoint, errors of 5 % of the rise and 25 % of the midpoint. With looser limits the errors, which are
        linearized, were too small (docs/statistics.md).
        """
        rise = abs(self.asymptote - self.start)
        return 2 * self.midpoint < self.measured and self.asymptote_error < 0.05 * rise and self.midpoint_factor < 1.25

    def predict(self, compute: ArrayLike) -> Numbers:
        """Score at each compute, with the units of those fitted."""
        spent = np.asarray(compute, dtype=np.float64)
        return _curve(spent, self.start, self.asymptote, np.log(self.midpoint), self.exponent)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A fit to the first half of the compute, and how it did on the second."""

    growth: Growth
    error: float  # root mean square of prediction minus score over the second half
    bias: float  # mean of the same: above zero, the prediction promised too much


def fit_growth(compute: ArrayLike, score: ArrayLike, *, highest: float = 1.0) -> Growth:
    """The sigmoid through (points,) of compute, which is above zero, and score, which cannot pass `highest`."""
    from scipy.optimize import curve_fit

    spent, scores = _points(compute, score)
    low, high = float(scores.min()), float(scores.max())
    span = max(high - low, 1e-6)
    ends = np.log(spent[0] / WIDEST), np.log(spent[-1] * WIDEST)
    bounds = ([low - span, low, ends[0], 0.1], [high, max(highest, high + 1e-6), ends[1], 10.0])
    fits: list[tuple[float, Numbers, Any]] = []
    for middle in np.quantile(np.log(spent), (0.25, 0.5, 0.9)):  # the error has several valleys
        first = [low, min(high + 0.1 * span, bounds[1][1]), middle, 1.0]
        try:
            found, covariance = curve_fit(_curve, spent, scores, p0=first, bounds=bounds, maxfev=20_000)
        except RuntimeError:  # no end in that valley
            continue
        fits.append((float(np.square(_curve(spent, *found) - scores).mean()), found, covariance))
    if not fits:
        raise ConfigError(
            f"a sigmoid was to be fitted to {len(spent)} points of a learning curve, but no fit came to an end; "
            f"nothing is predicted. Look at the curve: it may fall, or jump."
        )
    squared, (start, asymptote, log_midpoint, exponent), covariance = min(fits, key=lambda fit: fit[0])
    errors = np.sqrt(np.diag(covariance))
    return Growth(float(start), float(asymptote), float(np.exp(log_midpoint)), float(exponent), float(errors[1]),
                  float(np.exp(min(errors[2], 50.0))), squared**0.5, float(spent[-1]))  # fmt: skip


def forecast(compute: ArrayLike, score: ArrayLike, *, highest: float = 1.0) -> Forecast:
    """Fit what the first half of the compute gave and predict the rest: what such a fit was worth here."""
    spent, scores = _points(compute, score)
    half = int(np.searchsorted(spent, spent[-1] / 2, side="right"))
    growth = fit_growth(spent[:half], scores[:half], highest=highest)
    off = growth.predict(spent[half:]) - scores[half:]
    return Forecast(growth, float(np.sqrt(np.square(off).mean())), float(off.mean()))


def _curve(spent: Numbers, start: float, asymptote: float, log_midpoint: float, exponent: float) -> Numbers:
    return start + (asymptote - start) / (1 + np.exp(exponent * (log_midpoint - np.log(spent))))


def _points(compute: ArrayLike, score: ArrayLike) -> tuple[Numbers, Numbers]:
    """Both sorted by compute."""
    spent, scores = np.asarray(compute, dtype=np.float64), np.asarray(score, dtype=np.float64)
    usable = spent.shape == scores.shape and spent.ndim == 1 and bool(np.isfinite([spent, scores]).all())
    if not usable or len(spent) < LEAST_POINTS or spent.min() <= 0:
        raise ConfigError(
            f"a growth curve needs {LEAST_POINTS} or more points with compute above zero and finite scores, but found "
            f"{spent.size} and {scores.size} numbers; nothing was fitted. Leave out the point before training, or "
            f"evaluate more often."
        )
    order = np.argsort(spent)
    return spent[order], scores[order]


def frequency_averaged_score(periods: ArrayLike, scores: ArrayLike) -> float:
    """Mean normalized score over decision periods, such as 1 to 16 actions for each observation.

    The area under (periods,) against (periods,), by trapezoids, over the range of periods: 1 for a policy that keeps a
    score of 1 at every chunk length. Patel & Siegelmann 2024, sequence reinforcement learning.
    """
    lengths, found = np.asarray(periods, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    order = np.argsort(lengths)
    usable = lengths.shape == found.shape and len(np.unique(lengths)) == lengths.size >= 2
    if not usable or not np.isfinite(found).all():
        raise ConfigError(
            f"a frequency-averaged score needs one finite score for each of two or more decision periods, but found "
            f"{lengths.size} periods and {found.size} scores; nothing was computed. Evaluate at periods "
            f"such as 1, 2, 4, 8 and 16."
        )
    return float(np.trapz(found[order], lengths[order]) / np.ptp(lengths))


def pass_at_k(successes: ArrayLike, attempts: int, k: int) -> float:
    """Probability that one of `k` attempts succeeds, without bias, mean over starts with `attempts` each.

    1 - C(attempts - successes, k) / C(attempts, k); Chen et al. 2021, 2107.03374. That of the base policy is what
    sharpening by RL can reach.
    """
    counts = np.atleast_1d(np.asarray(successes))
    if not 1 <= k <= attempts or not counts.size or counts.min() < 0 or counts.max() > attempts:
        raise ConfigError(
            f"pass@{k} was asked of {attempts} attempts with {counts.tolist()} successes, which it cannot be estimated "
            f"from; nothing was computed. Play at least {k} episodes from each start."
        )
    failing = (attempts - counts[:, None] - np.arange(k)) / (attempts - np.arange(k))  # (starts, k), of a draw each
    return float(1 - np.prod(np.clip(failing, 0, 1), axis=1).mean())
