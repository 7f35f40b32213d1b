"""From raw rows to figures: what counts as a batch, as a start, as a block, and what nobody has seen."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import stdtrit

from actors.messages import Layout, Measured, Side
from harness import stats
from harness.figures import PairedBatch, SequentialDesign, design_of, figures, largest_loss, paired_batches
from harness.records import RareLosses
from harness.stats import StartSpread
from tests.harness.record_samples import batches, facts, images

KNOWN = StartSpread(std=0.01, df=7, order_effect=0.002)


def pair(logs, starts=None, last=None, layout=Layout.INTERLEAVED, stretches=()):
    """Of a speedup of 2 e^log in each batch. starts: of each batch. last: whether the candidate was started last."""
    rows = []
    for row in batches(len(logs)):
        on_candidate = row.side is Side.CANDIDATE
        start = starts[row.batch] if starts else 0
        started_last = None if last is None else (last[start] is on_candidate)
        seconds = row.wall_s * (math.exp(-logs[row.batch]) if on_candidate else 1.0)
        rows.append(dataclasses.replace(row, wall_s=seconds, block=start, started_last=started_last))
    return Measured(rows, images(4 * len(logs)), layout, stretches)


NOISE = [0.02, -0.01, 0.03, 0.00, -0.02, 0.01, 0.02, -0.03]


def half_width(found):
    return math.log(found.speedup_high / found.speedup)


def test_a_batch_is_what_both_sides_answered_and_is_judged():
    rows = batches(3)
    rows[0] = dataclasses.replace(rows[0], judged=False)
    rows[1] = dataclasses.replace(rows[1], judged=False)
    assert paired_batches(rows[:-1]) == [PairedBatch(4.4, 2.2, 4, 0, True)]


@pytest.mark.parametrize("rows", [[], batches(2)[:3], [*batches(2), batches(1)[0]]])
def test_rows_that_are_no_pairs_are_refused(rows):
    with pytest.raises(ValueError, match="batch was timed"):
        figures(Measured(rows, images(8), Layout.INTERLEAVED), SequentialDesign(0.95, 8))


def test_a_pair_without_images_is_refused():
    with pytest.raises(ValueError, match="image"):
        figures(Measured(batches(2), [], Layout.INTERLEAVED), SequentialDesign(0.95, 8))


def scored(mismatched, losses=(0.0,) * 4):
    return [
        dataclasses.replace(row, baseline_clip=30.0, candidate_clip=30.0 * (1 - loss), mismatched_clip=mismatched)
        for row, loss in zip(images(4), losses, strict=True)
    ]


def test_an_image_loses_at_most_what_tells_it_from_others():
    assert largest_loss(scored(12.0)) == pytest.approx(0.6)
    assert largest_loss(scored(12.0, (0.0, 0.7, 0.0, 0.0))) == pytest.approx(0.7)  # it was seen
    assert largest_loss(scored(None)) == 1.0
    assert largest_loss([dataclasses.replace(row, baseline_clip=-1.0) for row in scored(12.0)]) == 1.0


def test_rare_losses_are_bounded_unless_they_are_assumed_away():
    measured = dataclasses.replace(pair(NOISE), images=[*scored(12.0), *scored(12.0)])
    images_ = [dataclasses.replace(row, batch=number // 4) for number, row in enumerate(measured.images)]
    measured = dataclasses.replace(measured, images=images_)
    design = SequentialDesign(0.95, 8)
    bounded = figures(measured, design)
    assert bounded.quality_loss_high == pytest.approx(stats.unseen_loss(0.6, 8, stats.one_sided_error(8, 0.95)))
    assumed = figures(measured, dataclasses.replace(design, rare_losses=RareLosses.ASSUME_NONE))
    assert assumed.quality_loss_high == 0.0


def test_one_start_is_looked_at_after_every_batch():
    design = SequentialDesign(0.95, 8)
    levels = [design.level(paired_batches(pair(NOISE[:count]).batches), Layout.INTERLEAVED) for count in range(1, 9)]
    assert levels == [stats.confidence_at_look(count, 8, 0.95) for count in range(1, 9)]


def test_without_a_spread_looks_are_taken_after_whole_starts():
    design = SequentialDesign(0.95, 10, starts=5)
    starts = [number // 2 for number in range(10)]
    levels = {
        count: design.level(paired_batches(pair([0.0] * count, starts).batches), Layout.INTERLEAVED)
        for count in range(1, 11)
    }
    assert {count for count, level in levels.items() if level} == {8, 10}
    assert levels[8] == stats.confidence_at_look(4, 5, 0.95)


def test_several_starts_without_a_spread_count_once_each():
    starts, last = [0, 0, 1, 1, 2, 2, 3, 3], [True, False, True, False]
    found = figures(pair(NOISE, starts, last), SequentialDesign(0.95, 8, starts=4))
    level = stats.confidence_at_look(4, 4, 0.95)
    means = stats.speedup_of_means(np.array(NOISE), starts, level)
    assert half_width(found) == pytest.approx(math.log(means.high / means.value))  # places cancel out


def test_a_spread_of_starts_widens_a_single_start():
    level = stats.confidence_at_look(8, 8, 0.95)
    within = stats.speedup(np.array(NOISE), level)
    between = stdtrit(7, 0.975) * 0.01
    found = figures(pair(NOISE, last=[True]), SequentialDesign(0.95, 8, spread=KNOWN))
    expected = math.hypot(math.log(within.high / within.value), between) + 0.002
    assert half_width(found) == pytest.approx(expected)


@pytest.mark.parametrize(("last", "share"), [([True, True], 1.0), ([True, False], 0.0), ([False, False], 1.0)])
def test_the_order_of_starts_widens_as_far_as_it_does_not_cancel_out(last, share):
    starts = [0, 0, 0, 0, 1, 1, 1, 1]
    without = dataclasses.replace(KNOWN, order_effect=0.0)
    wide, narrow = (
        half_width(figures(pair(NOISE, starts, last), SequentialDesign(0.95, 8, starts=2, spread=spread)))
        for spread in (KNOWN, without)
    )
    assert wide - narrow == pytest.approx(0.002 * share)


def test_without_a_calibration_the_default_effect_counts_even_if_the_order_is_not_known():
    level = stats.confidence_at_look(8, 8, 0.95)
    within = stats.speedup(np.array(NOISE), level)
    found = figures(pair(NOISE), SequentialDesign(0.95, 8))
    expected = math.log(within.high / within.value) + stats.START_ORDER_EFFECT
    assert half_width(found) == pytest.approx(expected)


BLOCKS = [0, 0, 1, 1, 2, 2, 3, 3]


def test_blocks_count_once_each_and_are_looked_at_once():
    design = SequentialDesign(0.95, 8)
    found = figures(pair(NOISE, BLOCKS, layout=Layout.BLOCKS), design)
    means = stats.speedup_of_means(np.array(NOISE), BLOCKS, 0.95, 15 / 11)
    assert half_width(found) == pytest.approx(math.log(means.high / means.value))
    assert figures(pair(NOISE[:6], BLOCKS[:6], layout=Layout.BLOCKS), design).speedup_low is None


STRETCHES = (0.9, 1.1, 1.0, 1.2, 1.0, 0.8, 1.1, 0.9)


def test_a_latency_needs_stretches_of_the_baseline():
    without = figures(pair(NOISE), SequentialDesign(0.95, 8))
    assert without.candidate_seconds_per_image == pytest.approx(2.2 / 4, rel=0.02)
    assert without.candidate_seconds_per_image_low is None
    found = figures(pair(NOISE, stretches=STRETCHES), SequentialDesign(0.95, 8))
    assert found.candidate_seconds_per_image == pytest.approx(0.5, rel=0.02)  # half of the stretches' mean
    assert found.candidate_seconds_per_image_low < 0.5 < found.candidate_seconds_per_image_high


@pytest.mark.parametrize(
    ("design", "layout"),
    [
        (SequentialDesign(0.95, 8, spread=StartSpread(0.3, 7)), Layout.INTERLEAVED),
        (SequentialDesign(0.95, 8, starts=4), Layout.INTERLEAVED),
        (SequentialDesign(0.95, 8), Layout.BLOCKS),
    ],
)
def test_a_latencys_interval_knows_of_starts_and_blocks(design, layout):
    apart = [0.3, 0.3, -0.3, -0.3, 0.3, 0.3, -0.3, -0.3]
    plain = figures(pair(apart, stretches=STRETCHES), SequentialDesign(0.95, 8))
    found = figures(pair(apart, BLOCKS, layout=layout, stretches=STRETCHES), design)
    assert found.candidate_seconds_per_image_high > plain.candidate_seconds_per_image_high


def test_the_design_of_a_record_is_the_one_it_was_measured_with():
    pair_facts = facts(starts=4, start_std=0.01, start_df=7, start_order_effect=0.002, rare_losses="assume_none")
    assert design_of(pair_facts) == SequentialDesign(0.95, 8, 4, KNOWN, RareLosses.ASSUME_NONE)


def test_an_older_record_has_one_start_of_which_nothing_is_known():
    assert design_of(facts()) == SequentialDesign(0.95, 8, 1, None, RareLosses.BOUND)


@pytest.mark.parametrize(("design", "looks"), [(SequentialDesign(0.95, 16), 16), (SequentialDesign(0.95, 16, 4), 4)])
def test_the_error_is_that_of_the_last_look(design, looks):
    assert design.error == stats.one_sided_error(looks, 0.95)
