import math

import numpy as np
import pytest

from harness import stats
from harness.stats import Interval


def test_speedup_is_the_geometric_mean_with_students_interval():
    result = stats.speedup([4.0, 16.0], [2.0, 2.0], 0.95)  # ratios 2 and 8
    assert result.value == pytest.approx(4.0)
    # Student's t for one degree of freedom is 12.706; the standard error of the log is ln(4) / 2.
    assert result.low == pytest.approx(4.0 * 2**-12.7062, rel=1e-4)
    assert result.high == pytest.approx(4.0 * 2**12.7062, rel=1e-4)


def test_speedup_pairs_batches_so_what_both_sides_share_does_not_widen_it():
    baseline = np.array([1.0, 2.0, 4.0, 8.0])
    result = stats.speedup(baseline, baseline / 1.5, 0.95)
    assert result.low == pytest.approx(1.5)
    assert result.high == pytest.approx(1.5)


def test_swapping_the_sides_inverts_the_speedup():
    baseline, candidate = [1.0, 1.3, 0.9], [0.5, 0.7, 0.6]
    there, back = stats.speedup(baseline, candidate, 0.9), stats.speedup(candidate, baseline, 0.9)
    assert back.value == pytest.approx(1 / there.value)
    assert back.low == pytest.approx(1 / there.high)


def test_mean_over_mean_weighs_long_batches_more():
    assert stats.mean_over_mean([10.0, 1.0], [5.0, 1.0]) == pytest.approx(11 / 6)


def test_seconds_per_image_weighs_a_short_last_batch_by_its_images():
    assert stats.seconds_per_image([4.0, 4.0, 2.0], [4, 4, 1], 0.95).value == pytest.approx(10 / 9)


def test_seconds_per_image_of_equal_batches_is_students_interval_of_the_mean():
    result = stats.seconds_per_image([4.0, 8.0], [4, 4], 0.95)
    assert result.value == pytest.approx(1.5)
    assert result.high == pytest.approx(1.5 + 12.7062 * 0.5, rel=1e-4)  # the standard error is 0.5


def test_relative_loss_of_a_gain_is_negative():
    result = stats.relative_loss([20.0, 30.0], [21.0, 31.5], 0.95)
    assert result is not None
    assert result.value == pytest.approx(-0.05)
    assert result.low == pytest.approx(-0.05)  # every image gains the same share


@pytest.mark.parametrize("baseline", [[0.0, 0.0], [-3.0, 1.0]])
def test_relative_loss_needs_a_positive_baseline(baseline):
    assert stats.relative_loss(baseline, [1.0, 1.0], 0.95) is None


def test_one_observation_has_no_interval():
    assert stats.speedup([3.0], [2.0], 0.95) == Interval(pytest.approx(1.5), None, None)
    assert stats.seconds_per_image([3.0], [2], 0.95) == Interval(1.5, None, None)
    assert stats.relative_loss([30.0], [27.0], 0.95) == Interval(pytest.approx(0.1), None, None)


def test_identical_sides_have_an_interval_of_zero_width():
    values = [1.1, 0.7, 3.3]
    assert stats.speedup(values, values, 0.95) == Interval(1.0, 1.0, 1.0)
    assert stats.relative_loss(values, values, 0.95) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0]), ([math.nan], [1.0]), ([1.0], [math.inf])],
)
def test_seconds_that_cannot_be_are_refused(baseline, candidate):
    with pytest.raises(ValueError, match=r"baseline_s|candidate_s|length"):
        stats.speedup(baseline, candidate, 0.95)
    with pytest.raises(ValueError, match=r"baseline_s|candidate_s|length"):
        stats.mean_over_mean(baseline, candidate)


def test_scores_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="candidate_scores"):
        stats.relative_loss([1.0, 2.0], [1.0, math.nan], 0.95)
    with pytest.raises(ValueError, match="length"):
        stats.relative_loss([1.0, 2.0], [1.0], 0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_0_and_1_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        stats.speedup([1.0, 2.0], [1.0, 2.0], confidence)


def coverage(intervals, truth):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


REPEATS = 2000  # the share then has a standard error of 0.005


def test_the_speedups_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    drift = np.exp(random.normal(0, 0.3, (REPEATS, 5)))  # what both sides of a batch share
    baseline = 1.5 * drift * np.exp(random.normal(0, 0.1, (REPEATS, 5)))
    candidate = drift * np.exp(random.normal(0, 0.1, (REPEATS, 5)))
    for confidence in (0.8, 0.95):
        intervals = [stats.speedup(b, c, confidence) for b, c in zip(baseline, candidate, strict=True)]
        assert coverage(intervals, 1.5) == pytest.approx(confidence, abs=0.02)


def test_the_losss_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(2)
    baseline = random.normal(30, 4, (REPEATS, 16))
    candidate = 0.96 * baseline + random.normal(0, 1.5, (REPEATS, 16))
    intervals = [stats.relative_loss(b, c, 0.95) for b, c in zip(baseline, candidate, strict=True)]
    assert coverage(intervals, 0.04) == pytest.approx(0.95, abs=0.02)


def test_the_times_interval_covers_the_truth_with_a_short_last_batch():
    random = np.random.default_rng(3)
    counts = np.array([4, 4, 4, 4, 4, 2])
    seconds = counts * random.normal(0.7, 0.05, (REPEATS, 6))
    intervals = [stats.seconds_per_image(row, counts, 0.95) for row in seconds]
    assert coverage(intervals, 0.7) == pytest.approx(0.95, abs=0.025)
