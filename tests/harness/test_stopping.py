"""When a pair has been measured enough."""

import dataclasses
import itertools

import pytest

from actors.messages import Layout, Measured, Stopped
from harness.figures import SequentialDesign, figures
from harness.judge import Criteria
from harness.records import Demands, Protocol, RareLosses
from harness.stats import StartSpread
from harness.stopping import MeasureAll, StopWhenKnown
from tests.harness.record_samples import batches, images

LIMIT = Criteria(Protocol.STRICT, max_quality_loss=0.05)


STRETCHES = (1.1, 1.11, 1.09, 1.1, 1.1, 1.1, 1.11, 1.09)  # seconds per image of the baseline


def measured_after(count, noise=0.0, loss=0.0, score=30.0, mismatched=None, layout=Layout.INTERLEAVED, starts=1):
    """So many batches of 4 images of a speedup of 2, noisy by the share `noise`."""
    signs = itertools.cycle((1, -1, -1, 1, 1, 1, -1))
    rows = [
        dataclasses.replace(row, wall_s=row.wall_s * (1 + noise * next(signs)), block=row.batch * starts // count)
        for row in batches(count)
    ]
    scored = [
        dataclasses.replace(
            row,
            baseline_clip=score,
            candidate_clip=score * (1 - loss * (1 + 0.1 * next(signs))),
            mismatched_clip=mismatched,
        )
        for row in images(4 * count)
    ]
    return Measured(rows, scored, layout, STRETCHES)


def stop_after(
    count,
    *,
    half_width=0.02,
    planned=16,
    spread=None,
    starts=1,
    rare_losses=RareLosses.ASSUME_NONE,
    noise=0.0,
    loss=0.0,
    score=30.0,
    mismatched=None,
    layout=Layout.INTERLEAVED,
    **demands,
):
    """What the rule says after so many batches."""
    design = SequentialDesign(0.95, planned, starts, spread, rare_losses)
    rule = StopWhenKnown(Demands(**demands), LIMIT, design, 4 * planned, half_width)
    return rule(measured_after(count, noise, loss, score, mismatched, layout, starts))


def test_no_look_before_there_is_an_interval():
    assert stop_after(3, req_speedup=1.5) is None
    assert stop_after(4, req_speedup=1.5) is Stopped.VERDICT


@pytest.mark.parametrize("demands", [{"req_speedup": 3.0}, {"req_latency_s": 0.1}, {"req_latency_s": 1.0}])
def test_a_sure_verdict_ends_it_either_way(demands):
    assert stop_after(8, noise=0.01, **demands) is Stopped.VERDICT


def test_a_doubt_goes_on():
    assert stop_after(8, noise=0.05, req_speedup=1.95) is None


def test_a_requirement_inside_a_narrow_interval_ends_it_too():
    assert stop_after(16, noise=0.005, req_speedup=2.0) is Stopped.PRECISION
    assert stop_after(16, noise=0.005, req_speedup=2.0, half_width=0.0001) is None  # all were measured


def test_a_latency_in_doubt_goes_on_though_the_speedup_is_known_well():
    assert stop_after(8, noise=0.001, req_latency_s=0.55) is None


def test_without_a_demand_on_time_the_speedup_is_to_be_known_well():
    assert stop_after(8, noise=0.05) is None
    assert stop_after(8, noise=0.001) is Stopped.PRECISION


def test_a_quality_that_is_surely_too_low_ends_it_whatever_the_speed():
    assert stop_after(6, noise=0.05, loss=0.5, req_speedup=1.95) is Stopped.VERDICT


def test_a_quality_in_doubt_goes_on_though_the_speed_is_sure():
    assert stop_after(4, loss=0.05, req_speedup=1.5) is None


def test_a_quality_that_cannot_be_known_keeps_nothing_waiting():
    assert stop_after(4, score=-3.0, req_speedup=1.5) is Stopped.VERDICT


def test_a_task_that_contradicts_itself_is_measured_until_the_speedup_is_known():
    assert stop_after(8, noise=0.05, requirement_problem="two speedups") is None
    assert stop_after(8, noise=0.001, requirement_problem="two speedups") is Stopped.PRECISION


def test_the_fixed_protocol_never_ends_early():
    assert MeasureAll()(measured_after(8)) is None


def test_quiet_calls_are_measured_to_half_of_the_width():
    """After 15 batches calls vary by 2.3%, and the interval reaches 2.5% to either side."""
    assert stop_after(15, noise=0.02, half_width=0.028) is Stopped.PRECISION
    assert stop_after(15, noise=0.02, half_width=0.04) is None  # calls vary by less than three quarters of it
    assert stop_after(15, noise=0.02, half_width=0.052) is Stopped.PRECISION


def test_what_will_most_likely_stay_in_doubt_ends_early():
    assert stop_after(12, noise=0.05, req_speedup=2.0) is Stopped.FUTILITY
    assert stop_after(12, noise=0.05, req_speedup=1.9) is None  # the batches to come may still decide


def test_a_spread_of_starts_that_hides_the_difference_makes_it_futile():
    hidden = StartSpread(std=0.1, df=7)
    assert stop_after(8, noise=0.02, req_speedup=1.9, spread=hidden) is Stopped.FUTILITY
    assert stop_after(8, noise=0.02, req_speedup=1.9) is not Stopped.FUTILITY


@pytest.mark.parametrize("other", [{"starts": 12}, {"layout": Layout.BLOCKS}])
def test_futility_is_only_told_where_batches_are_looked_at_one_by_one(other):
    assert stop_after(12, noise=0.05, req_speedup=2.0, half_width=0.0, planned=12, **other) is None


def test_images_that_cannot_exclude_rare_losses_keep_nothing_waiting():
    """64 images exclude a loss of 5% if one image can lose half, and not if it can lose all."""
    few = {"rare_losses": RareLosses.BOUND, "req_speedup": 1.5}
    assert stop_after(8, mismatched=0.0, **few) is Stopped.FUTILITY
    assert stop_after(8, mismatched=15.0, **few) is None
    assert stop_after(16, mismatched=15.0, **few) is Stopped.VERDICT


def test_without_a_demand_on_time_rare_losses_do_not_keep_the_speedup_waiting():
    few = {"rare_losses": RareLosses.BOUND, "mismatched": 0.0}
    assert stop_after(8, noise=0.001, **few) is Stopped.PRECISION
    assert stop_after(8, noise=0.05, **few) is None


def test_a_loss_that_is_surely_too_large_is_a_verdict_though_images_are_few():
    few = {"rare_losses": RareLosses.BOUND, "mismatched": 0.0}
    assert stop_after(8, loss=0.5, req_speedup=1.5, **few) is Stopped.VERDICT


def test_the_rule_says_the_same_of_figures_that_are_known():
    rule = StopWhenKnown(Demands(req_speedup=1.5), LIMIT, SequentialDesign(0.95, 16), 64, 0.02)
    measured = measured_after(16, mismatched=15.0)
    assert rule.judge(figures(measured, rule.design), measured) is rule(measured) is Stopped.VERDICT
