import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import beta

from benchmarks import suite_coverage as simulation
from harness.pass_rate import error_of_an_end, pass_rate, rate_interval

NORMAL = 1e7  # degrees of freedom


def ends(tasks, passed, inconclusive=None, confidence=0.95):
    rate = pass_rate(tasks, passed, inconclusive or [0] * len(tasks), confidence)
    return rate.interval_low, rate.interval_high


def of_count(rate, count):
    """Clopper and Pearson's interval of so many independent tasks."""
    met, failed = rate * count, (1 - rate) * count
    return beta.ppf(0.025, met, failed + 1), beta.ppf(0.975, met + 1, failed)


def test_the_rate_is_a_range_that_inconclusive_tasks_open():
    rate = pass_rate([5, 5, 10], [2, 1, 2], [1, 0, 1], 0.9)
    assert (rate.low, rate.high, rate.clusters, rate.confidence) == (0.25, 0.35, 3, 0.9)
    assert rate.interval_low < 0.25
    assert rate.interval_high > 0.35


def test_clusters_of_one_size_have_the_usual_factor_and_degrees_of_freedom():
    # Residuals 2.75, -1.25, -1.25 and -0.25. Student's t of 3 degrees of freedom is 3.182.
    variance = 4 / 3 * (2.75**2 + 2 * 1.25**2 + 0.25**2) / 20**2
    count = 0.25 * 0.75 / variance * (1.959964 / 3.182446) ** 2
    assert ends([5, 5, 5, 5], [4, 0, 0, 1]) == pytest.approx(of_count(0.25, count), rel=1e-5)


def test_clusters_of_unequal_sizes_are_left_out_one_by_one_and_count_as_fewer():
    # Without one cluster after the other the rates are 0, 4/6 and 4/6.
    variance = 2 / 3 * (0.5**2 + 2 * (4 / 6 - 0.5) ** 2)
    freedom = 8**2 / (4**2 + 2**2 + 2**2) - 1
    count = 0.25 / variance * (1.959964 / stdtrit(freedom, 0.975)) ** 2
    assert ends([4, 2, 2], [4, 0, 0]) == pytest.approx(of_count(0.5, count), rel=1e-5)


def test_clusters_that_happen_to_be_alike_count_as_independent_tasks():
    count = 8 * (1.959964 / 3.182446) ** 2
    assert ends([2, 2, 2, 2], [1, 1, 1, 1]) == pytest.approx(of_count(0.5, count), rel=1e-5)


@pytest.mark.parametrize(("tasks", "clusters"), [([5, 5, 5, 5], 4), ([8, 1, 1], 100 / 66)])
def test_if_none_or_all_are_met_every_effective_cluster_counts_as_one_task(tasks, clusters):
    far = 0.025 ** (1 / clusters)
    assert ends(tasks, [0] * len(tasks)) == (0.0, pytest.approx(1 - far))
    assert ends(tasks, tasks) == (pytest.approx(far), 1.0)


def test_one_cluster_has_no_interval():
    assert ends([20], [5]) == (None, None)


def test_two_very_unequal_clusters_say_nothing():
    assert ends([603, 1], [300, 0]) == pytest.approx((0.0, 1.0))


def test_an_end_of_a_wide_range_may_miss_twice_as_often():
    errors = error_of_an_end(np.array([0.0, 1.0, 100.0]), np.array([9.0, NORMAL, 3.0]), 0.95)
    assert errors[[0, 2]] == pytest.approx([0.025, 0.05], rel=1e-4)
    critical = -ndtri(errors[1])  # of Imbens and Manski: F(c + width) - F(-c) is the confidence
    assert ndtr(critical + 1.0) - ndtr(-critical) == pytest.approx(0.95, abs=1e-6)
    # 400 independent tasks: one-sided quantiles for the ends of a range of 40%.
    low, high = ends([1] * 400, [1] * 120 + [0] * 280, [0] * 120 + [1] * 160 + [0] * 120)
    assert 0.3 - low == pytest.approx(1.649 * math.sqrt(0.21 / 400), abs=0.002)
    assert high - 0.7 == pytest.approx(1.649 * math.sqrt(0.21 / 400), abs=0.002)


def test_exchanging_passed_and_failed_mirrors_the_interval():
    low, high = ends([4, 6, 9], [1, 3, 2], [1, 0, 2])
    assert ends([4, 6, 9], [2, 3, 5], [1, 0, 2]) == pytest.approx((1 - high, 1 - low))


def test_tasks_that_are_more_alike_widen_the_interval():
    apart, alike = ends([5] * 8, [2, 3] * 4), ends([5] * 8, [0, 5] * 4)
    assert alike[0] < apart[0] - 0.1
    assert alike[1] > apart[1] + 0.1


def test_many_suites_at_once_are_each_like_one_alone():
    tasks, passed = np.array([[4.0, 6.0, 9.0], [3.0, 3.0, 3.0]]), np.array([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    low, high = rate_interval(tasks, passed, np.ones((2, 3)), 0.95)
    assert (low[0], high[0]) == ends([4, 6, 9], [1, 3, 2], [1, 1, 1])
    assert (low[1], high[1]) == ends([3, 3, 3], [0, 0, 0], [1, 1, 1])


@pytest.mark.parametrize("tasks", [[], [3, 0]])
def test_a_cluster_without_tasks_is_refused(tasks):
    with pytest.raises(ValueError, match="at least one cluster"):
        pass_rate(tasks, tasks, tasks, 0.95)


# The simulation: benchmarks/suite_coverage.py. In 4,000 suites the standard error of 96% is 0.3%.


def test_the_interval_holds_the_truth_where_wilsons_and_the_usual_one_do_not():
    row = simulation.coverage(simulation.Setting(12, 0.3, 0.3, 0.01), 4000, np.random.default_rng(1))
    assert row.sound, row
    assert row.wilson_a < 0.45
    assert row.usual_a < 0.93


def test_wilsons_interval_misses_what_inconclusive_tasks_hide():
    row = simulation.coverage(simulation.Setting(40, 0.3, 0.1, 0.05), 1000, np.random.default_rng(2))
    assert (row.range_b, row.sound) == (1.0, True)
    assert row.wilson_b < 0.02


def test_the_bound_of_false_passes_is_reached_and_kept():
    passes = simulation.false_passes_at_the_limit(0.05, 1000, np.random.default_rng(3))
    assert 0.85 * simulation.BOUND < passes < simulation.BOUND


def test_a_simulated_suite_has_all_its_tasks_and_the_rate_that_it_says():
    suites = simulation.draw(simulation.Setting(12, 0.3, 0.3, 0.01), 2000, np.random.default_rng(4))
    assert (suites.tasks.sum(axis=1) == simulation.TASKS).all()
    assert suites.tasks.min() >= 1
    assert suites.met.sum() / suites.tasks.sum() == pytest.approx(0.3, abs=0.01)
    assert (suites.passed + suites.inconclusive <= suites.tasks).all()
