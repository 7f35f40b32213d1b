"""Point values and intervals from raw seconds and scores. Pure functions on arrays: no I/O, no configuration.

The intervals hold for a number of batches that was fixed beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A point value with its confidence interval; a single observation has none, both ends are None then."""

    value: float
    low: float | None
    high: float | None


def speedup(baseline_s: npt.ArrayLike, candidate_s: npt.ArrayLike, confidence: float) -> Interval:
    """Geometric mean of baseline / candidate over paired batches, Student's t interval on the log ratios.

    Both arrays: (batches,) seconds; entry i of both is the same prompts and seeds. Logs, because a ratio and
    its inverse then weigh the same (Fleming and Wallace, CACM 29(3), 1986).
    Raises ValueError unless both are finite, positive and of one length >= 1.
    """
    baseline, candidate = _pair(_positive(baseline_s, "baseline_s"), _positive(candidate_s, "candidate_s"))
    log_ratios = np.log(baseline) - np.log(candidate)
    centre = float(log_ratios.mean())
    half = _half_width(log_ratios - centre, len(log_ratios), confidence)
    if half is None:
        return Interval(math.exp(centre), None, None)
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half))


def mean_over_mean(baseline_s: npt.ArrayLike, candidate_s: npt.ArrayLike) -> float:
    """DiffBench's speedup: mean baseline seconds / mean candidate seconds, over the same images.

    Both arrays: (batches,) seconds. Source: arXiv 2601.03178. Raises ValueError as `speedup` does.
    """
    baseline, candidate = _pair(_positive(baseline_s, "baseline_s"), _positive(candidate_s, "candidate_s"))
    return float(baseline.sum() / candidate.sum())


def seconds_per_image(wall_s: npt.ArrayLike, images: npt.ArrayLike, confidence: float) -> Interval:
    """All seconds / all images of one side, so that a short last batch weighs as much as it has images.

    Both arrays: (batches,). The interval is the ratio estimator's; with batches of one size it is Student's t
    interval of the mean. Raises ValueError as `speedup` does.
    """
    seconds, counts = _pair(_positive(wall_s, "wall_s"), _positive(images, "images"))
    return _ratio_of_means(seconds, counts, confidence)


def relative_loss(
    baseline_scores: npt.ArrayLike, candidate_scores: npt.ArrayLike, confidence: float
) -> Interval | None:
    """(mean baseline - mean candidate) / mean baseline, from paired scores per image; a gain is negative.

    Both arrays: (images,). None where the baseline's mean is not positive: a share of it means nothing then.
    Raises ValueError unless both are finite and of one length >= 1.
    """
    baseline, candidate = _pair(
        _finite(baseline_scores, "baseline_scores"), _finite(candidate_scores, "candidate_scores")
    )
    if baseline.mean() <= 0:
        return None
    return _ratio_of_means(baseline - candidate, baseline, confidence)


def _ratio_of_means(numerator: Array, denominator: Array, confidence: float) -> Interval:
    """mean(numerator) / mean(denominator) of paired observations, by the linearised ratio estimator.

    Its variance is that of the residuals over the denominator's mean (Cochran, Sampling Techniques, 3rd
    edition, 1977, chapter 6); Student's t, for there are few observations.
    """
    ratio = float(numerator.mean() / denominator.mean())
    half = _half_width((numerator - ratio * denominator) / denominator.mean(), len(numerator), confidence)
    if half is None:
        return Interval(ratio, None, None)
    return Interval(ratio, ratio - half, ratio + half)


def _half_width(residuals: Array, count: int, confidence: float) -> float | None:
    """Student's t times the standard error of a mean with these residuals; None for a single observation."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must lie between 0 and 1, such as 0.95")
    if count < 2:
        return None
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # half a second that --help need not wait for

    standard_error = math.sqrt(float(residuals @ residuals) / (count - 1) / count)
    return float(stdtrit(count - 1, (1 + confidence) / 2)) * standard_error


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
