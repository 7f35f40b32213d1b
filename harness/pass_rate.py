"""The share of a suite's tasks that are truly met: the range in which it lies, and its confidence interval. Pure.

An INCONCLUSIVE task is met or it is not, so the verdicts give the share only as a range. Tasks that share a baseline
are alike, so the sampling error is estimated from one baseline to the next and not from task to task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BISECTIONS = 40


@dataclass(frozen=True)
class PassRate:
    """The share of tasks whose candidate truly meets its task, as fractions.

    low, high: passed / tasks, and (passed + inconclusive) / tasks. The true share lies between them, up to sampling.
    interval_low, interval_high: the confidence interval of the true share; None with a single cluster.
    clusters: groups of tasks that share a baseline.
    """

    low: float
    high: float
    interval_low: float | None
    interval_high: float | None
    clusters: int
    confidence: float


def pass_rate(tasks: Sequence[int], passed: Sequence[int], inconclusive: Sequence[int], confidence: float) -> PassRate:
    """Return the pass rate from the number of tasks of every cluster, and how many of them came out how.

    Raises ValueError where there is no cluster, or a cluster without tasks.
    """
    if not tasks or min(tasks) < 1:
        raise ValueError(f"tasks of the clusters are {list(tasks)}: at least one cluster with a task each is needed")
    ends: tuple[float | None, float | None] = (None, None)
    if len(tasks) > 1:
        counts = np.array([tasks, passed, inconclusive], dtype=np.float64)
        low, high = rate_interval(counts[0], counts[1], counts[2], confidence)
        ends = (float(low), float(high))
    total = sum(tasks)
    return PassRate(sum(passed) / total, (sum(passed) + sum(inconclusive)) / total, *ends, len(tasks), confidence)


def rate_interval(tasks: Array, passed: Array, inconclusive: Array, confidence: float) -> tuple[Array, Array]:
    """Return both ends of the confidence interval of the true share, for one suite or for many at once.

    All three: (..., clusters), at least two clusters, and a task in each. Returns (...) twice, fractions.

    The interval holds the true share, not the whole range, with `confidence` (Imbens and Manski, Econometrica 72(6),
    2004). Each end may then miss with a probability between (1 - confidence) / 2 for a range without width, and
    1 - confidence for a wide one. Their condition on the range's estimated width holds, because the upper end is
    never below the lower one (Stoye, Econometrica 77(4), 2009, lemma 3).

    The variance of either end is robust against whatever correlation there is within a cluster: CR3, the jackknife
    over clusters (Bell and McCaffrey, Survey Methodology 28(2), 2002; Cameron and Miller, Journal of Human Resources
    50(2), 2015, section VI). Student's t has G - 1 degrees of freedom, where G = (sum of sizes)^2 / sum of sizes^2 is
    Kish's effective number of clusters (Carter, Schnepel and Steigerwald, Review of Economics and Statistics 99(4),
    2017). With B clusters of one size these are the usual factor B / (B - 1) and B - 1 degrees of freedom. With
    twelve clusters of unequal sizes and 1% of noise the usual ones hold the truth in 88 to 94% of suites, and the ones
    used here in 96 to 97% (benchmarks/suite_coverage.py).
    """
    sizes = tasks.sum(axis=-1)
    clusters = sizes**2 / (tasks**2).sum(axis=-1)
    low, low_variance = _rate_and_variance(tasks, passed)
    high, high_variance = _rate_and_variance(tasks, passed + inconclusive)
    spread = np.sqrt(np.maximum(low_variance, high_variance))
    width = np.divide(high - low, spread, out=np.zeros_like(spread), where=spread > 0)
    error = error_of_an_end(width, clusters - 1, confidence)
    interval_low = 1 - _upper_end(1 - low, low_variance, clusters, error)
    return interval_low, _upper_end(high, high_variance, clusters, error)


def _rate_and_variance(tasks: Array, met: Array) -> tuple[Array, Array]:
    """Return the share of tasks that are met and its variance, (...) each; 0 only where none or all are met."""
    sizes = tasks.sum(axis=-1)
    rate = met.sum(axis=-1) / sizes
    residuals = (met - rate[..., None] * tasks) / (sizes[..., None] - tasks)
    clusters = tasks.shape[-1]
    variance = (clusters - 1) / clusters * (residuals**2).sum(axis=-1)
    # Clusters that happen to be alike would have no variance. Independent tasks have this one, and those of a
    # baseline are not less alike than independent ones.
    return rate, np.maximum(variance, rate * (1 - rate) / sizes)


def error_of_an_end(width: Array, freedom: Array, confidence: float) -> Array:
    """Return the probability with which each end may miss, from Imbens and Manski's critical value c.

    width: of the range, in standard errors of its ends. Solves F(c + width) - F(-c) = confidence for F(-c), where F is
    Student's t of `freedom` degrees.
    """
    from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]  # half a second that --help need not wait for

    least, most = np.full_like(width, (1 - confidence) / 2), np.full_like(width, 1 - confidence)
    for _ in range(BISECTIONS):
        error = (least + most) / 2
        covers = stdtr(freedom, width - stdtrit(freedom, error)) - error >= confidence
        least, most = np.where(covers, error, least), np.where(covers, most, error)
    return least


def _upper_end(rate: Array, variance: Array, clusters: Array, error: Array) -> Array:
    """Return the upper end that misses with the probability `error`: Clopper and Pearson's, of an effective count.

    Korn and Graubard (Survey Methodology 24(2), 1998): the independent tasks that would have this variance, times
    (normal / Student's t quantile)^2. Unlike rate + t * standard error it stays within 1, and it holds for rates near
    0 and 1. Where no task is met the data do not say how alike the tasks of a baseline are. They may then stand and
    fall together, so every effective cluster counts as one task.
    """
    from scipy.special import betaincinv, ndtri, stdtrit

    independent = np.divide(rate * (1 - rate), variance, out=np.zeros_like(rate), where=variance > 0)
    independent *= (ndtri(error) / stdtrit(clusters - 1, error)) ** 2
    count = np.where(rate > 0, independent, clusters)
    failed = np.maximum(count * (1 - rate), np.finfo(np.float64).tiny)  # betaincinv is not defined at 0
    end: Array = np.where(rate < 1, betaincinv(count * rate + 1, failed, 1 - error), 1.0)
    return end
