"""Point values and intervals from raw seconds and scores. Pure functions on arrays: no I/O, no configuration.

An interval takes the confidence of this one look. `confidence_at_look` says which, so that all looks together hold
the truth with the confidence that was asked for; without one (None) it is too early, and there is no interval.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FIRST_LOOK = 4  # batches: with fewer, Student's t at the level of an early look is so wide that it decides nothing
SPENDING_POWER = 2.0
SPENT_SHARE = 0.75  # of the error that is allowed; `confidence_at_look` says why not all of it
TURNS_FACTOR = math.sqrt(9 / 8)  # on the standard error of a speedup; `speedup` says why
BLOCKS_CORRELATION = 0.25  # of the log ratios of two blocks that lie together; `blocks_inflation` says why
LEAST_STRETCHES = 8  # of the baseline, for an interval of a latency
START_ORDER_EFFECT = 0.0013  # log ratio; `StartSpread` says what it is, benchmarks/RESULTS.md how it was found
LARGEST_LOG = math.log(sys.float_info.max)
ROUNDS = 100  # in search of an end of an interval; where it exists, a dozen find it to 12 decimals


@dataclass(frozen=True)
class Interval:
    """A point value with its confidence interval. Both ends are None if there is too little to make one of."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StartSpread:
    """How much the log ratio of a file to itself differs from one start of its two processes to the next.

    std: standard deviation of the starts' means. df: its degrees of freedom. order_effect: the log of how much slower
    the process is that was started last.
    """

    std: float
    df: int
    order_effect: float = START_ORDER_EFFECT

    def half_width(self, batches: Sequence[int], confidence: float) -> float:
        """Half of the interval that starts alone make for a mean log ratio, with so many batches in each start."""
        share = sum((count / sum(batches)) ** 2 for count in batches)
        return students_t(self.df, confidence) * self.std * math.sqrt(share)


def confidence_at_look(look: int, planned: int, confidence: float) -> float | None:
    """The confidence to use at this look, so that ALL intervals of a run hold the truth together with `confidence`.

    look: batches so far, 0 to `planned`; there is one after every batch from FIRST_LOOK on. None before, unless
    planned is smaller: then the only look is at `planned`. Raises ValueError where an argument is out of range.

    Repeated confidence intervals (Jennison and Turnbull, JRSS B 51(3), 1989). The error alpha is spent as
    alpha * (look / planned)^2 (Lan and DeMets, Biometrika 70(3), 1983; the power family of Kim and DeMets,
    Biometrika 74(1), 1987): little is spent early, so the last interval is not much wider than that of a single
    look, and from the second look on the levels fall. The boundary for a normal mean becomes nominal levels, which
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


def log_ratios(baseline_s: npt.ArrayLike, candidate_s: npt.ArrayLike) -> Array:
    """Return log(baseline / candidate) of each pair of calls.

    Args:
        baseline_s, candidate_s: (batches,) seconds; entry i of both is the same prompts and seeds.

    Raises:
        ValueError: unless both are finite, positive and of one length >= 1.
    """
    baseline, candidate = _pair(_positive(baseline_s, "baseline_s"), _positive(candidate_s, "candidate_s"))
    return np.asarray(np.log(baseline) - np.log(candidate))


def speedup(
    logs: Array, confidence: float | None, starts: Iterable[int] | None = None, between: float = 0.0
) -> Interval:
    """Geometric mean of baseline / candidate over paired batches, Student's t interval on the log ratios.

    Logs, because a ratio and its inverse then weigh the same (Fleming and Wallace, CACM 29(3), 1986).

    The standard error is that of independent batches times sqrt(9/8). Two batches in turns A B B A or B A A B are
    alike if the machine's speed is: a speed whose correlation over k turns is r^k makes their log ratios correlate by
    r (1 - r) / 2, at most 1/8 (at r = 1/2), and so does any mixture of such. Blocks of two batches are independent of
    each other, because a coin orders each.

    With `between`, the interval holds for the files, not only for the two processes that ran. Of n batches in R starts,
    with the standard deviation s_w within starts, it is h^2 = t(n - R)^2 (9/8) s_w^2 / n + between^2.

    Args:
        logs: (batches,) of `log_ratios`.
        confidence: of this look.
        starts: (batches,) the number of the start that each batch was measured in. None: there was one.
        between: `StartSpread.half_width`.
    """
    numbers = np.zeros(len(logs), dtype=int) if starts is None else _numbered(starts)
    sizes = np.bincount(numbers)
    centre = mean(logs)
    within = logs - (np.bincount(numbers, logs) / sizes)[numbers]
    half = _half_width(within, len(logs), confidence, len(sizes))
    if half is None:
        return Interval(math.exp(centre), None, None)
    return _ratio_around(centre, math.hypot(half * TURNS_FACTOR, between))


def speedup_of_means(logs: Array, groups: Iterable[int], confidence: float | None, inflation: float = 1.0) -> Interval:
    """The same from the means of groups of batches, each of which counts once.

    The groups are independent starts of both sides (Kalibera and Jones, ISMM 2013), or blocks that lie apart in time.
    Then it does not matter how batches within one are related.

    Args:
        logs: (batches,) of `log_ratios`.
        groups: (batches,) the number of each batch's group.
        confidence: of this look.
        inflation: of the variance, such as `blocks_inflation`.
    """
    numbers = _numbered(groups)
    means = np.bincount(numbers, logs) / np.bincount(numbers)
    centre = mean(means)
    half = _half_width(means - centre, len(means), confidence)
    return (
        Interval(math.exp(centre), None, None) if half is None else _ratio_around(centre, half * math.sqrt(inflation))
    )


def blocks_inflation(blocks: int) -> float:
    """By which factor the variance of the mean log ratio of so many blocks is above that of independent ones.

    Blocks in turns A B B A or B A A B are alike if the machine's speed is, as batches are; see `speedup`. With a few
    calls between two loaded sides their log ratios correlate by c = 1/4 at most, whatever the correlation from call to
    call. Then the variance of the mean is 1 + c times, and the sample variance 1 - c / (blocks - 1) times as large.
    """
    return 1.0 if blocks < 2 else (1 + BLOCKS_CORRELATION) / (1 - BLOCKS_CORRELATION / (blocks - 1))


def _ratio_around(centre: float, half: float) -> Interval:
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(min(centre + half, LARGEST_LOG)))


def chance_to_decide(logs: Array, limit: float, planned: int, confidence: float, between: float = 0.0) -> float:
    """The probability that the interval after all planned batches will lie on one side of a limit.

    Predictive power (Spiegelhalter, Freedman and Blackburn, Controlled Clinical Trials 7(1), 1986): what is still to
    come varies as what was seen, around a mean of which no more is known. To stop if it is small is not binding: it
    makes no interval miss more often.

    Args:
        logs: (batches,) of `log_ratios`, at least two.
        limit: a log ratio.
        planned: batches in all.
        confidence: of the last look.
        between: `StartSpread.half_width`.
    """
    from scipy.special import stdtr

    seen = len(logs)
    if seen >= planned:
        return 0.0
    spread, distance = standard_deviation(logs), limit - mean(logs)
    half = math.hypot(students_t(planned - 1, confidence) * TURNS_FACTOR * spread / math.sqrt(planned), between)
    error = spread * math.sqrt(1 / seen - 1 / planned)
    if error == 0:
        return float(abs(distance) > half)
    return float(stdtr(seen - 1, -(half + distance) / error) + stdtr(seen - 1, (distance - half) / error))


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
    return float(np.add.reduce(baseline) / np.add.reduce(candidate))


def seconds_per_image(wall_s: npt.ArrayLike, images: npt.ArrayLike) -> float:
    """All seconds / all images of one side, so that a short last batch weighs as much as it has images.

    Both arrays: (batches,). Raises ValueError as `log_ratios` does.
    """
    seconds, counts = _pair(_positive(wall_s, "wall_s"), _positive(images, "images"))
    return float(np.add.reduce(seconds) / np.add.reduce(counts))


def latency(
    baseline_s: npt.ArrayLike,
    candidate_s: npt.ArrayLike,
    stretches: npt.ArrayLike,
    confidence: float | None,
    inflation: float = TURNS_FACTOR**2,
    between: float = 0.0,
) -> Interval:
    """Seconds per image of the candidate, with an interval that covers a machine whose speed changes.

    The candidate was timed for a while only, and the machine may have been slow all that time. But it was timed beside
    the baseline, and the baseline at other times, too: T = (sum c / sum b) mu, where mu is the baseline's mean over
    stretches that lie apart. The relative variances of the two factors add up, with Satterthwaite's degrees of freedom
    (Biometrics Bulletin 2, 1946).

    Args:
        baseline_s, candidate_s: (batches,) seconds; entry i of both is the same prompts and seeds. Or sums of batches.
        stretches: (stretches,) the baseline's seconds per image in each; LEAST_STRETCHES are needed for an interval.
            They hold for the machine's speed if it changes several times from one to the next.
        confidence: of this look.
        inflation: of the linearised variance of the ratio. That of batches in turns; `speedup` says why.
        between: `StartSpread.half_width`.

    Raises:
        ValueError: as `log_ratios` does.
    """
    baseline, candidate = _pair(_positive(baseline_s, "baseline_s"), _positive(candidate_s, "candidate_s"))
    level = _positive(stretches, "stretches")
    ratio = float(np.add.reduce(candidate) / np.add.reduce(baseline))
    value = ratio * mean(level)
    batches, count = len(baseline), len(level)
    if confidence is None or batches < 2 or count < LEAST_STRETCHES:
        return Interval(value, None, None)
    residuals = (candidate - ratio * baseline) / mean(candidate)
    of_ratio = inflation * float(residuals @ residuals) / (batches - 1) / batches
    of_level = (standard_deviation(level) / mean(level)) ** 2 / count
    total = of_ratio + of_level
    half = between
    if total > 0:
        freedom = total**2 / (of_ratio**2 / (batches - 1) + of_level**2 / (count - 1))
        half = math.hypot(students_t(freedom, confidence) * math.sqrt(total), between)
    return Interval(value, value * math.exp(-half), value * math.exp(min(half, LARGEST_LOG)))


def sums_of_groups(values: npt.ArrayLike, groups: Iterable[int]) -> Array:
    """(groups,) sums of the values of each group, in the order in which the groups first appear."""
    return np.asarray(np.bincount(_numbered(groups), np.asarray(values, dtype=np.float64)))


def relative_loss(
    baseline_scores: npt.ArrayLike,
    candidate_scores: npt.ArrayLike,
    batches: Iterable[int],
    confidence: float | None,
    unseen: float = -math.inf,
) -> Interval | None:
    """(mean baseline - mean candidate) / mean baseline, from paired scores per image; a gain is negative.

    An end of the interval is the loss L at which the mean of b - c - L b is no longer surely above or below 0 (Fieller,
    JRSS B 16, 1954), so nothing is assumed of the baseline's mean but that the data tell it from 0. Of two such ends
    the one that lies further out counts:

    - Student's t on the sums of batches, whose images may lose together.
    - Hall's transformed t on images (JRSS B 54, 1992), for losses that are skewed.

    Args:
        baseline_scores, candidate_scores: (images,).
        batches: (images,) the number of each image's batch.
        confidence: of this look.
        unseen: what the images cannot exclude, see `unseen_loss`; the upper end is not below it.

    Returns:
        None if the baseline's mean is not positive: a share of it means nothing. No ends if there are fewer than two
        batches, or if the baseline's mean is not surely positive.

    Raises:
        ValueError: unless the scores are finite and of one length >= 1.
    """
    baseline, candidate = _pair(
        _finite(baseline_scores, "baseline_scores"), _finite(candidate_scores, "candidate_scores")
    )
    centre = mean(baseline)
    if centre <= 0:
        return None
    losses = baseline - candidate
    value = mean(losses) / centre
    clusters = _numbered(batches)
    if confidence is None or clusters.max() < 1:
        return Interval(value, None, None)
    moments = _Moments.of(losses - value * baseline, baseline, clusters, confidence)
    above = _fixed_point(lambda further: moments.beyond(further, 1.0) / centre)
    below = _fixed_point(lambda further: moments.beyond(-further, -1.0) / centre)
    if above is None or below is None:
        return Interval(value, None, None)
    return Interval(value, value - below, max(value + above, unseen))


def unseen_loss(largest: float, images: int, error: float) -> float:
    """The largest mean loss that so many images, none of which shows it, do not exclude.

    If one image in N loses `largest` and the others nothing, a mean loss of w / N goes unseen with the probability
    (1 - 1/N)^n. The one at which that is `error`: w (1 - error^(1/n)).

    Args:
        largest: what one image can lose, as a share of the baseline's mean score.
        images: how many were scored.
        error: the probability of a false pass that is allowed.
    """
    return largest * (1.0 - math.pow(error, 1 / images))


def images_needed(largest: float, limit: float, error: float) -> int:
    """How many images it takes until `unseen_loss` is within `limit`: no candidate can pass with fewer."""
    if limit <= 0:
        raise ValueError(f"the limit of a loss is {limit}: no number of images excludes rare losses then")
    return 1 if limit >= largest else math.ceil(math.log(error) / math.log1p(-limit / largest) - 1e-9)


def one_sided_error(planned: int, confidence: float) -> float:
    """The probability of a false pass that the last of `planned` looks allows."""
    level = confidence_at_look(planned, planned, confidence)
    assert level is not None
    return (1 - level) / 2


@dataclass(frozen=True)
class _Moments:
    """Sums over images of powers of e - x b, as polynomials in x: the coefficients, that of x^0 first.

    e and b are taken from their means. of_clusters: sum of the squares of the clusters' sums. t and t_of_clusters:
    Student's t with the degrees of freedom of the images and of the clusters.
    """

    count: int
    squares: tuple[float, float, float]
    cubes: tuple[float, float, float, float]
    of_clusters: tuple[float, float, float]
    t: float
    t_of_clusters: float

    @classmethod
    def of(cls, e: Array, b: Array, clusters: npt.NDArray[np.int_], confidence: float) -> _Moments:
        """All three arrays: (images,)."""
        e, b = e - mean(e), b - mean(b)
        ee, bb = e * e, b * b
        sums_e, sums_b = np.bincount(clusters, e), np.bincount(clusters, b)
        count, groups = len(e), len(sums_e)
        return cls(
            count=count,
            squares=(float(e @ e), -2 * float(e @ b), float(b @ b)),
            cubes=(float(ee @ e), -3 * float(ee @ b), 3 * float(e @ bb), -float(bb @ b)),
            of_clusters=(float(sums_e @ sums_e), -2 * float(sums_e @ sums_b), float(sums_b @ sums_b)),
            t=students_t(count - 1, confidence),
            t_of_clusters=students_t(groups - 1, confidence) * math.sqrt(groups / (groups - 1)),
        )

    def beyond(self, x: float, sign: float) -> float:
        """How far the mean of sign (e - x b) may lie above what was seen: the larger of two upper ends.

        One is that of Student's t on clusters, the other that of Hall's t on images.
        """
        squares = max(self.squares[0] + x * (self.squares[1] + x * self.squares[2]), 0.0)
        of_clusters = max(self.of_clusters[0] + x * (self.of_clusters[1] + x * self.of_clusters[2]), 0.0)
        cubes = self.cubes[0] + x * (self.cubes[1] + x * (self.cubes[2] + x * self.cubes[3]))
        variance = squares / self.count
        skewness = sign * cubes / self.count / (variance * math.sqrt(variance)) if variance > 0 else 0.0
        on_images = halls_t(skewness, self.count, self.t) * math.sqrt(squares / (self.count - 1) / self.count)
        return max(self.t_of_clusters * math.sqrt(of_clusters) / self.count, on_images)


def halls_t(skewness: float, count: int, quantile: float) -> float:
    """How many standard errors the upper end of a mean lies above it; `quantile` if there is no skewness.

    Hall's transformation of Student's t (JRSS B 54, 1992), which is monotone, and so can be inverted.
    """
    if abs(skewness) < 1e-4:
        return quantile
    scaled = skewness / math.sqrt(count)
    inner = 1 - scaled * (quantile + skewness / (6 * math.sqrt(count)))
    return 3 / scaled * (1 - math.copysign(abs(inner) ** (1 / 3), inner))


def _fixed_point(step: Callable[[float], float]) -> float | None:
    """The x that `step` leads back to itself, from 0 upwards; None if it leads away. step(0) is not negative."""
    from scipy.optimize import brentq

    before, value = 0.0, step(0.0)
    for _ in range(ROUNDS):
        following = step(value)
        if abs(following - value) < 1e-12:
            return following
        if following < value:  # it lies between the last two
            return float(brentq(lambda x: step(x) - x, before, value, xtol=1e-12))
        if not following < 1e6:
            return None
        before, value = value, following
    return None


def _numbered(groups: Iterable[int]) -> npt.NDArray[np.int_]:
    """The groups' numbers from 0, in the order in which they first appear."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])


def _half_width(residuals: Array, count: int, confidence: float | None, means: int = 1) -> float | None:
    """Student's t times the standard error of a mean with these residuals; None if there are too few.

    means: how many means the residuals are taken from.
    """
    if confidence is None:
        return None
    _require_confidence(confidence)
    if count <= means:
        return None
    standard_error = math.sqrt(float(residuals @ residuals) / (count - means) / count)
    return students_t(count - means, confidence) * standard_error


@lru_cache(maxsize=4096)
def students_t(df: float, confidence: float) -> float:
    """Student's t for a two-sided interval."""
    from scipy.special import stdtrit

    _require_confidence(confidence)
    return float(stdtrit(df, (1 + confidence) / 2))


def mean(values: Array) -> float:
    """As numpy's, which takes several times as long for few values."""
    return float(np.add.reduce(values)) / len(values)


def standard_deviation(values: Array) -> float:
    """Of a sample of at least two."""
    residuals = values - mean(values)
    return math.sqrt(float(residuals @ residuals) / (len(values) - 1))


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must lie between 0 and 1, such as 0.95")


def _finite(values: npt.ArrayLike, name: str) -> Array:
    array: npt.NDArray[Any] = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} has shape {array.shape}: a list of at least one number is needed")
    # The sum says it sooner, but finite numbers can have an infinite one.
    if not math.isfinite(np.add.reduce(array)) and not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return array


def _positive(values: npt.ArrayLike, name: str) -> Array:
    array = _finite(values, name)
    if not np.minimum.reduce(array) > 0:
        raise ValueError(f"{name} holds a value that is not positive: {array.min()}")
    return array


def _pair(first: Array, second: Array) -> tuple[Array, Array]:
    if len(first) != len(second):
        raise ValueError(f"paired values are of different length: {len(first)} and {len(second)}")
    return first, second
