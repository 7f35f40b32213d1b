"""Point values and intervals from raw seconds and scores. Pure functions on arrays: no I/O, no configuration.

An interval takes the confidence of this one look. `confidence_at_look` says which, so that all looks together hold
the truth with the confidence that was asked for; without one (None) it is too early, and there is no interval.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FIRST_LOOK = 4  # batches: with fewer, Student's t at the level of an early look is so wide that it decides nothing
SPENDING_POWER = 3.0
SPENT_SHARE = 0.75  # of the error that is allowed; `confidence_at_look` says why not all of it
TURNS_FACTOR = math.sqrt(9 / 8)  # on the standard error of a speedup; `speedup` says why
LARGEST_LOG = math.log(sys.float_info.max)


@dataclass(frozen=True)
class Interval:
    """A point value with its confidence interval; a single observation has none, both ends are None then."""

    value: float
    low: float | None
    high: float | None


def confidence_at_look(look: int, planned: int, confidence: float) -> float | None:
    """The confidence to use at this look, so that ALL intervals of a run hold the truth together with `confidence`.

    look: batches so far, 0 to `planned`; there is one after every batch from FIRST_LOOK on. None before, unless
    planned is smaller: then the only look is at `planned`. Raises ValueError where an argument is out of range.

    Repeated confidence intervals (Jennison and Turnbull, JRSS B 51(3), 1989). The error alpha is spent as
    alpha * (look / planned)^3 (Lan and DeMets, Biometrika 70(3), 1983; the power family of Kim and DeMets,
    Biometrika 74(1), 1987): little is spent early, so the last interval is not much wider than that of a single
    look, and the levels fall from look to look. The boundary for a normal mean becomes nominal levels, which
    Student's t is then used at (Pocock, Biometrika 64(2), 1977).

    Three quarters of alpha are spent. Few batches make successive t values less alike than normal ones, so with all
    of it 5.8% of runs with independent normal noise would miss the truth at 8 batches, and not 5%; the rest is
    the margin for noise that is not normal. What is missed: benchmarks/coverage.py.
    """
    _require_confidence(confidence)
    if planned < 1 or not 0 <= look <= planned:
        raise ValueError(f"look {look} of {planned} planned ones: there is one a batch, and at least one is planned")
    first = min(FIRST_LOOK, planned)
    return None if look < first else _levels(planned, confidence)[look - first]


@cache
def _levels(planned: int, confidence: float) -> tuple[float, ...]:
    """The confidence at every look, from the first to `planned`."""
    from scipy.special import ndtr  # type: ignore[import-untyped]  # half a second that --help need not wait for

    looks = range(min(FIRST_LOOK, planned), planned + 1)
    allowed = SPENT_SHARE * (1 - confidence)
    spent = [allowed * (look / planned) ** SPENDING_POWER for look in looks]
    return tuple(1 - 2 * float(ndtr(-value)) for value in critical_values(looks, spent))


def critical_values(looks: Sequence[int], spent: Sequence[float]) -> list[float]:
    """How far the standardised mean of so many normal observations may lie from the truth, on either side.

    looks: observations at each, increasing. spent: the probability that the limit was crossed by then, increasing.
    Recursive integration (Armitage, McPherson and Rowe, JRSS A 132(2), 1969) of the density of the absolute sum
    over the paths that crossed no limit yet, by Gauss-Legendre quadrature: to 5 decimals for up to 2000 looks.
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    nodes, weights = np.polynomial.legendre.leggauss(32 + math.ceil(4 * math.sqrt(looks[-1])))  # as far as a sum walks
    sums, masses = np.zeros(1), np.ones(1)
    values, last_look, last_spent = [], 0, 0.0
    for look, by_now in zip(looks, spent, strict=True):
        spread = math.sqrt(look - last_look)
        limit = brentq(_excess, 0.0, 40 * math.sqrt(look), (sums, masses, spread, by_now - last_spent))
        reached = limit * (nodes + 1) / 2
        density = np.exp(-(((reached[:, None] - sums) / spread) ** 2) / 2)
        density += np.exp(-(((reached[:, None] + sums) / spread) ** 2) / 2)
        masses = density @ masses / (spread * math.sqrt(2 * math.pi)) * weights * limit / 2
        sums, last_look, last_spent = reached, look, by_now
        values.append(limit / math.sqrt(look))
    return values


def _excess(limit: float, sums: Array, masses: Array, spread: float, wanted: float) -> float:
    """By how much the probability that the next absolute sum lies beyond the limit is above what is wanted."""
    from scipy.special import ndtr

    return float(masses @ (ndtr((sums - limit) / spread) + ndtr((-sums - limit) / spread))) - wanted


def speedup(baseline_s: npt.ArrayLike, candidate_s: npt.ArrayLike, confidence: float | None) -> Interval:
    """Geometric mean of baseline / candidate over paired batches, Student's t interval on the log ratios.

    Both arrays: (batches,) seconds; entry i of both is the same prompts and seeds. Logs, because a ratio and
    its inverse then weigh the same (Fleming and Wallace, CACM 29(3), 1986).
    Raises ValueError unless both are finite, positive and of one length >= 1.

    The standard error is that of independent batches times sqrt(9/8). Two batches in turns A B B A or B A A B are
    alike where the machine's speed is: a speed whose correlation over k turns is r^k makes their log ratios
    correlate by r (1 - r) / 2, at most 1/8 (at r = 1/2), and so does any mixture of such. Blocks are
    independent of each other, because a coin orders each.
    """
    baseline, candidate = _pair(_positive(baseline_s, "baseline_s"), _positive(candidate_s, "candidate_s"))
    log_ratios = np.log(baseline) - np.log(candidate)
    centre = float(log_ratios.mean())
    half = _half_width(log_ratios - centre, len(log_ratios), confidence)
    if half is None:
        return Interval(math.exp(centre), None, None)
    half *= TURNS_FACTOR
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(min(centre + half, LARGEST_LOG)))


def widened(ratio: Interval, by: float) -> Interval:
    """A ratio's interval with both ends moved outwards by `by`, a logarithm >= 0; without ends it stays as it is."""
    if ratio.low is None or ratio.high is None:
        return ratio
    return Interval(ratio.value, ratio.low * math.exp(-by), ratio.high * math.exp(by))


def mean_over_mean(baseline_s: npt.ArrayLike, candidate_s: npt.ArrayLike) -> float:
    """DiffBench's speedup: mean baseline seconds / mean candidate seconds, over the same images.

    Both arrays: (batches,) seconds. Source: arXiv 2601.03178. Raises ValueError as `speedup` does.
    """
    baseline, candidate = _pair(_positive(baseline_s, "baseline_s"), _positive(candidate_s, "candidate_s"))
    return float(baseline.sum() / candidate.sum())


def seconds_per_image(wall_s: npt.ArrayLike, images: npt.ArrayLike, confidence: float | None) -> Interval:
    """All seconds / all images of one side, so that a short last batch weighs as much as it has images.

    Both arrays: (batches,). The interval is the ratio estimator's; with batches of one size it is Student's t
    interval of the mean. Nothing is paired here, so it does not cover a machine that stays slow for several batches.
    Raises ValueError as `speedup` does.
    """
    seconds, counts = _pair(_positive(wall_s, "wall_s"), _positive(images, "images"))
    return _ratio_of_means(seconds, counts, confidence)


def relative_loss(
    baseline_scores: npt.ArrayLike, candidate_scores: npt.ArrayLike, confidence: float | None
) -> Interval | None:
    """(mean baseline - mean candidate) / mean baseline, from paired scores per image; a gain is negative.

    Both arrays: (images,). None where the baseline's mean is not positive: a share of it means nothing then.
    Where few images lose much and most lose nothing, a short run may see none of the few, and the interval with it.
    Raises ValueError unless both are finite and of one length >= 1.
    """
    baseline, candidate = _pair(
        _finite(baseline_scores, "baseline_scores"), _finite(candidate_scores, "candidate_scores")
    )
    if baseline.mean() <= 0:
        return None
    return _ratio_of_means(baseline - candidate, baseline, confidence)


def _ratio_of_means(numerator: Array, denominator: Array, confidence: float | None) -> Interval:
    """mean(numerator) / mean(denominator) of paired observations, by the linearised ratio estimator.

    Its variance is that of the residuals over the denominator's mean (Cochran, Sampling Techniques, 3rd
    edition, 1977, chapter 6); Student's t, for there are few observations.
    """
    ratio = float(numerator.mean() / denominator.mean())
    half = _half_width((numerator - ratio * denominator) / denominator.mean(), len(numerator), confidence)
    if half is None:
        return Interval(ratio, None, None)
    return Interval(ratio, ratio - half, ratio + half)


def _half_width(residuals: Array, count: int, confidence: float | None) -> float | None:
    """Student's t times the standard error of a mean with these residuals; None for a single observation."""
    if confidence is None:
        return None
    _require_confidence(confidence)
    if count < 2:
        return None
    from scipy.special import stdtrit

    standard_error = math.sqrt(float(residuals @ residuals) / (count - 1) / count)
    return float(stdtrit(count - 1, (1 + confidence) / 2)) * standard_error


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must lie between 0 and 1, such as 0.95")


def _finite(values: npt.ArrayLike, name: str) -> Array:
    array: npt.NDArray[Any] = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} has shape {array.shape}: a list of at least one number is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return array


def _positive(values: npt.ArrayLike, name: str) -> Array:
    array = _finite(values, name)
    if not (array > 0).all():
        raise ValueError(f"{name} holds a value that is not positive: {array.min()}")
    return array


def _pair(first: Array, second: Array) -> tuple[Array, Array]:
    if len(first) != len(second):
        raise ValueError(f"paired values are of different length: {len(first)} and {len(second)}")
    return first, second
